//! How do chunks become a store that can be trusted?
//!
//! Each chunk is checked against the state root of a header that the circle has
//! certified, before anything of it is stored; the tree's library rebuilds the
//! tree from the left to the right while it checks. A crash, even in the
//! middle of a write, loses the last chunks at most: the next process goes on
//! with the one that the staged store names.
//!
//! Trusts the manifest's check and the verdicts of the tree's library; nobody who
//! serves.

use std::{
    mem,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex},
};

use jmt::{
    KeyHash, OwnedValue, RootHash, Version,
    restore::{JellyfishMerkleRestore, StateSnapshotReceiver as _},
    storage::{LeafNode, Node, NodeBatch, NodeKey, TreeReader, TreeWriter},
};
use wire::{Digest, Height};

use super::format::{CheckedManifest, Chunk, FormatError, TreeHash};
use crate::store::{
    Entries, Persist, Store, StoreError,
    staging::{Progress, StagedNodes},
};

/// Chunks between two syncs: what a crash may cost, against what syncs cost.
const CHUNKS_PER_SYNC: u32 = 8;

/// Why a state did not become whole.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Our store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever gave the chunk is at fault: it does not decode.
    #[error("chunk {index} is no chunk")]
    Format {
        /// The chunk's number.
        index: u32,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// Whoever gave the chunk is at fault: its entries are not the state's.
    #[error("chunk {index} is not of the certified state: {reason}")]
    Unproven {
        /// The chunk's number.
        index: u32,
        /// What the tree's library found.
        reason: String,
    },
    /// Whoever gave the manifest is at fault: chunks are missing after its last.
    #[error("the chunks end before the certified state does")]
    Incomplete,
    /// The staged store holds something else.
    #[error("the store holds another checkpoint, of block {0}")]
    Other(Height),
}

impl RestoreError {
    /// Whether who gave the chunk is at fault, and not this machine.
    pub fn blames_giver(&self) -> bool {
        match self {
            Self::Format { .. } | Self::Unproven { .. } | Self::Incomplete => true,
            Self::Store(_) | Self::Other(_) => false,
        }
    }
}

/// Rebuilds and checks a tree chunk by chunk; what it makes is for its owner to
/// store.
struct Rebuilder {
    tree: JellyfishMerkleRestore<TreeHash>,
    made: Arc<Made>,
    root: Digest,
    version: Version,
    /// Entries up to this hash were taken before.
    taken: Option<Digest>,
}

/// The nodes that the tree's library has finished.
#[derive(Default)]
struct Made(Mutex<NodeBatch>);

impl Made {
    fn take(&self) -> NodeBatch {
        mem::take(&mut *self.0.lock().expect("no holder of the nodes panics"))
    }
}

impl TreeWriter for Made {
    fn write_node_batch(&self, batch: &NodeBatch) -> anyhow::Result<()> {
        let mut nodes = self.0.lock().expect("no holder of the nodes panics");
        // Values are in the chunk already.
        nodes.extend(batch.nodes().clone(), []);
        Ok(())
    }
}

/// What the tree's library reads when it goes on.
struct Resumed {
    nodes: Vec<(NodeKey, Node)>,
    rightmost: Option<(NodeKey, LeafNode)>,
    made: Arc<Made>,
}

impl TreeWriter for Resumed {
    fn write_node_batch(&self, batch: &NodeBatch) -> anyhow::Result<()> {
        self.made.write_node_batch(batch)
    }
}

impl TreeReader for Resumed {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        let found = self.nodes.iter().find(|(known, _)| known == key);
        Ok(found.map(|(_, node)| node.clone()))
    }

    fn get_value_option(&self, _: Version, _: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        anyhow::bail!("values are not read while a tree is rebuilt")
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Ok(self.rightmost.clone())
    }
}

impl Rebuilder {
    fn begin(manifest: &CheckedManifest) -> Result<Self, RestoreError> {
        let made = Arc::new(Made::default());
        let header = &manifest.header;
        let root = RootHash(header.state_root.0);
        let tree = JellyfishMerkleRestore::new_overwrite(made.clone(), header.height.0, root)
            .map_err(damaged)?;
        Ok(Self {
            tree,
            made,
            root: header.state_root,
            version: header.height.0,
            taken: None,
        })
    }

    /// Goes on after what `staged` has.
    fn resume(manifest: &CheckedManifest, staged: &StagedNodes<'_>) -> Result<Self, RestoreError> {
        let made = Arc::new(Made::default());
        let header = &manifest.header;
        let (version, root) = (header.height.0, RootHash(header.state_root.0));
        let rightmost = staged.get_rightmost_leaf().map_err(damaged)?;
        let taken = rightmost
            .as_ref()
            .map(|(_, leaf)| Digest(leaf.key_hash().0));
        let resumed = Resumed {
            nodes: neighbours(staged, version, rightmost.as_ref()).map_err(damaged)?,
            rightmost,
            made: made.clone(),
        };
        let tree =
            JellyfishMerkleRestore::new(Arc::new(resumed), version, root).map_err(damaged)?;
        Ok(Self {
            tree,
            made,
            root: header.state_root,
            version,
            taken,
        })
    }

    /// Checks a chunk; gives it with its new entries, and the nodes that are new.
    ///
    /// On an error this is of no use any more.
    fn add(&mut self, index: u32, bytes: &[u8]) -> Result<(Chunk, NodeBatch), RestoreError> {
        let mut chunk =
            Chunk::decode(bytes).map_err(|source| RestoreError::Format { index, source })?;
        // What was taken before is not checked again, and so must not be stored
        // again. It comes at the beginning of one chunk only.
        let taken = self.taken.take();
        let mut entries = Vec::with_capacity(chunk.entries.len());
        chunk.entries.retain(|(key, value)| {
            let hash = Digest::of(&[key.as_slice()]);
            let is_new = taken.is_none_or(|taken| hash > taken);
            if is_new {
                entries.push((KeyHash(hash.0), value.clone()));
            }
            is_new
        });
        let unproven = |reason: String| RestoreError::Unproven { index, reason };
        let proof = chunk.proof.clone();
        guarded(|| self.tree.add_chunk(entries, proof)).map_err(unproven)?;
        Ok((chunk, self.made.take()))
    }

    /// The last nodes, with the root.
    fn finish(self) -> Result<NodeBatch, RestoreError> {
        let tree = self.tree;
        guarded(|| tree.finish()).map_err(|_| RestoreError::Incomplete)?;
        let nodes = self.made.take();
        let root = nodes.nodes().iter().find_map(|(key, node)| {
            let is_root = key.version() == self.version && key.nibble_path().is_empty();
            is_root.then(|| match node {
                Node::Internal(node) => node.hash::<TreeHash>(),
                Node::Leaf(leaf) => leaf.hash::<TreeHash>(),
                Node::Null => [0; 32],
            })
        });
        match root {
            Some(root) if Digest(root) == self.root => Ok(nodes),
            _ => Err(RestoreError::Incomplete),
        }
    }
}

/// Calls the tree's library, which asserts in places that its leaves are those
/// of a tree: before it has checked them, so that whoever gives the leaves
/// could end the process. What it was working on is of no use afterwards.
fn guarded(work: impl FnOnce() -> anyhow::Result<()>) -> Result<(), String> {
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| format!("{error:#}")),
        Err(_) => Err("the leaves are not those of a tree".to_owned()),
    }
}

fn damaged(error: anyhow::Error) -> RestoreError {
    RestoreError::Store(StoreError::Damaged(format!("{error:#}")))
}

/// What the tree's library looks at when it goes on: the ancestors of the
/// rightmost leaf and all their children.
fn neighbours(
    staged: &StagedNodes<'_>,
    version: Version,
    rightmost: Option<&(NodeKey, LeafNode)>,
) -> anyhow::Result<Vec<(NodeKey, Node)>> {
    let mut nodes = Vec::new();
    let Some((leaf_key, _)) = rightmost else {
        return Ok(nodes);
    };
    let path: Vec<_> = leaf_key.nibble_path().nibbles().collect();
    for depth in 0..path.len() {
        let above = path[..depth].iter().copied();
        let key = NodeKey::new(version, above.clone().collect());
        nodes.extend(staged.get_node_option(&key)?.map(|node| (key, node)));
        for child in 0..16u8 {
            let key = NodeKey::new(version, above.clone().chain([child.into()]).collect());
            nodes.extend(staged.get_node_option(&key)?.map(|node| (key, node)));
        }
    }
    Ok(nodes)
}

/// Checks a whole checkpoint and stores nothing.
pub struct Verification {
    tree: Rebuilder,
    next: u32,
}

impl Verification {
    /// Begins with the first chunk.
    ///
    /// Errors: [`RestoreError::Store`], which the tree's library has no reason for.
    pub fn begin(manifest: &CheckedManifest) -> Result<Self, RestoreError> {
        let tree = Rebuilder::begin(manifest)?;
        Ok(Self { tree, next: 0 })
    }

    /// Checks the next chunk and gives its entries.
    ///
    /// Errors: [`RestoreError::Format`], [`RestoreError::Unproven`]; it is of no
    ///         use any more then.
    pub fn add(&mut self, bytes: &[u8]) -> Result<Entries, RestoreError> {
        let (chunk, _) = self.tree.add(self.next, bytes)?;
        self.next += 1;
        Ok(chunk.entries)
    }

    /// Checks that nothing is missing after the last chunk.
    ///
    /// Errors: [`RestoreError::Incomplete`].
    pub fn finish(self) -> Result<(), RestoreError> {
        if self.next == 0 {
            return Err(RestoreError::Incomplete);
        }
        self.tree.finish().map(drop)
    }
}

/// A store that becomes that of a checkpoint's block.
pub struct Restoration {
    store: Store,
    manifest: CheckedManifest,
    tree: Rebuilder,
    progress: Progress,
    /// The chunk that is taken next.
    next: u32,
}

impl Restoration {
    /// Begins on an empty store, or goes on with what is staged on it.
    ///
    /// Errors: [`RestoreError::Other`] if something else is staged on it;
    ///         [`RestoreError::Store`].
    pub fn open(store: Store, manifest: CheckedManifest) -> Result<Self, RestoreError> {
        let progress = match store.staged()? {
            None => {
                if let Some(held) = store.snapshot()? {
                    return Err(RestoreError::Other(held.height()));
                }
                store.stage(&manifest)?;
                Progress::default()
            }
            Some((staged, progress)) => {
                let same =
                    staged.header == manifest.header && staged.chunk_bytes == manifest.chunk_bytes;
                if !same {
                    return Err(RestoreError::Other(staged.header.height));
                }
                progress
            }
        };
        let (tree, next) = resume(&store, &manifest, &progress)?;
        Ok(Self {
            store,
            manifest,
            tree,
            progress,
            next,
        })
    }

    /// The checkpoint that is restored.
    pub fn manifest(&self) -> &CheckedManifest {
        &self.manifest
    }

    /// The number of the chunk to give next; none after the last.
    pub fn next_chunk(&self) -> Option<u32> {
        (self.next < self.manifest.chunks).then_some(self.next)
    }

    /// Takes the chunk that [`Restoration::next_chunk`] names.
    ///
    /// Errors: [`RestoreError`]; nothing was stored, and a chunk is asked for
    ///         again.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let index = self.next;
        let (chunk, nodes) = match self.tree.add(index, bytes) {
            Ok(added) => added,
            Err(error) => {
                // The library has begun to work the bad chunk in.
                (self.tree, self.next) = resume(&self.store, &self.manifest, &self.progress)?;
                return Err(error);
            }
        };
        let chunks = self.progress.chunks.max(index + 1);
        let rightmost = rightmost(&nodes).or(self.progress.rightmost.take());
        self.progress = Progress { chunks, rightmost };
        let persist = match (index + 1).is_multiple_of(CHUNKS_PER_SYNC) {
            true => Persist::Now,
            false => Persist::Later,
        };
        self.store
            .stage_chunk(&nodes, &chunk.entries, &self.progress, persist)?;
        self.next = index + 1;
        Ok(())
    }

    /// Makes the store whole, after the last chunk.
    ///
    /// Errors: [`RestoreError::Incomplete`]: what is staged is then of no use;
    ///         [`RestoreError::Store`].
    pub fn finish(self) -> Result<Store, RestoreError> {
        if self.progress.chunks == 0 {
            return Err(RestoreError::Incomplete);
        }
        let nodes = self.tree.finish()?;
        self.store.stage_end(&self.manifest, &nodes)?;
        self.store.check(self.manifest.header.circle)?;
        Ok(self.store)
    }
}

/// Goes on with what is staged. The last entry of the last chunk is not among
/// the nodes yet, so that chunk is asked for again.
fn resume(
    store: &Store,
    manifest: &CheckedManifest,
    progress: &Progress,
) -> Result<(Rebuilder, u32), RestoreError> {
    if progress.rightmost.is_none() {
        return Ok((Rebuilder::begin(manifest)?, 0));
    }
    let staged = StagedNodes {
        store,
        rightmost: progress.rightmost.clone(),
    };
    let tree = Rebuilder::resume(manifest, &staged)?;
    Ok((tree, progress.chunks.saturating_sub(1)))
}

/// The rightmost leaf of some nodes.
fn rightmost(nodes: &NodeBatch) -> Option<(NodeKey, Node)> {
    let leaves = nodes.nodes().iter().filter_map(|(key, node)| match node {
        Node::Leaf(leaf) => Some((leaf.key_hash(), key, node)),
        Node::Internal(_) | Node::Null => None,
    });
    let last = leaves.max_by_key(|(hash, _, _)| *hash);
    last.map(|(_, key, node)| (key.clone(), node.clone()))
}
