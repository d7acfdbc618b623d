//! A certificate authority of the circle records what it issued for a name
//! server.

use wire::{
    CertifyNameServer, Event, Reject,
    limits::MAX_CERTIFICATE_BYTES,
    record::{NameServer, NameServerCertificate},
    state_key,
};

use crate::execution::{Execution, Sender};

/// Errors: [`Reject::NotAuthority`], [`Reject::NameServerNotFound`],
///         [`Reject::CertificateNotWanted`], [`Reject::CertificateMalformed`].
/// Source: docs/spec/transactions.md §8.
pub(crate) fn certify(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &CertifyNameServer,
) -> Result<(), Reject> {
    if !execution
        .rules
        .certificate_authorities
        .contains(&sender.account)
    {
        return Err(Reject::NotAuthority);
    }
    let key = state_key::name_server(action.server);
    let mut server: NameServer = execution
        .state
        .get(&key)
        .ok_or(Reject::NameServerNotFound)?;
    // The server may have changed its key since the certificate was made.
    if server.terms.tls_key != action.tls_key {
        return Err(Reject::CertificateNotWanted);
    }
    let sized = (1..=MAX_CERTIFICATE_BYTES).contains(&action.certificate.len());
    if !sized || action.not_after_ms <= execution.time_ms {
        return Err(Reject::CertificateMalformed);
    }
    server.certificate = Some(NameServerCertificate {
        certificate: action.certificate.clone(),
        not_after_ms: action.not_after_ms,
        authority: sender.account,
        issued_at: execution.height,
    });
    execution.state.put(key, &server);
    execution.emit(Event::NameServerChanged {
        server: action.server,
        name: server.terms.name.clone(),
    });
    Ok(())
}
