//! A payload's log: fetched from its provider as ciphertext, opened here.
//!
//! The provider can withhold records and cannot forge, alter or reorder them:
//! each is sealed under a key that only the user and the enclave derive, and
//! numbered within the seal. Missing numbers are reported.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use handshake::{DerivedKeys, LogRecord};
use serde::{Deserialize, Serialize};
use wire::{ContractId, RequestId, record, state_key};

use super::{
    ReplicaView, RunError, User,
    exchange::{Served, agreement, context},
};
use crate::transport::{BodyError, bounded_body};

/// One page of a log: what a provider gives at once.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// The longest that a provider is asked to hold an answer for new records.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// How much longer than asked the provider may take.
const GRACE: Duration = Duration::from_secs(10);

/// The provider's answer (`GET /v1/logs/{contract}?from=&wait_ms=`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SealedPage {
    /// The oldest record that the provider still holds.
    pub first: u64,
    /// The number after the newest record that it holds.
    pub next: u64,
    /// Records from the number asked for on, ascending.
    pub records: Vec<SealedRecord>,
}

/// One sealed log record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SealedRecord {
    /// Its number.
    pub sequence: u64,
    /// Its sealed bytes, base64.
    pub sealed: String,
}

/// A place in the log of one contract.
pub struct LogCursor {
    contract: ContractId,
    url: String,
    keys: DerivedKeys,
    next: u64,
}

/// Records and what is missing before them.
#[derive(Clone, Debug)]
pub struct LogPage {
    /// Records that the provider no longer has or held back.
    pub missing: u64,
    /// Records, ascending.
    pub records: Vec<LogRecord>,
    /// Whether the provider holds more.
    pub more: bool,
}

impl User {
    /// A cursor at the start of the log of one contract of `request`.
    ///
    /// Errors: the request is not this user's, or its provider is gone from
    ///         the ledger.
    pub async fn logs(
        &self,
        request: RequestId,
        replica: &ReplicaView,
    ) -> Result<LogCursor, RunError> {
        let record = self.request(request).await?;
        let secrets = self.secrets(request, &record)?;
        let served = Served::new(request, &record, &secrets);
        let enclave = replica.enclave.as_ref().ok_or(RunError::Handshake {
            contract: replica.id,
            reason: "it has no enclave yet".to_owned(),
        })?;
        let context = context(&served, replica.id, enclave, self.client().circle());
        let keys = DerivedKeys::for_user(&context, &agreement(&secrets)).map_err(|error| {
            RunError::Handshake {
                contract: replica.id,
                reason: error.to_string(),
            }
        })?;
        let offer: record::Offer = self
            .client()
            .require(state_key::offer(replica.contract.offer), || {
                format!("offer {}", replica.contract.offer)
            })
            .await?;
        let control = offer.terms.endpoint.control;
        Ok(LogCursor {
            contract: replica.id,
            url: format!("{}/v1/logs/{}", control.trim_end_matches('/'), replica.id),
            keys,
            next: 0,
        })
    }

    /// The next records of a log; waits up to `wait` for the first of them.
    ///
    /// Errors: the provider does not answer, or a record is forged.
    pub async fn next_logs(
        &self,
        cursor: &mut LogCursor,
        wait: Duration,
    ) -> Result<LogPage, RunError> {
        let wait = wait.min(MAX_WAIT);
        let page = self.sealed_page(cursor, wait).await?;
        let failed = |reason: String| RunError::Control {
            url: cursor.url.clone(),
            reason,
        };
        let mut records = Vec::with_capacity(page.records.len());
        let mut missing = 0;
        let mut next = cursor.next;
        for sealed in page.records {
            if sealed.sequence < next {
                return Err(failed("it repeats a record".to_owned()));
            }
            missing += sealed.sequence - next;
            next = sealed.sequence + 1;
            let bytes = BASE64_STANDARD
                .decode(&sealed.sealed)
                .map_err(|error| failed(error.to_string()))?;
            let record =
                handshake::open_log(&cursor.keys, cursor.contract, sealed.sequence, &bytes)
                    .map_err(|error| failed(format!("record {}: {error}", sealed.sequence)))?;
            records.push(record);
        }
        cursor.next = next;
        Ok(LogPage {
            missing,
            records,
            more: page.next > next,
        })
    }

    async fn sealed_page(
        &self,
        cursor: &LogCursor,
        wait: Duration,
    ) -> Result<SealedPage, RunError> {
        let failed = |reason: String| RunError::Control {
            url: cursor.url.clone(),
            reason,
        };
        let url = format!(
            "{}?from={}&wait_ms={}",
            cursor.url,
            cursor.next,
            wait.as_millis()
        );
        let response = self
            .http
            .get(&url)
            .timeout(wait + GRACE)
            .send()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let body = bounded_body(response, MAX_PAGE_BYTES)
            .await
            .map_err(|error| match error {
                BodyError::Http(error) => failed(error.to_string()),
                BodyError::TooLarge => failed("its page is too large".to_owned()),
            })?;
        if !status.is_success() {
            return Err(failed(format!("it answered {status}")));
        }
        serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
    }
}
