//! How does a validator run on a real machine?
//!
//! On its own runtime and threads, over encrypted and authenticated TCP
//! connections to validators whose addresses are configured. Peers are known
//! by their keys; where a connection comes from does not matter.

use std::{
    fs, net::SocketAddr, num::NonZeroUsize, os::unix::fs::PermissionsExt as _, path::Path,
    sync::Arc, thread, time::Duration,
};

use commonware_cryptography::{ChaCha20Poly1305, ed25519};
use commonware_macros::select;
use commonware_p2p::{
    Address, AddressableManager as _, AddressableTrackedPeers,
    authenticated::lookup::{self, Network},
};
use commonware_runtime::{Metrics as _, Quota, Runner as _, Spawner as _, Supervisor as _, tokio};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZU32, NZUsize, channel::mpsc, ordered::Map};
use tracing::{error, info, warn};

use crate::{
    Chain, EngineConfig, EngineError, EngineHandle,
    config::{Setup, network_namespace},
    handle::{GOSSIP_BACKLOG, Shared},
    keeper::Peers,
    stack::{self, Channels, Resident, Seat},
};

/// How far ahead a peer's clock may be when it connects.
const SYNCHRONY_BOUND: Duration = Duration::from_secs(5);
/// How old a peer's first message may be when it connects.
const MAX_HANDSHAKE_AGE: Duration = Duration::from_secs(10);
/// How long a peer stays blocked after it has sent something invalid: long
/// enough to cost it its vote for a while, short enough to recover by itself.
const BLOCK_DURATION: Duration = Duration::from_secs(600);
/// How often a validator says something on a connection.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Silence after which a connection is given up. When a network that has split
/// is joined again, TCP alone would wait for as long as it was apart before it
/// tries again; a new connection is made at once.
const SILENCE: Duration = Duration::from_secs(8);
/// How long the opening of a connection may take. A lost first packet is sent
/// again after one second and after three.
const DIAL_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the engine's tasks may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Begins the name of everything in the engine's directory.
pub(crate) const PARTITION: &str = "engine";

/// Peers that every validator has room for, beyond its configured ones.
const LEAST_PEERS: NonZeroUsize = NZUsize!(32);

type Handshake = Cups<Sake<ed25519::PrivateKey>, ChaCha20Poly1305>;

/// Starts a validator on threads of its own and returns at once.
///
/// Errors: [`EngineError::Config`] and [`EngineError::Key`] for a wrong
///         configuration; [`EngineError::Thread`]. What goes wrong later (an
///         address in use, a broken disk) is told by [`EngineHandle::join`].
pub fn run(config: EngineConfig, chain: Box<dyn Chain>) -> Result<EngineHandle, EngineError> {
    let setup = Arc::new(Setup::new(&config)?);
    keep_private(&config.storage_directory)?;
    let shared = Arc::new(Shared::default());
    let (gossip, outbox) = mpsc::channel(GOSSIP_BACKLOG);
    let runtime = tokio::Config::new()
        .with_worker_threads(config.worker_threads)
        .with_connect_timeout(DIAL_TIMEOUT)
        .with_read_write_timeout(SILENCE)
        .with_storage_directory(&config.storage_directory);
    let thread_shared = shared.clone();
    let thread_gossip = gossip.clone();
    let listen = config.listen;
    let thread = thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let spread = thread_gossip;
            let _release = Release(thread_shared.clone());
            tokio::Runner::new(runtime)
                .start(|context| main(context, setup, listen, chain, thread_shared, spread, outbox))
        })
        .map_err(EngineError::Thread)?;
    Ok(EngineHandle::new(shared, gossip, thread))
}

/// Lets go of the runtime however its thread ends: while anything holds it,
/// the storage directory stays locked.
struct Release(Arc<Shared>);

impl Drop for Release {
    fn drop(&mut self) {
        *self.0.metrics.lock() = None;
    }
}

async fn main(
    context: tokio::Context,
    setup: Arc<Setup>,
    listen: SocketAddr,
    chain: Box<dyn Chain>,
    shared: Arc<Shared>,
    spread: mpsc::Sender<Vec<u8>>,
    outbox: mpsc::Receiver<Vec<u8>>,
) -> Result<(), String> {
    let (mut network, oracle) =
        Network::new(context.child("network"), network_config(&setup, listen));
    let [
        votes,
        certificates,
        resolver,
        backfill,
        blocks,
        gossip,
        dealings,
    ] = stack::channel_quotas().map(|(channel, quota)| network.register(channel, quota));
    let channels = Channels {
        votes,
        certificates,
        resolver,
        backfill,
        blocks,
        gossip,
        dealings,
    };
    let (mut tracker, limit) = (oracle.clone(), peers_per_set(&setup).get());
    let seat = Seat {
        channels,
        peers: oracle.clone(),
        blocker: oracle,
        track: Box::new(move |number, peers| {
            tracker.track(number, peer_set(peers, limit));
        }),
    };
    let resident = Resident {
        chain,
        shared: shared.clone(),
        spread,
        outbox,
    };
    let mut stack = stack::start(
        context.child("validator"),
        setup.clone(),
        PARTITION,
        seat,
        resident,
    )
    .await?;
    stack.push("network", network.start());
    let metrics = context.child("metrics");
    *shared.metrics.lock() = Some(Box::new(move || metrics.encode()));
    info!(%listen, circle = %setup.circle.short(), "the engine is running");
    let ended = select! {
        _ = shared.stop.notified() => None,
        name = stack.ended() => Some(name),
    };
    // Tasks that write are told to finish; what they do not finish is repaired
    // from the journals at the next start, as after a crash.
    let _ = context.stop(0, Some(STOP_TIMEOUT)).await;
    match ended {
        None => Ok(()),
        Some(name) => {
            error!(actor = name, "an actor of the engine has ended");
            Err(format!("its {name} ended by itself (is {listen} in use?)"))
        }
    }
}

/// Makes the engine's directory its owner's alone: it holds shares.
fn keep_private(directory: &Path) -> Result<(), EngineError> {
    fs::create_dir_all(directory)
        .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o700)))
        .map_err(|source| EngineError::Directory {
            path: directory.to_owned(),
            source,
        })
}

/// Peers that are known at a time. The network reserves memory for each, so the
/// bound grows with the configured circle and not with the largest one.
fn peers_per_set(setup: &Setup) -> NonZeroUsize {
    let configured = NZUsize!(1).saturating_add(setup.addresses.len());
    configured.saturating_mul(NZUsize!(2)).max(LEAST_PEERS)
}

/// A set within the network's bound: followers are left out before validators.
fn peer_set(peers: Peers, limit: usize) -> AddressableTrackedPeers<ed25519::PublicKey> {
    let Peers { primary, secondary } = peers;
    let wanted = primary.len() + secondary.len();
    // One place is this validator's, whether it is among them or not.
    let room = limit - 1;
    if wanted > room {
        warn!(
            wanted,
            room, "more peers than this node was started for: list more in its configuration"
        );
    }
    let mut places = room;
    let mut take = |peers: std::collections::BTreeMap<ed25519::PublicKey, Address>| {
        let taken: Vec<_> = peers.into_iter().take(places).collect();
        places -= taken.len();
        Map::from_iter_dedup(taken)
    };
    AddressableTrackedPeers {
        primary: take(primary),
        secondary: take(secondary),
    }
}

fn network_config(setup: &Setup, listen: SocketAddr) -> lookup::Config<Handshake> {
    let handshake = Cups::new(
        Sake {
            signer: setup.signer.clone(),
            synchrony_bound: SYNCHRONY_BOUND,
            max_handshake_age: MAX_HANDSHAKE_AGE,
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    lookup::Config {
        handshake,
        namespace: network_namespace(setup.circle),
        listen,
        // Circles run on private networks as well as on the public one.
        allow_private_ips: true,
        allow_dns: true,
        bypass_ip_check: true,
        max_message_size: stack::largest_payload(),
        max_peers_per_set: peers_per_set(setup),
        mailbox_size: NZUsize!(1_024),
        send_batch_size: NZUsize!(8),
        handshake_timeout: Duration::from_secs(5),
        dial_timeout: DIAL_TIMEOUT,
        // A validator that restarts must be back within a second.
        peer_connection_cooldown: Duration::from_millis(250),
        dial_frequency: Duration::from_millis(250),
        max_concurrent_handshakes: NZU32!(256),
        // Several validators may share an address (a test, a gateway).
        allowed_handshake_rate_per_ip: Quota::per_second(NZU32!(64)),
        allowed_handshake_rate_per_subnet: Quota::per_second(NZU32!(256)),
        ping_frequency: PING_INTERVAL,
        // Those of the office now and of the one before, so that who has just
        // been left out can still learn of it.
        tracked_peer_sets: NZUsize!(2),
        block_duration: BLOCK_DURATION,
    }
}
