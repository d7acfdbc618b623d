//! Certificates for the circle's own name servers.
//!
//! A name server registers its name and key from an account that the genesis
//! lists. There are few, and they last: each is read again in turn, with a
//! proof, and certified when its certificate is missing or due for renewal.

use std::time::Duration;

use tracing::{info, warn};
use wire::{
    AccountId, Action, CertifyNameServer, Height,
    record::{NameServer, NameServerCertificate},
    state_key,
};

use super::{
    authority::{Authority, AuthorityError},
    certify::renewal_time,
    request::{CheckedRequest, RequestError},
};
use crate::ledger::{self, Ledger, LedgerError, Post, chain};

/// How often the name servers are looked at: soon enough that a new one is
/// not waited for, seldom enough to cost nothing.
const REVIEW_INTERVAL: Duration = Duration::from_secs(2);

/// Name servers looked at: more than any circle has.
const MAX_SERVERS: usize = 256;

/// Why a name server gets no certificate now.
#[derive(Debug, thiserror::Error)]
enum Withheld {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("{0} lies outside the apexes of this authority")]
    Outside(wire::DomainName),
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Certifies name servers until the future is dropped.
///
/// Units: `validity_ms` is how long a leaf holds, milliseconds.
/// Source: docs/spec/certificates.md §6.
pub(super) async fn certify_name_servers(
    ledger: &(impl Ledger + Post),
    authority: &Authority,
    validity_ms: u64,
) -> std::convert::Infallible {
    let mut said = String::new();
    loop {
        match review(ledger, authority, validity_ms).await {
            Ok(()) => said.clear(),
            Err(error) => {
                // Once is enough of what is tried every two seconds.
                let text = chain(&error);
                if text != said {
                    warn!(error = %text, "a name server is not certified");
                    said = text;
                }
            }
        }
        tokio::time::sleep(REVIEW_INTERVAL).await;
    }
}

async fn review(
    ledger: &(impl Ledger + Post),
    authority: &Authority,
    validity_ms: u64,
) -> Result<(), Withheld> {
    let listing = ledger.list(state_key::NAME_SERVERS, None).await?;
    let accounts = listing.keys.iter().take(MAX_SERVERS).filter_map(|key| {
        let id = key.strip_prefix(state_key::NAME_SERVERS)?;
        Some(AccountId(id.try_into().ok()?))
    });
    let mut failed = Ok(());
    for account in accounts {
        // One that cannot be certified must not keep the others waiting.
        if let Err(error) = examine(ledger, authority, validity_ms, account).await {
            failed = Err(error);
        }
    }
    failed
}

async fn examine(
    ledger: &(impl Ledger + Post),
    authority: &Authority,
    validity_ms: u64,
    server: AccountId,
) -> Result<(), Withheld> {
    let (known, reading) =
        ledger::read_one::<NameServer>(ledger, state_key::name_server(server), Height(0)).await?;
    let Some(NameServer {
        terms, certificate, ..
    }) = known
    else {
        return Ok(());
    };
    let is_due = |certificate: &NameServerCertificate| {
        let own = certificate.authority == ledger.account();
        reading.time_ms >= renewal_time(&certificate.certificate, own)
    };
    if !certificate.as_ref().is_none_or(is_due) {
        return Ok(());
    }
    if !authority.covers(&terms.name) {
        return Err(Withheld::Outside(terms.name));
    }
    let checked = CheckedRequest::check(&terms.certificate_request, &terms.name, terms.tls_key)?;
    let issued = authority.issue_from_root(&checked, reading.time_ms, validity_ms)?;
    let action = Action::CertifyNameServer(CertifyNameServer {
        server,
        tls_key: terms.tls_key,
        certificate: issued.der,
        not_after_ms: issued.not_after_ms,
    });
    ledger.post(vec![action]).await?;
    info!(name = %terms.name, %server, "a name server's certificate is on the ledger");
    Ok(())
}
