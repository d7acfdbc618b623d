//! Which transactions wait to be put into a block?
//!
//! The mempool holds checked transactions, bounded in number and bytes and for
//! each sender. A leader takes them in the order of their arrival, each
//! sender's in the order of their sequences. One that cannot be applied yet,
//! because an earlier one of its sender is missing, is held for a while. It is
//! in memory only: what is not in a block when a node ends is sent again by
//! its sender.
//!
//! Everything in it has passed [`Gate::admit`]: signature, expiry, fee and
//! sequence window were right when it came.

mod admission;
mod gossip;
mod intake;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};

use ledger::{ADMISSION_WINDOW, StateRead};
use wire::{
    AccountId, CheckedTransaction, Height, Receipt, TransactionId,
    limits::{MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS},
    record, state_key,
};

pub use admission::{Admission, Admitted, Gate, Refusal};
pub use gossip::{MessageError, decode_message, encode_message};
pub use intake::{Busy, Intake};

use crate::chain::LENGTH_BYTES;

/// Transactions in the mempool: four of the largest blocks.
pub const MAX_TRANSACTIONS: usize = 4 * MAX_BLOCK_TRANSACTIONS;

/// Bytes in the mempool: bounds its memory where transactions are large.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Transactions of one sender: all that admission's window lets in.
pub const MAX_PER_SENDER: usize = ADMISSION_WINDOW as usize + 1;

/// Blocks for which a transaction waits for an earlier one of its sender.
pub const GAP_BLOCKS: u64 = 250;

/// Blocks between two searches for transactions that can no longer be applied.
const SWEEP_BLOCKS: u64 = 32;

/// The smallest transaction has about so many bytes; with less room left, a
/// block is full.
const SMALLEST_TRANSACTION: usize = 160;

/// A transaction that waits.
#[derive(Debug)]
pub struct Entry {
    /// The transaction.
    pub checked: CheckedTransaction,
    /// Its encoding.
    pub encoded: Vec<u8>,
    /// Its sender's account.
    pub account: AccountId,
    arrival: u64,
    arrived_at: Height,
}

impl Entry {
    fn sequence(&self) -> u64 {
        self.checked.transaction().sequence
    }
}

/// Why the mempool does not take a transaction that is valid in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It holds as much as it may.
    #[error("the mempool is full")]
    Full,
    /// It holds as much of this sender as it may.
    #[error("the sender has transactions waiting; {MAX_PER_SENDER} are the limit")]
    SenderFull,
    /// Another transaction of the sender with this sequence waits.
    #[error("transaction {0} of the same sender and sequence is waiting already")]
    SequenceTaken(TransactionId),
}

/// Transactions that wait, shared between the API, the gossip and the chain.
#[derive(Debug, Default)]
pub struct Mempool(Mutex<Pool>);

/// Lookups by id need no order; all that is iterated over is ordered, so that
/// a simulation repeats.
#[derive(Debug, Default)]
struct Pool {
    entries: HashMap<TransactionId, Arc<Entry>>,
    arrivals: BTreeMap<u64, Arc<Entry>>,
    senders: BTreeMap<AccountId, BTreeMap<u64, Arc<Entry>>>,
    bytes: usize,
    next_arrival: u64,
}

impl Mempool {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().expect("no holder of the lock panics")
    }

    /// How many transactions wait.
    pub fn len(&self) -> usize {
        self.pool().entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `id` waits.
    pub fn contains(&self, id: &TransactionId) -> bool {
        self.pool().entries.contains_key(id)
    }

    /// Whether a transaction of `sender` with a lower sequence waits.
    pub(super) fn waits_before(&self, sender: AccountId, sequence: u64) -> bool {
        let pool = self.pool();
        let waiting = pool.senders.get(&sender);
        waiting.is_some_and(|waiting| waiting.range(..sequence).next().is_some())
    }

    /// Those of `ids` that wait, with their checked form.
    ///
    /// Shape: one for each of `ids`, in order.
    pub fn known(&self, ids: &[TransactionId]) -> Vec<Option<Arc<Entry>>> {
        let pool = self.pool();
        ids.iter().map(|id| pool.entries.get(id).cloned()).collect()
    }

    /// Takes transactions that were admitted at `height`.
    ///
    /// Shape:  each with its encoding; one result for each, in order: whether
    ///         it was new here.
    /// Errors: [`Rejected`], for each on its own.
    pub fn insert(
        &self,
        transactions: Vec<(CheckedTransaction, Vec<u8>)>,
        height: Height,
    ) -> Vec<Result<bool, Rejected>> {
        let mut pool = self.pool();
        transactions
            .into_iter()
            .map(|(checked, encoded)| pool.insert(checked, encoded, height))
            .collect()
    }

    /// The transactions of a block at `height` on the state `state`.
    ///
    /// Shape: each applies after those before it, as far as sequence and
    ///        expiry go; within the limits of a block.
    pub fn select(&self, state: &dyn StateRead, height: Height) -> Vec<Arc<Entry>> {
        // The lock is not held while the state is read.
        let waiting: Vec<Arc<Entry>> = self.pool().arrivals.values().cloned().collect();
        let mut selection = Selection::new(state, height);
        for entry in waiting {
            if selection.is_full() {
                break;
            }
            selection.offer(entry);
        }
        selection.taken
    }

    /// Forgets transactions that a leader found not to fit the state.
    pub fn refuse(&self, ids: &BTreeSet<TransactionId>) {
        let mut pool = self.pool();
        for id in ids {
            pool.remove(id);
        }
    }

    /// Forgets what is in a finalized block, and what cannot be applied after it.
    pub(crate) fn finalized(&self, receipts: &[Receipt], state: &crate::store::Snapshot) {
        let mut pool = self.pool();
        let mut senders = BTreeSet::new();
        for receipt in receipts {
            pool.remove(&receipt.transaction);
            senders.insert(receipt.sender);
        }
        for sender in senders {
            pool.forget_passed(sender, state);
        }
        if state.height().0.is_multiple_of(SWEEP_BLOCKS) {
            pool.sweep(state, state.height());
        }
    }
}

impl Pool {
    fn insert(
        &mut self,
        checked: CheckedTransaction,
        encoded: Vec<u8>,
        height: Height,
    ) -> Result<bool, Rejected> {
        let id = checked.id();
        if self.entries.contains_key(&id) {
            return Ok(false);
        }
        if self.entries.len() >= MAX_TRANSACTIONS || self.bytes + encoded.len() > MAX_BYTES {
            return Err(Rejected::Full);
        }
        let account = checked.transaction().sender.account();
        let sequence = checked.transaction().sequence;
        // What has expired makes room at once: a validator's next dealing must
        // not wait for the next search.
        let other = self
            .senders
            .get(&account)
            .and_then(|all| all.get(&sequence));
        if let Some(other) = other.map(|other| other.checked.clone()) {
            if other.transaction().expires_at >= height {
                return Err(Rejected::SequenceTaken(other.id()));
            }
            self.remove(&other.id());
        }
        if let Some(waiting) = self.senders.get(&account)
            && waiting.len() >= MAX_PER_SENDER
        {
            return Err(Rejected::SenderFull);
        }
        self.bytes += encoded.len();
        let entry = Arc::new(Entry {
            checked,
            encoded,
            account,
            arrival: self.next_arrival,
            arrived_at: height,
        });
        self.next_arrival += 1;
        self.entries.insert(id, entry.clone());
        self.arrivals.insert(entry.arrival, entry.clone());
        self.senders
            .entry(account)
            .or_default()
            .insert(sequence, entry);
        Ok(true)
    }

    fn remove(&mut self, id: &TransactionId) {
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        self.bytes -= entry.encoded.len();
        self.arrivals.remove(&entry.arrival);
        if let Some(waiting) = self.senders.get_mut(&entry.account) {
            waiting.remove(&entry.sequence());
            if waiting.is_empty() {
                self.senders.remove(&entry.account);
            }
        }
    }

    /// Forgets transactions of `sender` whose sequence is used up.
    fn forget_passed(&mut self, sender: AccountId, state: &dyn StateRead) {
        let Some(waiting) = self.senders.get(&sender) else {
            return;
        };
        let next = next_sequence(state, sender);
        let passed: Vec<TransactionId> = waiting
            .range(..next)
            .map(|(_, entry)| entry.checked.id())
            .collect();
        for id in passed {
            self.remove(&id);
        }
    }

    /// Forgets what has expired, what was passed, and what waited too long for
    /// an earlier transaction of its sender.
    fn sweep(&mut self, state: &dyn StateRead, tip: Height) {
        let mut gone = Vec::new();
        for (sender, waiting) in &self.senders {
            let mut next = next_sequence(state, *sender);
            for (sequence, entry) in waiting {
                let fits = *sequence == next;
                if fits {
                    next += 1;
                }
                let waited = tip.since(entry.arrived_at) > GAP_BLOCKS;
                let expired = entry.checked.transaction().expires_at <= tip;
                if *sequence < next && !fits || expired || waited && !fits {
                    gone.push(entry.checked.id());
                }
            }
        }
        for id in gone {
            self.remove(&id);
        }
    }
}

/// The sequence of the next transaction of `account`.
pub(crate) fn next_sequence(state: &dyn StateRead, account: AccountId) -> u64 {
    let stored = state.get(&state_key::account(account));
    stored.map_or(0, |bytes| {
        record::decode::<record::Account>(&bytes)
            .expect("the ledger wrote this account")
            .sequence
    })
}

/// A block's transactions while they are chosen.
struct Selection<'a> {
    state: &'a dyn StateRead,
    height: Height,
    taken: Vec<Arc<Entry>>,
    bytes: usize,
    next: HashMap<AccountId, u64>,
    /// Transactions that came before one with a lower sequence.
    early: HashMap<AccountId, BTreeMap<u64, Arc<Entry>>>,
}

impl<'a> Selection<'a> {
    fn new(state: &'a dyn StateRead, height: Height) -> Self {
        Self {
            state,
            height,
            taken: Vec::new(),
            bytes: 0,
            next: HashMap::new(),
            early: HashMap::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.taken.len() == MAX_BLOCK_TRANSACTIONS
            || self.bytes + SMALLEST_TRANSACTION > MAX_BLOCK_BYTES
    }

    fn offer(&mut self, entry: Arc<Entry>) {
        let account = entry.account;
        let state = self.state;
        let next = *self
            .next
            .entry(account)
            .or_insert_with(|| next_sequence(state, account));
        if entry.sequence() > next {
            self.early
                .entry(account)
                .or_default()
                .insert(entry.sequence(), entry);
            return;
        }
        let mut candidate = (entry.sequence() == next).then_some(entry);
        while let Some(entry) = candidate.take() {
            if !self.take(entry) {
                return;
            }
            let next = self.next.entry(account).or_default();
            *next += 1;
            candidate = self
                .early
                .get_mut(&account)
                .and_then(|early| early.remove(next));
        }
    }

    /// Whether it was taken; its successors cannot be if it was not.
    fn take(&mut self, entry: Arc<Entry>) -> bool {
        let bytes = entry.encoded.len() + LENGTH_BYTES;
        let fits = self.taken.len() < MAX_BLOCK_TRANSACTIONS
            && self.bytes + bytes <= MAX_BLOCK_BYTES
            && entry.checked.transaction().expires_at >= self.height;
        if fits {
            self.bytes += bytes;
            self.taken.push(entry);
        }
        fits
    }
}
