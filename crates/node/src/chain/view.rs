//! What does the ledger hold after a block that is not final yet?
//!
//! A [`View`] lays the changes of a block and its unfinalized ancestors over
//! the finalized state, for the ledger's reads and for the tree's.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use jmt::{
    KeyHash, OwnedValue, Version,
    storage::{LeafNode, Node, NodeKey, TreeReader},
};
use ledger::StateRead;

use super::Executed;
use crate::store::Snapshot;

/// The state after one block.
///
/// Shape: `layers` runs from the block itself to its earliest unfinalized
///        ancestor, whose parent is `base`'s tip.
pub struct View<'a> {
    layers: Vec<Arc<Executed>>,
    base: &'a Snapshot,
}

impl<'a> View<'a> {
    pub(super) fn new(layers: Vec<Arc<Executed>>, base: &'a Snapshot) -> Self {
        Self { layers, base }
    }

    /// Transactions in unfinalized blocks beneath the view.
    pub(super) fn unfinalized_transactions(&self) -> usize {
        self.layers.iter().map(|layer| layer.receipts.len()).sum()
    }
}

impl StateRead for View<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        for layer in &self.layers {
            if let Some(change) = layer.changes.get(key) {
                return change.clone();
            }
        }
        self.base.get(key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut changed: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        // Older layers first, so that newer ones replace what they wrote.
        for layer in self.layers.iter().rev() {
            let range = layer.changes.range::<[u8], _>((start, Bound::Unbounded));
            for (key, value) in range.take_while(|(key, _)| key.starts_with(prefix)) {
                changed.insert(key, value.as_deref());
            }
        }
        if changed.is_empty() {
            return self.base.scan(prefix, after, limit);
        }
        // Each change hides at most one entry of the base, so that so many
        // more are enough to fill the limit.
        let base = self
            .base
            .scan(prefix, after, limit.saturating_add(changed.len()));
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = base.into_iter().collect();
        for (key, value) in changed {
            match value {
                Some(value) => drop(merged.insert(key.to_vec(), value.to_vec())),
                None => drop(merged.remove(key)),
            }
        }
        merged.into_iter().take(limit).collect()
    }
}

impl TreeReader for View<'_> {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        for layer in &self.layers {
            // A node's version is the height of the block that made it.
            if layer.header.height.0 == key.version() {
                return Ok(layer.tree.nodes().get(key).cloned());
            }
        }
        self.base.get_node_option(key)
    }

    fn get_value_option(
        &self,
        version: Version,
        key: KeyHash,
    ) -> anyhow::Result<Option<OwnedValue>> {
        self.base.get_value_option(version, key)
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        self.base.get_rightmost_leaf()
    }
}
