//! A certificate authority of the circle records what it issued, so that the
//! ledger is its own transparency log.

use wire::{
    Event, IssueCertificate, Reject, limits::MAX_CERTIFICATE_BYTES, record::Certificate, state_key,
};

use crate::{
    execution::{Execution, Sender},
    market::Live,
    names,
};

/// Renewals are recorded in the former certificate's place while the contract lives.
///
/// Errors: [`Reject::NotAuthority`], [`Reject::ContractNotFound`],
///         [`Reject::ContractEnded`], [`Reject::CertificateNotWanted`],
///         [`Reject::CertificateMalformed`].
pub(crate) fn issue_certificate(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &IssueCertificate,
) -> Result<(), Reject> {
    if !execution
        .rules
        .certificate_authorities
        .contains(&sender.account)
    {
        return Err(Reject::NotAuthority);
    }
    let live = Live::find(execution, action.contract)?;
    let registered = execution
        .state
        .contains(&state_key::enclave(action.contract));
    let name = names::serves(execution, live.contract.request, &live.request)
        .filter(|_| registered)
        .ok_or(Reject::CertificateNotWanted)?
        .clone();
    let sized = (1..=MAX_CERTIFICATE_BYTES).contains(&action.certificate.len());
    if !sized || action.not_after_ms <= execution.time_ms {
        return Err(Reject::CertificateMalformed);
    }
    let certificate = Certificate {
        name: name.clone(),
        certificate: action.certificate.clone(),
        not_after_ms: action.not_after_ms,
        authority: sender.account,
        issued_at: execution.height,
    };
    let state = &mut execution.state;
    state.put(state_key::certificate(action.contract), &certificate);
    state.delete(state_key::certificate_wanted(action.contract));
    execution.emit(Event::CertificateIssued {
        contract: action.contract,
        name,
    });
    Ok(())
}
