//! Registers an enclave for a contract, if its evidence passes the circle's
//! appraisal and the request's (seed 000 [0051]).

use attest::{AppraisalError, AppraisalPolicy, Claims, Moment, Roots};
use wire::{
    CertifiedName, CircleKind, EnclaveKeys, Event, PayloadKind, RegisterEnclave, Reject,
    limits::MAX_CERTIFICATE_BYTES,
    record::{AttestationResult, Enclave, Grant, Offer, Stage},
    state_key,
};

use crate::{
    execution::{Execution, Sender},
    market::Live,
    names,
};

/// Errors: [`Reject::ContractNotFound`], [`Reject::ContractEnded`],
///         [`Reject::NotParty`], [`Reject::WrongStage`],
///         [`Reject::KeysMalformed`], [`Reject::EvidenceMalformed`],
///         [`Reject::EvidenceNotAdmitted`], [`Reject::EvidenceNotAccepted`],
///         [`Reject::ReportDataMismatch`].
pub(crate) fn register(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &RegisterEnclave,
) -> Result<(), Reject> {
    let mut live = Live::find(execution, action.contract)?;
    if live.contract.provider != sender.account {
        return Err(Reject::NotParty);
    }
    if live.contract.stage != Stage::AwaitingEnclave {
        return Err(Reject::WrongStage);
    }
    let service = live.request.terms.payload_kind == PayloadKind::Service;
    let named = service && live.request.terms.name.is_some();
    check_keys(&action.keys, named)?;
    let result = appraise(execution, &live, action)?;
    let enclave = Enclave {
        keys: action.keys.clone(),
        evidence: action.evidence.clone(),
        result,
        registered_at: execution.height,
    };
    execution
        .state
        .put(state_key::enclave(action.contract), &enclave);
    let name = names::serves(execution, live.contract.request, &live.request).cloned();
    if let Some(name) = name {
        let grant = Grant {
            names: vec![CertifiedName {
                name,
                wildcard: false,
            }],
            owner: live.request.user_key,
            key: action.keys.tls_key,
            granted_at: execution.height,
        };
        let state = &mut execution.state;
        state.put(state_key::grant(&action.contract.0), &grant);
        state.mark(state_key::certificate_wanted(action.contract));
    }
    execution.emit(Event::EnclaveRegistered {
        contract: action.contract,
        user: live.contract.user,
    });
    live.await_step(execution, Stage::AwaitingChallenge);
    live.store(execution);
    Ok(())
}

/// Keys for a name have a certificate request and a TLS key; others have neither.
fn check_keys(keys: &EnclaveKeys, named: bool) -> Result<(), Reject> {
    let request = keys.certificate_request.len();
    let tls_fits = if named {
        (1..=MAX_CERTIFICATE_BYTES).contains(&request) && keys.tls_key.0 != [0; 32]
    } else {
        request == 0 && keys.tls_key.0 == [0; 32]
    };
    if tls_fits && keys.agreement != [0; 32] {
        Ok(())
    } else {
        Err(Reject::KeysMalformed)
    }
}

fn appraise(
    execution: &Execution<'_>,
    live: &Live,
    action: &RegisterEnclave,
) -> Result<AttestationResult, Reject> {
    let rules = &execution.rules;
    let terms = &live.request.terms;
    let roots = Roots {
        development: &rules.development_roots,
        tpm: &rules.evidence.tpm_enrollers,
        ..Roots::default()
    };
    let moment = Moment {
        height: execution.height,
        time_ms: execution.time_ms,
    };
    let claims: Claims =
        attest::verify(&action.evidence, &roots, moment).map_err(|_| Reject::EvidenceMalformed)?;
    let offer: Option<Offer> = execution.state.get(&state_key::offer(live.contract.offer));
    let policy = AppraisalPolicy {
        reference_values: &rules.reference_values,
        circle: &rules.evidence.policy,
        accepted_kinds: &terms.evidence,
        report_data: action
            .keys
            .report_data(rules.circle, action.contract, &terms.agreement_key),
        // The provider was matched for the code that its offer names, whether
        // or not the request pins that code.
        measurement: offer.map(|offer| offer.terms.measurement),
        request: &terms.evidence_policy,
        require_host_protection: rules.kind == CircleKind::Production,
    };
    attest::appraise(&claims, &policy).map_err(|error| match error {
        AppraisalError::NotAdmitted { .. }
        | AppraisalError::NoHostProtection(_)
        | AppraisalError::PlatformNotAdmitted(_) => Reject::EvidenceNotAdmitted,
        AppraisalError::KindNotAccepted(_)
        | AppraisalError::MeasurementNotAccepted { .. }
        | AppraisalError::PlatformNotAccepted(_) => Reject::EvidenceNotAccepted,
        AppraisalError::ReportDataMismatch => Reject::ReportDataMismatch,
    })
}
