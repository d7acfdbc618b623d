//! Which actors make up a validator, and how are they joined?
//!
//! One function, generic over the runtime and the network, so that real TCP
//! and the simulation run the same engine: simplex orders digests, marshal
//! stores and repairs blocks, the buffer spreads them, the driver owns the
//! chain. It leaves to its caller to make the network and to judge what it
//! means when an actor ends.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use commonware_broadcast::buffered;
use commonware_consensus::{
    Reporters,
    marshal::{
        self, Start,
        core::Actor as MarshalActor,
        resolver::p2p as backfill,
        standard::{Inline, Standard},
    },
    simplex::{self, ForwardPolicy, SkipBudget, SkipPolicy, elector::RoundRobin},
    types::{FixedEpocher, ViewDelta},
};
use commonware_cryptography::{
    Sha256, Signer as _, certificate::ConstantProvider, ed25519::PublicKey,
};
use commonware_p2p::{Blocker, Provider, Receiver, Sender, max_message_size};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Handle, Metrics, Quota, Spawner, Storage};
use commonware_utils::{NZU32, NZU64, NZUsize, NonZeroDuration, channel::mpsc};
use futures::future::select_all;
use rand_core::CryptoRng;

use crate::{
    Chain,
    application::Application,
    block::OrderedBlock,
    certificate::Scheme,
    config::{GOSSIP_PER_SECOND, Setup, millis},
    delivery::{ActivityReporter, BlockReporter, deliver},
    driver::{Driver, GOSSIP_INBOX},
    gossip,
    handle::Shared,
    storage::{Archives, REPLAY_BUFFER, WRITE_BUFFER, anchor, page_cache},
};

/// Messages that an actor's mailbox holds before its overflow rule applies.
const MAILBOX: NonZeroUsize = NZUsize!(1_024);
/// Views behind the finalized one of which votes and blocks are kept: longer
/// than a slow peer takes to ask for them.
const VIEW_RETENTION: u64 = 128;
/// Views per section of the cache of unfinalized blocks.
const VIEWS_PER_SECTION: std::num::NonZeroU64 = NZU64!(64);
/// Missing finalized blocks that are fetched at a time.
const MAX_REPAIR: NonZeroUsize = NZUsize!(32);
/// Finalized blocks that are handed over before the first is acknowledged.
const MAX_PENDING_DELIVERIES: NonZeroUsize = NZUsize!(16);
/// Unfinalized blocks that are kept of each validator; at the largest size
/// they take 32 MiB.
const BUFFERED_BLOCKS: usize = 16;
/// Pause before a request that nobody answered is made again.
const FETCH_RETRY: Duration = Duration::from_millis(100);
/// Heights of an epoch while the validators are those of genesis: for ever.
const EPOCH_LENGTH: std::num::NonZeroU64 = NZU64!(1 << 62);

/// The channels of a validator; the numbers are part of the protocol.
pub(crate) struct Channels<S, R> {
    pub votes: (S, R),
    pub certificates: (S, R),
    pub resolver: (S, R),
    pub backfill: (S, R),
    pub blocks: (S, R),
    pub gossip: (S, R),
}

/// Number and quota per peer of every channel, in the order of [`Channels`].
///
/// Quotas are far above the view rate (at most 50 a second by default), since
/// a throttled vote costs a view. Bursts bound the memory that one peer can
/// make another hold: for the channels with large messages they are small.
pub(crate) fn channel_quotas() -> [(u64, Quota); 6] {
    let quota = |rate, burst| Quota::per_second(rate).allow_burst(burst);
    [
        (0, quota(NZU32!(1_024), NZU32!(1_024))),
        (1, quota(NZU32!(1_024), NZU32!(1_024))),
        (2, quota(NZU32!(1_024), NZU32!(1_024))),
        (3, quota(NZU32!(2_048), NZU32!(64))),
        (4, quota(NZU32!(512), NZU32!(32))),
        // One more a second for the heartbeat.
        (5, quota(NZU32!(GOSSIP_PER_SECOND + 1), NZU32!(GOSSIP_PER_SECOND + 1))),
    ]
}

/// The largest payload that a validator sends on any channel.
pub(crate) fn largest_payload(participants: u32) -> u32 {
    max_message_size(&[
        simplex::max_payload_size::<Scheme, commonware_cryptography::sha256::Digest>(participants),
        marshal::max_payload_size::<Standard<OrderedBlock>, Scheme>(participants, &()),
        gossip::MAX_PAYLOAD_BYTES,
    ])
}

/// A running validator.
pub(crate) struct Stack {
    actors: Vec<(&'static str, Handle<()>)>,
    /// Gossip for this validator's own chain.
    #[cfg(feature = "simulation")]
    pub inbox: mpsc::Sender<(crate::keys::PeerKey, Vec<u8>)>,
}

impl Stack {
    pub(crate) fn push(&mut self, name: &'static str, handle: Handle<()>) {
        self.actors.push((name, handle));
    }

    /// Resolves when the first actor ends, with its name. None ever should.
    pub(crate) async fn ended(&mut self) -> &'static str {
        let handles = self.actors.iter_mut().map(|(_, handle)| handle);
        let (_, index, _) = select_all(handles).await;
        self.actors[index].0
    }
}

/// Starts a validator on a network.
///
/// `partition` prefixes every name in the runtime's storage. Returns once the
/// archives are open and the chain has been given the blocks that it lacked.
pub(crate) async fn start<E, S, R, P, B>(
    context: E,
    setup: &Setup,
    partition: &str,
    channels: Channels<S, R>,
    peers: P,
    blocker: B,
    mut chain: Box<dyn Chain>,
    shared: Arc<Shared>,
    outbox: mpsc::Receiver<Vec<u8>>,
) -> Result<Stack, String>
where
    E: Clock + CryptoRng + Spawner + Storage + Metrics,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
    P: Provider<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
{
    let committee = &setup.committee;
    let cache = page_cache(setup.storage);
    let genesis = OrderedBlock::new(chain.genesis())
        .ok_or("the chain's genesis block is too large or commits to other transactions")?;
    let genesis = anchor(genesis);
    let archives = Archives::open(&context, partition, &cache, setup.storage)
        .await
        .map_err(|error| format!("the archives do not open: {error}"))?;
    let lineage = archives
        .replay(chain.as_mut())
        .await
        .map_err(|error| format!("the archives cannot be read: {error}"))?;
    {
        let mut progress = shared.progress.lock();
        progress.validators = committee.participants.len();
        progress.epoch = committee.epoch.get();
    }

    let own_key = setup.signer.public_key();
    let (buffer_engine, buffer) = buffered::Engine::new(
        context.child("buffer"),
        buffered::Config {
            public_key: own_key.clone(),
            mailbox_size: MAILBOX,
            deque_size: BUFFERED_BLOCKS,
            // Blocks go before gossip, or a flood of it would cost views.
            priority: true,
            codec_config: (),
            peer_provider: peers.clone(),
            strategy: Sequential,
        },
    );
    let resolver = backfill::init(
        context.child("backfill"),
        backfill::Config {
            public_key: own_key,
            peer_provider: peers,
            blocker: blocker.clone(),
            mailbox_size: MAILBOX,
            fetch_timeout: fetch_timeout(setup),
            fetch_retry_delay: FETCH_RETRY,
            priority_requests: true,
            priority_responses: false,
        },
        channels.backfill,
    );
    let epocher = FixedEpocher::new(EPOCH_LENGTH);
    let genesis_digest = commonware_cryptography::Digestible::digest(&genesis);
    let (marshal_actor, marshal, _) = MarshalActor::init(
        context.child("marshal"),
        archives.finalizations,
        archives.blocks,
        marshal::Config {
            provider: ConstantProvider::new(committee.scheme.clone()),
            epocher: epocher.clone(),
            start: Start::Genesis(genesis),
            partition_prefix: format!("{partition}-marshal"),
            mailbox_size: MAILBOX,
            view_retention: ViewDelta::new(VIEW_RETENTION),
            prunable_items_per_section: VIEWS_PER_SECTION,
            page_cache: cache.clone(),
            replay_buffer: REPLAY_BUFFER,
            key_write_buffer: WRITE_BUFFER,
            value_write_buffer: WRITE_BUFFER,
            block_codec_config: (),
            max_repair: MAX_REPAIR,
            max_pending_acks: MAX_PENDING_DELIVERIES,
            strategy: Sequential,
        },
    )
    .await;

    let (inbox_sender, inbox) = mpsc::channel(GOSSIP_INBOX);
    let (updates_sender, updates) = mpsc::unbounded_channel();
    let (driver, mailbox) = Driver::new(chain, lineage, shared.clone());
    let application = Application::new(mailbox.clone(), setup.pacing);
    let inline = Inline::new(context.child("inline"), application, marshal.clone(), epocher);
    let simplex = simplex::Engine::new(
        context.child("simplex"),
        simplex::Config {
            scheme: committee.scheme.clone(),
            elector: RoundRobin::<Sha256>::default(),
            blocker,
            automaton: inline.clone(),
            relay: inline.clone(),
            // Certificates go to the driver first, so that a block meets its own.
            reporter: Reporters::from((ActivityReporter(mailbox.clone()), inline)),
            track_historical_votes: false,
            strategy: Sequential,
            partition: format!("{partition}-simplex-{}", committee.epoch.get()),
            mailbox_size: MAILBOX,
            epoch: committee.epoch,
            floor: simplex::Floor::Genesis(genesis_digest),
            replay_buffer: REPLAY_BUFFER,
            write_buffer: WRITE_BUFFER,
            page_cache: cache,
            leader_timeout: millis(setup.timeouts.leader_ms),
            certification_timeout: millis(setup.timeouts.certification_ms),
            timeout_retry: millis(setup.timeouts.retry_ms),
            view_retention: ViewDelta::new(VIEW_RETENTION),
            skip: SkipPolicy::Enabled {
                timeout: millis(setup.timeouts.skip_ms),
                budget: SkipBudget::Participants,
            },
            fetch_timeout: fetch_timeout(setup),
            fetch_retry_delay: FETCH_RETRY,
            forward: ForwardPolicy::SilentVoters,
        },
    );

    // The chain blocks, so it gets a thread of its own where there are threads.
    let driver = context
        .child("driver")
        .dedicated()
        .spawn(move |_| driver.run(inbox));
    let delivery = {
        let (driver, marshal) = (mailbox.clone(), marshal);
        context
            .child("delivery")
            .spawn(move |_| deliver(driver, marshal, updates))
    };
    let gossip_out = {
        let (sender, shared) = (channels.gossip.0, shared.clone());
        context
            .child("gossip_out")
            .spawn(move |context| gossip::send(context, sender, shared, outbox))
    };
    #[cfg(feature = "simulation")]
    let own_inbox = inbox_sender.clone();
    let gossip_in = {
        let receiver = channels.gossip.1;
        context
            .child("gossip_in")
            .spawn(move |context| gossip::receive(context, receiver, shared, inbox_sender))
    };
    let buffer_task = buffer_engine.start(channels.blocks);
    let reporter = BlockReporter { driver: mailbox, updates: updates_sender };
    let marshal_task = marshal_actor.start(reporter, buffer, resolver);
    let simplex_task = simplex.start(channels.votes, channels.certificates, channels.resolver);
    Ok(Stack {
        actors: vec![
            ("driver", driver),
            ("delivery", delivery),
            ("gossip sender", gossip_out),
            ("gossip receiver", gossip_in),
            ("block buffer", buffer_task),
            ("marshal", marshal_task),
            ("simplex", simplex_task),
        ],
        #[cfg(feature = "simulation")]
        inbox: own_inbox,
    })
}

fn fetch_timeout(setup: &Setup) -> NonZeroDuration {
    NonZeroDuration::new_panic(millis(setup.timeouts.fetch_ms))
}
