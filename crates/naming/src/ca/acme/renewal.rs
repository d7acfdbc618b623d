//! When should a certificate be renewed (ARI, RFC 9773)? After two thirds of
//! its life, and at once if it was revoked.

use std::{collections::HashMap, sync::Mutex};

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use wire::{CertificateSerial, DomainName, record::LoggedCertificate, state_key};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{Acme, Server, jose, order::timestamp, problem::Problem};
use crate::ledger::{Ledger, Post};

/// How often clients come back, seconds (RFC 9773 §4.3): a revocation is seen
/// within six hours.
const RETRY_AFTER_S: &str = "21600";

/// Serial numbers whose name is remembered; beyond, all are looked up again.
const MAX_REMEMBERED: usize = 100_000;

/// How soon the log is listed again for an unknown serial number, milliseconds:
/// anyone may ask for one that never was. What this machine issued it knows
/// without.
const LIST_AGAIN_MS: u64 = 30_000;

#[derive(Default)]
struct Known {
    names: HashMap<CertificateSerial, DomainName>,
    listed_ms: u64,
}

/// Where in the log a serial number stands: the log is ordered by name.
#[derive(Default)]
pub(super) struct Index(Mutex<Known>);

impl Index {
    /// Takes note of a certificate that was just logged.
    pub(super) fn remember(&self, domain: &DomainName, serial: CertificateSerial) {
        if let Ok(mut known) = self.0.lock()
            && known.names.len() < MAX_REMEMBERED
        {
            known.names.insert(serial, domain.clone());
        }
    }
}

pub(super) async fn show<L: Ledger + Post>(
    State(server): State<Server<L>>,
    Path(id): Path<String>,
) -> Response {
    server.dress(server.renewal(&id).await)
}

impl<L: Ledger + Post> Acme<L> {
    async fn renewal(&self, id: &str) -> Result<Response, Problem> {
        // RFC 9773 §4.1: the key identifier, a dot, the serial's octets.
        let number = id
            .split_once('.')
            .and_then(|(_, serial)| jose::decode(serial).ok())
            .and_then(|serial| serial.try_into().ok())
            .map(CertificateSerial)
            .ok_or_else(|| Problem::malformed("this is no certificate's identifier"))?;
        let missing = || Problem::not_found("the ledger has no such certificate");
        let domain = self.domain_of(number).await?.ok_or_else(missing)?;
        let logged: LoggedCertificate = self
            .read(state_key::logged_certificate(&domain, number))
            .await?
            .ok_or_else(missing)?;
        let (_, leaf) = X509Certificate::from_der(&logged.certificate).map_err(|_| missing())?;
        let begins = u64::try_from(leaf.validity().not_before.timestamp()).unwrap_or(0) * 1000;
        let life = logged.not_after_ms.saturating_sub(begins);
        let (start, end) = match logged.revoked {
            Some(revoked) => (begins, revoked.time_ms.max(begins + 1000)),
            None => (begins + life / 3 * 2, begins + life / 4 * 3),
        };
        let window = json!({ "start": timestamp(start), "end": timestamp(end) });
        let document = json!({ "suggestedWindow": window });
        let headers = [(header::RETRY_AFTER, RETRY_AFTER_S)];
        Ok((StatusCode::OK, headers, Json(document)).into_response())
    }

    async fn domain_of(&self, serial: CertificateSerial) -> Result<Option<DomainName>, Problem> {
        let busy = || Problem::rate_limited("try again");
        {
            let mut known = self.names.0.lock().map_err(|_| busy())?;
            if let Some(domain) = known.names.get(&serial) {
                return Ok(Some(domain.clone()));
            }
            let now = crate::names::now_ms();
            if now.saturating_sub(known.listed_ms) < LIST_AGAIN_MS {
                return Ok(None);
            }
            known.listed_ms = now;
            if known.names.len() >= MAX_REMEMBERED {
                known.names.clear();
            }
        }
        let prefix = state_key::CERTIFICATE_LOG;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.ledger.list(prefix, after.as_deref()).await?;
            let mut known = self.names.0.lock().map_err(|_| busy())?;
            for key in &page.keys {
                if let Some((domain, serial)) = state_key::parse_logged_certificate(key)
                    && known.names.len() < MAX_REMEMBERED
                {
                    known.names.insert(serial, domain);
                }
            }
            match page.keys.last() {
                Some(last) if page.more && Some(last) > after.as_ref() => {
                    after = Some(last.clone());
                }
                _ => return Ok(known.names.get(&serial).cloned()),
            }
        }
    }
}
