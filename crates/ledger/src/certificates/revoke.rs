//! Revokes a certificate, or all of a name that changed hands.

use wire::{
    CertificateSerial, DomainName, Event, Reject, RevokeCertificate,
    limits::MAX_CERTIFICATES_PER_NAME,
    record::{IssuedFor, LoggedCertificate, Name, Revocation},
    state_key,
};

use crate::execution::{Execution, Sender};

/// RFC 5280 §5.3.1: the subject is another.
const AFFILIATION_CHANGED: u8 = 3;

/// RFC 5280 §5.3.1: the name is no more.
const CESSATION_OF_OPERATION: u8 = 5;

/// Reasons that anyone may give: not those for authorities' own certificates,
/// nor a hold, which would have to be lifted.
const REASONS: [u8; 6] = [0, 1, 3, 4, 5, 9];

/// Errors: [`Reject::CertificateNotFound`], [`Reject::NotOwner`],
///         [`Reject::CertificateMalformed`] for a reason that is none.
pub(crate) fn revoke(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &RevokeCertificate,
) -> Result<(), Reject> {
    let authorities = &execution.rules.certificate_authorities;
    let owner: Option<Name> = execution.state.get(&state_key::name(&action.domain));
    let owns = owner.is_some_and(|name| name.owner == sender.key);
    if !owns && !authorities.contains(&sender.account) {
        return Err(Reject::NotOwner);
    }
    if !REASONS.contains(&action.reason) {
        return Err(Reject::CertificateMalformed);
    }
    let record: LoggedCertificate = execution
        .state
        .get(&state_key::logged_certificate(
            &action.domain,
            action.serial,
        ))
        .ok_or(Reject::CertificateNotFound)?;
    if record.revoked.is_some() {
        return Err(Reject::CertificateNotFound);
    }
    mark(
        execution,
        &action.domain,
        action.serial,
        record,
        action.reason,
    );
    Ok(())
}

/// Revokes what a name was certified for under its former key.
///
/// A name that still serves its request has rotated its key and not changed
/// hands: the keys of that request's enclaves were never the owner's.
pub(crate) fn owner_changed(execution: &mut Execution<'_>, domain: &DomainName) {
    let rotated = execution.state.contains(&state_key::serves(domain));
    revoke_with(execution, domain, AFFILIATION_CHANGED, |issued_for| {
        rotated && matches!(issued_for, IssuedFor::Contract(_))
    });
}

/// Revokes every certificate of a name that is released, and forgets the
/// intermediates that signed them.
pub(crate) fn revoke_all(execution: &mut Execution<'_>, domain: &DomainName) {
    revoke_with(execution, domain, CESSATION_OF_OPERATION, |_| false);
    for authority in &execution.rules.certificate_authorities {
        execution
            .state
            .delete(state_key::intermediate(*authority, domain));
    }
}

fn revoke_with(
    execution: &mut Execution<'_>,
    domain: &DomainName,
    reason: u8,
    spared: impl Fn(&IssuedFor) -> bool,
) {
    let prefix = state_key::certificate_log(domain);
    let all = execution
        .state
        .scan(&prefix, None, MAX_CERTIFICATES_PER_NAME as usize);
    for (key, value) in all {
        let Ok(serial) = key[prefix.len()..].try_into() else {
            continue;
        };
        let record: LoggedCertificate = crate::overlay::decode(&key, &value);
        if record.revoked.is_none() && !spared(&record.issued_for) {
            mark(execution, domain, CertificateSerial(serial), record, reason);
        }
    }
}

fn mark(
    execution: &mut Execution<'_>,
    domain: &DomainName,
    serial: CertificateSerial,
    mut record: LoggedCertificate,
    reason: u8,
) {
    record.revoked = Some(Revocation {
        reason,
        time_ms: execution.time_ms,
    });
    execution
        .state
        .put(state_key::logged_certificate(domain, serial), &record);
    execution.emit(Event::CertificateRevoked {
        domain: domain.clone(),
        serial,
        reason,
    });
}
