//! The zone signer: it follows the ledger through proofs, signs what changed,
//! and hands the signatures to name servers, which hold no key.
//!
//! It is a daemon of its own, so that the keys are on no machine that answers
//! strangers. `keys` says where signatures come from, `sign` and `signing` make
//! them, `roll` moves keys through their lives, `server` tells name servers.

pub mod keys;
pub mod roll;
mod server;
pub mod sign;
pub mod signing;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinSet};
use tracing::{error, info, warn};
use wire::{Action, CircleId, CircleKey, DomainName, Height, SetZone, ZoneServer, record};

use self::{
    keys::{FileKeys, KeyFileError},
    roll::Surroundings,
    server::Feed,
    signing::Signing,
};
use super::{
    feed::Version,
    follow::{Image, ProvenChange, follow_into},
    now_ms,
    subjects::{Entry, Subject},
    zone::{Zone, ZoneSettings},
};
use crate::{
    held::{KeyHolder, LabelSettings},
    ledger::{self, Ledger, Post, chain},
    remote::{Remote, RemoteAccount},
};

/// How often keys are looked at: whether the file changed, and whether a step
/// of a roll-over is due.
const TEND_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait before the ledger is asked again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The configuration of the zone signer (`signer.toml`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerConfig {
    /// The circle's constant key: all that is trusted.
    pub circle_key: CircleKey,
    /// The circle's id.
    pub circle: CircleId,
    /// Base URLs of nodes to follow.
    pub nodes: Vec<String>,
    /// Key file of the account that sets zones; the genesis lists it.
    pub key_file: PathBuf,
    /// File with its passphrase.
    pub passphrase_file: PathBuf,
    /// File of the zones' keys and how far their lives have come; made the
    /// first time, for its owner alone. It has the private keys where no label
    /// is named.
    pub zone_keys: PathBuf,
    /// The label of whose key the zones' keys come.
    #[serde(default)]
    pub label: Option<LabelSettings>,
    /// Where name servers are told: in reach of them and, for its bandwidth's
    /// sake, of nobody else.
    pub listen: SocketAddr,
    /// The apexes to sign; empty for all that the genesis names.
    #[serde(default)]
    pub apexes: Vec<DomainName>,
    /// The zones' name servers.
    pub servers: Vec<ServerSettings>,
    /// Seconds for which DNSKEY, SOA, NS and the servers' addresses may be cached.
    #[serde(default = "default_apex_ttl")]
    pub apex_ttl: u32,
    /// Seconds for which a denial may be cached.
    #[serde(default = "default_short_ttl")]
    pub negative_ttl: u32,
    /// Seconds for which what follows from live replicas may be cached.
    #[serde(default = "default_short_ttl")]
    pub endpoint_ttl: u32,
}

/// One name server of the zones.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Its label beneath each apex: `ns`, `ns1`, …
    pub label: DomainName,
    /// Its addresses as clients reach it.
    pub addresses: Vec<IpAddr>,
}

fn default_apex_ttl() -> u32 {
    ZoneSettings::default().apex_ttl
}

fn default_short_ttl() -> u32 {
    ZoneSettings::default().negative_ttl
}

/// Why the signer could not start.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The zones' keys.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The feed's address could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Its account's key file or passphrase.
    #[error("cannot open the account's key {path}")]
    Account {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The nodes' URLs.
    #[error("signer.toml: `nodes` cannot be used")]
    Nodes(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the two halves of the daemon tell each other: the one that follows
/// and signs, and the one that tends the keys.
struct Shared {
    holder: Option<Arc<dyn KeyHolder>>,
    feed: Arc<Feed>,
    state: Mutex<State>,
}

struct State {
    keys: Arc<FileKeys>,
    /// What the ledger holds of each zone, proven.
    on_ledger: BTreeMap<DomainName, record::Zone>,
    /// Tags whose signatures each zone holds; none before it is known.
    in_use: BTreeMap<DomainName, BTreeSet<u16>>,
    /// Whether the ledger was read.
    has_read: bool,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the signer until the future is dropped, with the keys of `holder` if
/// there is one.
///
/// Errors: [`SignerError`] if it cannot start; once started it does not end.
pub async fn run(
    config: SignerConfig,
    holder: Option<Arc<dyn KeyHolder>>,
) -> Result<std::convert::Infallible, SignerError> {
    let remote = Remote::new(&config.nodes, config.circle_key, config.circle, None)
        .map_err(SignerError::Nodes)?;
    let opened = RemoteAccount::open(remote, &config.key_file, &config.passphrase_file);
    let ledger = opened.map_err(|source| SignerError::Account {
        path: config.key_file.clone(),
        source,
    })?;
    run_over(ledger, config, holder).await
}

/// Runs the signer over `ledger` until the future is dropped.
///
/// Errors: [`SignerError`] if it cannot start; once started it does not end.
pub async fn run_over(
    ledger: impl Ledger + Post,
    config: SignerConfig,
    holder: Option<Arc<dyn KeyHolder>>,
) -> Result<std::convert::Infallible, SignerError> {
    let address = config.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| SignerError::Listen { address, source })?;
    let shared = Arc::new(Shared {
        holder: holder.clone(),
        feed: Arc::default(),
        state: Mutex::new(State {
            keys: Arc::new(FileKeys::open_with(&config.zone_keys, holder.clone())?),
            on_ledger: BTreeMap::new(),
            in_use: BTreeMap::new(),
            has_read: false,
        }),
    });
    let apexes = loop {
        match ledger::apexes(&ledger).await {
            Ok((apexes, _)) if config.apexes.is_empty() => break apexes,
            Ok(_) => break config.apexes.clone(),
            Err(error) => {
                warn!(error = %chain(&error), "the circle's genesis could not be read");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    };
    info!(account = %ledger.account(), ?apexes, %address, "signing zones");
    let mut tasks = JoinSet::new();
    let feed = Arc::clone(&shared.feed);
    tasks.spawn(async move { match server::serve(listener, feed).await {} });
    let mut image = Signed {
        shared: Arc::clone(&shared),
        signing: Signing::new(
            Arc::clone(&shared.state().keys),
            Zone::new(&apexes, ZoneSettings::default()),
        ),
        apexes: apexes.clone(),
    };
    let never = tokio::select! {
        never = follow_into(&ledger, &apexes, &mut image) => never,
        never = tend(&ledger, &config, &apexes, &shared) => never,
    };
    match never {}
}

/// The image that is signed.
struct Signed {
    shared: Arc<Shared>,
    signing: Signing<Arc<FileKeys>>,
    apexes: Vec<DomainName>,
}

impl Image for Signed {
    fn begin(&mut self, apexes: &[DomainName]) {
        self.shared.feed.reset();
        self.apexes = apexes.to_vec();
        let keys = Arc::clone(&self.shared.state().keys);
        self.signing = Signing::new(keys, Zone::new(apexes, ZoneSettings::default()));
        self.shared.state().on_ledger.clear();
    }

    fn take(&mut self, height: Height, time_ms: u64, changes: Vec<ProvenChange<'_>>) {
        self.signing.set_keys(Arc::clone(&self.shared.state().keys));
        let opened: Vec<Option<Entry>> = changes.iter().map(ProvenChange::entry).collect();
        let pairs = changes.iter().zip(&opened);
        let made = self.signing.step(
            height,
            time_ms,
            now_ms() / 1000,
            pairs.map(|(change, entry)| change.subject.change(entry.as_ref())),
        );
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                // Name servers keep the last image, and say how old it is.
                error!(error = %chain(&error), %height, "a version could not be signed");
                self.shared.feed.reset();
                return;
            }
        };
        let proofs = changes
            .iter()
            .filter(|change| !change.proof.is_empty())
            .map(|change| change.proof.clone())
            .collect();
        let version = Version::new(height, false, proofs, made);
        self.shared
            .feed
            .publish(self.signing.zone().clone(), &version);
        self.report(&changes);
    }

    fn wants_proofs(&self) -> bool {
        self.shared.feed.is_ready()
    }
}

impl Signed {
    /// Tells the half that tends keys what the zones look like.
    fn report(&self, changes: &[ProvenChange<'_>]) {
        let mut state = self.shared.state();
        state.has_read = true;
        for change in changes {
            let Subject::Zone(apex) = &change.subject else {
                continue;
            };
            match change.entry() {
                Some(Entry::Zone(zone)) => state.on_ledger.insert(apex.clone(), *zone),
                _ => state.on_ledger.remove(apex),
            };
        }
        for apex in &self.apexes {
            if let Some(in_use) = self.signing.in_use(apex) {
                state.in_use.insert(apex.clone(), in_use.clone());
            }
        }
    }
}

/// Tends the keys: makes the first, takes due steps of roll-overs, and has the
/// ledger say what they call for.
async fn tend(
    ledger: &(impl Ledger + Post),
    config: &SignerConfig,
    apexes: &[DomainName],
    shared: &Shared,
) -> std::convert::Infallible {
    let mut interval = tokio::time::interval(TEND_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if !shared.state().has_read {
            continue;
        }
        let keys = match tend_file(config, apexes, shared, now_ms() / 1000) {
            Ok(keys) => keys,
            Err(error) => {
                error!(error = %chain(&error), "the zones' keys cannot be tended");
                continue;
            }
        };
        for apex in apexes {
            let wanted = wanted(config, apex, &keys);
            let held = shared
                .state()
                .on_ledger
                .get(apex)
                .map(|zone| zone.zone.clone());
            if held.as_ref() == Some(&wanted) {
                continue;
            }
            info!(%apex, keys = ?keys, "setting the zone on the ledger");
            if let Err(error) = ledger.post(vec![Action::SetZone(wanted)]).await {
                warn!(%apex, error = %chain(&error), "the zone could not be set");
            } else {
                settled(shared, apex, held.as_ref()).await;
            }
        }
    }
}

/// Waits a while for the follower to see that a zone was set, so that it is
/// not set twice.
async fn settled(shared: &Shared, apex: &DomainName, former: Option<&SetZone>) {
    for _ in 0..100 {
        let held = shared
            .state()
            .on_ledger
            .get(apex)
            .map(|zone| zone.zone.clone());
        if held.as_ref() != former {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads the keys again, takes due steps, and saves what changed.
fn tend_file(
    config: &SignerConfig,
    apexes: &[DomainName],
    shared: &Shared,
    now: u64,
) -> Result<Arc<FileKeys>, KeyFileError> {
    let _lock = FileKeys::lock(&config.zone_keys)?;
    let mut keys = FileKeys::open_with(&config.zone_keys, shared.holder.clone())?;
    let mut changed = false;
    for apex in apexes {
        changed |= roll::begin(&mut keys, apex, now)?;
        let state = shared.state();
        // Before the first search is over, every key counts as in use.
        let every = keys.of(apex).map(|(tag, _)| tag).collect();
        let around = Surroundings {
            now,
            on_ledger: state.on_ledger.get(apex),
            in_use: state.in_use.get(apex).unwrap_or(&every),
        };
        changed |= roll::advance(&mut keys, apex, around);
    }
    if changed {
        info!(?keys, "the zones' keys moved on");
    }
    if keys.is_moved() {
        keys.save()?;
    }
    let keys = Arc::new(keys);
    shared.state().keys = Arc::clone(&keys);
    Ok(keys)
}

/// What the ledger is to say of `apex`.
fn wanted(config: &SignerConfig, apex: &DomainName, keys: &FileKeys) -> SetZone {
    let mut servers: Vec<ZoneServer> = config
        .servers
        .iter()
        .map(|server| ZoneServer {
            label: server.label.clone(),
            addresses: server.addresses.clone(),
        })
        .collect();
    servers.sort_by(|a, b| a.label.cmp(&b.label));
    SetZone {
        apex: apex.clone(),
        keys: keys.public(apex),
        servers,
        apex_ttl: config.apex_ttl,
        negative_ttl: config.negative_ttl,
        endpoint_ttl: config.endpoint_ttl,
    }
}
