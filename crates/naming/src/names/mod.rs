//! The name daemon: authoritative DNS for the circle's apexes, from proofs.
//!
//! `follow` keeps an immutable image level with the ledger, `published` holds
//! the newest one, `fronts` answer from it through the one pure function in
//! `answer`. Nothing is kept on disk: the ledger is the zone file.

mod answer;
mod cookies;
mod designation;
pub mod dnssec;
mod feed;
mod follow;
mod fronts;
mod gateway;
mod mirror;
mod published;
mod rate_limit;
mod registration;
mod rendered;
pub mod signer;
mod status;
mod subjects;
mod synthesis;
mod transfer;
mod updates;
mod zone;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use wire::{CircleId, CircleKey, DomainName};

pub use self::{
    answer::{Arrival, Freshness, Kind, MAX_UDP_RESPONSE, Response, Transport, View, answer},
    cookies::{CookieError, CookieKeys, CookieSettings},
    designation::Designation,
    follow::follow,
    fronts::{FrontError, FrontSettings, Fronts, Identity, IdentityError, IdentitySettings},
    gateway::{GatewaySettings, GatewayStatus},
    published::{Published, Tolerance, now_ms},
    rate_limit::{Network, NetworkError, RateLimit},
    registration::RegistrationSettings,
    status::NamesStatus,
    transfer::{KeySettings, SecondarySettings, TransferError, TransferSettings},
    zone::{Apex, Change, Data, Domain, Node, OwnerName, RrSet, Zone, ZoneSettings, absolute, ds},
};
pub(crate) use self::{dnssec::canonical_octets, zone::ds_of};
use crate::{
    ledger::{Ledger, Post},
    remote::{Remote, RemoteAccount},
};

/// The configuration of the name daemon (`names.toml`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamesConfig {
    /// The circle's constant key: all that is trusted.
    pub circle_key: CircleKey,
    /// The circle's id.
    pub circle: CircleId,
    /// Base URLs of nodes to follow.
    pub nodes: Vec<String>,
    /// Where to answer, and how.
    pub fronts: FrontSettings,
    /// The account with which the server's own key is put on the ledger and
    /// certified; without it, the key has a certificate from elsewhere or none.
    #[serde(default)]
    pub registration: Option<RegistrationSettings>,
    /// The apexes to serve; empty for all that the genesis names.
    #[serde(default)]
    pub apexes: Vec<DomainName>,
    /// What the operator says of the zones.
    #[serde(default)]
    pub zone: ZoneSettings,
    /// How far behind the ledger answers may be.
    #[serde(default)]
    pub tolerance: Tolerance,
    /// Zone signers to be told by, `HOST:PORT`; the next is asked when one
    /// fails. Without any, zones that the ledger holds keys of are not served.
    #[serde(default)]
    pub signers: Vec<String>,
    /// Follow no zone; read with a proof what is asked for, and keep so much.
    #[serde(default)]
    pub gateway: Option<GatewaySettings>,
}

/// Why the name daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The nodes' URLs.
    #[error("names.toml: `nodes` cannot be used")]
    Nodes(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Its account's key file or passphrase.
    #[error("cannot open the account's key {path}")]
    Account {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What answers.
    #[error(transparent)]
    Front(#[from] FrontError),
    /// Whole zones from a gateway.
    #[error("names.toml: a `gateway` has no zone whole: leave out `{0}`")]
    Gateway(&'static str),
}

/// Runs the name daemon until the future is dropped.
///
/// Errors: [`NamesError`] if it cannot start; once started it does not end.
pub async fn run(config: NamesConfig) -> Result<std::convert::Infallible, NamesError> {
    // Proofs of any age are taken: how old they are is said in every answer,
    // and a circle that stands still keeps its names.
    let remote = Remote::new(&config.nodes, config.circle_key, config.circle, None)
        .map_err(NamesError::Nodes)?;
    let account = match &config.registration {
        None => None,
        Some(settings) => {
            let remote = Remote::new(&config.nodes, config.circle_key, config.circle, None)
                .map_err(NamesError::Nodes)?;
            let account =
                RemoteAccount::open(remote, &settings.key_file, &settings.passphrase_file);
            Some(account.map_err(|source| NamesError::Account {
                path: settings.key_file.clone(),
                source,
            })?)
        }
    };
    run_over(remote, account, config).await
}

/// Runs the name daemon over `ledger` until the future is dropped, registering
/// itself with `account`.
///
/// Errors: [`NamesError`] if it cannot start; once started it does not end.
pub async fn run_over(
    ledger: impl Ledger,
    account: Option<impl Ledger + Post>,
    config: NamesConfig,
) -> Result<std::convert::Infallible, NamesError> {
    check_gateway(&config)?;
    let published = Arc::new(Published::new(config.tolerance));
    let opened = config
        .gateway
        .map(|kept| gateway::gateway(kept, config.tolerance));
    let (gateway, waiting) = opened.unzip();
    let takes_updates = config.registration.as_ref().is_some_and(|own| own.updates);
    let (updates, arriving) = updates::channel();
    let updates = takes_updates.then_some(updates);
    let fronts = Fronts::start_with(&config.fronts, &published, updates, gateway.clone()).await?;
    let mut settings = config.zone;
    if settings.ns_addresses.is_empty() {
        settings.ns_addresses = own_addresses(&config.fronts.listen);
    }
    let following = async {
        if let (Some(gateway), Some(waiting)) = (&gateway, waiting) {
            return gateway::run(&ledger, &config.apexes, &settings, gateway, waiting).await;
        }
        if config.signers.is_empty() {
            return follow(&ledger, &config.apexes, settings, &published).await;
        }
        let (signers, apexes) = (&config.signers, &config.apexes);
        mirror::mirror(&ledger, signers, apexes, &settings, &published).await
    };
    let registering = async {
        match (&account, &config.registration, fronts.identity()) {
            (Some(account), Some(settings), Some(identity)) => {
                registration::keep(account, settings, &fronts, identity, &published).await
            }
            _ => std::future::pending().await,
        }
    };
    let updating = async {
        if let (Some(account), true) = (&account, takes_updates) {
            updates::relay(account, arriving).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        never = updating => Ok(never),
        never = following => Ok(never),
        never = registering => Ok(never),
    }
}

/// Errors: [`NamesError::Gateway`], for what needs a zone whole.
fn check_gateway(config: &NamesConfig) -> Result<(), NamesError> {
    if config.gateway.is_none() {
        return Ok(());
    }
    let transfer = &config.fronts.transfer;
    if !config.signers.is_empty() {
        return Err(NamesError::Gateway("signers"));
    }
    if !transfer.keys.is_empty() || !transfer.secondaries.is_empty() {
        return Err(NamesError::Gateway("fronts.transfer"));
    }
    match config.registration {
        // It would be among the servers that speak for the zone, signed.
        Some(_) => Err(NamesError::Gateway("registration")),
        None => Ok(()),
    }
}

/// The addresses of `listen` that a client could use.
fn own_addresses(listen: &[SocketAddr]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = listen
        .iter()
        .map(SocketAddr::ip)
        .filter(|address| !address.is_unspecified())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The name server's view of arbitrary octets, for fuzzing: it must come back.
///
/// The zone holds every construct of the lookup; both transports are tried,
/// and what comes back must itself parse and keep to its limit.
pub fn fuzz_query(data: &[u8]) {
    answer::fuzz_query(data);
}

/// The same, out of answers that are rendered: where both ways have an answer,
/// it must be the same.
pub fn fuzz_rendered(data: &[u8]) {
    answer::fuzz_rendered(data);
}

/// What a name server reads of a zone signer's octets, for fuzzing.
pub fn fuzz_feed(data: &[u8]) {
    feed::fuzz(data);
}

/// What the encrypted fronts read of arbitrary octets, for fuzzing: a stream
/// of QUIC, a URL's question, a response on its way into JSON, and what a
/// secondary signs.
pub fn fuzz_fronts(data: &[u8]) {
    if let Some(message) = fronts::quic::sole_message(data) {
        assert_eq!(message.len() + 2, data.len());
        answer::fuzz_query(message);
    }
    fronts::json::fuzz(data);
    transfer::fuzz(data);
}
