//! How do finalized blocks and certificates get from consensus to the chain?
//!
//! Consensus reports certificates as it sees them; marshal reports finalized
//! blocks in order and waits for each to be acknowledged. Marshal syncs its
//! archives before it reports a block, and a start replays from them whatever
//! the chain has not made durable, so a crash loses nothing.

use commonware_actor::Feedback;
use commonware_consensus::{
    Epochable as _, Heightable as _, Reporter, Viewable as _,
    marshal::{Update, core::Mailbox as MarshalMailbox, standard::Standard},
    simplex::types::Activity,
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

/// Delivers finalized blocks to the chain one after the other.
///
/// Returns when marshal or the driver has stopped.
pub(crate) async fn deliver(
    driver: DriverMailbox,
    marshal: Marshal,
    mut updates: mpsc::UnboundedReceiver<Update<OrderedBlock>>,
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
            if finished.await.is_err() {
                // Not acknowledged: the block comes again at the next start.
                return;
            }
        }
        acknowledgement.acknowledge();
    }
}
