//! Revocation lists (RFC 5280 §5) from the ledger's log: one for each
//! registered name, signed by its intermediate, and an empty one for the root.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use wire::{
    AccountId, CertificateSerial, DomainName, Height, limits::MAX_CERTIFICATES_PER_NAME, record,
    state_key,
};

use super::authority::Authority;
use crate::ledger::{self, Ledger, LedgerError, MAX_KEYS, decode};

/// How long a list is given out again before the ledger is asked: what a
/// revocation may take to show beyond its block.
const FRESH_MS: u64 = 1_000;

/// Looks at a log that changes while it is read.
const ATTEMPTS: u32 = 3;

/// Lists that are kept.
const MAX_KEPT: usize = 1024;

/// What [`Revocations::look`] saw.
type Look = (
    u32,
    u32,
    Vec<(CertificateSerial, record::Revocation)>,
    Height,
);

/// What serves the lists of one authority.
pub(super) struct Revocations<L> {
    pub(super) ledger: Arc<L>,
    pub(super) authority: Arc<Authority>,
    pub(super) account: AccountId,
    kept: Mutex<HashMap<String, (u64, Vec<u8>)>>,
}

impl<L: Ledger> Revocations<L> {
    pub(super) fn new(ledger: Arc<L>, authority: Arc<Authority>, account: AccountId) -> Self {
        Self {
            ledger,
            authority,
            account,
            kept: Mutex::default(),
        }
    }

    /// What of a name this authority revoked, and the height that shows it.
    ///
    /// A node that lists keys need not be believed: the ledger counts a name's
    /// certificates, so that none can be kept quiet about.
    async fn revoked(
        &self,
        domain: &DomainName,
    ) -> Result<(Vec<(CertificateSerial, record::Revocation)>, Height), LedgerError> {
        for _ in 0..ATTEMPTS {
            let (counted, found, revoked, height) = self.look(domain).await?;
            if counted == found {
                return Ok((revoked, height));
            }
        }
        Err(LedgerError::Missing("a certificate that the ledger counts"))
    }

    /// Reads the log of a name: how many certificates the ledger counts, how
    /// many there were, those revoked, and the height.
    async fn look(&self, domain: &DomainName) -> Result<Look, LedgerError> {
        let prefix = state_key::certificate_log(domain);
        let mut listed: Vec<Vec<u8>> = Vec::new();
        loop {
            let page = self
                .ledger
                .list(&prefix, listed.last().map(Vec::as_slice))
                .await?;
            let more = page.more && page.keys.last() > listed.last();
            listed.extend(page.keys);
            if !more || listed.len() > MAX_CERTIFICATES_PER_NAME as usize {
                break;
            }
        }
        listed.sort_unstable();
        listed.dedup();
        let key = vec![state_key::certificate_count(domain)];
        let reading = self.ledger.read(key, Height(0)).await?;
        let counted: Option<u32> = decode(&reading, 0)?;
        let mut height = reading.height;
        let (mut found, mut revoked) = (0, Vec::new());
        for keys in listed.chunks(MAX_KEYS) {
            let reading = self.ledger.read(keys.to_vec(), height).await?;
            height = reading.height;
            for (index, key) in keys.iter().enumerate() {
                let logged: Option<record::LoggedCertificate> = decode(&reading, index)?;
                let number = key
                    .strip_prefix(prefix.as_slice())
                    .and_then(|serial| serial.try_into().ok())
                    .map(CertificateSerial);
                let (Some(logged), Some(number)) = (logged, number) else {
                    continue;
                };
                found += 1;
                if logged.authority == self.account
                    && let Some(revocation) = logged.revoked
                {
                    revoked.push((number, revocation));
                }
            }
        }
        Ok((counted.unwrap_or(0), found, revoked, height))
    }

    async fn list(&self, name: &str, now_ms: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        let domain = match name {
            "root" => None,
            name => match name.parse::<DomainName>() {
                Ok(domain) if self.authority.covers(&domain) => Some(domain),
                _ => return Ok(None),
            },
        };
        if let Ok(kept) = self.kept.lock()
            && let Some((at, list)) = kept.get(name)
            && now_ms.saturating_sub(*at) < FRESH_MS
        {
            return Ok(Some(list.clone()));
        }
        let key = vec![state_key::circle()];
        let reading = self.ledger.read(key, Height(0)).await?;
        let (revoked, height) = match &domain {
            Some(domain) => self.revoked(domain).await?,
            None => (Vec::new(), reading.height),
        };
        // Numbers rise with the ledger, whichever machine signs.
        let number = height.max(reading.height).0;
        let signed =
            self.authority
                .revocation_list(domain.as_ref(), &revoked, number, reading.time_ms);
        let list = signed.map_err(|error| LedgerError::Unavailable(Box::new(error)))?;
        if let Ok(mut kept) = self.kept.lock() {
            if kept.len() >= MAX_KEPT {
                kept.clear();
            }
            kept.insert(name.to_owned(), (now_ms, list.clone()));
        }
        Ok(Some(list))
    }
}

/// `GET /crl/NAME.crl`: DER.
pub(super) async fn show<L: Ledger>(
    State(revocations): State<Arc<Revocations<L>>>,
    Path(file): Path<String>,
) -> Response {
    let Some(name) = file.strip_suffix(".crl") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match revocations.list(name, crate::names::now_ms()).await {
        Ok(Some(list)) => {
            let kind = [(header::CONTENT_TYPE, "application/pkix-crl")];
            (kind, list).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::warn!(error = %ledger::chain(&error), "no revocation list could be made");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
