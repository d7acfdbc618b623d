//! Do claims satisfy a policy? (RFC 9334: appraisal of evidence.)
//!
//! Trusts that the claims come from [`crate::verify`]; takes no cryptography.

use wire::{Digest, EvidenceKind, Measurement, ReferenceValue, record::AttestationResult};

use crate::Claims;

/// What claims must satisfy.
#[derive(Clone, Copy, Debug)]
pub struct AppraisalPolicy<'a> {
    /// Code that is admitted, with the kind of evidence that may claim it.
    pub reference_values: &'a [ReferenceValue],
    /// Kinds of evidence that the relying party accepts.
    pub accepted_kinds: &'a [EvidenceKind],
    /// The report data that this attester must carry.
    pub report_data: Digest,
    /// The only code that is accepted; none for every admitted one.
    pub measurement: Option<Measurement>,
    /// Whether the evidence must keep the host out, as a production circle demands.
    pub require_host_protection: bool,
}

/// The rule of a policy that claims do not satisfy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppraisalError {
    /// No reference value names this code under this kind of evidence.
    #[error("{} evidence of the code {measurement} is not among the reference values", kind.name())]
    NotAdmitted {
        /// The kind of evidence.
        kind: EvidenceKind,
        /// The code.
        measurement: Measurement,
    },
    /// The evidence does not keep the host out.
    #[error("{} evidence does not protect from the host", .0.name())]
    NoHostProtection(EvidenceKind),
    /// The relying party does not accept this kind.
    #[error("{} evidence is not accepted", .0.name())]
    KindNotAccepted(EvidenceKind),
    /// The relying party accepts other code only.
    #[error("the code is {measured}; only {accepted} is accepted")]
    MeasurementNotAccepted {
        /// What was measured.
        measured: Measurement,
        /// What is accepted.
        accepted: Measurement,
    },
    /// The evidence is for other keys, another contract or another user.
    #[error("the evidence is for other report data")]
    ReportDataMismatch,
}

/// Appraises `claims` under `policy`.
///
/// Errors: [`AppraisalError`], the first rule that does not hold.
pub fn appraise(
    claims: &Claims,
    policy: &AppraisalPolicy<'_>,
) -> Result<AttestationResult, AppraisalError> {
    let Claims {
        kind,
        measurement,
        report_data,
        protects_from_host,
    } = *claims;
    if policy.require_host_protection && !protects_from_host {
        return Err(AppraisalError::NoHostProtection(kind));
    }
    if !policy
        .reference_values
        .contains(&ReferenceValue { measurement, kind })
    {
        return Err(AppraisalError::NotAdmitted { kind, measurement });
    }
    if !policy.accepted_kinds.contains(&kind) {
        return Err(AppraisalError::KindNotAccepted(kind));
    }
    if let Some(accepted) = policy.measurement.filter(|wanted| *wanted != measurement) {
        return Err(AppraisalError::MeasurementNotAccepted {
            measured: measurement,
            accepted,
        });
    }
    if report_data != policy.report_data {
        return Err(AppraisalError::ReportDataMismatch);
    }
    Ok(AttestationResult {
        kind,
        measurement,
        protects_from_host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            kind: EvidenceKind::Development,
            measurement: Measurement([1; 32]),
            report_data: Digest([2; 32]),
            protects_from_host: false,
        }
    }

    const ADMITTED: &[ReferenceValue] = &[ReferenceValue {
        measurement: Measurement([1; 32]),
        kind: EvidenceKind::Development,
    }];

    fn policy() -> AppraisalPolicy<'static> {
        AppraisalPolicy {
            reference_values: ADMITTED,
            accepted_kinds: &[EvidenceKind::Development],
            report_data: Digest([2; 32]),
            measurement: Some(Measurement([1; 32])),
            require_host_protection: false,
        }
    }

    #[test]
    fn accepts_what_the_policy_asks_for() {
        let result = appraise(&claims(), &policy()).unwrap();
        assert_eq!(result.measurement, Measurement([1; 32]));
        assert!(!result.protects_from_host);
    }

    #[test]
    fn each_rule_refuses_by_itself() {
        let kind = EvidenceKind::Development;
        let measurement = Measurement([1; 32]);
        type Change = fn(&mut AppraisalPolicy<'static>);
        let cases: [(Change, AppraisalError); 6] = [
            (
                |policy| policy.require_host_protection = true,
                AppraisalError::NoHostProtection(kind),
            ),
            (
                |policy| policy.reference_values = &[],
                AppraisalError::NotAdmitted { kind, measurement },
            ),
            (
                // The right code under another kind of evidence is not admitted.
                |policy| {
                    policy.reference_values = &[ReferenceValue {
                        measurement: Measurement([1; 32]),
                        kind: EvidenceKind::Tpm,
                    }];
                },
                AppraisalError::NotAdmitted { kind, measurement },
            ),
            (
                |policy| policy.accepted_kinds = &[EvidenceKind::TdxDcap],
                AppraisalError::KindNotAccepted(kind),
            ),
            (
                |policy| policy.measurement = Some(Measurement([9; 32])),
                AppraisalError::MeasurementNotAccepted {
                    measured: measurement,
                    accepted: Measurement([9; 32]),
                },
            ),
            (
                |policy| policy.report_data = Digest([9; 32]),
                AppraisalError::ReportDataMismatch,
            ),
        ];
        for (change, wanted) in cases {
            let mut policy = policy();
            change(&mut policy);
            assert_eq!(appraise(&claims(), &policy), Err(wanted));
        }
    }
}
