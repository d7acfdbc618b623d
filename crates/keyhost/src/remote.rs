//! The circle over the network, by proofs, with one account.

use std::time::Duration;

use client::{Client, account::Account};
use keykeeper::{Circle, CircleError, Reading};
use wire::{Action, CircleId, KeyRequestId, TransactionId, state_key};

/// How long nothing new is assumed at most: about a block of a busy circle.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Requests that are looked at in one go; more wait for the next.
const REQUESTS_AT_ONCE: usize = 256;

/// An account of a circle.
#[derive(Clone)]
pub struct Remote(Account);

impl Remote {
    /// The circle as `account` sees it.
    pub fn new(account: Account) -> Self {
        Self(account)
    }
}

fn unavailable(error: impl std::fmt::Display) -> CircleError {
    CircleError::Unavailable(error.to_string())
}

/// Reads entries by proofs, as keykeepers and those who restore them do.
///
/// Errors: [`CircleError::Unavailable`].
pub async fn read_proven(client: &Client, keys: Vec<Vec<u8>>) -> Result<Reading, CircleError> {
    let all = client.proven_many(keys).await.map_err(unavailable)?;
    let first = all
        .first()
        .ok_or_else(|| unavailable("nothing was asked"))?;
    Ok(Reading {
        height: first.height(),
        time_ms: first.time_ms(),
        header: first.header_digest(),
        values: all
            .iter()
            .map(|proven| proven.value().map(<[u8]>::to_vec))
            .collect(),
    })
}

impl Circle for Remote {
    fn id(&self) -> CircleId {
        self.0.client().circle()
    }

    async fn read(&self, keys: Vec<Vec<u8>>) -> Result<Reading, CircleError> {
        read_proven(self.0.client(), keys).await
    }

    async fn requests(&self) -> Result<Vec<KeyRequestId>, CircleError> {
        let prefix = state_key::KEY_REQUESTS;
        let keys = self
            .0
            .client()
            .list_keys(prefix, REQUESTS_AT_ONCE)
            .await
            .map_err(unavailable)?;
        let id = |key: &Vec<u8>| key[prefix.len()..].try_into().ok().map(KeyRequestId);
        Ok(keys.iter().filter_map(id).collect())
    }

    async fn send(&self, action: Action) -> Result<TransactionId, CircleError> {
        match self.0.send(vec![action]).await {
            Ok(sent) => Ok(sent.transaction),
            Err(error) => match error.reject() {
                Some(reject) => Err(CircleError::Rejected(reject)),
                None => Err(unavailable(error)),
            },
        }
    }

    async fn changed(&self) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
