//! The name daemon: authoritative DNS for the circle's apexes, from proofs.
//!
//! `follow` keeps an immutable image level with the ledger, `published` holds
//! the newest one, `fronts` answer from it through the one pure function in
//! `answer`. Nothing is kept on disk: the ledger is the zone file.

mod answer;
mod cookies;
pub mod dnssec;
mod feed;
mod follow;
mod fronts;
mod mirror;
mod published;
mod rate_limit;
pub mod signer;
mod status;
mod subjects;
mod synthesis;
mod zone;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use wire::{CircleId, CircleKey, DomainName};

pub use self::{
    answer::{Arrival, Freshness, Kind, MAX_UDP_RESPONSE, Response, Transport, View, answer},
    cookies::{CookieError, CookieKeys, CookieSettings},
    follow::follow,
    fronts::{FrontError, FrontSettings, Fronts, Identity, IdentityError, IdentitySettings},
    published::{Published, Tolerance, now_ms},
    rate_limit::{Network, NetworkError, RateLimit},
    status::NamesStatus,
    zone::{Apex, Change, Data, Domain, Node, OwnerName, RrSet, Zone, ZoneSettings, absolute, ds},
};
use crate::{ledger::Ledger, remote::Remote};

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
}

/// Why the name daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The nodes' URLs.
    #[error("names.toml: `nodes` cannot be used")]
    Nodes(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What answers.
    #[error(transparent)]
    Front(#[from] FrontError),
}

/// Runs the name daemon until the future is dropped.
///
/// Errors: [`NamesError`] if it cannot start; once started it does not end.
pub async fn run(config: NamesConfig) -> Result<std::convert::Infallible, NamesError> {
    // Proofs of any age are taken: how old they are is said in every answer,
    // and a circle that stands still keeps its names.
    let remote = Remote::new(&config.nodes, config.circle_key, config.circle, None)
        .map_err(NamesError::Nodes)?;
    run_over(remote, config).await
}

/// Runs the name daemon over `ledger` until the future is dropped.
///
/// Errors: [`NamesError`] if it cannot start; once started it does not end.
pub async fn run_over(
    ledger: impl Ledger,
    config: NamesConfig,
) -> Result<std::convert::Infallible, NamesError> {
    let published = Arc::new(Published::new(config.tolerance));
    let _fronts = Fronts::start(&config.fronts, &published).await?;
    let mut settings = config.zone;
    if settings.ns_addresses.is_empty() {
        settings.ns_addresses = own_addresses(&config.fronts.listen);
    }
    if config.signers.is_empty() {
        return Ok(follow(&ledger, &config.apexes, settings, &published).await);
    }
    let (signers, apexes) = (&config.signers, &config.apexes);
    Ok(mirror::mirror(&ledger, signers, apexes, &settings, &published).await)
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

/// What a name server reads of a zone signer's octets, for fuzzing.
pub fn fuzz_feed(data: &[u8]) {
    feed::fuzz(data);
}

/// What the encrypted fronts read of arbitrary octets, for fuzzing: a stream
/// of QUIC, a URL's question, and a response on its way into JSON.
pub fn fuzz_fronts(data: &[u8]) {
    if let Some(message) = fronts::quic::sole_message(data) {
        assert_eq!(message.len() + 2, data.len());
        answer::fuzz_query(message);
    }
    fronts::json::fuzz(data);
}
