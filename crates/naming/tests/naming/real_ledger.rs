//! The ledger itself in memory: every action passes the checks that the
//! circle's consensus applies, and each makes a block.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use futures_util::{Stream, stream};
use ledger::{BlockContext, StateRead as _};
use naming::ledger::{BlockEvents, Checked, Ledger, LedgerError, Listing, Post, Reading};
use tokio::sync::watch;
use wire::{
    AccountId, Action, Amount, CheckedTransaction, CircleId, Digest, DomainName, Genesis, Height,
    NameCommit, NameReveal, NameSet, RecordSet, Reject, SigningKey, Transaction, TransactionResult,
    Validator, name_commitment, record, state_key,
};

struct State {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    blocks: Vec<BlockEvents>,
    time_ms: u64,
}

/// Clones share the ledger.
#[derive(Clone)]
pub struct RealLedger {
    state: Arc<Mutex<State>>,
    height: watch::Sender<u64>,
    circle: CircleId,
}

fn authority() -> SigningKey {
    SigningKey::ed25519([5; 32])
}

/// The key of an actor.
pub fn key(actor: u8) -> SigningKey {
    SigningKey::ed25519([actor; 32])
}

impl RealLedger {
    /// A circle with the apex `internal` and an authority; actors 1 to 4 hold funds.
    pub fn new() -> Self {
        let mut genesis: Genesis = crate::values::genesis(&["internal"]);
        genesis.certificate_authorities = vec![authority().public().account()];
        genesis.parameters.reveal_after = 1;
        genesis.validators = vec![Validator {
            key: key(10).public(),
            name: "one".to_owned(),
        }];
        let mut accounts: Vec<_> = (1..=5u8)
            .map(|actor| (key(actor).public().account(), Amount(1_000_000_000)))
            .collect();
        accounts.sort_unstable();
        genesis.accounts = accounts;
        let mut entries = BTreeMap::new();
        ledger::write(&mut entries, ledger::genesis(&genesis).unwrap());
        let state = State {
            entries,
            blocks: Vec::new(),
            time_ms: naming::names::now_ms(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            height: watch::Sender::new(0),
            circle: genesis.circle(),
        }
    }

    pub fn circle(&self) -> CircleId {
        self.circle
    }

    /// Applies `actions` of one sender in a block of their own.
    pub fn act(&self, sender: &SigningKey, actions: Vec<Action>) -> Result<(), Reject> {
        let mut state = self.state.lock().unwrap();
        let account = state_key::account(sender.public().account());
        let account: record::Account = state
            .entries
            .get(&account)
            .map(|bytes| record::decode(bytes).unwrap())
            .unwrap_or_default();
        let transaction = Transaction {
            version: Transaction::VERSION,
            circle: self.circle,
            sender: sender.public(),
            sequence: account.sequence,
            expires_at: Height(u64::MAX),
            fee_limit: Amount(1_000_000),
            actions,
        };
        let bytes = transaction.sign(sender).encode();
        let checked = CheckedTransaction::check(&bytes, self.circle).unwrap();
        let height = Height(state.blocks.len() as u64 + 1);
        state.time_ms = naming::names::now_ms().max(state.time_ms + 1);
        let block = BlockContext {
            height,
            time_ms: state.time_ms,
            parent: Digest([0; 32]),
        };
        let applied = ledger::apply(&state.entries, &block, &[checked]);
        ledger::write(&mut state.entries, applied.changes);
        ledger::audit(&state.entries).unwrap();
        let events = applied.events.into_iter().flatten().collect();
        state.blocks.push(BlockEvents { height, events });
        self.height.send_replace(height.0);
        match applied.receipts[0].result {
            TransactionResult::Applied => Ok(()),
            TransactionResult::Rejected { reject, .. } => Err(reject),
        }
    }

    /// Registers `name` to actor `owner`, with `records`.
    pub fn register(&self, owner: u8, name: &str, records: Vec<RecordSet>) {
        let owner = key(owner);
        let name: DomainName = name.parse().unwrap();
        let nonce = [3; 32];
        let account = owner.public().account();
        let commitment = name_commitment(self.circle, account, &name, &nonce);
        let commit = Action::NameCommit(NameCommit { commitment });
        self.act(&owner, vec![commit]).unwrap();
        let reveal = NameReveal {
            name: name.clone(),
            nonce,
            deposit: Amount(1_000_000),
        };
        self.act(&owner, vec![Action::NameReveal(reveal)]).unwrap();
        if !records.is_empty() {
            let set = NameSet { name, records };
            self.act(&owner, vec![Action::NameSet(set)]).unwrap();
        }
    }

    pub fn get<T: borsh::BorshDeserialize>(&self, key: &[u8]) -> Option<T> {
        let state = self.state.lock().unwrap();
        let value = state.entries.get(key)?;
        Some(record::decode(value).unwrap())
    }

    /// The log of a name: serial numbers and entries.
    pub fn log(&self, name: &str) -> Vec<(Vec<u8>, record::LoggedCertificate)> {
        let prefix = state_key::certificate_log(&name.parse().unwrap());
        let state = self.state.lock().unwrap();
        let found = state.entries.scan(&prefix, None, 1000);
        found
            .into_iter()
            .map(|(key, value)| (key, record::decode(&value).unwrap()))
            .collect()
    }
}

impl Ledger for RealLedger {
    async fn read(&self, keys: Vec<Vec<u8>>, _since: Height) -> Result<Reading, LedgerError> {
        let state = self.state.lock().unwrap();
        let values = keys.iter().map(|key| state.entries.get(key).cloned());
        Ok(Reading {
            height: Height(state.blocks.len() as u64),
            time_ms: state.time_ms,
            values: values.collect(),
            proofs: Vec::new(),
        })
    }

    /// Nothing here is proven: the ledger itself is asked.
    fn check(&self, _proof: &[u8]) -> Result<Checked, LedgerError> {
        Err(LedgerError::Missing("proof"))
    }

    async fn list(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Listing, LedgerError> {
        let state = self.state.lock().unwrap();
        let found = state.entries.scan(prefix, after, 101);
        let more = found.len() > 100;
        Ok(Listing {
            height: Height(state.blocks.len() as u64),
            keys: found.into_iter().take(100).map(|(key, _)| key).collect(),
            more,
        })
    }

    fn events(&self, from: Height) -> impl Stream<Item = Result<BlockEvents, LedgerError>> + Send {
        let watched = self.height.subscribe();
        let start = (self.clone(), watched, from.0.max(1));
        stream::unfold(start, |(ledger, mut watched, next)| async move {
            watched.wait_for(|height| *height >= next).await.ok()?;
            let block = ledger.state.lock().unwrap().blocks[next as usize - 1].clone();
            Some((Ok(block), (ledger, watched, next + 1)))
        })
    }
}

impl Post for RealLedger {
    fn account(&self) -> AccountId {
        authority().public().account()
    }

    async fn post(&self, actions: Vec<Action>) -> Result<(), LedgerError> {
        self.act(&authority(), actions)
            .map_err(LedgerError::Rejected)
    }
}
