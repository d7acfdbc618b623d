//! How do changes of the state become a new root of its authenticated tree?
//!
//! The tree is `jmt`'s: its version is the block's height, its key hash is
//! SHA-256 of the raw key. This file turns changes into an update that can be
//! held in memory while a block waits for finality, and nodes into rows.

use std::collections::BTreeMap;

use jmt::{
    KeyHash, OwnedValue, Sha256Jmt, Version,
    proof::SparseMerkleRangeProof,
    storage::{LeafNode, NibblePath, Node, NodeKey, TreeReader, TreeUpdateBatch},
};
use ledger::Changes;
use proof::Path;
use wire::{Digest, Height};

use super::StoreError;

/// What one block did to the tree.
#[derive(Clone, Debug)]
pub struct TreeUpdate {
    /// The root after the block.
    pub root: Digest,
    batch: TreeUpdateBatch,
    /// The root node before the block, where the library does not count it as
    /// replaced although a node at the new height stands in its place.
    replaced_root: Option<NodeKey>,
}

impl TreeUpdate {
    /// Nodes that the block made.
    pub fn nodes(&self) -> &BTreeMap<NodeKey, Node> {
        self.batch.node_batch.nodes()
    }

    /// Keys of nodes that no longer serve from the block's height on.
    pub fn stale(&self) -> impl Iterator<Item = &NodeKey> {
        let listed = self.batch.stale_node_index_batch.iter();
        listed
            .map(|index| &index.node_key)
            .chain(&self.replaced_root)
    }
}

/// The nodes of a tree that holds nothing yet.
pub struct Nothing;

impl TreeReader for Nothing {
    fn get_node_option(&self, _: &NodeKey) -> anyhow::Result<Option<Node>> {
        Ok(None)
    }

    fn get_value_option(&self, _: Version, _: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(None)
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Ok(None)
    }
}

fn key_hash(key: &[u8]) -> KeyHash {
    KeyHash(Digest::of(&[key]).0)
}

fn root_key(height: Height) -> NodeKey {
    NodeKey::new(height.0, std::iter::empty().collect::<NibblePath>())
}

fn damaged(error: anyhow::Error) -> StoreError {
    StoreError::Damaged(format!("{error:#}"))
}

/// Applies `changes` to the tree of the height below `height`.
///
/// Errors: [`StoreError::Damaged`] where `nodes` lacks a node of that tree.
pub fn update(
    nodes: &impl TreeReader,
    height: Height,
    changes: &Changes,
) -> Result<TreeUpdate, StoreError> {
    let set = changes
        .iter()
        .map(|(key, value)| (key_hash(key), value.clone()));
    let (root, batch) = Sha256Jmt::new(nodes)
        .put_value_set(set, height.0)
        .map_err(damaged)?;
    // Where nothing changed, the library copies the root to the new version
    // and forgets to say that the old one is stale.
    let replaced_root = height
        .0
        .checked_sub(1)
        .map(|before| root_key(Height(before)))
        .filter(|before| {
            let mut stale = batch.stale_node_index_batch.iter();
            !stale.any(|index| index.node_key == *before)
        });
    Ok(TreeUpdate {
        root: Digest(root.0),
        batch,
        replaced_root,
    })
}

/// The root of the tree at `height`.
///
/// Errors: [`StoreError::Damaged`] if it has none.
pub fn root(nodes: &impl TreeReader, height: Height) -> Result<Digest, StoreError> {
    let root = Sha256Jmt::new(nodes).get_root_hash(height.0);
    root.map(|root| Digest(root.0)).map_err(damaged)
}

/// The path of `key` in the tree at `height`.
///
/// Errors: [`StoreError::Damaged`] if a node is missing.
pub fn path(nodes: &impl TreeReader, key: &[u8], height: Height) -> Result<Path, StoreError> {
    let hash = key_hash(key);
    let (_, proof) = Sha256Jmt::new(nodes)
        .get_with_proof(hash, height.0)
        .map_err(damaged)?;
    let bytes = borsh::to_vec(&proof).expect("a proof always encodes");
    Path::from_library(&bytes, Digest(hash.0))
        .map_err(|error| StoreError::Damaged(error.to_string()))
}

/// What is to the right of the path of the entry with this key hash, which is
/// in the tree at `height`.
///
/// Errors: [`StoreError::Damaged`] if it is not, or a node is missing.
pub fn range_proof(
    nodes: &impl TreeReader,
    hash: Digest,
    height: Height,
) -> Result<SparseMerkleRangeProof<jmt_sha2::Sha256>, StoreError> {
    Sha256Jmt::new(nodes)
        .get_range_proof(KeyHash(hash.0), height.0)
        .map_err(damaged)
}

/// A node's key as a row's key: height, number of nibbles, nibbles two by two.
///
/// Big-endian heights put new nodes at the table's end.
pub fn key_bytes(key: &NodeKey) -> Vec<u8> {
    let nibbles = key.nibble_path();
    let mut bytes = Vec::with_capacity(9 + nibbles.num_nibbles().div_ceil(2));
    bytes.extend_from_slice(&key.version().to_be_bytes());
    // A path has at most 64 nibbles.
    bytes.push(nibbles.num_nibbles() as u8);
    for (index, nibble) in nibbles.nibbles().enumerate() {
        let nibble = nibble.as_usize() as u8;
        match index % 2 {
            0 => bytes.push(nibble << 4),
            _ => {
                if let Some(last) = bytes.last_mut() {
                    *last |= nibble;
                }
            }
        }
    }
    bytes
}
