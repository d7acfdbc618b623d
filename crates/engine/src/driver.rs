//! Who calls the chain, and in which order?
//!
//! One task owns the boxed [`Chain`] and answers requests of the consensus
//! side one at a time: blocks to propose and verify first, gossip when
//! nothing else waits. It makes sure that the chain sees every block after
//! its parent, and every finalized block in order.

use std::sync::Arc;

use commonware_cryptography::Digested;
use commonware_macros::select;
use commonware_utils::{
    channel::{mpsc, oneshot, watch},
    sync::Mutex,
};
use tracing::{debug, error};
use wire::{Digest, Height};

use crate::{
    Certificate, Chain, Office,
    block::{OrderedBlock, engine_digest},
    handle::Shared,
    keys::PeerKey,
    lineage::{Lineage, Standing},
};

/// Gossip messages that wait for the chain; more are dropped, since gossip is
/// best effort: at the largest size they hold 64 MiB.
pub(crate) const GOSSIP_INBOX: usize = 256;

/// A block with its digest, as consensus hands it around.
pub(crate) type Ordered = Digested<OrderedBlock>;

/// What the chain has to say about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Valid,
    Invalid,
    /// Finality moved while the question was asked: ask again.
    Stale,
}

/// What the consensus side asks of the chain.
pub(crate) enum Request {
    /// `path` runs from a known block to the parent of the block to propose.
    Propose {
        path: Vec<Ordered>,
        now_ms: u64,
        reply: oneshot::Sender<Option<Ordered>>,
    },
    /// `path` runs from a known block to the block to verify.
    Verify {
        path: Vec<Ordered>,
        now_ms: u64,
        reply: oneshot::Sender<Verdict>,
    },
    /// The next finalized block; when the chain has it, `done` is told which
    /// heights it wants kept.
    Finalized {
        block: Ordered,
        certificate: Option<Certificate>,
        done: oneshot::Sender<Height>,
    },
    /// A finalization was seen, before or after its block.
    Certified {
        digest: Digest,
        certificate: Certificate,
    },
    HasWork {
        reply: oneshot::Sender<bool>,
    },
    /// Publish what this validator dealt; the answer is gossip for the others.
    Deal {
        round: u64,
        dealing: Vec<u8>,
        reply: oneshot::Sender<Option<Vec<u8>>>,
    },
    /// Copies of the founding share are to be deleted.
    ShareReplaced,
}

/// How the consensus side reaches the chain. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DriverMailbox {
    requests: mpsc::UnboundedSender<Request>,
    pub lineage: Arc<Mutex<Lineage>>,
    pub shared: Arc<Shared>,
    /// Changes when a finalized block was delivered.
    pub delivered: watch::Receiver<Height>,
    /// Changes when a finalized block changed who validates.
    pub office: watch::Receiver<Arc<Office>>,
}

impl DriverMailbox {
    /// Sends a request. One to a driver that has stopped is lost, and so is
    /// its reply channel, which the caller sees as a closed channel.
    pub(crate) fn send(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    /// Waits until finality has moved on; for ever if the driver has stopped.
    pub(crate) async fn progress(&mut self) {
        if self.delivered.changed().await.is_err() {
            futures::future::pending::<()>().await;
        }
    }
}

/// The owner of the chain.
pub(crate) struct Driver {
    chain: Box<dyn Chain>,
    lineage: Arc<Mutex<Lineage>>,
    shared: Arc<Shared>,
    requests: mpsc::UnboundedReceiver<Request>,
    delivered: watch::Sender<Height>,
    office: watch::Sender<Arc<Office>>,
}

impl Driver {
    pub(crate) fn new(
        chain: Box<dyn Chain>,
        lineage: Lineage,
        shared: Arc<Shared>,
    ) -> (Self, DriverMailbox) {
        // Requests are bounded by their senders: one proposal, one verification
        // per view and a fixed number of unacknowledged finalized blocks.
        let (sender, requests) = mpsc::unbounded_channel();
        let (delivered, watcher) = watch::channel(lineage.delivered());
        let (office, office_watcher) = watch::channel(chain.office());
        shared.progress.lock().delivered = lineage.delivered();
        let lineage = Arc::new(Mutex::new(lineage));
        let mailbox = DriverMailbox {
            requests: sender,
            lineage: lineage.clone(),
            shared: shared.clone(),
            delivered: watcher,
            office: office_watcher,
        };
        let driver = Self {
            chain,
            lineage,
            shared,
            requests,
            delivered,
            office,
        };
        (driver, mailbox)
    }

    /// Answers until all mailboxes are gone.
    pub(crate) async fn run(mut self, mut gossip: mpsc::Receiver<(PeerKey, Vec<u8>)>) {
        loop {
            // The select is biased: consensus goes before gossip.
            select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.answer(request),
                    None => return,
                },
                message = gossip.recv() => match message {
                    Some((from, message)) => {
                        self.chain.gossip(from, message);
                        self.shared.wake.notify_one();
                    }
                    None => return,
                },
            }
        }
    }

    fn answer(&mut self, request: Request) {
        // A requester that has gone lost interest in the answer: its view is over.
        match request {
            Request::Propose {
                path,
                now_ms,
                reply,
            } if !reply.is_closed() => {
                let _ = reply.send(self.propose(&path, now_ms));
            }
            Request::Verify {
                path,
                now_ms,
                reply,
            } if !reply.is_closed() => {
                let _ = reply.send(self.execute(&path, now_ms));
            }
            Request::Propose { .. } | Request::Verify { .. } => {}
            Request::Finalized {
                block,
                certificate,
                done,
            } => {
                self.finalize(&block, certificate);
                let _ = done.send(self.chain.kept_from());
            }
            Request::Certified {
                digest,
                certificate,
            } => {
                let late = self.lineage.lock().certificate(digest, certificate);
                if let Some(height) = late {
                    self.chain.certified(height, certificate);
                }
            }
            Request::HasWork { reply } => {
                let _ = reply.send(self.chain.has_work());
            }
            Request::Deal {
                round,
                dealing,
                reply,
            } => {
                let _ = reply.send(self.chain.deal(round, dealing));
            }
            Request::ShareReplaced => self.chain.share_replaced(),
        }
    }

    fn standing(&self, block: &Ordered) -> Standing {
        let header = &block.inner().block().header;
        self.lineage
            .lock()
            .standing(header.height, Digest(commonware_digest(block)))
    }

    /// Shows the chain every block of `path` that it has not seen.
    fn execute(&mut self, path: &[Ordered], now_ms: u64) -> Verdict {
        let Some((base, rest)) = path.split_first() else {
            return Verdict::Stale;
        };
        let mut parent = base;
        for block in rest {
            match self.standing(block) {
                Standing::Known => {}
                Standing::Dead => return Verdict::Invalid,
                Standing::Unknown => {
                    if !self.can_build_on(parent) {
                        return Verdict::Stale;
                    }
                    let (parent, block) = (parent.inner().block(), block.inner().block());
                    if !self.chain.verify(parent, block, now_ms) {
                        debug!(height = block.header.height.0, "the chain refused a block");
                        return Verdict::Invalid;
                    }
                    self.lineage.lock().executed(block);
                }
            }
            parent = block;
        }
        match self.standing(parent) {
            Standing::Known => Verdict::Valid,
            Standing::Dead => Verdict::Invalid,
            Standing::Unknown => Verdict::Stale,
        }
    }

    /// The chain has no state any more for what lies below the finalized tip.
    fn can_build_on(&self, parent: &Ordered) -> bool {
        let delivered = self.lineage.lock().delivered();
        parent.inner().block().header.height >= delivered
            && self.standing(parent) == Standing::Known
    }

    fn propose(&mut self, path: &[Ordered], now_ms: u64) -> Option<Ordered> {
        let parent = path.last()?;
        if self.execute(path, now_ms) != Verdict::Valid || !self.can_build_on(parent) {
            return None;
        }
        let parent = parent.inner().block();
        let block = self.chain.propose(parent, now_ms)?;
        let header = block.header;
        let follows = header.height == parent.header.height.plus(1)
            && header.parent == parent.header.digest();
        let ordered = follows.then(|| OrderedBlock::new(block)).flatten();
        let Some(ordered) = ordered else {
            error!(
                height = header.height.0,
                "the chain proposed a block that does not follow its parent, \
                 is too large or commits to other transactions; it was dropped"
            );
            return None;
        };
        self.lineage.lock().executed(ordered.block());
        let digest = engine_digest(header.digest());
        Some(Digested::precomputed(ordered, digest))
    }

    fn finalize(&mut self, block: &Ordered, certificate: Option<Certificate>) {
        let digest = Digest(commonware_digest(block));
        let height = block.inner().block().header.height;
        let certificate = {
            let mut lineage = self.lineage.lock();
            if height <= lineage.delivered() {
                return;
            }
            let waiting = lineage.take_certificate(digest);
            certificate.or(waiting)
        };
        self.chain
            .finalized(block.inner().block().clone(), certificate);
        self.lineage
            .lock()
            .finalized(height, digest, certificate.is_some());
        self.shared.progress.lock().delivered = height;
        self.delivered.send_replace(height);
        let office = self.chain.office();
        self.office.send_if_modified(|known| {
            let changed = !Arc::ptr_eq(known, &office);
            *known = office;
            changed
        });
    }
}

fn commonware_digest(block: &Ordered) -> [u8; 32] {
    use commonware_cryptography::Digestible as _;
    block.digest().0
}
