//! What is on disk of a state that is not whole yet, or did not begin at genesis?
//!
//! A staged store has the tree's nodes and entries of the chunks so far, how
//! many chunks they are, and of which checkpoint. It has no header, so that
//! nobody takes it for a chain; with the last chunk it gets one. A chunk is one
//! write transaction: a crash leaves a whole number of them. Which chunks are
//! good is for [`crate::checkpoint::restore`] to say.

use borsh::{BorshDeserialize, BorshSerialize};
use jmt::{
    KeyHash, OwnedValue, Version,
    storage::{LeafNode, Node, NodeBatch, NodeKey, TreeReader},
};
use redb::{ReadableDatabase as _, TableDefinition, WriteTransaction};

use super::{Persist, Store, StoreError, set_durability, tables::*, tree};
use crate::checkpoint::Manifest;

/// The checkpoint from which this store's state comes, under the key below.
pub(super) const ANCHOR: TableDefinition<&str, &[u8]> = TableDefinition::new("anchor");
/// A whole state's manifest.
const WHOLE: &str = "whole";
/// The manifest of a state that is not whole yet.
const STAGED: &str = "staged";
/// How far it is ([`Progress`]).
const PROGRESS: &str = "progress";

/// How far a staged state is.
#[derive(Clone, Debug, Default, BorshSerialize, BorshDeserialize)]
pub(crate) struct Progress {
    /// Chunks that were taken.
    pub chunks: u32,
    /// The rightmost leaf among the nodes, and its place: the last entry's own
    /// place is not known before the next one's.
    pub rightmost: Option<(NodeKey, Node)>,
}

impl Store {
    /// The manifest of the checkpoint from which the state comes; none where it
    /// comes from genesis, and none of a state that is not whole.
    ///
    /// Errors: [`StoreError`].
    pub fn anchor(&self) -> Result<Option<Manifest>, StoreError> {
        self.anchor_row(WHOLE, "the anchor")
    }

    /// The manifest of what is staged, and how far it is.
    pub(crate) fn staged(&self) -> Result<Option<(Manifest, Progress)>, StoreError> {
        let manifest = self.anchor_row(STAGED, "the staged manifest")?;
        let progress = self.anchor_row(PROGRESS, "the staged progress")?;
        Ok(manifest.map(|manifest| (manifest, progress.unwrap_or_default())))
    }

    fn anchor_row<T: BorshDeserialize>(
        &self,
        key: &str,
        what: &str,
    ) -> Result<Option<T>, StoreError> {
        let table = self.database.begin_read()?.open_table(ANCHOR)?;
        match table.get(key)? {
            Some(bytes) => decode(what, bytes.value()).map(Some),
            None => Ok(None),
        }
    }

    /// Begins to stage the state of `manifest`.
    pub(crate) fn stage(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let mut write = self.database.begin_write()?;
        set_durability(&mut write, Persist::Now)?;
        write
            .open_table(ANCHOR)?
            .insert(STAGED, manifest.encode().as_slice())?;
        write.commit()?;
        Ok(())
    }

    /// Adds a chunk.
    pub(crate) fn stage_chunk(
        &self,
        nodes: &NodeBatch,
        entries: &[(Vec<u8>, Vec<u8>)],
        progress: &Progress,
        persist: Persist,
    ) -> Result<(), StoreError> {
        let mut write = self.database.begin_write()?;
        set_durability(&mut write, persist)?;
        write_nodes(&write, nodes)?;
        {
            let mut state = write.open_table(STATE)?;
            for (key, value) in entries {
                state.insert(key.as_slice(), value.as_slice())?;
            }
            let bytes = borsh::to_vec(progress).expect("progress always encodes");
            write
                .open_table(ANCHOR)?
                .insert(PROGRESS, bytes.as_slice())?;
        }
        write.commit()?;
        Ok(())
    }

    /// Adds the last nodes and makes the store that of `manifest`'s block.
    pub(crate) fn stage_end(
        &self,
        manifest: &Manifest,
        nodes: &NodeBatch,
    ) -> Result<(), StoreError> {
        let mut write = self.database.begin_write()?;
        set_durability(&mut write, Persist::Now)?;
        write_nodes(&write, nodes)?;
        let height = manifest.header.height;
        put(&write, HEADERS, height, &manifest.header)?;
        put(&write, CERTIFICATES, height, &manifest.certificate)?;
        {
            let mut anchor = write.open_table(ANCHOR)?;
            anchor.remove(STAGED)?;
            anchor.remove(PROGRESS)?;
            anchor.insert(WHOLE, manifest.encode().as_slice())?;
        }
        write.commit()?;
        Ok(())
    }
}

fn write_nodes(write: &WriteTransaction, nodes: &NodeBatch) -> Result<(), StoreError> {
    let mut table = write.open_table(NODES)?;
    for (key, node) in nodes.nodes() {
        let bytes = borsh::to_vec(node).expect("a tree node always encodes");
        table.insert(tree::key_bytes(key).as_slice(), bytes.as_slice())?;
    }
    Ok(())
}

/// The nodes of a staged state, for the tree's library to go on from.
pub(crate) struct StagedNodes<'a> {
    pub store: &'a Store,
    pub rightmost: Option<(NodeKey, Node)>,
}

impl TreeReader for StagedNodes<'_> {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        let table = self.store.database.begin_read()?.open_table(NODES)?;
        match table.get(tree::key_bytes(key).as_slice())? {
            Some(bytes) => Ok(Some(Node::try_from_slice(bytes.value())?)),
            None => Ok(None),
        }
    }

    fn get_value_option(&self, _: Version, _: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        anyhow::bail!("values are not read while a state is staged")
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        match &self.rightmost {
            Some((key, Node::Leaf(leaf))) => Ok(Some((key.clone(), leaf.clone()))),
            Some(_) => anyhow::bail!("the rightmost leaf of the staged state is no leaf"),
            None => Ok(None),
        }
    }
}
