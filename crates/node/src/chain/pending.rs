//! Which executed blocks may still become final?
//!
//! They form a tree that grows from the finalized tip. It is bounded by the
//! engine: one block for each view that is not decided.

use std::{collections::BTreeMap, sync::Arc};

use wire::{Digest, Height};

use super::Executed;

/// Executed blocks above the finalized tip, by digest.
#[derive(Default)]
pub(super) struct Pending {
    blocks: BTreeMap<Digest, Arc<Executed>>,
    newest: Option<Digest>,
}

impl Pending {
    pub(super) fn get(&self, digest: Digest) -> Option<Arc<Executed>> {
        self.blocks.get(&digest).cloned()
    }

    pub(super) fn insert(&mut self, block: Arc<Executed>) {
        self.newest = Some(block.digest);
        self.blocks.insert(block.digest, block);
    }

    /// The block that was executed last.
    pub(super) fn newest(&self) -> Option<Digest> {
        self.newest
    }

    /// The blocks from `digest` down to the child of `tip`, in this order;
    /// none if `digest` does not descend from `tip` by executed blocks.
    pub(super) fn line(&self, digest: Digest, tip: Digest) -> Option<Vec<Arc<Executed>>> {
        let mut line = Vec::new();
        let mut at = digest;
        while at != tip {
            let block = self.blocks.get(&at)?;
            at = block.header.parent;
            line.push(block.clone());
        }
        Some(line)
    }

    /// Forgets the finalized block `digest` and everything that does not
    /// descend from it.
    pub(super) fn finalize(&mut self, digest: Digest, height: Height) {
        let mut by_height: Vec<Arc<Executed>> =
            std::mem::take(&mut self.blocks).into_values().collect();
        by_height.retain(|block| block.header.height > height);
        by_height.sort_by_key(|block| block.header.height);
        for block in by_height {
            let parent = block.header.parent;
            if parent == digest || self.blocks.contains_key(&parent) {
                self.blocks.insert(block.digest, block);
            }
        }
        self.newest = self
            .newest
            .filter(|newest| self.blocks.contains_key(newest));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }
}
