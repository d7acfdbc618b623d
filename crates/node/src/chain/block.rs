//! Is a block well formed, and is everything in it signed?
//!
//! The rules that need no state (docs/spec/blocks.md §2). What the
//! transactions do is for the ledger; that the parent is the right one is for
//! the chain.

use std::collections::BTreeSet;

use wire::{
    Amount, Block, CheckError, CheckedTransaction, CircleId, Digest, Header, Receipt,
    TransactionId, TransactionResult,
    limits::{MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS},
};

use crate::{mempool::Mempool, signatures};

/// Bytes that a block spends on each transaction's length.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Why a proposed block is no block of this chain. Its leader is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    #[error("its parent was not executed here")]
    UnknownParent,
    #[error("its header does not continue its parent's")]
    Header,
    #[error("its time {time_ms} is before its parent's {parent_ms}")]
    Past { time_ms: u64, parent_ms: u64 },
    #[error("its time {time_ms} is too far ahead of the clock, {now_ms}")]
    Future { time_ms: u64, now_ms: u64 },
    #[error("it is over the limit of transactions or bytes")]
    TooLarge,
    #[error("its header commits to other transactions")]
    Transactions,
    #[error("transaction {0} is in it twice")]
    Duplicate(TransactionId),
    #[error("its transaction {index} is invalid: {error}")]
    Transaction { index: usize, error: CheckError },
    #[error("it claims the state root {claimed}; it is {computed}")]
    StateRoot { claimed: Digest, computed: Digest },
}

/// Checks form and signatures and gives the transactions in order.
pub(super) fn check(
    block: &Block,
    parent: &Header,
    circle: CircleId,
    mempool: &Mempool,
) -> Result<Vec<CheckedTransaction>, Invalid> {
    let header = &block.header;
    let continues = header.version == Header::VERSION
        && header.circle == circle
        && header.height == parent.height.plus(1)
        && header.parent == parent.digest();
    if !continues {
        return Err(Invalid::Header);
    }
    if header.time_ms < parent.time_ms {
        return Err(Invalid::Past {
            time_ms: header.time_ms,
            parent_ms: parent.time_ms,
        });
    }
    let bytes: usize = block
        .transactions
        .iter()
        .map(|transaction| transaction.len() + LENGTH_BYTES)
        .sum();
    if block.transactions.len() > MAX_BLOCK_TRANSACTIONS || bytes > MAX_BLOCK_BYTES {
        return Err(Invalid::TooLarge);
    }
    if header.transactions != Block::transactions_digest(&block.transactions) {
        return Err(Invalid::Transactions);
    }
    check_transactions(&block.transactions, circle, mempool)
}

/// Signatures that the mempool has checked are not checked again.
fn check_transactions(
    encoded: &[Vec<u8>],
    circle: CircleId,
    mempool: &Mempool,
) -> Result<Vec<CheckedTransaction>, Invalid> {
    let ids: Vec<TransactionId> = encoded
        .iter()
        .map(|bytes| TransactionId::of_encoded(bytes))
        .collect();
    let mut seen = BTreeSet::new();
    if let Some(twice) = ids.iter().find(|id| !seen.insert(**id)) {
        return Err(Invalid::Duplicate(*twice));
    }
    let known = mempool.known(&ids);
    let unknown: Vec<&[u8]> = encoded
        .iter()
        .zip(&known)
        .filter(|(_, known)| known.is_none())
        .map(|(bytes, _)| bytes.as_slice())
        .collect();
    let mut fresh = signatures::check(&unknown, circle).into_iter();
    let checked = known.into_iter().enumerate().map(|(index, known)| {
        let result = match known {
            Some(entry) => Ok(entry.checked.clone()),
            None => fresh
                .next()
                .expect("one result for each unknown transaction"),
        };
        result.map_err(|error| Invalid::Transaction { index, error })
    });
    checked.collect()
}

/// Transactions that left a receipt and paid nothing: they did not fit the
/// state, and a leader has no reason to carry them.
pub(super) fn uncharged(receipts: &[Receipt]) -> BTreeSet<TransactionId> {
    receipts
        .iter()
        .filter(|receipt| {
            receipt.fee == Amount::ZERO
                && matches!(
                    receipt.result,
                    TransactionResult::Rejected { action: None, .. }
                )
        })
        .map(|receipt| receipt.transaction)
        .collect()
}
