//! An attestation result for other systems: the claims set of an Entity
//! Attestation Token for results (draft-ietf-rats-ear-00), with the
//! trustworthiness vector of AR4SI (draft-ietf-rats-ar4si).
//!
//! The ledger keeps the bounded form ([`AttestationResult`]), proven by the
//! circle's certificate; this is the same in the words that verifiers share.
//! It is a claims set and bears no signature of its own.

use serde_json::{Value, json};
use wire::{Evidence, EvidenceKind, TcbStatus, record::AttestationResult};

use crate::AppraisalError;

/// The profile's name, as the draft gives it.
const PROFILE: &str = "tag:github.com,2023:veraison/ear";

/// AR4SI: nothing is known against it.
const AFFIRMING: i8 = 2;

/// AR4SI: the verifier makes no assertion.
const NONE: i8 = 0;

/// AR4SI, hardware: genuine, with known vulnerabilities.
const HARDWARE_WARNING: i8 = 32;

/// AR4SI, runtime-opaque: visible to whoever runs the machine.
const RUNTIME_VISIBLE: i8 = 96;

/// AR4SI, hardware and instance: not recognised.
const UNRECOGNIZED: i8 = 97;

fn vector(result: &AttestationResult) -> Value {
    let hardware = match (result.kind, result.tcb) {
        (EvidenceKind::Development, _) => UNRECOGNIZED,
        (_, None | Some(TcbStatus::UpToDate | TcbStatus::SwHardeningNeeded)) => AFFIRMING,
        (_, Some(_)) => HARDWARE_WARNING,
    };
    json!({
        "instance-identity": if result.chip.is_some() { AFFIRMING } else { NONE },
        "configuration": NONE,
        "executables": AFFIRMING,
        "file-system": NONE,
        "hardware": hardware,
        "runtime-opaque": if result.protects_from_host { AFFIRMING } else { RUNTIME_VISIBLE },
        "storage-opaque": NONE,
        "sourced-data": NONE,
    })
}

/// The tier of a result: the worst of its vector.
fn status(result: &AttestationResult) -> &'static str {
    let warned = !matches!(
        result.tcb,
        None | Some(TcbStatus::UpToDate | TcbStatus::SwHardeningNeeded)
    );
    match (result.protects_from_host, warned) {
        (false, _) => "contraindicated",
        (true, true) => "warning",
        (true, false) => "affirming",
    }
}

fn envelope(evidence: &Evidence, time_ms: u64, policy: &str, submodule: Value) -> Value {
    let mut submodule = submodule;
    submodule["ear.appraisal-policy-id"] = json!(policy);
    submodule["ringfort.evidence-digest"] = json!(evidence.digest().to_string());
    json!({
        "eat_profile": PROFILE,
        "iat": time_ms / 1000,
        "ear.verifier-id": {
            "build": concat!("attest ", env!("CARGO_PKG_VERSION")),
            "developer": "ringfort",
        },
        "submods": { evidence.kind.name(): submodule },
    })
}

/// The claims set of evidence that was accepted.
///
/// Units: `time_ms` is Unix milliseconds; `iat` is in seconds (RFC 8392).
pub fn accepted(
    evidence: &Evidence,
    result: &AttestationResult,
    time_ms: u64,
    policy: &str,
) -> Value {
    let submodule = json!({
        "ear.status": status(result),
        "ear.trustworthiness-vector": vector(result),
        "ringfort.measurement": result.measurement.to_string(),
        "ringfort.chip": result.chip.map(|chip| chip.to_string()),
        "ringfort.tcb-status": result.tcb,
        "ringfort.collateral-age-ms": result.collateral_age_ms,
    });
    envelope(evidence, time_ms, policy, submodule)
}

/// The claims set of evidence that is genuine and was not accepted.
pub fn refused(evidence: &Evidence, error: &AppraisalError, time_ms: u64, policy: &str) -> Value {
    let submodule = json!({
        "ear.status": "contraindicated",
        "ringfort.reason": error.to_string(),
    });
    envelope(evidence, time_ms, policy, submodule)
}

#[cfg(test)]
mod tests {
    use wire::{Digest, Measurement};

    use super::*;

    fn evidence(kind: EvidenceKind) -> Evidence {
        Evidence {
            kind,
            bytes: vec![1],
        }
    }

    fn result(kind: EvidenceKind, tcb: Option<TcbStatus>, protects: bool) -> AttestationResult {
        AttestationResult {
            kind,
            measurement: Measurement([1; 32]),
            protects_from_host: protects,
            tcb,
            chip: Some(Digest([2; 32])),
            collateral_age_ms: Some(5),
        }
    }

    #[test]
    fn the_tier_is_the_worst_of_the_vector() {
        use EvidenceKind::{Development, TdxDcap};
        use TcbStatus::{OutOfDate, UpToDate};
        let cases = [
            (TdxDcap, Some(UpToDate), true, "affirming"),
            (TdxDcap, Some(OutOfDate), true, "warning"),
            (Development, None, false, "contraindicated"),
        ];
        for (kind, tcb, protects, tier) in cases {
            let set = accepted(&evidence(kind), &result(kind, tcb, protects), 1_500, "7");
            assert_eq!(set["submods"][kind.name()]["ear.status"], tier);
            assert_eq!(set["iat"], 1);
        }
    }

    #[test]
    fn a_refusal_gives_its_reason() {
        let error = AppraisalError::ReportDataMismatch;
        let set = refused(&evidence(EvidenceKind::SevSnp), &error, 0, "7");
        let submodule = &set["submods"]["sev-snp"];
        assert_eq!(submodule["ear.status"], "contraindicated");
        assert_eq!(submodule["ringfort.reason"], error.to_string());
    }
}
