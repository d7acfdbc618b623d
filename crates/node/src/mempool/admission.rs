//! May a transaction wait for a block?
//!
//! The gate checks signature and envelope before anything is kept or passed
//! on, so that a sender who cannot pay costs this node one check and the
//! others nothing. It reads the finalized tip: what an unfinalized block has
//! done is seen a moment later.

use std::sync::Arc;

use wire::{CheckError, CheckedTransaction, CircleId, Reject, TransactionId};

use super::{Mempool, Rejected, decode_message};
use crate::{signatures, tip::Tip};

/// Where the chain hands gossip to.
///
/// A running node checks it on threads of its own; a simulation at once.
pub trait Admission: Send + Sync {
    /// Takes a gossip message from a validator; best effort.
    fn gossip(&self, message: Vec<u8>);
}

/// A transaction that waits now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Which one.
    pub id: TransactionId,
    /// Whether it was not waiting before.
    pub fresh: bool,
}

/// Why a transaction does not wait.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no valid transaction of this circle.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The ledger would reject it now.
    #[error("the ledger would refuse it: {0}")]
    Ledger(Reject),
    /// The mempool does not take it.
    #[error(transparent)]
    Mempool(#[from] Rejected),
}

/// Checks transactions and puts them into the mempool.
#[derive(Clone, Debug)]
pub struct Gate {
    circle: CircleId,
    mempool: Arc<Mempool>,
    tip: Arc<Tip>,
}

impl Gate {
    /// The gate of `circle`'s mempool.
    pub fn new(circle: CircleId, mempool: Arc<Mempool>, tip: Arc<Tip>) -> Self {
        Self {
            circle,
            mempool,
            tip,
        }
    }

    /// A sequence that is too far ahead while others of the sender wait is one too
    /// many, and can come again; without them it is wrong.
    fn refusal(&self, checked: &CheckedTransaction, reject: Reject) -> Refusal {
        let transaction = checked.transaction();
        let (sender, sequence) = (transaction.sender.account(), transaction.sequence);
        let is_ahead =
            reject == Reject::SequenceMismatch && self.mempool.waits_before(sender, sequence);
        if is_ahead {
            Refusal::Mempool(Rejected::SenderFull)
        } else {
            Refusal::Ledger(reject)
        }
    }

    /// Checks many at once.
    ///
    /// Shape:  one result for each of `encoded`, in order.
    /// Errors: [`Refusal`], for each on its own.
    pub fn admit(&self, mut encoded: Vec<Vec<u8>>) -> Vec<Result<Admitted, Refusal>> {
        let ids: Vec<TransactionId> = encoded
            .iter()
            .map(|bytes| TransactionId::of_encoded(bytes))
            .collect();
        let waiting = self.mempool.known(&ids);
        let unknown: Vec<usize> = (0..ids.len())
            .filter(|index| waiting[*index].is_none())
            .collect();
        let new: Vec<&[u8]> = unknown
            .iter()
            .map(|index| encoded[*index].as_slice())
            .collect();
        let checks = signatures::check(&new, self.circle);

        let admitted = |index: usize, fresh| Admitted {
            id: ids[index],
            fresh,
        };
        let mut results: Vec<_> = (0..ids.len())
            .map(|index| Ok(admitted(index, false)))
            .collect();
        let snapshot = self.tip.snapshot();
        let next = snapshot.height().plus(1);
        let (mut accepted, mut places) = (Vec::new(), Vec::new());
        for (index, check) in unknown.into_iter().zip(checks) {
            let judged = check.map_err(Refusal::Check).and_then(|checked| {
                ledger::admit(&*snapshot, next, &checked)
                    .map_err(|reject| self.refusal(&checked, reject))?;
                Ok(checked)
            });
            match judged {
                Ok(checked) => {
                    accepted.push((checked, std::mem::take(&mut encoded[index])));
                    places.push(index);
                }
                Err(refusal) => results[index] = Err(refusal),
            }
        }
        for (index, inserted) in places.into_iter().zip(self.mempool.insert(accepted, next)) {
            results[index] = inserted
                .map(|fresh| admitted(index, fresh))
                .map_err(Refusal::Mempool);
        }
        results
    }
}

/// The gate itself, without threads: gossip is checked before the call
/// returns, as a deterministic simulation needs.
impl Admission for Gate {
    fn gossip(&self, message: Vec<u8>) {
        match decode_message(&message) {
            Ok(transactions) => drop(self.admit(transactions)),
            Err(error) => tracing::debug!(%error, "dropped a gossip message"),
        }
    }
}
