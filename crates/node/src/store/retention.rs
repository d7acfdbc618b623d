//! What leaves the file with a new block, so that it does not grow without end?
//!
//! Two things grow. The state's past (tree nodes that were replaced, values of before) lets
//! entries be proven at recent heights; what blocks leave behind (headers, transactions,
//! receipts, events) lets the API show them. Each is bounded by heights and by bytes,
//! whichever comes first: a circle under load writes some megabytes with each block, an
//! idle one some hundred bytes. Bytes are those of rows; the file has a fifth more.

use redb::{ReadableTable as _, WriteTransaction};
use wire::{Height, Receipt};

use super::{PROVABLE_HEIGHTS, StoreError, tables::*};

/// Heights that can be proven however large the blocks: a tip's certificate comes with one
/// of the next few blocks.
pub const LEAST_PROVABLE_HEIGHTS: u64 = 16;

/// Blocks whose remains are dropped with one block: more than one, so that a
/// shorter history than before is reached soon.
const FORGOTTEN_AT_A_TIME: usize = 4;

/// How much of the past the file keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Heights whose headers, blocks, receipts and events are kept; never fewer than
    /// [`PROVABLE_HEIGHTS`].
    pub blocks: u64,
    /// Bytes of these, beyond [`PROVABLE_HEIGHTS`].
    pub block_bytes: u64,
    /// Bytes of the state's past: at most [`PROVABLE_HEIGHTS`] can be proven, and
    /// [`LEAST_PROVABLE_HEIGHTS`] at least.
    pub past_bytes: u64,
}

impl Default for Retention {
    /// All blocks, and a past of 256 MiB.
    fn default() -> Self {
        Self {
            blocks: u64::MAX,
            block_bytes: u64::MAX,
            past_bytes: 256 * 1024 * 1024,
        }
    }
}

/// Notes what a block wrote, and drops what `retention` no longer keeps.
///
/// `past`: bytes of the tree nodes that it wrote and of the values that it replaced; as
///         many go stale as are written, or nearly.
/// `block`: bytes of its transactions, receipts and events.
pub(super) fn apply(
    write: &WriteTransaction,
    tip: Height,
    (past, block): (u64, u64),
    retention: &Retention,
) -> Result<(), StoreError> {
    write.open_table(WEIGHTS)?.insert(tip.0, (past, block))?;
    let mut meta = write.open_table(META)?;
    let mut total = |key: &str, change: i128| -> Result<u64, StoreError> {
        let before = meta.get(key)?.map_or(0, |value| value.value());
        // What a checkpoint brought was never weighed: no total goes below nothing.
        let after = u64::try_from(i128::from(before) + change).unwrap_or(0);
        meta.insert(key, after)?;
        Ok(after)
    };
    let mut past_bytes = total(META_PAST, i128::from(past))?;
    let mut block_bytes = total(META_BLOCKS, i128::from(block))?;
    while let Some(oldest) = first(write, HISTORY)? {
        let age = tip.since(oldest);
        let is_large = past_bytes > retention.past_bytes && age >= LEAST_PROVABLE_HEIGHTS;
        if age < PROVABLE_HEIGHTS && !is_large {
            break;
        }
        forget_past(write, oldest)?;
        past_bytes = total(META_PAST, -i128::from(weight(write, oldest)?.0))?;
    }
    for _ in 0..FORGOTTEN_AT_A_TIME {
        let Some(oldest) = first(write, HEADERS)? else {
            break;
        };
        let age = tip.since(oldest);
        let is_old = age >= retention.blocks || block_bytes > retention.block_bytes;
        if age < PROVABLE_HEIGHTS || !is_old {
            break;
        }
        let weight = weight(write, oldest)?.1;
        forget_block(write, oldest)?;
        block_bytes = total(META_BLOCKS, -i128::from(weight))?;
    }
    Ok(())
}

fn first(write: &WriteTransaction, table: ByHeight) -> Result<Option<Height>, StoreError> {
    let table = write.open_table(table)?;
    let first = table.first()?;
    Ok(first.map(|(height, _)| Height(height.value())))
}

fn weight(write: &WriteTransaction, height: Height) -> Result<(u64, u64), StoreError> {
    let weights = write.open_table(WEIGHTS)?;
    let weight = weights.get(height.0)?;
    Ok(weight.map_or((0, 0), |weight| weight.value()))
}

/// Drops what only proofs below `height` needed: nodes that went stale at it, and the values
/// that it replaced.
fn forget_past(write: &WriteTransaction, height: Height) -> Result<(), StoreError> {
    if let Some(keys) = write.open_table(STALE)?.remove(height.0)? {
        let mut nodes = write.open_table(NODES)?;
        for key in decode::<Vec<Vec<u8>>>("stale nodes", keys.value())? {
            nodes.remove(key.as_slice())?;
        }
    }
    write.open_table(HISTORY)?.remove(height.0)?;
    Ok(())
}

/// Drops what the block at `height` left behind.
fn forget_block(write: &WriteTransaction, height: Height) -> Result<(), StoreError> {
    let receipts = write
        .open_table(RECEIPTS)?
        .remove(height.0)?
        .map(|bytes| decode::<Vec<Receipt>>("a list of receipts", bytes.value()));
    let mut transactions = write.open_table(TRANSACTIONS)?;
    for receipt in receipts.transpose()?.unwrap_or_default() {
        transactions.remove(&receipt.transaction.0)?;
    }
    for table in [HEADERS, CERTIFICATES, BLOCKS, EVENTS] {
        write.open_table(table)?.remove(height.0)?;
    }
    write.open_table(WEIGHTS)?.remove(height.0)?;
    Ok(())
}
