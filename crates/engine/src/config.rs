//! What must a validator be told before it can take part?
//!
//! Everything is bytes, numbers and paths. [`EngineConfig`] is what a person
//! or a file says; `Setup` is what remains after every check, so that nothing
//! later in the engine can fail for a reason that was known at the start.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use commonware_cryptography::{Signer as _, ed25519};
use commonware_p2p::{Address, Ingress};
use commonware_utils::{Hostname, TryCollect, ordered::Map};
use wire::CircleId;
use zeroize::Zeroizing;

use crate::{
    EngineError,
    certificate::{Scheme, namespace},
    keys::{self, KeyError, PeerKey},
    resharing,
    storage::Sizes,
};

/// The largest gossip message: a batch of some hundred transactions.
pub const MAX_GOSSIP_BYTES: usize = 256 * 1024;

/// Gossip messages that a validator sends to each peer per second.
///
/// Transactions are meant to be sent in batches, so this bounds latency, not
/// throughput: at the largest size it is 32 MiB/s from every peer.
pub const GOSSIP_PER_SECOND: u32 = 128;

/// How far apart blocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// A block is proposed at the earliest this long after its parent's time.
    pub min_block_interval_ms: u64,
    /// Without work, a leader waits this long after the parent's time before
    /// it proposes an empty block.
    pub idle_block_interval_ms: u64,
}

impl Default for Pacing {
    /// 20 ms keeps the disk's syncs per second in bounds; half a second of
    /// idling is well below the leader timeout and keeps timestamps fresh.
    fn default() -> Self {
        Self {
            min_block_interval_ms: 20,
            idle_block_interval_ms: 500,
        }
    }
}

/// When a validator gives up on what it waits for. All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a leader's proposal, from the start of its view.
    pub leader_ms: u64,
    /// For the view's certificate, from the start of the view.
    pub certification_ms: u64,
    /// Before a vote to skip the view is sent again.
    pub retry_ms: u64,
    /// Silence after which a leader's views are skipped without waiting.
    pub skip_ms: u64,
    /// For an answer of one peer to a request.
    pub fetch_ms: u64,
}

impl Default for Timeouts {
    /// A dead leader costs one leader timeout; after two seconds of silence
    /// its views cost nothing.
    fn default() -> Self {
        Self {
            leader_ms: 700,
            certification_ms: 1_100,
            retry_ms: 1_000,
            skip_ms: 2_000,
            fetch_ms: 500,
        }
    }
}

/// What a leader must leave of its leader timeout for its block to travel.
const PROPOSAL_MARGIN_MS: u64 = 100;

/// Upper bound on every configured time: an hour is certainly a mistake.
const MAX_TIME_MS: u64 = 3_600_000;

/// One validator of the circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// Its Ed25519 public key.
    pub key: PeerKey,
    /// Where others reach it: `host:port`, the host an IP address or a DNS name.
    pub address: String,
}

/// What a validator needs to take part.
pub struct EngineConfig {
    /// The circle: the namespace of everything that is signed.
    pub circle: CircleId,
    /// Seed of the validator's Ed25519 key (RFC 8032).
    pub identity_seed: Zeroizing<[u8; 32]>,
    /// A founder's share of the circle's key; none of who joined later, whose
    /// shares come from resharings and stay in the engine's directory.
    pub share: Option<Zeroizing<Vec<u8>>>,
    /// The public side of the founders' shares.
    pub polynomial: Vec<u8>,
    /// Where validators are reached, in any order: who is needed to find the
    /// circle. What the chain's office says of addresses goes before it.
    pub validators: Vec<Validator>,
    /// The address on which to listen for other validators.
    pub listen: SocketAddr,
    /// Directory of the engine alone, made readable to its owner only: it holds
    /// the validator's shares and its memory of how it voted. Who starts again
    /// without it and with a copy of the share may vote twice in one view; so the
    /// chain is told to delete the founding share's copy
    /// ([`crate::Chain::share_replaced`]).
    pub storage_directory: PathBuf,
    /// How far apart blocks are.
    pub pacing: Pacing,
    /// When to give up waiting.
    pub timeouts: Timeouts,
    /// Threads of the engine's runtime, next to the one that runs the chain.
    pub worker_threads: usize,
}

impl EngineConfig {
    /// A configuration with the default pacing, timeouts and threads.
    pub fn new(
        circle: CircleId,
        identity_seed: [u8; 32],
        share: Option<Vec<u8>>,
        polynomial: Vec<u8>,
        validators: Vec<Validator>,
        listen: SocketAddr,
        storage_directory: PathBuf,
    ) -> Self {
        Self {
            circle,
            identity_seed: Zeroizing::new(identity_seed),
            share: share.map(Zeroizing::new),
            polynomial,
            validators,
            listen,
            storage_directory,
            pacing: Pacing::default(),
            timeouts: Timeouts::default(),
            worker_threads: 2,
        }
    }
}

/// A configuration that has passed every check.
pub(crate) struct Setup {
    pub circle: CircleId,
    pub signer: ed25519::PrivateKey,
    pub seed: Zeroizing<[u8; 32]>,
    pub own: PeerKey,
    /// The founding share, if this is a founder.
    pub share: Option<Zeroizing<Vec<u8>>>,
    /// The founding sharing.
    pub founding: Vec<u8>,
    /// Checks certificates of any epoch: the circle's key is constant.
    pub verifier: Scheme,
    pub addresses: Map<ed25519::PublicKey, Address>,
    pub pacing: Pacing,
    pub timeouts: Timeouts,
    pub storage: Sizes,
    /// Breaks the keeper of shares on purpose: a simulation sets it to see that
    /// it is found. No configuration can.
    #[cfg(feature = "simulation")]
    pub takes_any_share: bool,
}

impl Setup {
    pub(crate) fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        check_times(&config.pacing, &config.timeouts)?;
        if config.worker_threads == 0 {
            return Err(EngineError::Config("worker_threads is 0".into()));
        }
        let peer_keys: Vec<PeerKey> = config.validators.iter().map(|v| v.key).collect();
        let (ordered, _) = keys::participant_set(&peer_keys)?;
        let addresses = ordered
            .into_iter()
            .zip(&config.validators)
            .map(|(key, validator)| Ok((key, parse_address(&validator.address)?)))
            .collect::<Result<Vec<_>, EngineError>>()?
            .into_iter()
            .try_collect()
            .map_err(|_| KeyError::DuplicateValidator)?;
        let signer = keys::private_key(&config.identity_seed);
        let own = keys::public_key(&config.identity_seed);
        Ok(Self {
            circle: config.circle,
            verifier: founding_scheme(config, &signer.public_key())?,
            signer,
            seed: config.identity_seed.clone(),
            own,
            share: config.share.clone(),
            founding: config.polynomial.clone(),
            addresses,
            pacing: config.pacing,
            timeouts: config.timeouts,
            storage: Sizes::PRODUCTION,
            #[cfg(feature = "simulation")]
            takes_any_share: false,
        })
    }

    pub(crate) fn own_key(&self) -> ed25519::PublicKey {
        self.signer.public_key()
    }
}

/// Checks the founding sharing, and that a founder's share is its own; what
/// verifies the circle's certificates.
fn founding_scheme(
    config: &EngineConfig,
    own_key: &ed25519::PublicKey,
) -> Result<Scheme, KeyError> {
    let sharing = resharing::decode_sharing(&config.polynomial)?;
    let (participants, polynomial) = (sharing.players(), sharing.public());
    keys::check_sharing(participants, polynomial)?;
    let namespace = namespace(config.circle);
    if let Some(share) = &config.share {
        let share = keys::decode_share(share)?;
        let position = participants.position(own_key);
        if position != Some(usize::from(share.index)) {
            return Err(KeyError::ShareMismatch);
        }
        Scheme::signer(&namespace, participants.clone(), polynomial.clone(), share)
            .ok_or(KeyError::ShareMismatch)?;
    }
    let key = *polynomial.public();
    Ok(Scheme::certificate_verifier(&namespace, key))
}

fn check_times(pacing: &Pacing, timeouts: &Timeouts) -> Result<(), EngineError> {
    let all = [
        pacing.min_block_interval_ms,
        pacing.idle_block_interval_ms,
        timeouts.leader_ms,
        timeouts.certification_ms,
        timeouts.retry_ms,
        timeouts.skip_ms,
        timeouts.fetch_ms,
    ];
    let wrong = if all.iter().any(|&time| time > MAX_TIME_MS) {
        "a time is above an hour"
    } else if timeouts.retry_ms == 0 || timeouts.fetch_ms == 0 {
        "retry_ms and fetch_ms must be above 0"
    } else if pacing.min_block_interval_ms > pacing.idle_block_interval_ms {
        "min_block_interval_ms is above idle_block_interval_ms"
    } else if pacing.idle_block_interval_ms + PROPOSAL_MARGIN_MS > timeouts.leader_ms {
        "idle_block_interval_ms leaves less than 100 ms of leader_ms"
    } else if timeouts.leader_ms >= timeouts.certification_ms {
        "leader_ms must be below certification_ms"
    } else if timeouts.skip_ms <= timeouts.certification_ms.max(timeouts.retry_ms) {
        "skip_ms must be above certification_ms and retry_ms"
    } else {
        return Ok(());
    };
    Err(EngineError::Config(wrong.into()))
}

pub(crate) fn parse_address(text: &str) -> Result<Address, EngineError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Address::Symmetric(address));
    }
    let refused = || EngineError::Config(format!("`{text}` is not host:port"));
    let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
    let port: u16 = port.parse().map_err(|_| refused())?;
    let host = Hostname::new(host).map_err(|_| refused())?;
    Ok(Address::Asymmetric {
        ingress: Ingress::Dns { host, port },
        // Peers are known by their keys; their source address is not checked.
        egress: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
    })
}

pub(crate) fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// The namespace of connections between validators: apart from votes, so that
/// no handshake can be taken for one.
pub(crate) fn network_namespace(circle: CircleId) -> Vec<u8> {
    [&namespace(circle)[..], b"_NETWORK"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(n: u8) -> EngineConfig {
        let seeds: Vec<[u8; 32]> = (0..n).map(|i| [i + 1; 32]).collect();
        let peers: Vec<PeerKey> = seeds.iter().map(keys::public_key).collect();
        let dealing = keys::development_dealer(&peers, [9; 32]).unwrap();
        let validators = peers
            .iter()
            .map(|&key| Validator {
                key,
                address: "127.0.0.1:4000".into(),
            })
            .collect();
        EngineConfig::new(
            CircleId([7; 32]),
            seeds[0],
            Some(dealing.shares[0].to_vec()),
            dealing.polynomial,
            validators,
            "127.0.0.1:0".parse().unwrap(),
            PathBuf::new(),
        )
    }

    #[test]
    fn accepts_the_defaults_and_names_with_ports() {
        let mut config = config(4);
        config.validators[1].address = "validator-2.example:4000".into();
        config.validators[2].address = "[::1]:4000".into();
        assert!(Setup::new(&config).is_ok());
    }

    #[test]
    fn refuses_addresses_without_host_or_port() {
        for address in ["", "host", "host:", "host:70000", ":1", "bad host:1"] {
            let mut config = config(4);
            config.validators[1].address = address.into();
            assert!(
                matches!(Setup::new(&config), Err(EngineError::Config(_))),
                "{address}"
            );
        }
    }

    #[test]
    fn refuses_a_share_of_another_validator() {
        let mut wrong = config(4);
        wrong.identity_seed = Zeroizing::new([2; 32]);
        assert!(matches!(
            Setup::new(&wrong),
            Err(EngineError::Key(KeyError::ShareMismatch))
        ));
    }

    #[test]
    fn refuses_a_share_of_another_sharing() {
        let mut wrong = config(4);
        wrong.polynomial = config(7).polynomial;
        assert!(matches!(
            Setup::new(&wrong),
            Err(EngineError::Key(KeyError::ShareMismatch))
        ));
        wrong.polynomial.pop();
        assert!(matches!(
            Setup::new(&wrong),
            Err(EngineError::Key(KeyError::Polynomial))
        ));
    }

    #[test]
    fn accepts_an_outsider_only_without_a_share() {
        let mut outsider = config(4);
        outsider.identity_seed = Zeroizing::new([99; 32]);
        assert!(Setup::new(&outsider).is_err());
        outsider.share = None;
        assert!(Setup::new(&outsider).is_ok());
    }

    #[test]
    fn refuses_times_that_contradict_one_another() {
        let changes: [fn(&mut EngineConfig); 6] = [
            |c| c.pacing.idle_block_interval_ms = c.timeouts.leader_ms,
            |c| c.pacing.min_block_interval_ms = c.pacing.idle_block_interval_ms + 1,
            |c| c.timeouts.certification_ms = c.timeouts.leader_ms,
            |c| c.timeouts.skip_ms = c.timeouts.certification_ms,
            |c| c.timeouts.retry_ms = 0,
            |c| c.timeouts.skip_ms = u64::MAX,
        ];
        for change in changes {
            let mut config = config(4);
            change(&mut config);
            assert!(matches!(Setup::new(&config), Err(EngineError::Config(_))));
        }
    }
}
