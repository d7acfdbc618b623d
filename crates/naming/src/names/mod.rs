//! The name daemon: authoritative DNS for the circle's apexes, from proofs.
//!
//! `follow` keeps an immutable image level with the ledger, `published` holds
//! the newest one, `udp` and `tcp` answer from it through the one pure function
//! in `answer`. Nothing is kept on disk: the ledger is the zone file.

mod answer;
mod follow;
mod published;
mod status;
mod synthesis;
mod tcp;
mod udp;
mod zone;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinSet};
use tracing::info;
use wire::{CircleId, CircleKey, DomainName};

pub use self::{
    answer::{Freshness, MAX_UDP_RESPONSE, Response, Transport, View, answer},
    follow::follow,
    published::{Counters, Published, Tolerance, now_ms},
    status::NamesStatus,
    udp::UdpFront,
    zone::{Apex, Data, Domain, Node, OwnerName, RrSet, Zone, ZoneSettings},
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
    /// Addresses to answer at, over UDP and TCP. On a machine with several
    /// addresses each is named: an answer leaves from the address that was
    /// asked only then.
    pub listen: Vec<SocketAddr>,
    /// Where to serve health and status over HTTP, if anywhere.
    #[serde(default)]
    pub http: Option<SocketAddr>,
    /// The apexes to serve; empty for all that the genesis names.
    #[serde(default)]
    pub apexes: Vec<DomainName>,
    /// UDP workers for each address; by default one for each core.
    #[serde(default)]
    pub workers: Option<NonZeroUsize>,
    /// What the operator says of the zones.
    #[serde(default)]
    pub zone: ZoneSettings,
    /// How far behind the ledger answers may be.
    #[serde(default)]
    pub tolerance: Tolerance,
}

/// Why the name daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// Nothing to answer at.
    #[error("names.toml: `listen` names no address")]
    NoAddress,
    /// The nodes' URLs.
    #[error("names.toml: `nodes` cannot be used")]
    Nodes(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An address could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// The fronts of a name daemon, answering. They end when this is dropped.
#[derive(Debug)]
pub struct Fronts {
    udp: Vec<UdpFront>,
    http: Option<SocketAddr>,
    /// TCP and HTTP; aborted on drop.
    _tasks: JoinSet<()>,
}

impl Fronts {
    /// Binds every address, over UDP and TCP, and begins to answer from
    /// `published`.
    ///
    /// Shape:  with port 0, UDP takes a free port and TCP the same.
    /// Errors: [`NamesError`].
    pub async fn start(
        listen: &[SocketAddr],
        http: Option<SocketAddr>,
        workers: Option<NonZeroUsize>,
        published: &Arc<Published>,
    ) -> Result<Self, NamesError> {
        if listen.is_empty() {
            return Err(NamesError::NoAddress);
        }
        let workers = workers
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get);
        let mut tasks = JoinSet::new();
        let mut udp = Vec::new();
        let mut all_counters = Vec::new();
        for &address in listen {
            let failed = |source| NamesError::Listen { address, source };
            let counters: Vec<Arc<Counters>> = (0..workers).map(|_| Arc::default()).collect();
            let front = UdpFront::start(address, published, &counters).map_err(failed)?;
            let listener = TcpListener::bind(front.address()).await.map_err(failed)?;
            let of_tcp = Arc::<Counters>::default();
            all_counters.extend(counters);
            all_counters.push(Arc::clone(&of_tcp));
            let published = Arc::clone(published);
            tasks.spawn(async move { match tcp::serve(listener, published, of_tcp).await {} });
            info!(address = %front.address(), "answering DNS over UDP and TCP");
            udp.push(front);
        }
        let shown = status::Shown {
            published: Arc::clone(published),
            counters: all_counters.into(),
        };
        let http = match http {
            Some(address) => Some(serve_http(&mut tasks, address, status::routes(shown)).await?),
            None => None,
        };
        Ok(Self {
            udp,
            http,
            _tasks: tasks,
        })
    }

    /// Where DNS is answered, in the order configured.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.udp.iter().map(UdpFront::address)
    }

    /// Where HTTP is answered.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }
}

async fn serve_http(
    tasks: &mut JoinSet<()>,
    address: SocketAddr,
    routes: axum::Router,
) -> Result<SocketAddr, NamesError> {
    let failed = |source| NamesError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "the status interface ended");
        }
    });
    Ok(bound)
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
    let _fronts = Fronts::start(&config.listen, config.http, config.workers, &published).await?;
    let mut settings = config.zone;
    if settings.ns_addresses.is_empty() {
        settings.ns_addresses = own_addresses(&config.listen);
    }
    Ok(follow(&ledger, &config.apexes, settings, &published).await)
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
