//! Is what a host started what its distribution published?
//!
//! Joins a verified quote, the two logs that lead to it and an index. A host
//! that was appraised before is appraised further: only what its list has
//! gained is looked at, unless it was switched off meanwhile.

use std::collections::BTreeSet;

use attest::tpm::VerifiedQuote;
use aws_lc_rs::digest;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

use crate::{
    boot_log::{self, BootLogError},
    ima_log::{self, Entry, Position, ReplayError},
    index::Index,
};

/// Findings that are kept of one host; more say no more than that it is not
/// what it should be.
const MAX_FINDINGS: usize = 10_000;

/// The list's first entry: a digest over the boot registers.
const BOOT_AGGREGATE: &[u8] = b"boot_aggregate";

/// What a verifier expects beyond packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectations {
    /// Files that a host makes itself, by their whole path; their contents are
    /// not judged.
    pub generated: BTreeSet<String>,
    /// How long after its successor was published a version may still be
    /// running, milliseconds.
    pub grace_ms: u64,
    /// Digests that a boot may measure, by register; none accepts what the
    /// first appraisal found and holds later ones to it.
    pub boot: Option<BTreeSet<(u8, [u8; 32])>>,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            // The loader's cache is made on the host at every installation.
            generated: BTreeSet::from(["/etc/ld.so.cache".to_owned()]),
            // Two weeks: what an administrator takes to restart services.
            grace_ms: 14 * 24 * 60 * 60 * 1000,
            boot: None,
        }
    }
}

/// Something that is not as published.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, BorshSerialize, BorshDeserialize,
)]
#[serde(tag = "finding", rename_all = "kebab-case")]
pub enum Finding {
    /// No package has this file.
    Unknown {
        /// Its path.
        path: String,
        /// Its SHA-256, in hex.
        sha256: String,
    },
    /// A package has this path, with other contents.
    Changed {
        /// Its path.
        path: String,
        /// Its SHA-256, in hex.
        sha256: String,
        /// The package that it belongs to, with the version last known.
        package: String,
    },
    /// A package's file, of a version that was replaced too long ago.
    Outdated {
        /// Its path.
        path: String,
        /// The package and version.
        package: String,
        /// When its successor was published, Unix milliseconds.
        replaced_ms: u64,
    },
    /// It was open for writing while it was measured.
    Violation {
        /// Its path.
        path: String,
    },
    /// It was measured under another algorithm than SHA-256.
    OtherAlgorithm {
        /// Its path.
        path: String,
    },
    /// The list was begun by another boot than the quoted one.
    BootAggregate,
    /// A boot measured something that was not expected.
    Boot {
        /// The register.
        register: u8,
        /// What kind of event it was.
        event: String,
        /// The digest, in hex.
        sha256: String,
        /// What the log says it was.
        text: String,
    },
}

/// What is kept of a host between quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HostState {
    /// The boot, as the TPM counts resets.
    resets: Option<u32>,
    position: Option<Position>,
    /// What the boot measured when it was first appraised.
    boot: BTreeSet<(u8, [u8; 32])>,
    findings: BTreeSet<Finding>,
    known: u64,
}

/// What an appraisal found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostReport {
    /// Whether everything was as published.
    pub clean: bool,
    /// Entries of the list that the quote commits to.
    pub entries: u64,
    /// Of these, looked at now.
    pub appraised_now: u64,
    /// Entries that are files of packages.
    pub known: u64,
    /// Events of the boot.
    pub boot_events: usize,
    /// Whether the host was switched off since it was last appraised.
    pub rebooted: bool,
    /// What is not as published.
    pub findings: Vec<Finding>,
}

/// Why a host cannot be appraised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppraiseHostError {
    /// The boot log.
    #[error(transparent)]
    Boot(#[from] BootLogError),
    /// The measurement list.
    #[error(transparent)]
    List(#[from] ReplayError),
    /// The quote leaves IMA's register out.
    #[error("the quote does not cover register {}", ima_log::REGISTER)]
    NotQuoted,
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Judges one entry; none for what is as published.
fn judge(
    entry: &Entry<'_>,
    index: &Index,
    expectations: &Expectations,
    aggregate: &[u8; 32],
    now_ms: u64,
) -> Option<Finding> {
    let Some(sha256) = entry.sha256 else {
        let path = text(entry.path);
        return Some(match entry.violation {
            true => Finding::Violation { path },
            false => Finding::OtherAlgorithm { path },
        });
    };
    let mut replaced: Option<(u64, String)> = None;
    for package in index.containing(sha256) {
        match package.current_until_ms {
            None => return None,
            Some(until) if now_ms.saturating_sub(until) <= expectations.grace_ms => return None,
            Some(until) => {
                let name = format!("{} {}", package.name, package.version);
                replaced = replaced.max(Some((until, name)));
            }
        }
    }
    if entry.path == BOOT_AGGREGATE {
        return (sha256 != aggregate).then_some(Finding::BootAggregate);
    }
    let path = text(entry.path);
    if let Some((replaced_ms, package)) = replaced {
        return Some(Finding::Outdated {
            path,
            package,
            replaced_ms,
        });
    }
    if expectations.generated.contains(&path) {
        return None;
    }
    let sha256 = hex::encode(sha256);
    let owner = index.at(&path).last();
    Some(match owner {
        Some(package) => Finding::Changed {
            package: format!("{} {}", package.name, package.version),
            path,
            sha256,
        },
        None => Finding::Unknown { path, sha256 },
    })
}

/// Appraises a host further.
///
/// Shape:  `quote` was verified, for this nonce and this host's key; `boot` and
///         `list` are the logs whole, `list` read after the quote was made.
///         `state` is what the last appraisal left; it changes only on success.
/// Units:  `now_ms` is Unix milliseconds.
/// Errors: [`AppraiseHostError`]: the logs are not those of the quote.
pub fn appraise_host(
    quote: &VerifiedQuote,
    boot: &[u8],
    list: &[u8],
    index: &Index,
    expectations: &Expectations,
    state: &mut HostState,
    now_ms: u64,
) -> Result<HostReport, AppraiseHostError> {
    let events = boot_log::check(boot, &quote.registers)?;
    let quoted = quote
        .registers
        .get(&ima_log::REGISTER)
        .ok_or(AppraiseHostError::NotQuoted)?;
    let continues = state.resets == Some(quote.clock.resets);
    let mut next = match continues {
        true => state.clone(),
        // The machine's past boots say nothing of this one but what it boots.
        false => HostState {
            boot: state.boot.clone(),
            ..HostState::default()
        },
    };
    let measured: BTreeSet<(u8, [u8; 32])> = events
        .iter()
        .map(|event| (event.register, *event.sha256))
        .collect();
    let expected = expectations.boot.as_ref().or(match next.boot.is_empty() {
        true => None,
        false => Some(&next.boot),
    });
    let surprises: Vec<Finding> = events
        .iter()
        .filter(|event| {
            let item = (event.register, *event.sha256);
            expected.is_some_and(|expected| !expected.contains(&item))
        })
        .map(|event| Finding::Boot {
            register: event.register,
            event: event.type_name().to_owned(),
            sha256: hex::encode(event.sha256),
            text: event.text(),
        })
        .collect();
    if next.boot.is_empty() {
        next.boot = measured;
    }
    next.findings.extend(surprises);
    let aggregate = boot_aggregate(quote);
    let start = next.position.unwrap_or(Position::START);
    let (findings, known) = (&mut next.findings, &mut next.known);
    let end = ima_log::replay(list, &start, quoted, |entry| {
        match judge(&entry, index, expectations, &aggregate, now_ms) {
            None => *known += 1,
            Some(finding) if findings.len() < MAX_FINDINGS => {
                findings.insert(finding);
            }
            Some(_) => (),
        }
    })?;
    next.position = Some(end);
    next.resets = Some(quote.clock.resets);
    let report = HostReport {
        clean: next.findings.is_empty(),
        entries: end.entries,
        appraised_now: end.entries - start.entries,
        known: next.known,
        boot_events: events.len(),
        rebooted: !continues && state.resets.is_some(),
        findings: next.findings.iter().cloned().collect(),
    };
    *state = next;
    Ok(report)
}

/// The digest with which the kernel begins its list (SHA-256 over registers 0
/// to 9, since Linux 5.8).
fn boot_aggregate(quote: &VerifiedQuote) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for register in 0..=9 {
        context.update(quote.registers.get(&register).unwrap_or(&[0; 32]));
    }
    let mut aggregate = [0; 32];
    aggregate.copy_from_slice(context.finish().as_ref());
    aggregate
}
