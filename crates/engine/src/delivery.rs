//! How do finalized blocks and certificates get from consensus to the chain?
//!
//! Consensus reports certificates as it sees them; marshal reports finalized
//! blocks in order and waits for each to be acknowledged. Marshal syncs its
//! archives before it reports a block, and a start replays from them whatever
//! the chain has not made durable, so a crash loses nothing.

use std::num::NonZeroU64;

use commonware_actor::Feedback;
use commonware_consensus::{
    Epochable as _, Heightable as _, Reporter, Viewable as _,
    marshal::{Update, core::Mailbox as MarshalMailbox, standard::Standard},
    simplex::types::Activity,
    types::Height as EngineHeight,
};
use commonware_cryptography::{Digestible as _, sha256::Digest as EngineDigest};
use commonware_utils::{
    Acknowledgement as _,
    channel::{mpsc, oneshot},
};
use wire::{Digest, Height};

use crate::{
    block::OrderedBlock,
    certificate::{Certificate, Scheme},
    driver::{DriverMailbox, Request},
};

/// Marshal of this engine.
pub(crate) type Marshal = MarshalMailbox<Scheme, Standard<OrderedBlock>>;

/// Hears what consensus does: certificates for the chain, views for the status.
#[derive(Clone)]
pub(crate) struct ActivityReporter(pub DriverMailbox);

impl Reporter for ActivityReporter {
    type Activity = Activity<Scheme, EngineDigest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        match &activity {
            Activity::Finalization(finalization) => {
                self.0.send(Request::Certified {
                    digest: Digest(finalization.proposal.payload.0),
                    certificate: Certificate::from_finalization(finalization),
                });
            }
            Activity::Notarization(_) | Activity::Nullification(_) => {}
            _ => return Feedback::Ok,
        }
        let seen = (activity.epoch().get(), activity.view().get());
        let mut progress = self.0.shared.progress.lock();
        (progress.epoch, progress.view) = (progress.epoch, progress.view).max(seen);
        Feedback::Ok
    }
}

/// Hears of finalized blocks and passes them on to [`deliver`].
#[derive(Clone)]
pub(crate) struct BlockReporter {
    pub driver: DriverMailbox,
    pub updates: mpsc::UnboundedSender<Update<OrderedBlock>>,
}

impl Reporter for BlockReporter {
    type Activity = Update<OrderedBlock>;

    fn report(&mut self, update: Self::Activity) -> Feedback {
        if let Update::Tip(_, height, _) = &update {
            let mut progress = self.driver.shared.progress.lock();
            progress.tip = progress.tip.max(Height(height.get()));
            return Feedback::Ok;
        }
        match self.updates.send(update) {
            Ok(()) => Feedback::Ok,
            Err(_) => Feedback::Closed,
        }
    }
}

/// Blocks between two times that old ones are forgotten: a section of the
/// archives is many blocks.
const FORGET_EVERY: u64 = 16;

/// The height below which blocks can go: what the chain does not want kept, and
/// what no restart needs. A validator that restarts begins with the last block
/// of the epoch before, and its store may be of that epoch still.
fn forgettable(kept_from: Height, delivered: u64, epoch_length: NonZeroU64) -> u64 {
    let before = (delivered / epoch_length).saturating_sub(1);
    let boundary = before.saturating_mul(epoch_length.get()).saturating_sub(1);
    kept_from.0.min(boundary)
}

/// Delivers finalized blocks to the chain one after the other.
///
/// Returns when marshal or the driver has stopped.
pub(crate) async fn deliver(
    driver: DriverMailbox,
    marshal: Marshal,
    mut updates: mpsc::UnboundedReceiver<Update<OrderedBlock>>,
    epoch_length: NonZeroU64,
) {
    while let Some(update) = updates.recv().await {
        let Update::Block(block, acknowledgement) = update else {
            continue;
        };
        let height = block.height();
        let known = driver.lineage.lock().delivered();
        if height.get() > known.0 {
            let certificate = marshal
                .get_finalization(height)
                .await
                .filter(|finalization| finalization.proposal.payload == block.digest())
                .map(|finalization| Certificate::from_finalization(&finalization));
            let (done, finished) = oneshot::channel();
            driver.send(Request::Finalized {
                block,
                certificate,
                done,
            });
            let Ok(kept_from) = finished.await else {
                // Not acknowledged: the block comes again at the next start.
                return;
            };
            if height.get().is_multiple_of(FORGET_EVERY) {
                let below = forgettable(kept_from, height.get(), epoch_length);
                // One that was asked for a height before costs nothing.
                marshal.prune(EngineHeight::new(below));
            }
        }
        acknowledgement.acknowledge();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_nothing_that_the_chain_or_a_restart_needs() {
        let length = NonZeroU64::new(100).unwrap();
        let below = |kept, delivered| forgettable(Height(kept), delivered, length);
        assert_eq!(below(1_000, 50), 0);
        assert_eq!(below(1_000, 199), 0);
        assert_eq!(below(1_000, 200), 99, "the last block of epoch 0 stays");
        assert_eq!(below(40, 500), 40);
        assert_eq!(below(0, 500), 0);
    }
}
