//! What did the ledger hold at one moment, however the store goes on?
//!
//! A snapshot is one read transaction: state, tree and history of the same
//! tip. It is shared between threads and is dropped soon after a newer one
//! exists, since the file cannot reuse pages that a snapshot still shows.

use std::ops::Bound;

use borsh::BorshDeserialize;
use jmt::{
    KeyHash, OwnedValue, Version,
    storage::{LeafNode, Node, NodeKey, TreeReader},
};
use ledger::StateRead;
use proof::{Certificate, Proof};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata as _};
use wire::{Digest, Event, Header, Height, Receipt, TransactionId};

use super::{StoreError, tables::*, tree};

/// A read-only view of the store as of one tip.
pub struct Snapshot {
    state: ReadOnlyTable<&'static [u8], &'static [u8]>,
    nodes: ReadOnlyTable<&'static [u8], &'static [u8]>,
    history: ReadOnlyTable<u64, &'static [u8]>,
    headers: ReadOnlyTable<u64, &'static [u8]>,
    certificates: ReadOnlyTable<u64, &'static [u8]>,
    blocks: ReadOnlyTable<u64, &'static [u8]>,
    receipts: ReadOnlyTable<u64, &'static [u8]>,
    events: ReadOnlyTable<u64, &'static [u8]>,
    transactions: ReadOnlyTable<&'static [u8; 32], (u64, u32)>,
    header: Header,
    digest: Digest,
}

/// Keys and values, keys ascending.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// One entry at one height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryAt {
    /// The height after whose block it was so.
    pub height: Height,
    /// The stored bytes, if there are any.
    pub value: Option<Vec<u8>>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("height", &self.header.height)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(super) fn new(read: &ReadTransaction) -> Result<Option<Self>, StoreError> {
        let headers = read.open_table(HEADERS)?;
        let Some((_, bytes)) = headers.last()? else {
            return Ok(None);
        };
        let header: Header = decode("the tip's header", bytes.value())?;
        drop(bytes);
        Ok(Some(Self {
            state: read.open_table(STATE)?,
            nodes: read.open_table(NODES)?,
            history: read.open_table(HISTORY)?,
            headers,
            certificates: read.open_table(CERTIFICATES)?,
            blocks: read.open_table(BLOCKS)?,
            receipts: read.open_table(RECEIPTS)?,
            events: read.open_table(EVENTS)?,
            transactions: read.open_table(TRANSACTIONS)?,
            digest: header.digest(),
            header,
        }))
    }

    /// The tip's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The digest of the tip's header.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The tip's height.
    pub fn height(&self) -> Height {
        self.header.height
    }

    fn row<T: BorshDeserialize>(
        &self,
        table: &ReadOnlyTable<u64, &'static [u8]>,
        what: &str,
        height: Height,
    ) -> Result<Option<T>, StoreError> {
        match table.get(height.0)? {
            Some(bytes) => decode(what, bytes.value()).map(Some),
            None => Ok(None),
        }
    }

    /// The header at `height`.
    pub fn header_at(&self, height: Height) -> Result<Option<Header>, StoreError> {
        self.row(&self.headers, "a header", height)
    }

    /// The certificate of the block at `height`, if it has one of its own.
    pub fn certificate(&self, height: Height) -> Result<Option<Certificate>, StoreError> {
        self.row(&self.certificates, "a certificate", height)
    }

    /// The encoded transactions of the block at `height`.
    pub fn transactions(&self, height: Height) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        self.row(&self.blocks, "a block", height)
    }

    /// The receipts of the block at `height`, in order.
    pub fn receipts(&self, height: Height) -> Result<Option<Vec<Receipt>>, StoreError> {
        self.row(&self.receipts, "a list of receipts", height)
    }

    /// The events of the block at `height`: one list for each transaction,
    /// then one for the end of the block.
    pub fn events(&self, height: Height) -> Result<Option<Vec<Vec<Event>>>, StoreError> {
        self.row(&self.events, "a list of events", height)
    }

    /// The receipt of a transaction that is in a block.
    pub fn receipt(&self, id: &TransactionId) -> Result<Option<Receipt>, StoreError> {
        let Some(place) = self.transactions.get(&id.0)? else {
            return Ok(None);
        };
        let (height, offset) = place.value();
        let list = self.receipts.get(height)?;
        let mut rest = list
            .as_ref()
            .and_then(|list| list.value().get(offset as usize..));
        let receipt = rest.as_mut().map(Receipt::deserialize);
        match receipt {
            Some(Ok(receipt)) if receipt.transaction == *id => Ok(Some(receipt)),
            _ => Err(StoreError::Damaged(format!(
                "transaction {id} is said to be in block {height}, which has no receipt of it"
            ))),
        }
    }

    /// The latest height whose block has a certificate of its own and at which
    /// entries can still be proven.
    pub fn certified(&self) -> Result<Option<Height>, StoreError> {
        let last = self.certificates.last()?;
        let height = last.map(|(height, _)| Height(height.value()));
        let from = self.provable_from()?;
        Ok(height.filter(|height| *height >= from))
    }

    /// The lowest height at which entries can still be proven.
    pub(super) fn provable_from(&self) -> Result<Height, StoreError> {
        let oldest = self.history.first()?;
        Ok(oldest.map_or(self.height(), |(height, _)| {
            Height(height.value().saturating_sub(1))
        }))
    }

    /// The value under `key` at the tip.
    pub fn entry(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state.get(key)?.map(|value| value.value().to_vec()))
    }

    /// The value under `key` after the block at `height`, which can still be proven:
    /// at most [`super::PROVABLE_HEIGHTS`] below the tip.
    pub fn entry_at(&self, key: &[u8], height: Height) -> Result<EntryAt, StoreError> {
        for later in height.0 + 1..=self.height().0 {
            let changed: Previous = self
                .row(&self.history, "a block's history", Height(later))?
                .ok_or_else(|| StoreError::Damaged(format!("no history of block {later}")))?;
            let place = changed.binary_search_by(|(changed, _)| changed.as_slice().cmp(key));
            if let Ok(index) = place {
                let value = changed.into_iter().nth(index).and_then(|(_, value)| value);
                return Ok(EntryAt { height, value });
            }
        }
        let value = self.entry(key)?;
        Ok(EntryAt { height, value })
    }

    /// Entries whose key begins with `prefix`, ascending, after `after`.
    pub fn entries(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut entries = Vec::new();
        for row in self.state.range::<&[u8]>((start, Bound::Unbounded))? {
            let (key, value) = row?;
            if entries.len() == limit || !key.value().starts_with(prefix) {
                break;
            }
            entries.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(entries)
    }

    /// The lowest height of which headers and blocks are kept.
    ///
    /// Errors: [`StoreError`].
    pub fn first_height(&self) -> Result<Height, StoreError> {
        let first = self.headers.first()?;
        Ok(first.map_or(self.height(), |(height, _)| Height(height.value())))
    }

    /// The lowest height of which transactions, receipts and events are kept;
    /// the next one's, where there are none yet.
    ///
    /// Errors: [`StoreError`].
    pub fn first_whole(&self) -> Result<Height, StoreError> {
        let first = self.events.first()?;
        Ok(first.map_or(self.height().plus(1), |(height, _)| Height(height.value())))
    }

    /// How many entries the state has.
    pub(crate) fn entry_count(&self) -> Result<u64, StoreError> {
        Ok(self.state.len()?)
    }

    /// Shows every key of the state, ascending.
    pub(crate) fn each_key(&self, mut see: impl FnMut(&[u8])) -> Result<(), StoreError> {
        for row in self.state.iter()? {
            see(row?.0.value());
        }
        Ok(())
    }

    /// Proves `key`'s value, or its absence, at [`Snapshot::certified`]; none
    /// where no recent block has a certificate of its own.
    ///
    /// Errors: [`StoreError::Damaged`] also where the tree contradicts the
    ///         flat state, so that a wrong proof never leaves the node.
    pub fn prove(&self, key: &[u8]) -> Result<Option<Proof>, StoreError> {
        match self.certified()? {
            Some(height) => self.prove_at(key, height).map(Some),
            None => Ok(None),
        }
    }

    /// As [`Snapshot::prove`], at a height that [`Snapshot::certified`] gave.
    pub fn prove_at(&self, key: &[u8], height: Height) -> Result<Proof, StoreError> {
        let missing = |what: &str| StoreError::Damaged(format!("no {what} at height {height}"));
        let header = self.header_at(height)?.ok_or_else(|| missing("header"))?;
        let certificate = self
            .certificate(height)?
            .ok_or_else(|| missing("certificate"))?;
        let value = self.entry_at(key, height)?.value;
        let path = tree::path(self, key, height)?;
        if path.root(key, value.as_deref()) != Ok(header.state_root) {
            return Err(StoreError::Damaged(format!(
                "the tree at height {height} contradicts the entry {}",
                hex::encode(key)
            )));
        }
        Ok(Proof {
            header: header.summary(),
            certificate,
            key: key.to_vec(),
            value,
            path,
        })
    }
}

/// The ledger's reads cannot fail: what it stored is there or the store is
/// damaged, and then the node must stop.
impl StateRead for Snapshot {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.entry(key).expect("the ledger's file can be read")
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.entries(prefix, after, limit)
            .expect("the ledger's file can be read")
    }
}

impl TreeReader for Snapshot {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        match self.nodes.get(tree::key_bytes(key).as_slice())? {
            Some(bytes) => Ok(Some(Node::try_from_slice(bytes.value())?)),
            None => Ok(None),
        }
    }

    /// The tree's library asks for a value beside its proof; the flat state
    /// has it, so that the tree stores none.
    fn get_value_option(&self, _: Version, _: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(Some(OwnedValue::new()))
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        anyhow::bail!("the tree is never restored from a stream of leaves")
    }
}
