//! Is evidence of a keykeeper, or of who asks for a key, good enough?

use attest::{AppraisalError, AppraisalPolicy, Moment, Roots};
use wire::{
    CircleKind, Digest, Evidence, EvidenceKind, EvidencePolicy, ReferenceValue, Reject,
    record::AttestationResult,
};

use crate::execution::Execution;

/// Kinds are chosen by the reference values, which name one each.
const ANY_KIND: &[EvidenceKind] = &[
    EvidenceKind::Development,
    EvidenceKind::Tpm,
    EvidenceKind::SgxDcap,
    EvidenceKind::TdxDcap,
    EvidenceKind::SevSnp,
    EvidenceKind::AwsNitro,
];

/// Appraises evidence under the circle's rules.
///
/// Shape:  `codes` are all that is accepted of what the circle admits; none for
///         everything that it admits.
/// Errors: [`Reject::EvidenceMalformed`], [`Reject::EvidenceNotAdmitted`],
///         [`Reject::HolderNotAdmitted`], [`Reject::ReportDataMismatch`].
pub(crate) fn appraise(
    execution: &Execution<'_>,
    evidence: &Evidence,
    report_data: Digest,
    codes: Option<&[ReferenceValue]>,
    policy: &EvidencePolicy,
) -> Result<AttestationResult, Reject> {
    let rules = &execution.rules;
    let roots = Roots {
        development: &rules.development_roots,
        tpm: &rules.evidence.tpm_enrollers,
        ..Roots::default()
    };
    let moment = Moment {
        height: execution.height,
        time_ms: execution.time_ms,
    };
    let claims = attest::verify(evidence, &roots, moment).map_err(|_| Reject::EvidenceMalformed)?;
    let value = ReferenceValue {
        measurement: claims.measurement,
        kind: claims.kind,
    };
    if rules.reference_values.contains(&value) && codes.is_some_and(|codes| !codes.contains(&value))
    {
        return Err(Reject::HolderNotAdmitted);
    }
    let policy = AppraisalPolicy {
        reference_values: &rules.reference_values,
        circle: &rules.evidence.policy,
        accepted_kinds: ANY_KIND,
        report_data,
        measurement: None,
        request: policy,
        require_host_protection: rules.kind == CircleKind::Production,
    };
    attest::appraise(&claims, &policy).map_err(|error| match error {
        AppraisalError::NotAdmitted { .. }
        | AppraisalError::NoHostProtection(_)
        | AppraisalError::PlatformNotAdmitted(_) => Reject::EvidenceNotAdmitted,
        AppraisalError::KindNotAccepted(_)
        | AppraisalError::MeasurementNotAccepted { .. }
        | AppraisalError::PlatformNotAccepted(_) => Reject::HolderNotAdmitted,
        AppraisalError::ReportDataMismatch => Reject::ReportDataMismatch,
    })
}
