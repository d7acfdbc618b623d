//! Does each keykeeper of a round run admitted code? Asked before shares are
//! sealed to it, by every dealer for itself, under the circle's proven rules.

use attest::{AppraisalPolicy, EvidenceError, Moment, Roots};
use wire::{
    CircleKind, EvidenceKind, EvidencePolicy, Height, PublicKey, RegisterKeykeeper,
    record::{Keykeeper, Rules},
};

/// Why nothing is dealt to a keykeeper.
#[derive(Debug, thiserror::Error)]
pub enum PeerRefused {
    /// It did not register.
    #[error("it has not registered")]
    Stranger,
    /// Evidence that does not verify.
    #[error("its evidence does not verify")]
    Evidence(#[source] EvidenceError),
    /// Evidence of other code, for another key, or below the circle's policy.
    #[error("its evidence does not satisfy the circle's rules")]
    Appraisal(#[source] attest::AppraisalError),
}

pub(crate) const ANY_KIND: &[EvidenceKind] = &[
    EvidenceKind::Development,
    EvidenceKind::Tpm,
    EvidenceKind::SgxDcap,
    EvidenceKind::TdxDcap,
    EvidenceKind::SevSnp,
    EvidenceKind::AwsNitro,
];

/// Appraises what `peer` registered with.
///
/// Errors: [`PeerRefused`].
/// Source: docs/spec/keys.md §7.
pub fn check_peer(
    rules: &Rules,
    peer: &PublicKey,
    record: Option<&Keykeeper>,
    height: Height,
    time_ms: u64,
) -> Result<(), PeerRefused> {
    let record = record.ok_or(PeerRefused::Stranger)?;
    let roots = Roots {
        development: &rules.development_roots,
        tpm: &rules.evidence.tpm_enrollers,
        ..Roots::default()
    };
    let moment = Moment { height, time_ms };
    let claims = attest::verify(&record.evidence, &roots, moment).map_err(PeerRefused::Evidence)?;
    let policy = AppraisalPolicy {
        reference_values: &rules.reference_values,
        circle: &rules.evidence.policy,
        accepted_kinds: ANY_KIND,
        report_data: RegisterKeykeeper::report_data(rules.circle, peer),
        measurement: None,
        request: &EvidencePolicy::default(),
        require_host_protection: rules.kind == CircleKind::Production,
    };
    attest::appraise(&claims, &policy)
        .map(drop)
        .map_err(PeerRefused::Appraisal)
}
