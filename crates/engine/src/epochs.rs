//! Which instance of consensus runs now?
//!
//! One for each epoch, since a committee is fixed in it: the messages of an
//! epoch travel on subchannels of their own, its votes are in a journal of
//! their own, and it begins with the last block of the epoch before. The next
//! one starts when the chain has that epoch's last block. A message of a later
//! epoch says that this validator missed its epoch's end; the block is then
//! asked for.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use commonware_consensus::{
    CertifiableAutomaton, Relay, Reporter,
    simplex::{
        self, ForwardPolicy, SkipBudget, SkipPolicy,
        elector::RoundRobin,
        types::{Activity, Context, Finalization},
    },
    types::{Epoch, Height, ViewDelta},
};
use commonware_cryptography::{
    Digestible as _, Sha256, ed25519::PublicKey, sha256::Digest as EngineDigest,
};
use commonware_macros::select;
use commonware_p2p::{
    Blocker, Receiver, Sender,
    utils::mux::{Builder as _, MuxHandle, Muxer},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Handle, Metrics, Spawner, Storage, buffer::paged::CacheRef};
use commonware_utils::{NonZeroDuration, channel::watch, vec::NonEmptyVec};
use rand_core::CryptoRng;
use tracing::{debug, error, info};

use crate::{
    certificate::Scheme,
    config::{Setup, millis},
    delivery::Marshal,
    handle::Shared,
    keeper::Tenure,
    stack::{FETCH_RETRY, MAILBOX, VIEW_RETENTION},
    storage::{REPLAY_BUFFER, WRITE_BUFFER},
};

/// Epochs before the present one of which the journal of votes is kept: a
/// validator never enters an epoch again that it has left, and one that is
/// spare costs little.
const KEPT_JOURNALS: u64 = 1;

/// How long a validator waits for the last block of the epoch before, which it
/// has, to be readable.
const BOUNDARY_RETRY: Duration = Duration::from_millis(100);

/// Tries to read it before the validator gives up.
const BOUNDARY_TRIES: usize = 50;

/// The final block from which the chain's state begins, where it is not genesis.
pub(crate) struct Floor {
    pub height: wire::Height,
    pub finalization: Finalization<Scheme, EngineDigest>,
}

/// See the file's documentation.
pub(crate) struct Epochs<E, A, F, B> {
    pub context: E,
    pub setup: Arc<Setup>,
    pub partition: String,
    pub automaton: A,
    pub reporter: F,
    pub blocker: B,
    pub marshal: Marshal,
    pub page_cache: CacheRef,
    /// The digest of block 0, on which epoch 0 builds.
    pub genesis: EngineDigest,
    pub floor: Option<Floor>,
    /// Heights of an epoch.
    pub length: NonZeroU64,
    pub shared: Arc<Shared>,
}

/// One epoch's consensus; it ends when this is dropped.
struct Running {
    epoch: Epoch,
    handle: Handle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Where the subchannels of an epoch are opened.
struct Channels<S: Sender> {
    votes: MuxHandle<S>,
    certificates: MuxHandle<S>,
    resolver: MuxHandle<S>,
}

impl<E, A, F, B> Epochs<E, A, F, B>
where
    E: Clock + CryptoRng + Spawner + Storage + Metrics,
    A: CertifiableAutomaton<Context = Context<EngineDigest, PublicKey>, Digest = EngineDigest>
        + Relay<Digest = EngineDigest, PublicKey = PublicKey, Plan = simplex::Plan<PublicKey>>,
    F: Reporter<Activity = Activity<Scheme, EngineDigest>>,
    B: Blocker<PublicKey = PublicKey>,
{
    /// Runs the epochs that `tenures` names, one after the other, until one
    /// ends by itself or the network stops.
    pub(crate) async fn run<S, R>(
        mut self,
        mut tenures: watch::Receiver<Option<Arc<Tenure>>>,
        (votes_out, votes_in): (S, R),
        (certificates_out, certificates_in): (S, R),
        (resolver_out, resolver_in): (S, R),
    ) where
        S: Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        let (mux, votes, mut later_votes) =
            Muxer::builder(self.context.child("votes"), votes_out, votes_in)
                .with_backup()
                .build();
        mux.start();
        let (mux, certificates, mut later_certificates) = Muxer::builder(
            self.context.child("certificates"),
            certificates_out,
            certificates_in,
        )
        .with_backup()
        .build();
        mux.start();
        let (mux, resolver) = Muxer::new(self.context.child("resolver"), resolver_out, resolver_in);
        mux.start();
        let mut channels = Channels {
            votes,
            certificates,
            resolver,
        };
        let mut running: Option<Running> = None;
        loop {
            let epoch = running.as_ref().map(|running| running.epoch);
            let ended = async {
                match &mut running {
                    Some(running) => drop((&mut running.handle).await),
                    None => futures::future::pending().await,
                }
            };
            select! {
                changed = tenures.changed() => {
                    if changed.is_err() {
                        return;
                    }
                },
                message = later_votes.recv() => {
                    let Some((theirs, (from, _))) = message else { return };
                    self.catch_up(epoch, theirs, from);
                    continue;
                },
                message = later_certificates.recv() => {
                    let Some((theirs, (from, _))) = message else { return };
                    self.catch_up(epoch, theirs, from);
                    continue;
                },
                _ = ended => {
                    error!(?epoch, "the consensus of an epoch ended by itself");
                    return;
                },
            }
            let Some(tenure) = tenures.borrow_and_update().clone() else {
                continue;
            };
            if epoch.is_some_and(|epoch| epoch >= tenure.epoch) {
                continue;
            }
            // Votes of two epochs at a time are none of this validator's.
            drop(running.take());
            let Some(handle) = self.enter(&tenure, &mut channels).await else {
                return;
            };
            running = Some(Running {
                epoch: tenure.epoch,
                handle,
            });
        }
    }

    /// Asks a peer that is in a later epoch for the last block of this one.
    fn catch_up(&self, ours: Option<Epoch>, theirs: u64, from: PublicKey) {
        let Some(ours) = ours.filter(|ours| theirs > ours.get()) else {
            return;
        };
        let last = Height::new((ours.get() + 1).saturating_mul(self.length.get()) - 1);
        debug!(%ours, theirs, %last, "a peer is in a later epoch");
        self.marshal.hint_finalized(last, NonEmptyVec::new(from));
    }

    /// Starts the consensus of an epoch.
    async fn enter<S>(&mut self, tenure: &Tenure, channels: &mut Channels<S>) -> Option<Handle<()>>
    where
        S: Sender<PublicKey = PublicKey>,
    {
        let epoch = tenure.epoch;
        let floor = self.boundary(epoch).await?;
        let number = epoch.get();
        let votes = channels.votes.register(number).await.ok()?;
        let certificates = channels.certificates.register(number).await.ok()?;
        let resolver = channels.resolver.register(number).await.ok()?;
        let engine = simplex::Engine::new(
            self.context
                .child("simplex")
                .with_attribute("epoch", number),
            self.config(tenure, floor),
        );
        let handle = engine.start(votes, certificates, resolver);
        if let Some(old) = number.checked_sub(KEPT_JOURNALS + 1) {
            // There is none if this validator did not run in that epoch.
            let _ = self.context.remove(&self.journal(old), None).await;
        }
        let mut progress = self.shared.progress.lock();
        (progress.epoch, progress.view) = (number, 0);
        progress.validators = tenure.committee;
        progress.in_office = tenure.in_office;
        drop(progress);
        info!(
            epoch = number,
            in_office = tenure.in_office,
            "entered an epoch"
        );
        Some(handle)
    }

    /// The block on which an epoch's consensus begins: the last one before it,
    /// or a final one in it, where this validator's chain begins there.
    async fn boundary(&mut self, epoch: Epoch) -> Option<simplex::Floor<Scheme, EngineDigest>> {
        let first = epoch.get().saturating_mul(self.length.get());
        if let Some(floor) = &self.floor {
            let finalization = &floor.finalization;
            if finalization.proposal.round.epoch() == epoch {
                return Some(simplex::Floor::Finalized(finalization.clone()));
            }
            if floor.height.0.checked_add(1) == Some(first) {
                let digest = finalization.proposal.payload;
                return Some(simplex::Floor::Genesis(digest));
            }
        }
        let Some(last) = first.checked_sub(1) else {
            return Some(simplex::Floor::Genesis(self.genesis));
        };
        for _ in 0..BOUNDARY_TRIES {
            if let Some(block) = self.marshal.get_block(Height::new(last)).await {
                return Some(simplex::Floor::Genesis(block.digest()));
            }
            self.context.sleep(BOUNDARY_RETRY).await;
        }
        error!(%epoch, height = last, "the last block before the epoch is not in the archive");
        None
    }

    fn journal(&self, epoch: u64) -> String {
        format!("{}-simplex-{epoch}", self.partition)
    }

    fn config(
        &self,
        tenure: &Tenure,
        floor: simplex::Floor<Scheme, EngineDigest>,
    ) -> simplex::Config<Scheme, RoundRobin<Sha256>, B, EngineDigest, A, A, F, Sequential> {
        let timeouts = &self.setup.timeouts;
        simplex::Config {
            scheme: tenure.scheme.clone(),
            elector: RoundRobin::<Sha256>::default(),
            blocker: self.blocker.clone(),
            automaton: self.automaton.clone(),
            relay: self.automaton.clone(),
            reporter: self.reporter.clone(),
            track_historical_votes: false,
            strategy: Sequential,
            // Votes of one epoch must not be read in another.
            partition: self.journal(tenure.epoch.get()),
            mailbox_size: MAILBOX,
            epoch: tenure.epoch,
            floor,
            replay_buffer: REPLAY_BUFFER,
            write_buffer: WRITE_BUFFER,
            page_cache: self.page_cache.clone(),
            leader_timeout: millis(timeouts.leader_ms),
            certification_timeout: millis(timeouts.certification_ms),
            timeout_retry: millis(timeouts.retry_ms),
            view_retention: ViewDelta::new(VIEW_RETENTION),
            skip: SkipPolicy::Enabled {
                timeout: millis(timeouts.skip_ms),
                budget: SkipBudget::Participants,
            },
            fetch_timeout: NonZeroDuration::new_panic(millis(timeouts.fetch_ms)),
            fetch_retry_delay: FETCH_RETRY,
            forward: ForwardPolicy::SilentVoters,
        }
    }
}
