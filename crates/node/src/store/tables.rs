//! Which tables does the file have, and how are their rows written?
//!
//! Heights are the keys of all that a block leaves behind, so that a node's
//! file grows at its end; values are borsh.

use borsh::{BorshDeserialize, BorshSerialize};
use redb::{TableDefinition, WriteTransaction};
use wire::Height;

use super::StoreError;

/// A table by height.
pub(super) type ByHeight = TableDefinition<'static, u64, &'static [u8]>;

/// For each key that a block changed, the value before it.
pub(super) type Previous = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Numbers about the file itself.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The key in [`META`] of the file's form.
pub(super) const META_FORMAT: &str = "format";
/// The key in [`META`] of how many bytes of the state's past are kept.
pub(super) const META_PAST: &str = "past bytes";
/// The key in [`META`] of how many bytes of blocks, receipts and events are kept.
pub(super) const META_BLOCKS: &str = "block bytes";
/// Bytes of a height's past, and of its block with all that this left behind.
pub(super) const WEIGHTS: TableDefinition<u64, (u64, u64)> = TableDefinition::new("weights");
/// The state after the tip: raw key to record.
pub(super) const STATE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("state");
/// Nodes of the tree ([`super::tree::key_bytes`] to borsh).
pub(super) const NODES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("nodes");
/// Keys of nodes that a block replaced.
pub(super) const STALE: ByHeight = TableDefinition::new("stale");
/// What a block's changes replaced ([`Previous`], keys ascending).
pub(super) const HISTORY: ByHeight = TableDefinition::new("history");
/// Headers.
pub(super) const HEADERS: ByHeight = TableDefinition::new("headers");
/// Certificates, where the block has one of its own.
pub(super) const CERTIFICATES: ByHeight = TableDefinition::new("certificates");
/// Lists of encoded transactions.
pub(super) const BLOCKS: ByHeight = TableDefinition::new("blocks");
/// Lists of receipts.
pub(super) const RECEIPTS: ByHeight = TableDefinition::new("receipts");
/// Lists of lists of events.
pub(super) const EVENTS: ByHeight = TableDefinition::new("events");
/// Transaction id to height and the byte of the block's row in [`RECEIPTS`] at which its
/// receipt begins.
pub(super) const TRANSACTIONS: TableDefinition<&[u8; 32], (u64, u32)> =
    TableDefinition::new("transactions");

/// Makes every table exist, so that readers never miss one.
pub(super) fn open_every_table(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(STATE)?;
    write.open_table(NODES)?;
    for table in [
        STALE,
        HISTORY,
        HEADERS,
        CERTIFICATES,
        BLOCKS,
        RECEIPTS,
        EVENTS,
    ] {
        write.open_table(table)?;
    }
    write.open_table(TRANSACTIONS)?;
    write.open_table(WEIGHTS)?;
    Ok(())
}

/// Writes one row; its value's bytes.
pub(super) fn put<T: BorshSerialize + ?Sized>(
    write: &WriteTransaction,
    table: ByHeight,
    height: Height,
    value: &T,
) -> Result<u64, StoreError> {
    let bytes = borsh::to_vec(value).expect("what a block leaves behind always encodes");
    write
        .open_table(table)?
        .insert(height.0, bytes.as_slice())?;
    Ok(bytes.len() as u64)
}

/// Reads what [`put`] wrote.
///
/// Errors: [`StoreError::Damaged`], naming `what`.
pub(super) fn decode<T: BorshDeserialize>(what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    T::try_from_slice(bytes)
        .map_err(|error| StoreError::Damaged(format!("{what} does not decode: {error}")))
}
