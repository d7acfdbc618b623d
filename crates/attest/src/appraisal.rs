//! Do claims satisfy a policy? (RFC 9334: appraisal of evidence.)
//!
//! Trusts that the claims come from [`crate::verify`]; takes no cryptography.

use wire::{
    Digest, EvidenceKind, EvidencePolicy, Measurement, ReferenceValue, TcbStatus,
    record::AttestationResult,
};

use crate::{Claims, Platform, ReportData};

/// What claims must satisfy.
#[derive(Clone, Copy, Debug)]
pub struct AppraisalPolicy<'a> {
    /// Code that is admitted, with the kind of evidence that may claim it.
    pub reference_values: &'a [ReferenceValue],
    /// What the circle demands of every platform.
    pub circle: &'a EvidencePolicy,
    /// Kinds of evidence that the relying party accepts.
    pub accepted_kinds: &'a [EvidenceKind],
    /// The report data that this attester must carry.
    pub report_data: Digest,
    /// The only code that is accepted; none for every admitted one.
    pub measurement: Option<Measurement>,
    /// What the relying party demands of this platform besides.
    pub request: &'a EvidencePolicy,
    /// Whether the evidence must keep the host out, as a production circle demands.
    pub require_host_protection: bool,
}

/// The rule of an [`EvidencePolicy`] that a platform does not satisfy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Its vendor's judgement is not among those accepted.
    #[error("its vendor calls the platform {}", status_name(*.0))]
    TcbStatus(TcbStatus),
    /// An advisory applies that must not.
    #[error("{0} applies to the platform")]
    Advisory(String),
    /// The vendor's word is too old.
    #[error("its vendor's word is {age_ms} ms old; {limit_ms} ms are allowed")]
    CollateralAge {
        /// How old.
        age_ms: u64,
        /// How old it may be.
        limit_ms: u64,
    },
    /// AMD evidence without AMD's revocation list.
    #[error("it brings no revocation list")]
    NoRevocationList,
    /// A part of an AMD platform is too old.
    #[error("a security version of the platform is below the least")]
    SnpTcb,
    /// Another machine than those named.
    #[error("the machine is not one of those named")]
    Chip,
}

fn status_name(status: TcbStatus) -> String {
    match serde_json::to_value(status) {
        Ok(serde_json::Value::String(name)) => name,
        _ => format!("{status:?}"),
    }
}

/// The rule of a policy that claims do not satisfy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// The circle does not admit this platform.
    #[error("the circle does not admit the platform: {0}")]
    PlatformNotAdmitted(PlatformError),
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
    /// The relying party does not accept this platform.
    #[error("the platform is not accepted: {0}")]
    PlatformNotAccepted(PlatformError),
    /// The evidence is for other keys, another contract or another user.
    #[error("the evidence is for other report data")]
    ReportDataMismatch,
}

/// Whether a platform satisfies `policy`. A rule about what a kind of evidence
/// does not know (AMD's versions on an Intel platform) is satisfied by it;
/// a list of machines is not satisfied by evidence that does not name one.
///
/// Errors: [`PlatformError`], the first rule that does not hold.
pub fn appraise_platform(
    kind: EvidenceKind,
    platform: &Platform,
    policy: &EvidencePolicy,
) -> Result<(), PlatformError> {
    if let Some(status) = platform.tcb
        && status != TcbStatus::UpToDate
        && !policy.accepted_tcb.contains(&status)
    {
        return Err(PlatformError::TcbStatus(status));
    }
    if let Some(advisory) = platform
        .advisories
        .iter()
        .find(|advisory| policy.refused_advisories.contains(advisory))
    {
        return Err(PlatformError::Advisory(advisory.clone()));
    }
    if let (Some(age_ms), Some(limit_ms)) =
        (platform.collateral_age_ms, policy.max_collateral_age_ms)
        && age_ms > limit_ms
    {
        return Err(PlatformError::CollateralAge { age_ms, limit_ms });
    }
    if kind == EvidenceKind::SevSnp
        && policy.require_revocation_list
        && !platform.revocation_checked
    {
        return Err(PlatformError::NoRevocationList);
    }
    if let Some(tcb) = platform.snp_tcb
        && !tcb.is_at_least(&policy.least_snp_tcb)
    {
        return Err(PlatformError::SnpTcb);
    }
    let named = |chip: &Digest| policy.chips.contains(chip);
    if !policy.chips.is_empty() && !platform.chip.as_ref().is_some_and(named) {
        return Err(PlatformError::Chip);
    }
    Ok(())
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
        ref platform,
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
    appraise_platform(kind, platform, policy.circle)
        .map_err(AppraisalError::PlatformNotAdmitted)?;
    if !policy.accepted_kinds.contains(&kind) {
        return Err(AppraisalError::KindNotAccepted(kind));
    }
    if let Some(accepted) = policy.measurement.filter(|wanted| *wanted != measurement) {
        return Err(AppraisalError::MeasurementNotAccepted {
            measured: measurement,
            accepted,
        });
    }
    appraise_platform(kind, platform, policy.request)
        .map_err(AppraisalError::PlatformNotAccepted)?;
    if report_data != ReportData::from(policy.report_data) {
        return Err(AppraisalError::ReportDataMismatch);
    }
    Ok(AttestationResult {
        kind,
        measurement,
        protects_from_host,
        tcb: platform.tcb,
        chip: platform.chip,
        collateral_age_ms: platform.collateral_age_ms,
    })
}

#[cfg(test)]
mod tests;
