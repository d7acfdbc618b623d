//! A certificate authority of the circle records what it issued, so that the
//! ledger is its own transparency log.

use wire::{
    CertifiedName, Event, IssueCertificate, Reject,
    record::{Certificate, IssuedFor},
    state_key,
};

use crate::{
    certificates,
    execution::{Execution, Sender},
    market::Live,
    names,
};

/// Renewals are recorded in the former certificate's place while the contract lives.
///
/// Errors: [`Reject::NotAuthority`], [`Reject::ContractNotFound`],
///         [`Reject::ContractEnded`], [`Reject::CertificateNotWanted`],
///         [`Reject::CertificateMalformed`],
///         [`Reject::CertificateLimit`].
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
    let entry = certificates::Entry {
        domain: &name,
        names: vec![CertifiedName {
            name: name.clone(),
            wildcard: false,
        }],
        serial: action.serial,
        certificate: &action.certificate,
        not_after_ms: action.not_after_ms,
        issued_for: IssuedFor::Contract(action.contract),
    };
    certificates::log(execution, sender, entry)?;
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
