//! Did the engine keep its word to the chain?
//!
//! A recorder stands between the engine and every simulated chain. It passes
//! every call on and holds the engine to what [`Chain`]'s documentation
//! promises. It knows nothing of consensus.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    sync::Arc,
};

use commonware_utils::sync::Mutex;
use wire::{Block, Digest, Height};

use super::Conduct;
use crate::{Anchor, Certificate, Chain, Office, keys::PeerKey};

/// What one validator did over all its lives.
#[derive(Default)]
pub(super) struct Record {
    /// Digest by height.
    pub finalized: BTreeMap<u64, Digest>,
    /// When each was first delivered, in milliseconds of the run.
    pub finalized_ms: BTreeMap<u64, u64>,
    /// Certificates by height.
    pub certificates: BTreeMap<u64, Certificate>,
    /// The block that was proposed on each parent, the last if several were.
    pub proposed: BTreeMap<Digest, Digest>,
    /// The height that the chain last called durable.
    pub durable: u64,
    /// Promises that were broken.
    pub broken: Vec<String>,
}

/// A chain under observation; one for every life of a validator.
pub(super) struct Recorder {
    chain: Box<dyn Chain>,
    record: Arc<Mutex<Record>>,
    /// The last height that was delivered, durable before or delivered since.
    delivered: u64,
    /// Blocks shown to the chain in this life, and its tip.
    shown: BTreeSet<Digest>,
    /// What the validator does to its own chain's blocks and dealings.
    conduct: Option<Conduct>,
    /// Milliseconds of the run.
    clock: Box<dyn Fn() -> u64 + Send>,
}

impl Recorder {
    pub(super) fn new(
        chain: Box<dyn Chain>,
        record: Arc<Mutex<Record>>,
        conduct: Option<Conduct>,
        clock: Box<dyn Fn() -> u64 + Send>,
    ) -> Self {
        let delivered = chain.durable_height().0;
        let mut shown = BTreeSet::from([chain.genesis().header.digest()]);
        let mut before = record.lock();
        shown.extend(before.finalized.get(&delivered).copied());
        let anchor = chain.anchor().map(|anchor| anchor.block.header);
        shown.extend(anchor.map(|header| header.digest()));
        // A store that is gone as a whole is replaced, not forgetful.
        if delivered != 0 && delivered < before.durable {
            let promise = format!("the chain keeps what it calls durable ({})", before.durable);
            before.broken.push(promise);
        }
        before.durable = delivered;
        drop(before);
        Self {
            chain,
            record,
            delivered,
            shown,
            conduct,
            clock,
        }
    }

    fn demand(&self, kept: bool, promise: &str, block: &Block) {
        if !kept {
            let height = block.header.height.0;
            self.record
                .lock()
                .broken
                .push(format!("{promise} (height {height})"));
        }
    }

    fn demand_parent(&self, parent: &Block) {
        let known = self.shown.contains(&parent.header.digest());
        self.demand(known, "the parent was shown before", parent);
        let above = parent.header.height.0 >= self.delivered;
        self.demand(above, "the parent is not below the finalized tip", parent);
    }
}

impl Chain for Recorder {
    fn genesis(&self) -> Block {
        self.chain.genesis()
    }

    fn anchor(&self) -> Option<Anchor> {
        self.chain.anchor()
    }

    fn kept_from(&self) -> Height {
        self.chain.kept_from()
    }

    fn durable_height(&self) -> Height {
        self.chain.durable_height()
    }

    fn epoch_length(&self) -> NonZeroU64 {
        self.chain.epoch_length()
    }

    fn office(&self) -> Arc<Office> {
        self.chain.office()
    }

    fn deal(&mut self, round: u64, dealing: Vec<u8>) -> Option<Vec<u8>> {
        let mut dealing = dealing;
        if self.conduct == Some(Conduct::BadDealing)
            && let Some(byte) = dealing.last_mut()
        {
            *byte ^= 1;
        }
        self.chain.deal(round, dealing)
    }

    fn share_replaced(&mut self) {
        self.chain.share_replaced();
    }

    fn propose(&mut self, parent: &Block, now_ms: u64) -> Option<Block> {
        self.demand_parent(parent);
        let mut block = self.chain.propose(parent, now_ms)?;
        if self.conduct == Some(Conduct::ForgeStateRoot) {
            block.header.state_root.0[0] ^= 1;
        }
        let (on, digest) = (parent.header.digest(), block.header.digest());
        self.record.lock().proposed.insert(on, digest);
        self.shown.insert(block.header.digest());
        Some(block)
    }

    fn verify(&mut self, parent: &Block, block: &Block, now_ms: u64) -> bool {
        self.demand_parent(parent);
        let linked = block.header.parent == parent.header.digest()
            && block.header.height == parent.header.height.plus(1);
        self.demand(linked, "the block is a child of the parent", block);
        let valid = self.chain.verify(parent, block, now_ms);
        if valid {
            self.shown.insert(block.header.digest());
        }
        valid
    }

    fn finalized(&mut self, block: Block, certificate: Option<Certificate>) {
        let (height, digest) = (block.header.height.0, block.header.digest());
        let next = height == self.delivered + 1;
        self.demand(next, "finalized blocks come in order, without gaps", &block);
        self.delivered = height;
        {
            let mut record = self.record.lock();
            let now = (self.clock)();
            record.finalized_ms.entry(height).or_insert(now);
            let before = record.finalized.insert(height, digest);
            if before.is_some_and(|before| before != digest) {
                record
                    .broken
                    .push(format!("a finalized block is for ever (height {height})"));
            }
            record
                .certificates
                .extend(certificate.map(|certificate| (height, certificate)));
        }
        self.chain.finalized(block, certificate);
        let durable = self.chain.durable_height().0;
        let mut record = self.record.lock();
        if durable > height || durable < record.durable {
            record
                .broken
                .push(format!("the chain keeps what it calls durable ({durable})"));
        }
        record.durable = durable;
        drop(record);
        self.shown.insert(digest);
    }

    fn certified(&mut self, height: Height, certificate: Certificate) {
        let mut record = self.record.lock();
        if height.0 > self.delivered {
            record.broken.push(format!(
                "certificates are for delivered blocks ({})",
                height.0
            ));
        }
        record.certificates.insert(height.0, certificate);
        drop(record);
        self.chain.certified(height, certificate);
    }

    fn gossip(&mut self, from: PeerKey, message: Vec<u8>) {
        self.chain.gossip(from, message);
    }

    fn has_work(&self) -> bool {
        self.chain.has_work()
    }
}

/// A height at which two validators differ, with the two, if there is one.
pub(super) fn fork(
    finalized: &BTreeMap<usize, BTreeMap<u64, Digest>>,
) -> Option<(u64, usize, usize)> {
    let mut agreed: BTreeMap<u64, (usize, Digest)> = BTreeMap::new();
    for (&other, blocks) in finalized {
        for (&height, digest) in blocks {
            let (one, first) = *agreed.entry(height).or_insert((other, *digest));
            if first != *digest {
                return Some((height, one, other));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fork_is_found_and_a_prefix_is_none() {
        let long = BTreeMap::from([(1, Digest([1; 32])), (2, Digest([2; 32]))]);
        let prefix = BTreeMap::from([(1, Digest([1; 32]))]);
        let forked = BTreeMap::from([(1, Digest([1; 32])), (2, Digest([3; 32]))]);
        let mut all = BTreeMap::from([(0, long), (1, prefix)]);
        assert_eq!(fork(&all), None);
        all.insert(2, forked);
        assert_eq!(fork(&all), Some((2, 0, 2)));
    }
}
