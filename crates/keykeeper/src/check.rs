//! Is a request for a label's key in order? The keykeeper's own judgement, beside
//! the ledger's: it takes the proven label and rules and appraises the evidence
//! itself, so that a ledger that let a request through does not decide alone.

use attest::{AppraisalPolicy, EvidenceError, Moment, Roots};
use wire::{
    CircleKind, Height, PayloadHolder, RequestKey,
    record::{Contract, ContractStatus, KeyRequest, Label, Request, Rules},
};

use crate::peers::ANY_KIND;

/// Why a keykeeper does not answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestRefused {
    /// The label is another one than the request's, or not granted.
    #[error("the request is for a label that is not granted")]
    Label,
    /// Neither the label's present epoch nor the one before.
    #[error("the request is for epoch {asked}; the label is in {present}")]
    Epoch {
        /// What was asked for.
        asked: u64,
        /// The label's.
        present: u64,
    },
    /// The policy names others.
    #[error("the label's policy does not name who asks")]
    Asker,
    /// The payload is not its tenant's, or not one of those that the policy names.
    #[error("the label's policy does not admit the payload, or its contract has ended")]
    Payload,
    /// The code is not among the label's.
    #[error("the label's policy does not admit the code")]
    Code,
    /// Evidence that does not verify.
    #[error("the evidence does not verify")]
    Evidence(#[source] EvidenceError),
    /// Evidence that does not satisfy the circle's rules or the label's policy.
    #[error("the evidence does not satisfy the policy")]
    Appraisal(#[source] attest::AppraisalError),
}

/// Checks a request against label and rules of the same height and time, and
/// against the contract and its request if it is for a payload.
///
/// Errors: [`RequestRefused`], the first thing that is not in order.
/// Source: docs/spec/keys.md §9.
pub fn check(
    rules: &Rules,
    label: &Label,
    request: &KeyRequest,
    contract: Option<(&Contract, &Request)>,
    height: Height,
    time_ms: u64,
) -> Result<(), RequestRefused> {
    if label.name != request.label {
        return Err(RequestRefused::Label);
    }
    let before = label.epoch.saturating_sub(1).max(1);
    if !(before..=label.epoch).contains(&request.epoch) {
        return Err(RequestRefused::Epoch {
            asked: request.epoch,
            present: label.epoch,
        });
    }
    let policy = &label.policy;
    if !policy.askers.is_empty() && !policy.askers.contains(&request.asker) {
        return Err(RequestRefused::Asker);
    }
    let payload = match (request.contract, contract) {
        (None, _) => None,
        (Some(_), None) => return Err(RequestRefused::Payload),
        (Some(id), Some((contract, tenant))) => {
            let sha256 = tenant.terms.payload.sha256;
            let live = !matches!(contract.status, ContractStatus::Ended(_));
            let admitted = policy.admits_payload(tenant.user, sha256);
            if !(live && admitted && contract.provider == request.asker) {
                return Err(RequestRefused::Payload);
            }
            Some(PayloadHolder {
                contract: id,
                user_agreement: tenant.terms.agreement_key,
                payload_sha256: sha256,
            })
        }
    };
    let roots = Roots {
        development: &rules.development_roots,
        tpm: &rules.evidence.tpm_enrollers,
        ..Roots::default()
    };
    let moment = Moment { height, time_ms };
    let claims =
        attest::verify(&request.evidence, &roots, moment).map_err(RequestRefused::Evidence)?;
    let code = |value: &wire::ReferenceValue| {
        value.measurement == claims.measurement && value.kind == claims.kind
    };
    if !policy.codes.iter().any(code) {
        return Err(RequestRefused::Code);
    }
    let appraisal = AppraisalPolicy {
        reference_values: &rules.reference_values,
        circle: &rules.evidence.policy,
        accepted_kinds: ANY_KIND,
        report_data: RequestKey::report_data(
            rules.circle,
            &request.label,
            request.epoch,
            &request.one_time_key,
            request.block,
            payload.as_ref(),
        ),
        measurement: None,
        request: &policy.evidence,
        require_host_protection: rules.kind == CircleKind::Production,
    };
    attest::appraise(&claims, &appraisal)
        .map(drop)
        .map_err(RequestRefused::Appraisal)
}
