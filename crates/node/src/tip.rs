//! What is the finalized tip now, and who waits for it to move?
//!
//! The chain's thread publishes each new snapshot here; API threads read it,
//! watch it, and wait for the receipts of transactions that they submitted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::{oneshot, watch};
use wire::{Receipt, TransactionId};

use crate::store::{Snapshot, Store, StoreError};

type Waiters = BTreeMap<TransactionId, Vec<oneshot::Sender<Receipt>>>;

/// The finalized tip, shared between the chain and the API.
#[derive(Debug)]
pub struct Tip {
    current: watch::Sender<Arc<Snapshot>>,
    waiters: Mutex<Waiters>,
}

impl Tip {
    /// The tip of a store that was founded.
    ///
    /// Errors: [`StoreError::Damaged`] if it was not.
    pub fn new(store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            current: watch::Sender::new(Arc::new(read(store)?)),
            waiters: Mutex::default(),
        })
    }

    /// The store as of the tip.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.borrow().clone()
    }

    /// Sees every later tip; some may be passed over.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.subscribe()
    }

    /// Takes up what the store holds now.
    ///
    /// Errors: [`StoreError`].
    pub fn refresh(&self, store: &Store) -> Result<Arc<Snapshot>, StoreError> {
        let snapshot = Arc::new(read(store)?);
        self.current.send_replace(snapshot.clone());
        Ok(snapshot)
    }

    /// Gives the receipt of `id` once a block with it is finalized. One that
    /// is final already is in [`Tip::snapshot`] and gives nothing here.
    pub fn wait_for(&self, id: TransactionId) -> oneshot::Receiver<Receipt> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.waiters();
        let waiting = waiters.entry(id).or_default();
        waiting.retain(|sender| !sender.is_closed());
        waiting.push(sender);
        receiver
    }

    /// Forgets those who no longer wait for `id`.
    pub fn leave(&self, id: &TransactionId) {
        let mut waiters = self.waiters();
        if let Some(waiting) = waiters.get_mut(id) {
            waiting.retain(|sender| !sender.is_closed());
            if waiting.is_empty() {
                waiters.remove(id);
            }
        }
    }

    /// Tells those who wait for these receipts.
    pub(crate) fn answer(&self, receipts: &[Receipt]) {
        let mut waiters = self.waiters();
        if waiters.is_empty() {
            return;
        }
        for receipt in receipts {
            for waiter in waiters.remove(&receipt.transaction).unwrap_or_default() {
                // Who no longer waits needs no answer.
                let _ = waiter.send(receipt.clone());
            }
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().expect("no holder of the lock panics")
    }
}

fn read(store: &Store) -> Result<Snapshot, StoreError> {
    store
        .snapshot()?
        .ok_or_else(|| StoreError::Damaged("it holds no block, not even genesis".to_owned()))
}
