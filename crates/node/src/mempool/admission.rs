//! May a transaction wait for a block?
//!
//! The gate checks signature and envelope before anything is kept or passed
//! on, so that a sender who cannot pay costs this node one check and the
//! others nothing. It reads the finalized tip: what an unfinalized block has
//! done is seen a moment later.

use std::sync::Arc;

use wire::{CheckError, CircleId, Reject, TransactionId};

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

    /// Checks many at once.
    ///
    /// Shape:  one result for each of `encoded`, in order.
    /// Errors: [`Refusal`], for each on its own.
    pub fn admit(&self, encoded: Vec<Vec<u8>>) -> Vec<Result<Admitted, Refusal>> {
        let ids: Vec<TransactionId> = encoded
            .iter()
            .map(|bytes| TransactionId::of_encoded(bytes))
            .collect();
        let known = self.mempool.known(&ids);
        let new: Vec<&[u8]> = encoded
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none())
            .map(|(bytes, _)| bytes.as_slice())
            .collect();
        let snapshot = self.tip.snapshot();
        let next = snapshot.height().plus(1);
        let checked = signatures::check(&new, self.circle)
            .into_iter()
            .map(|result| {
                let checked = result?;
                ledger::admit(&*snapshot, next, &checked).map_err(Refusal::Ledger)?;
                Ok(checked)
            });
        let mut verdicts: Vec<Result<_, Refusal>> = checked.collect();
        drop(snapshot);

        let mut accepted = Vec::new();
        let mut unknown = encoded
            .into_iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none());
        for verdict in &mut verdicts {
            let (bytes, _) = unknown
                .next()
                .expect("one verdict for each unknown transaction");
            if let Ok(checked) = verdict {
                accepted.push((checked.clone(), bytes));
            }
        }
        let mut inserted = self.mempool.insert(accepted, next).into_iter();
        let mut verdicts = verdicts.into_iter().map(|verdict| {
            verdict.and_then(|_| {
                let fresh = inserted.next().expect("one result for each accepted");
                fresh.map_err(Refusal::Mempool)
            })
        });
        ids.into_iter()
            .zip(known)
            .map(|(id, known)| {
                let fresh = match known {
                    Some(_) => false,
                    None => verdicts.next().expect("one verdict for each unknown")?,
                };
                Ok(Admitted { id, fresh })
            })
            .collect()
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
