//! What does a node keep on disk, and when is it safe there?
//!
//! One redb file holds the state (flat, by raw key), the nodes of its
//! authenticated tree, and every header, block, receipt, event list and
//! certificate by height. A finalized block is one write transaction, so a
//! crash leaves a whole number of blocks. Whether that transaction also
//! reaches the disk before it returns is the caller's choice ([`Persist`]).
//!
//! Trusts the disk to give back what was synced; [`Store::check`] compares the
//! tree's root with the tip's header when a node starts.

#[cfg(any(test, feature = "simulation"))]
mod memory;
mod retention;
mod snapshot;
pub(crate) mod staging;
mod tables;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use borsh::BorshSerialize as _;
use ledger::Changes;
use proof::Certificate;
use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable as _, WriteTransaction};
use wire::{CircleId, Event, Header, Height, Receipt};

#[cfg(any(test, feature = "simulation"))]
pub use memory::MemoryDisk;
pub use retention::{LEAST_PROVABLE_HEIGHTS, Retention};
pub use snapshot::{Entries, EntryAt, Snapshot};
pub use tree::TreeUpdate;

use tables::*;

/// Heights below the tip at which entries can still be proven, at most. At the
/// least time between blocks, 40 ms, that is ten seconds: a tip's certificate
/// comes with one of the next few blocks.
pub const PROVABLE_HEIGHTS: u64 = 256;

/// Memory for the file's pages. Four nodes on one machine of 4 GiB still have
/// room; what is not held is in the system's page cache.
const CACHE_BYTES: usize = 128 * 1024 * 1024;

/// The form of the file that this build reads and writes.
const FORMAT: u64 = 2;

/// Why the store could not do as it was told. It is never a peer's fault.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system or the database refused.
    #[error("the ledger's file cannot be read or written")]
    Database(#[source] Box<redb::Error>),
    /// The file does not hold what this build wrote.
    #[error("the ledger's file is damaged: {0}")]
    Damaged(String),
    /// The file was written by another build.
    #[error(
        "the ledger's file has form {found}; this build knows {FORMAT}: move it away, and the node \
         builds it anew from what others have"
    )]
    Format {
        /// The form found.
        found: u64,
    },
    /// The file belongs to another circle.
    #[error("the ledger's file belongs to circle {found}, not to {wanted}")]
    OtherCircle {
        /// The circle in the file.
        found: CircleId,
        /// The circle that was asked for.
        wanted: CircleId,
    },
    /// A block that does not continue the tip.
    #[error("block {height} does not continue the stored tip {tip}")]
    Order {
        /// The block's height.
        height: Height,
        /// The tip's height.
        tip: Height,
    },
}

impl StoreError {
    /// Whether the file does not hold what was written, rather than the system
    /// not letting it be read.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            // A file without the database's first bytes is one of invalid data,
            // and one that is too short ends too soon.
            Self::Database(error) => match &**error {
                redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => true,
                redb::Error::Io(error) => matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
                ),
                _ => false,
            },
            Self::Format { .. } | Self::OtherCircle { .. } | Self::Order { .. } => false,
        }
    }
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// When a write is safe from a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persist {
    /// When the call returns, together with everything before it.
    Now,
    /// With the next write that is persisted [`Persist::Now`]; a crash before
    /// that loses it whole.
    Later,
}

/// A finalized block with everything that follows from it.
#[derive(Clone, Copy)]
pub struct Commit<'a> {
    /// The block's header.
    pub header: &'a Header,
    /// Encoded transactions, in order.
    pub transactions: &'a [Vec<u8>],
    /// Entries written and deleted.
    pub changes: &'a Changes,
    /// What happened to the tree.
    pub tree: &'a TreeUpdate,
    /// One for each transaction, in order.
    pub receipts: &'a [Receipt],
    /// One list for each transaction, then one for the end of the block.
    pub events: &'a [Vec<Event>],
    /// The circle's signature, where it is known already.
    pub certificate: Option<&'a Certificate>,
}

/// The node's file. One process at a time has it open.
#[derive(Debug)]
pub struct Store {
    database: Database,
    /// What is kept of the past.
    retention: Mutex<Retention>,
}

impl Store {
    /// Opens or makes the file at `path`.
    ///
    /// Errors: [`StoreError::Database`] also where another process has it open;
    ///         [`StoreError::Format`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::prepare(Builder::new().set_cache_size(CACHE_BYTES).create(path)?)
    }

    /// Reads the whole file at `path` and compares it with its checksums, and the
    /// tree's root with the tip's header.
    ///
    /// Errors: those of [`Store::open`] and [`Store::check`]; of a damaged file
    ///         such as [`StoreError::is_damage`] tells.
    pub fn verify(path: &Path, circle: CircleId) -> Result<(), StoreError> {
        let mut database = Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
        if !database.check_integrity()? {
            tracing::warn!(
                "the ledger's file was not closed in order; its last whole state stands"
            );
        }
        Self::prepare(database)?.check(circle)
    }

    /// A store on a disk in memory.
    ///
    /// Errors: as [`Store::open`].
    #[cfg(any(test, feature = "simulation"))]
    pub fn in_memory(disk: &MemoryDisk) -> Result<Self, StoreError> {
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES / 16)
            .create_with_backend(disk.backend())?;
        Self::prepare(database)
    }

    fn prepare(database: Database) -> Result<Self, StoreError> {
        let write = database.begin_write()?;
        {
            let mut meta = write.open_table(META)?;
            let found = meta.get(META_FORMAT)?.map(|value| value.value());
            match found {
                None => drop(meta.insert(META_FORMAT, FORMAT)?),
                Some(FORMAT) => {}
                Some(found) => return Err(StoreError::Format { found }),
            }
        }
        open_every_table(&write)?;
        write.open_table(staging::ANCHOR)?;
        write.commit()?;
        Ok(Self {
            database,
            retention: Mutex::default(),
        })
    }

    /// Keeps so much of the past, from the next block on.
    pub fn keep(&self, retention: Retention) {
        *self
            .retention
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = retention;
    }

    /// The state after the last stored block, as it stays however the store
    /// goes on; none before genesis is stored.
    pub fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        Snapshot::new(&self.database.begin_read()?)
    }

    /// Checks that the file belongs to `circle` and that its tree has the root
    /// that the tip's header names.
    ///
    /// Errors: [`StoreError::OtherCircle`], [`StoreError::Damaged`].
    pub fn check(&self, circle: CircleId) -> Result<(), StoreError> {
        let Some(snapshot) = self.snapshot()? else {
            return Ok(());
        };
        let header = snapshot.header();
        if header.circle != circle {
            return Err(StoreError::OtherCircle {
                found: header.circle,
                wanted: circle,
            });
        }
        let root = tree::root(&snapshot, header.height)?;
        if root != header.state_root {
            return Err(StoreError::Damaged(format!(
                "the tree's root at height {} is {root}, the header says {}",
                header.height, header.state_root
            )));
        }
        Ok(())
    }

    /// Stores the block after the tip (or genesis, where nothing is stored).
    ///
    /// Errors: [`StoreError::Order`]; nothing is stored on any error.
    pub fn commit(&self, block: &Commit<'_>, persist: Persist) -> Result<(), StoreError> {
        let mut write = self.database.begin_write()?;
        set_durability(&mut write, persist)?;
        let height = block.header.height;
        self.check_order(&write, height)?;
        let previous = write_state(&write, block.changes)?;
        let past =
            put(&write, HISTORY, height, &previous)? + write_tree(&write, height, block.tree)?;
        put(&write, HEADERS, height, block.header)?;
        let weight = put(&write, BLOCKS, height, &block.transactions)?
            + write_receipts(&write, height, block.receipts)?
            + put(&write, EVENTS, height, &block.events)?;
        if let Some(certificate) = block.certificate {
            put(&write, CERTIFICATES, height, certificate)?;
        }
        let retention = *self
            .retention
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        retention::apply(&write, height, (past, weight), &retention)?;
        write.commit()?;
        Ok(())
    }

    /// Stores the certificate of a block that was stored without one.
    ///
    /// Errors: [`StoreError::Database`].
    pub fn certify(&self, height: Height, certificate: &Certificate) -> Result<(), StoreError> {
        let mut write = self.database.begin_write()?;
        set_durability(&mut write, Persist::Later)?;
        put(&write, CERTIFICATES, height, certificate)?;
        write.commit()?;
        Ok(())
    }

    /// Makes everything stored so far safe from a crash.
    ///
    /// Errors: [`StoreError::Database`].
    pub fn persist(&self) -> Result<(), StoreError> {
        let mut write = self.database.begin_write()?;
        set_durability(&mut write, Persist::Now)?;
        write.commit()?;
        Ok(())
    }

    fn check_order(&self, write: &WriteTransaction, height: Height) -> Result<(), StoreError> {
        let headers = write.open_table(HEADERS)?;
        let tip = headers.last()?.map(|(tip, _)| Height(tip.value()));
        match tip {
            None if height.0 == 0 => Ok(()),
            Some(tip) if tip.plus(1) == height => Ok(()),
            tip => Err(StoreError::Order {
                height,
                tip: tip.unwrap_or_default(),
            }),
        }
    }
}

fn set_durability(write: &mut WriteTransaction, persist: Persist) -> Result<(), StoreError> {
    match persist {
        Persist::Later => write.set_durability(Durability::None)?,
        Persist::Now => {
            write.set_durability(Durability::Immediate)?;
            // After a crash the file opens at once instead of being read whole.
            write.set_quick_repair(true);
        }
    }
    Ok(())
}

/// Writes the entries and gives what stood there before.
fn write_state(write: &WriteTransaction, changes: &Changes) -> Result<Previous, StoreError> {
    let mut state = write.open_table(STATE)?;
    let mut previous = Vec::with_capacity(changes.len());
    for (key, value) in changes {
        let old = match value {
            Some(value) => state.insert(key.as_slice(), value.as_slice())?,
            None => state.remove(key.as_slice())?,
        };
        previous.push((key.clone(), old.map(|old| old.value().to_vec())));
    }
    Ok(previous)
}

/// Writes the receipts as one list, and where in it each transaction's is; bytes written.
fn write_receipts(
    write: &WriteTransaction,
    height: Height,
    receipts: &[Receipt],
) -> Result<u64, StoreError> {
    // A block's number of transactions is bounded far below.
    let mut list = (receipts.len() as u32).to_le_bytes().to_vec();
    let mut transactions = write.open_table(TRANSACTIONS)?;
    for receipt in receipts {
        transactions.insert(&receipt.transaction.0, (height.0, list.len() as u32))?;
        receipt
            .serialize(&mut list)
            .expect("a receipt always encodes");
    }
    write
        .open_table(RECEIPTS)?
        .insert(height.0, list.as_slice())?;
    Ok(list.len() as u64)
}

/// Writes the tree's new nodes, and which ones they replace; bytes written.
fn write_tree(
    write: &WriteTransaction,
    height: Height,
    tree: &TreeUpdate,
) -> Result<u64, StoreError> {
    let mut nodes = write.open_table(NODES)?;
    let mut bytes = 0;
    for (key, node) in tree.nodes() {
        let key = tree::key_bytes(key);
        let node = borsh::to_vec(node).expect("a tree node always encodes");
        nodes.insert(key.as_slice(), node.as_slice())?;
        bytes += (key.len() + node.len()) as u64;
    }
    let stale: Vec<Vec<u8>> = tree.stale().map(tree::key_bytes).collect();
    Ok(bytes + put(write, STALE, height, &stale)?)
}
