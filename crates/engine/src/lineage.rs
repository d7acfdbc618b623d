//! Which blocks has the chain seen, and which still have to be shown to it?
//!
//! Consensus may ask about a block whose ancestors this validator never
//! verified (it was down, or slow). This file remembers what was executed and
//! what is final, so that the engine can show the missing ancestors first. It
//! is bounded by finality and holds digests only.

use std::collections::{BTreeMap, BTreeSet};

use wire::{Block, Digest, Height};

use crate::Certificate;

/// Finalized digests that are remembered. A question about an older block can
/// only be stale: consensus looks back far less.
const RECENT_HEIGHTS: usize = 1_024;

/// Certificates that wait for their block. A validator that is further behind
/// gets them with the blocks instead.
const MAX_WAITING_CERTIFICATES: usize = 4_096;

/// How a block stands to what the chain has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The chain has executed or finalized it, and still knows it.
    Known,
    /// It conflicts with a finalized block, or is too old to matter.
    Dead,
    /// The chain has to execute it first.
    Unknown,
}

#[derive(Clone, Copy)]
struct Final {
    digest: Digest,
    certified: bool,
}

/// What was executed above the finalized tip, and the latest finalized blocks.
pub(crate) struct Lineage {
    delivered: Height,
    recent: BTreeMap<Height, Final>,
    /// Blocks above the finalized tip, with their parents.
    executed: BTreeMap<(Height, Digest), Digest>,
    /// Certificates without their blocks, by epoch and view.
    waiting: BTreeMap<(u64, u64), (Digest, Certificate)>,
}

impl Lineage {
    pub(crate) fn new(durable: Height) -> Self {
        Self {
            delivered: durable,
            recent: BTreeMap::new(),
            executed: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// The highest height that was delivered to the chain.
    pub(crate) fn delivered(&self) -> Height {
        self.delivered
    }

    /// Remembers a finalized block that the chain had before this process.
    pub(crate) fn remember(&mut self, height: Height, digest: Digest, certified: bool) {
        self.recent.insert(height, Final { digest, certified });
    }

    pub(crate) fn standing(&self, height: Height, digest: Digest) -> Standing {
        if height > self.delivered {
            return match self.executed.contains_key(&(height, digest)) {
                true => Standing::Known,
                false => Standing::Unknown,
            };
        }
        match self.recent.get(&height) {
            Some(known) if known.digest == digest => Standing::Known,
            // The chain's own tip is trusted although the archive lacks it.
            None if height == self.delivered => Standing::Known,
            _ => Standing::Dead,
        }
    }

    pub(crate) fn executed(&mut self, block: &Block) {
        let header = &block.header;
        if header.height > self.delivered {
            self.executed
                .insert((header.height, header.digest()), header.parent);
        }
    }

    /// Records the delivery of a finalized block.
    ///
    /// Executed blocks that do not descend from it are forgotten, as the chain
    /// may forget them.
    pub(crate) fn finalized(&mut self, height: Height, digest: Digest, certified: bool) {
        self.delivered = height;
        self.remember(height, digest, certified);
        while self.recent.len() > RECENT_HEIGHTS {
            self.recent.pop_first();
        }
        let mut alive = BTreeSet::from([digest]);
        // In the order of heights, so that parents come before their children.
        self.executed.retain(|&(executed, block), parent| {
            let lives = executed > height && alive.contains(parent);
            if lives {
                alive.insert(block);
            }
            lives
        });
    }

    /// Takes a certificate of which the block may not have been delivered yet.
    ///
    /// Returns the height if the block was delivered without a certificate.
    pub(crate) fn certificate(
        &mut self,
        digest: Digest,
        certificate: Certificate,
    ) -> Option<Height> {
        let found = self
            .recent
            .iter_mut()
            .rev()
            .find(|(_, f)| f.digest == digest);
        if let Some((height, known)) = found {
            let late = !std::mem::replace(&mut known.certified, true);
            return late.then_some(*height);
        }
        self.waiting
            .insert((certificate.epoch, certificate.view), (digest, certificate));
        if self.waiting.len() > MAX_WAITING_CERTIFICATES {
            self.waiting.pop_first();
        }
        None
    }

    /// The certificate that waits for the block with this digest, if any.
    ///
    /// Certificates of earlier views are dropped: blocks are final in the
    /// order of their views.
    pub(crate) fn take_certificate(&mut self, digest: Digest) -> Option<Certificate> {
        let (&round, &(_, certificate)) = self.waiting.iter().find(|(_, (d, _))| *d == digest)?;
        self.waiting = self.waiting.split_off(&round);
        self.waiting.remove(&round);
        Some(certificate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::tests::block;

    fn certificate(view: u64) -> Certificate {
        Certificate {
            epoch: 0,
            view,
            parent_view: view - 1,
            signature: [0; 48],
        }
    }

    fn digest(block: &Block) -> Digest {
        block.header.digest()
    }

    #[test]
    fn executed_block_is_known_until_a_rival_is_final() {
        let mut lineage = Lineage::new(Height(0));
        let (ours, rival) = (block(1, vec![]), block(1, vec![vec![1]]));
        assert_eq!(
            lineage.standing(Height(1), digest(&ours)),
            Standing::Unknown
        );
        lineage.executed(&ours);
        assert_eq!(lineage.standing(Height(1), digest(&ours)), Standing::Known);
        lineage.finalized(Height(1), digest(&rival), true);
        assert_eq!(lineage.standing(Height(1), digest(&ours)), Standing::Dead);
        assert_eq!(lineage.standing(Height(1), digest(&rival)), Standing::Known);
    }

    #[test]
    fn descendants_of_a_losing_fork_are_forgotten_and_others_kept() {
        let mut lineage = Lineage::new(Height(0));
        let child = |parent: &Block, commands| {
            let mut child = block(parent.header.height.0 + 1, commands);
            child.header.parent = digest(parent);
            child
        };
        let base = block(0, vec![]);
        let (winner, loser) = (child(&base, vec![]), child(&base, vec![vec![1]]));
        let (above_winner, above_loser) = (child(&winner, vec![]), child(&loser, vec![]));
        let highest = child(&above_winner, vec![]);
        for block in [&winner, &loser, &above_winner, &above_loser, &highest] {
            lineage.executed(block);
        }
        lineage.finalized(Height(1), digest(&winner), true);
        let standing = |block: &Block| lineage.standing(block.header.height, digest(block));
        assert_eq!(standing(&above_winner), Standing::Known);
        assert_eq!(standing(&highest), Standing::Known);
        assert_eq!(standing(&above_loser), Standing::Unknown);
        assert_eq!(standing(&loser), Standing::Dead);
    }

    #[test]
    fn tip_of_the_chain_is_trusted_without_an_archive() {
        let lineage = Lineage::new(Height(5));
        assert_eq!(
            lineage.standing(Height(5), Digest([1; 32])),
            Standing::Known
        );
        assert_eq!(lineage.standing(Height(4), Digest([1; 32])), Standing::Dead);
        assert_eq!(
            lineage.standing(Height(6), Digest([1; 32])),
            Standing::Unknown
        );
    }

    #[test]
    fn early_certificate_waits_for_its_block() {
        let mut lineage = Lineage::new(Height(0));
        let b = block(1, vec![]);
        assert_eq!(lineage.certificate(digest(&b), certificate(3)), None);
        assert_eq!(lineage.take_certificate(digest(&b)), Some(certificate(3)));
        assert_eq!(lineage.take_certificate(digest(&b)), None);
    }

    #[test]
    fn late_certificate_is_reported_once() {
        let mut lineage = Lineage::new(Height(0));
        let b = block(1, vec![]);
        lineage.finalized(Height(1), digest(&b), false);
        assert_eq!(
            lineage.certificate(digest(&b), certificate(3)),
            Some(Height(1))
        );
        assert_eq!(lineage.certificate(digest(&b), certificate(4)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut lineage = Lineage::new(Height(0));
        for height in 1..=2 * RECENT_HEIGHTS as u64 {
            let b = block(height, vec![]);
            lineage.executed(&b);
            lineage.finalized(Height(height), digest(&b), true);
        }
        for view in 1..=2 * MAX_WAITING_CERTIFICATES as u64 {
            lineage.certificate(Digest::of(&[&view.to_be_bytes()]), certificate(view));
        }
        assert_eq!(lineage.recent.len(), RECENT_HEIGHTS);
        assert_eq!(lineage.waiting.len(), MAX_WAITING_CERTIFICATES);
        assert!(lineage.executed.is_empty());
    }
}
