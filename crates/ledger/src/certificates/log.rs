//! The certificate log: every leaf, until it expires.

use wire::{
    CertificateSerial, CertifiedName, DomainName, Event, Reject,
    limits::{MAX_CERTIFICATE_BYTES, MAX_CERTIFICATE_LIFE_MS, MAX_CERTIFICATES_PER_NAME},
    record::{IssuedFor, LoggedCertificate},
    state_key,
};

use crate::execution::{Execution, Sender};

/// A certificate to log.
pub(crate) struct Entry<'a> {
    pub(crate) domain: &'a DomainName,
    pub(crate) names: Vec<CertifiedName>,
    pub(crate) serial: CertificateSerial,
    pub(crate) certificate: &'a [u8],
    pub(crate) not_after_ms: u64,
    pub(crate) issued_for: IssuedFor,
}

/// Errors: [`Reject::CertificateMalformed`], [`Reject::CertificateLimit`].
pub(crate) fn log(
    execution: &mut Execution<'_>,
    sender: &Sender,
    entry: Entry<'_>,
) -> Result<(), Reject> {
    let key = state_key::logged_certificate(entry.domain, entry.serial);
    let sized = (1..=MAX_CERTIFICATE_BYTES).contains(&entry.certificate.len());
    let latest = execution.time_ms.saturating_add(MAX_CERTIFICATE_LIFE_MS);
    let timely = execution.time_ms < entry.not_after_ms && entry.not_after_ms <= latest;
    if !sized || !timely || execution.state.contains(&key) {
        return Err(Reject::CertificateMalformed);
    }
    let count_key = state_key::certificate_count(entry.domain);
    let count: u32 = execution.state.get(&count_key).unwrap_or(0);
    if count >= MAX_CERTIFICATES_PER_NAME {
        return Err(Reject::CertificateLimit);
    }
    let record = LoggedCertificate {
        names: entry.names,
        certificate: entry.certificate.to_vec(),
        not_after_ms: entry.not_after_ms,
        authority: sender.account,
        issued_for: entry.issued_for,
        revoked: None,
        logged_at: execution.height,
    };
    let due = state_key::certificate_due(entry.not_after_ms, entry.domain, entry.serial);
    execution.state.put(count_key, &(count + 1));
    execution.state.put(key, &record);
    execution.state.mark(due);
    execution.emit(Event::CertificateLogged {
        domain: entry.domain.clone(),
        serial: entry.serial,
    });
    Ok(())
}
