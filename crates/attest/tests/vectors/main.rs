//! Evidence that real hardware signed, and the same made by vendors of our own
//! (so that it can expire, be revoked and fall out of date), good and bad.
//!
//! Where the captured evidence comes from: data/README.md.

mod amd;
mod authority;
mod intel;
mod intel_forged;
mod nitro;
mod tpm;

use attest::{Claims, EvidenceError, Moment, Roots, verify};
use wire::{Evidence, Height};

/// Unix milliseconds of a date in UTC.
fn date_ms(text: &str) -> u64 {
    let date = chrono::DateTime::parse_from_rfc3339(text).unwrap();
    u64::try_from(date.timestamp_millis()).unwrap()
}

fn at(time_ms: u64) -> Moment {
    Moment {
        height: Height(1),
        time_ms,
    }
}

/// Verifies under the vendors' own roots.
fn verify_at(evidence: &Evidence, time_ms: u64) -> Result<Claims, EvidenceError> {
    verify(evidence, &Roots::default(), at(time_ms))
}

fn file(path: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Asserts that no change of one bit is accepted: one bit of every `step`th
/// byte, a different one each time.
fn assert_no_flip_is_accepted(
    evidence: &Evidence,
    step: usize,
    accepts: impl Fn(&Evidence) -> bool,
) {
    assert!(accepts(evidence), "the original is good");
    let mut changed = evidence.clone();
    for byte in (0..evidence.bytes.len()).step_by(step) {
        let bit = 1 << ((byte / step * 5 + byte) % 8);
        changed.bytes[byte] ^= bit;
        assert!(!accepts(&changed), "byte {byte}, bit {bit:#04x}");
        changed.bytes[byte] ^= bit;
    }
}
