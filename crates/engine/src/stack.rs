//! Which actors make up a validator, and how are they joined?
//!
//! One function, generic over the runtime and the network, so that real TCP
//! and the simulation run the same engine: simplex orders digests, marshal
//! stores and repairs blocks, the buffer spreads them, the driver owns the
//! chain. It leaves to its caller to make the network and to judge what it
//! means when an actor ends.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use commonware_broadcast::buffered;
use commonware_consensus::{
    Reporters,
    marshal::{
        self, Start,
        core::Actor as MarshalActor,
        resolver::p2p as backfill,
        standard::{Inline, Standard},
    },
    simplex,
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{
    Digested, Digestible as _, certificate::ConstantProvider, ed25519::PublicKey,
    sha256::Digest as EngineDigest,
};
use commonware_p2p::{Blocker, Provider, Receiver, Sender, max_message_size, utils::mux::prefixed};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock, Handle, Metrics, Quota, Spawner, Storage, buffer::paged::CacheRef,
};
use commonware_utils::{NZU32, NZU64, NZUsize, NonZeroDuration, channel::mpsc};
use futures::future::select_all;
use rand_core::CryptoRng;

use crate::{
    Anchor, Chain,
    application::Application,
    block::OrderedBlock,
    certificate::Scheme,
    config::{GOSSIP_PER_SECOND, Setup, millis},
    delivery::{ActivityReporter, BlockReporter, deliver},
    driver::{Driver, GOSSIP_INBOX},
    epochs::{Epochs, Floor},
    gossip,
    handle::Shared,
    handover,
    keeper::{Keeper, Track},
    keys::MAX_VALIDATORS,
    storage::{Archives, REPLAY_BUFFER, WRITE_BUFFER, anchor, page_cache},
    vault::Vault,
};

/// Messages that an actor's mailbox holds before its overflow rule applies.
pub(crate) const MAILBOX: NonZeroUsize = NZUsize!(1_024);
/// Views behind the finalized one of which votes and blocks are kept: longer
/// than a slow peer takes to ask for them.
pub(crate) const VIEW_RETENTION: u64 = 128;
/// Views per section of the cache of unfinalized blocks.
const VIEWS_PER_SECTION: NonZeroU64 = NZU64!(64);
/// Missing finalized blocks that are fetched at a time.
const MAX_REPAIR: NonZeroUsize = NZUsize!(32);
/// Finalized blocks that are handed over before the first is acknowledged.
const MAX_PENDING_DELIVERIES: NonZeroUsize = NZUsize!(16);
/// Unfinalized blocks that are kept of each validator; at the largest size
/// they take 32 MiB.
const BUFFERED_BLOCKS: usize = 16;
/// Pause before a request that nobody answered is made again.
pub(crate) const FETCH_RETRY: Duration = Duration::from_millis(100);

/// The channels of a validator; the numbers are part of the protocol.
pub(crate) struct Channels<S, R> {
    pub votes: (S, R),
    pub certificates: (S, R),
    pub resolver: (S, R),
    pub backfill: (S, R),
    pub blocks: (S, R),
    pub gossip: (S, R),
    pub dealings: (S, R),
}

/// A validator's place on a network.
pub(crate) struct Seat<S, R, P, B> {
    pub channels: Channels<S, R>,
    /// Tells who the validators are.
    pub peers: P,
    /// Disconnects those that misbehave.
    pub blocker: B,
    /// Told of whom the office makes peers.
    pub track: Track,
}

/// What the rest of the process brings.
pub(crate) struct Resident {
    pub chain: Box<dyn Chain>,
    pub shared: Arc<Shared>,
    /// The other end of `outbox`.
    pub spread: mpsc::Sender<Vec<u8>>,
    /// Gossip to send.
    pub outbox: mpsc::Receiver<Vec<u8>>,
}

/// Number and quota per peer of every channel, in the order of [`Channels`].
///
/// Quotas are far above the view rate (at most 50 a second by default), since
/// a throttled vote costs a view. Bursts bound the memory that one peer can
/// make another hold, and the room that is reserved for it: for the channels
/// with large messages they are small.
pub(crate) fn channel_quotas() -> [(u64, Quota); 7] {
    let quota = |rate, burst| Quota::per_second(rate).allow_burst(burst);
    [
        (0, quota(NZU32!(1_024), NZU32!(256))),
        (1, quota(NZU32!(1_024), NZU32!(256))),
        (2, quota(NZU32!(1_024), NZU32!(256))),
        (3, quota(NZU32!(2_048), NZU32!(64))),
        (4, quota(NZU32!(512), NZU32!(32))),
        // One more a second for the heartbeat.
        (
            5,
            quota(NZU32!(GOSSIP_PER_SECOND + 1), NZU32!(GOSSIP_PER_SECOND + 1)),
        ),
        // One message and one answer each way for every try.
        (6, quota(NZU32!(32), NZU32!(32))),
    ]
}

/// The largest payload that a validator sends on any channel, in a circle of
/// the largest size: committees change while the network stays.
pub(crate) fn largest_payload() -> u32 {
    max_message_size(&[
        prefixed(simplex::max_payload_size::<Scheme, EngineDigest>(
            MAX_VALIDATORS,
        )),
        marshal::max_payload_size::<Standard<OrderedBlock>, Scheme>(MAX_VALIDATORS, &()),
        gossip::MAX_PAYLOAD_BYTES,
        handover::MAX_PAYLOAD_BYTES,
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
    mut context: E,
    setup: Arc<Setup>,
    partition: &str,
    seat: Seat<S, R, P, B>,
    resident: Resident,
) -> Result<Stack, String>
where
    E: Clock + CryptoRng + Spawner + Storage + Metrics,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
    P: Provider<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
{
    let Seat {
        channels,
        peers,
        blocker,
        track,
    } = seat;
    let Resident {
        mut chain,
        shared,
        spread,
        outbox,
    } = resident;
    let epoch_length = chain.epoch_length();
    let cache = page_cache(setup.storage);
    let genesis = OrderedBlock::new(chain.genesis())
        .map(anchor)
        .ok_or("the chain's genesis block is too large or commits to other transactions")?;
    let genesis_digest = genesis.digest();
    let mut archives = Archives::open(&context, partition, &cache, setup.storage)
        .await
        .map_err(|error| format!("the archives do not open: {error}"))?;
    let floor = match chain.anchor() {
        None => None,
        Some(anchor) => {
            let (block, floor) = begin(&anchor, &setup.verifier, &mut context)?;
            // A chain that has gone on since needs its first block no longer.
            if chain.durable_height() == floor.height {
                archives = archives
                    .hold(block)
                    .await
                    .map_err(|error| format!("the archives cannot be written: {error}"))?;
            }
            Some(floor)
        }
    };
    let lineage = archives
        .replay(chain.as_mut())
        .await
        .map_err(|error| format!("the archives cannot be read: {error}"))?;
    let vault = Vault::open(context.child("vault"), partition)
        .await
        .map_err(|error| format!("the vault of shares does not open: {error}"))?;

    let (buffer_engine, buffer) = buffered::Engine::new(
        context.child("buffer"),
        buffer_config(&setup, peers.clone()),
    );
    let resolver = backfill::init(
        context.child("backfill"),
        backfill_config(&setup, peers, blocker.clone()),
        channels.backfill,
    );
    let epocher = FixedEpocher::new(epoch_length);
    let (marshal_actor, marshal, reached) = MarshalActor::init(
        context.child("marshal"),
        archives.finalizations,
        archives.blocks,
        marshal_config(
            &setup,
            partition,
            match &floor {
                Some(floor) => Start::Floor(floor.finalization.clone()),
                None => Start::Genesis(genesis),
            },
            epocher.clone(),
            cache.clone(),
        ),
    )
    .await;

    let processed = reached.processed().map_or(0, |at| at.height().get());
    let delivered = lineage.delivered().0;
    if processed > delivered {
        return Err(format!(
            "the state is of block {delivered}, the engine has delivered blocks up to \
             {processed} and has not kept those between: give the node a newer state"
        ));
    }

    let (driver, mailbox) = Driver::new(chain, lineage, shared.clone());
    let application = Application::new(mailbox.clone(), setup.pacing);
    let inline = Inline::new(
        context.child("inline"),
        application,
        marshal.clone(),
        epocher,
    );
    // Certificates go to the driver first, so that a block meets its own.
    let reporter = Reporters::from((ActivityReporter(mailbox.clone()), inline.clone()));
    let (keeper, tenures) = Keeper::new(
        context.child("keeper"),
        setup.clone(),
        vault,
        mailbox.clone(),
        spread,
        track,
        epoch_length.get(),
    );
    let epochs = Epochs {
        context: context.child("epochs"),
        setup,
        partition: partition.to_owned(),
        automaton: inline,
        reporter,
        blocker,
        marshal: marshal.clone(),
        page_cache: cache,
        genesis: genesis_digest,
        floor,
        length: epoch_length,
        shared: shared.clone(),
    };

    let (inbox_sender, inbox) = mpsc::channel(GOSSIP_INBOX);
    #[cfg(feature = "simulation")]
    let own_inbox = inbox_sender.clone();
    let (updates_sender, updates) = mpsc::unbounded_channel();
    let blocks = BlockReporter {
        driver: mailbox.clone(),
        updates: updates_sender,
    };
    let (gossip_sender, gossip_receiver) = channels.gossip;
    let (dealings_sender, dealings_receiver) = channels.dealings;
    let in_shared = shared.clone();
    let actors = vec![
        // The chain blocks, so it gets a thread of its own where there are threads.
        (
            "driver",
            context
                .child("driver")
                .dedicated()
                .spawn(move |_| driver.run(inbox)),
        ),
        (
            "delivery",
            context
                .child("delivery")
                .spawn(move |_| deliver(mailbox, marshal, updates, epoch_length)),
        ),
        (
            "gossip sender",
            context
                .child("gossip_out")
                .spawn(move |context| gossip::send(context, gossip_sender, shared, outbox)),
        ),
        (
            "gossip receiver",
            context.child("gossip_in").spawn(move |context| {
                gossip::receive(context, gossip_receiver, in_shared, inbox_sender)
            }),
        ),
        ("block buffer", buffer_engine.start(channels.blocks)),
        ("marshal", marshal_actor.start(blocks, buffer, resolver)),
        (
            "keeper",
            context
                .child("keeper_run")
                .spawn(move |_| keeper.run(dealings_sender, dealings_receiver)),
        ),
        (
            "epochs",
            context.child("epochs_run").spawn(move |_| {
                epochs.run(
                    tenures,
                    channels.votes,
                    channels.certificates,
                    channels.resolver,
                )
            }),
        ),
    ];
    Ok(Stack {
        actors,
        #[cfg(feature = "simulation")]
        inbox: own_inbox,
    })
}

/// The block from which the chain's state begins, as the engine goes on from it.
///
/// Errors: the chain's anchor is no block of this circle that is final.
fn begin(
    anchor: &Anchor,
    verifier: &Scheme,
    entropy: &mut impl CryptoRng,
) -> Result<(Arc<OrderedBlock>, Floor), String> {
    let header = &anchor.block.header;
    let finalization = anchor
        .certificate
        .finalization(header.digest())
        .filter(|finalization| finalization.verify(entropy, verifier, &Sequential))
        .ok_or("the block from which the state begins is not certified by the circle")?;
    let block = OrderedBlock::new(anchor.block.clone())
        .ok_or("the block from which the state begins is too large")?;
    let floor = Floor {
        height: header.height,
        finalization,
    };
    Ok((Arc::new(block), floor))
}

fn buffer_config<P: Provider<PublicKey = PublicKey>>(
    setup: &Setup,
    peer_provider: P,
) -> buffered::Config<PublicKey, (), P, Sequential> {
    buffered::Config {
        public_key: setup.own_key(),
        mailbox_size: MAILBOX,
        deque_size: BUFFERED_BLOCKS,
        // Blocks go before gossip, or a flood of it would cost views.
        priority: true,
        codec_config: (),
        peer_provider,
        strategy: Sequential,
    }
}

fn backfill_config<P, B>(
    setup: &Setup,
    peer_provider: P,
    blocker: B,
) -> backfill::Config<PublicKey, P, B>
where
    P: Provider<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
{
    backfill::Config {
        public_key: setup.own_key(),
        peer_provider,
        blocker,
        mailbox_size: MAILBOX,
        fetch_timeout: fetch_timeout(setup),
        fetch_retry_delay: FETCH_RETRY,
        priority_requests: true,
        priority_responses: false,
    }
}

type MarshalConfig = marshal::Config<
    ConstantProvider<Scheme, Epoch>,
    FixedEpocher,
    Sequential,
    OrderedBlock,
    Digested<OrderedBlock>,
>;

fn marshal_config(
    setup: &Setup,
    partition: &str,
    start: Start<Scheme, EngineDigest, Digested<OrderedBlock>>,
    epocher: FixedEpocher,
    page_cache: CacheRef,
) -> MarshalConfig {
    marshal::Config {
        provider: ConstantProvider::new(setup.verifier.clone()),
        epocher,
        start,
        partition_prefix: format!("{partition}-marshal"),
        mailbox_size: MAILBOX,
        view_retention: ViewDelta::new(VIEW_RETENTION),
        prunable_items_per_section: VIEWS_PER_SECTION,
        page_cache,
        replay_buffer: REPLAY_BUFFER,
        key_write_buffer: WRITE_BUFFER,
        value_write_buffer: WRITE_BUFFER,
        block_codec_config: (),
        max_repair: MAX_REPAIR,
        max_pending_acks: MAX_PENDING_DELIVERIES,
        strategy: Sequential,
    }
}

fn fetch_timeout(setup: &Setup) -> NonZeroDuration {
    NonZeroDuration::new_panic(millis(setup.timeouts.fetch_ms))
}
