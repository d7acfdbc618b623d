//! The fronts of a name server: every transport that a stock client speaks,
//! over the one pure function in `answer`.
//!
//! UDP has threads of its own; everything over connections runs on the
//! daemon's runtime. Nothing here knows the ledger: what is served comes from
//! [`Published`].

mod batch;
mod connections;
pub(super) mod counters;
mod datagrams;
mod https;
mod identity;
pub(super) mod json;
pub(super) mod quic;
mod service;
mod stream;
mod udp;

use std::{io, net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc};

use rustls::version::{TLS12, TLS13};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, UdpSocket},
    runtime::Handle,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tracing::info;

pub use self::identity::{Identity, IdentityError};
use self::{
    counters::Counters,
    service::{Service, Shared},
    udp::UdpFront,
};
use super::{
    answer::Transport,
    cookies::{self, CookieError, CookieSettings},
    gateway::Gateway,
    published::{Published, now_ms},
    rate_limit::{RateLimit, RateLimiter},
    status,
    transfer::{self, TransferError, TransferSettings, Transfers},
    updates::Updates,
};

/// Where a name server answers, and how.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FrontSettings {
    /// Addresses to answer at over UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Addresses to answer at over TLS (RFC 7858).
    pub tls: Vec<SocketAddr>,
    /// Addresses to answer at over HTTPS (RFC 8484), at `/dns-query`, and in
    /// JSON at `/resolve`.
    pub https: Vec<SocketAddr>,
    /// Addresses to answer at over QUIC (RFC 9250).
    pub quic: Vec<SocketAddr>,
    /// Where to serve health, status and metrics over HTTP, if anywhere.
    pub http: Option<SocketAddr>,
    /// UDP workers for each address; by default one for each core.
    pub workers: Option<NonZeroUsize>,
    /// The server's own key and certificate, for the encrypted transports.
    pub identity: Option<IdentitySettings>,
    /// Cookies.
    pub cookies: CookieSettings,
    /// How many answers strangers get over UDP.
    pub rate_limit: RateLimit,
    /// Who gets whole zones.
    pub transfer: TransferSettings,
}

/// Where the server's own key and certificate are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentitySettings {
    /// The key: P-256, PKCS #8, PEM, mode 0600. Made the first time.
    pub key_file: PathBuf,
    /// Certificates from elsewhere, PEM, the server's first. Without it, the
    /// circle's certificate authority certifies the key.
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
}

/// Why the fronts could not start.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// Nothing to answer at.
    #[error("names.toml: `fronts.listen` names no address")]
    NoAddress,
    /// Encrypted transports without a key.
    #[error("names.toml: `tls`, `https` and `quic` need `identity`")]
    NoIdentity,
    /// An address could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server's own key or certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The cookies' secret.
    #[error(transparent)]
    Cookies(#[from] CookieError),
    /// The keys of transfers.
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

/// The fronts of a name server, answering. They end when this is dropped.
#[derive(Debug)]
pub struct Fronts {
    udp: Vec<UdpFront>,
    tls: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    quic: Vec<SocketAddr>,
    http: Option<SocketAddr>,
    identity: Option<Arc<Identity>>,
    /// Everything but UDP; aborted on drop.
    _tasks: JoinSet<()>,
}

impl Fronts {
    /// Binds every address and begins to answer from `published`.
    ///
    /// Shape:  with port 0, UDP takes a free port and TCP the same.
    /// Errors: [`FrontError`].
    pub async fn start(
        settings: &FrontSettings,
        published: &Arc<Published>,
    ) -> Result<Self, FrontError> {
        Self::start_with(settings, published, None, None).await
    }

    /// As [`Fronts::start`]; owners' updates go to `updates`, and `gateway`
    /// answers instead of images, if they are given.
    pub(super) async fn start_with(
        settings: &FrontSettings,
        published: &Arc<Published>,
        updates: Option<Updates>,
        gateway: Option<Gateway>,
    ) -> Result<Self, FrontError> {
        if settings.listen.is_empty() {
            return Err(FrontError::NoAddress);
        }
        let cookies = cookies::open(&settings.cookies)?;
        let started_s = (now_ms() / 1000) as u32;
        let transfers = Transfers::open(&settings.transfer, started_s)?.map(Arc::new);
        let shared = Shared {
            published: Arc::clone(published),
            transfers: transfers.clone(),
            updates,
            gateway,
            runtime: Handle::current(),
            cookies: Arc::clone(&cookies),
            limiter: Arc::new(RateLimiter::new(settings.rate_limit.clone())),
        };
        let mut opening = Opening {
            shared,
            counters: Vec::new(),
            tasks: JoinSet::new(),
        };
        let rotation = settings.cookies.clone();
        opening
            .tasks
            .spawn(async move { match cookies::rotate(rotation, cookies).await {} });
        if let Some(transfers) = transfers {
            let published = Arc::clone(published);
            opening
                .tasks
                .spawn(async move { match transfer::notify(transfers, published).await {} });
        }
        let mut udp = Vec::new();
        for &address in &settings.listen {
            udp.push(opening.plain(address, settings.workers).await?);
        }
        let identity = open_identity(settings)?;
        let (mut tls, mut https, mut quic) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(identity) = &identity {
            for &address in &settings.tls {
                tls.push(opening.tls(address, identity).await?);
            }
            for &address in &settings.https {
                https.push(opening.https(address, identity).await?);
            }
            for &address in &settings.quic {
                quic.push(opening.quic(address, identity)?);
            }
        }
        let http = match settings.http {
            Some(address) => Some(opening.status(address, identity.clone()).await?),
            None => None,
        };
        Ok(Self {
            udp,
            tls,
            https,
            quic,
            http,
            identity,
            _tasks: opening.tasks,
        })
    }

    /// Where DNS is answered over UDP and TCP, in the order configured.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.udp.iter().map(UdpFront::address)
    }

    /// Where DNS is answered over TLS.
    pub fn tls(&self) -> &[SocketAddr] {
        &self.tls
    }

    /// Where DNS is answered over HTTPS.
    pub fn https(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Where DNS is answered over QUIC.
    pub fn quic(&self) -> &[SocketAddr] {
        &self.quic
    }

    /// Where health and status are told.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// The server's own key and certificate.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }
}

fn open_identity(settings: &FrontSettings) -> Result<Option<Arc<Identity>>, FrontError> {
    let encrypted = [&settings.tls, &settings.https, &settings.quic];
    let Some(files) = &settings.identity else {
        return if encrypted.iter().all(|addresses| addresses.is_empty()) {
            Ok(None)
        } else {
            Err(FrontError::NoIdentity)
        };
    };
    let identity = Identity::open(&files.key_file)?;
    if let Some(path) = &files.certificate_file {
        identity.certify_from(path)?;
    }
    Ok(Some(Arc::new(identity)))
}

/// Ports that are tried for one that is free for UDP and TCP.
const FREE_PORT_TRIES: usize = 16;

/// A TCP listener at `address`; for port 0, at a port that is free for UDP too.
async fn listen_at_both(address: SocketAddr) -> io::Result<TcpListener> {
    for _ in 0..FREE_PORT_TRIES {
        let listener = TcpListener::bind(address).await?;
        if address.port() != 0 || UdpSocket::bind(listener.local_addr()?).await.is_ok() {
            return Ok(listener);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Fronts that are being opened.
struct Opening {
    shared: Shared,
    counters: Vec<Arc<Counters>>,
    tasks: JoinSet<()>,
}

impl Opening {
    fn service(&mut self, transport: Transport, idle_timeout: Option<u16>) -> Service {
        let service = Service::new(self.shared.clone(), transport, idle_timeout);
        self.counters.push(Arc::clone(&service.counters));
        service
    }

    async fn plain(
        &mut self,
        address: SocketAddr,
        workers: Option<NonZeroUsize>,
    ) -> Result<UdpFront, FrontError> {
        let failed = |source| FrontError::Listen { address, source };
        let workers = workers
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get);
        let services = (0..workers)
            .map(|_| self.service(Transport::Udp, None))
            .collect();
        let listener = listen_at_both(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let front = UdpFront::start(address, services).map_err(failed)?;
        let service = self.service(Transport::Tcp, Some(stream::IDLE_TENTHS));
        self.tasks.spawn(async move {
            match connections::accept(listener, service, stream::plain).await {}
        });
        info!(address = %front.address(), "answering DNS over UDP and TCP");
        Ok(front)
    }

    async fn tls(
        &mut self,
        address: SocketAddr,
        identity: &Arc<Identity>,
    ) -> Result<SocketAddr, FrontError> {
        let config = identity.tls(&[b"dot"], &[&TLS13, &TLS12])?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, bound) = listen(address).await?;
        let service = self.service(Transport::Tls, Some(stream::IDLE_TENTHS));
        self.tasks.spawn(async move {
            let converse = |stream, client, service| {
                stream::within_tls(acceptor.clone(), stream, client, service)
            };
            match connections::accept(listener, service, converse).await {}
        });
        info!(address = %bound, "answering DNS over TLS");
        Ok(bound)
    }

    async fn https(
        &mut self,
        address: SocketAddr,
        identity: &Arc<Identity>,
    ) -> Result<SocketAddr, FrontError> {
        let config = identity.tls(&[b"h2", b"http/1.1"], &[&TLS13, &TLS12])?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, bound) = listen(address).await?;
        let service = self.service(Transport::Https, None);
        self.tasks.spawn(async move {
            let converse = |stream, client, service| {
                https::within_tls(acceptor.clone(), stream, client, service)
            };
            match connections::accept(listener, service, converse).await {}
        });
        info!(address = %bound, "answering DNS over HTTPS");
        Ok(bound)
    }

    fn quic(
        &mut self,
        address: SocketAddr,
        identity: &Arc<Identity>,
    ) -> Result<SocketAddr, FrontError> {
        let failed = |source| FrontError::Listen { address, source };
        let config = identity.tls(&[b"doq"], &[&TLS13])?;
        let endpoint = quic::bind(address, config).map_err(failed)?;
        let bound = endpoint.local_addr().map_err(failed)?;
        let service = self.service(Transport::Quic, None);
        self.tasks
            .spawn(async move { match quic::serve(endpoint, service).await {} });
        info!(address = %bound, "answering DNS over QUIC");
        Ok(bound)
    }

    async fn status(
        &mut self,
        address: SocketAddr,
        identity: Option<Arc<Identity>>,
    ) -> Result<SocketAddr, FrontError> {
        let shown = status::Shown {
            published: Arc::clone(&self.shared.published),
            counters: self.counters.clone().into(),
            identity,
            gateway: self.shared.gateway.clone(),
        };
        let (listener, bound) = listen(address).await?;
        self.tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, status::routes(shown)).await {
                tracing::error!(%error, "the status interface ended");
            }
        });
        Ok(bound)
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), FrontError> {
    let failed = |source| FrontError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
