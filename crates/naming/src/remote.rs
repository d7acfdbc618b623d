//! The ledger through the client library: every value proven under the
//! circle's constant key, whichever node gave it.

use std::{fs, path::Path, sync::Arc, time::Duration};

use client::{
    Client, ClientError, SecretString, Url,
    account::{Account, AccountError, lock_path},
    keyfile,
};
use futures_util::{Stream, StreamExt as _};
use wire::{AccountId, Action, CircleId, CircleKey, Height};

use crate::ledger::{BlockEvents, Checked, Ledger, LedgerError, Listing, Post, Reading};

/// Keys asked for in one page of a listing.
const PAGE: usize = client::MAX_LIST_ENTRIES;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A ledger behind nodes.
pub(crate) struct Remote {
    client: Client,
}

impl Remote {
    /// A ledger behind `nodes`, base URLs. Proofs older than `max_age` are
    /// refused, if it is given.
    pub fn new(
        nodes: &[String],
        key: CircleKey,
        circle: CircleId,
        max_age: Option<Duration>,
    ) -> Result<Self, Source> {
        let nodes = nodes
            .iter()
            .map(|node| Url::parse(node))
            .collect::<Result<Vec<_>, _>>()?;
        let client = Client::with_max_age(nodes, key, circle, max_age)?;
        Ok(Self { client })
    }
}

impl Ledger for Remote {
    async fn read(&self, keys: Vec<Vec<u8>>, since: Height) -> Result<Reading, LedgerError> {
        let since = since.max(self.client.seen());
        let proven = self
            .client
            .proofs_since(keys, since)
            .await
            .map_err(unavailable)?;
        let (first, _) = proven.first().ok_or(LedgerError::Missing("keys to read"))?;
        Ok(Reading {
            height: first.height(),
            time_ms: first.time_ms(),
            values: proven
                .iter()
                .map(|(one, _)| one.value().map(<[u8]>::to_vec))
                .collect(),
            proofs: proven.into_iter().map(|(_, proof)| proof).collect(),
        })
    }

    fn check(&self, proof: &[u8]) -> Result<Checked, LedgerError> {
        let proven = self.client.check_proof(proof).map_err(unavailable)?;
        Ok(Checked {
            key: proven.key().to_vec(),
            value: proven.value().map(<[u8]>::to_vec),
            height: proven.height(),
        })
    }

    async fn list(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Listing, LedgerError> {
        let page = self
            .client
            .list(prefix, after, PAGE)
            .await
            .map_err(unavailable)?;
        Ok(Listing {
            height: page.height,
            more: page.next.is_some(),
            keys: page.entries.into_iter().map(|(key, _)| key).collect(),
        })
    }

    async fn prove(&self, key: Vec<u8>, since: Height) -> Result<Option<Vec<u8>>, LedgerError> {
        let mut proofs = self
            .client
            .proofs_since(vec![key], since)
            .await
            .map_err(unavailable)?;
        Ok(proofs.pop().map(|(_, proof)| proof))
    }

    fn events(&self, from: Height) -> impl Stream<Item = Result<BlockEvents, LedgerError>> + Send {
        self.client.events(from).into_stream().map(|block| {
            let block = block.map_err(unavailable)?;
            Ok(BlockEvents {
                height: block.height,
                events: block.events.into_iter().map(|told| told.event).collect(),
            })
        })
    }
}

/// A ledger behind nodes, and an account that posts to it.
pub(crate) struct RemoteAccount {
    remote: Remote,
    account: Account,
}

impl RemoteAccount {
    /// Opens the account of `key_file` with the first line of `passphrase_file`.
    pub fn open(remote: Remote, key_file: &Path, passphrase_file: &Path) -> Result<Self, Source> {
        let text = zeroize::Zeroizing::new(fs::read_to_string(passphrase_file)?);
        let passphrase = text.lines().next().unwrap_or_default();
        let key = keyfile::open(key_file, &SecretString::from(passphrase.to_owned()))?;
        let lock = lock_path(key_file);
        let account = Account::new(remote.client.clone(), Arc::new(key), Some(lock));
        Ok(Self { remote, account })
    }
}

impl Ledger for RemoteAccount {
    async fn read(&self, keys: Vec<Vec<u8>>, since: Height) -> Result<Reading, LedgerError> {
        self.remote.read(keys, since).await
    }

    fn check(&self, proof: &[u8]) -> Result<Checked, LedgerError> {
        self.remote.check(proof)
    }

    async fn list(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Listing, LedgerError> {
        self.remote.list(prefix, after).await
    }

    async fn prove(&self, key: Vec<u8>, since: Height) -> Result<Option<Vec<u8>>, LedgerError> {
        self.remote.prove(key, since).await
    }

    fn events(&self, from: Height) -> impl Stream<Item = Result<BlockEvents, LedgerError>> + Send {
        self.remote.events(from)
    }
}

impl Post for RemoteAccount {
    fn account(&self) -> AccountId {
        self.account.id()
    }

    async fn post(&self, actions: Vec<Action>) -> Result<(), LedgerError> {
        match self.account.send(actions).await {
            Ok(_) => Ok(()),
            Err(AccountError::Rejected { reject, .. }) => Err(LedgerError::Rejected(reject)),
            Err(error) => match error.reject() {
                Some(reject) => Err(LedgerError::Rejected(reject)),
                None => Err(LedgerError::Unavailable(Box::new(error))),
            },
        }
    }
}

fn unavailable(error: ClientError) -> LedgerError {
    LedgerError::Unavailable(Box::new(error))
}
