//! The certificate authority daemon: certificates for the names of running
//! services, from proofs.
//!
//! `authority` holds the key, `request` says what may be granted, `certify`
//! watches the ledger and posts what was issued; the ledger is the log of all
//! certificates. Several authorities may serve one circle: the last one to
//! post wins, and each of its certificates is as good as the other.

pub mod acme;
mod authority;
mod certify;
mod intermediates;
mod keys;
mod name_servers;
mod request;
mod revocations;
mod status;
mod trust;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinSet};
use tracing::info;
use wire::{CircleId, CircleKey};

pub use self::{
    authority::{Authority, AuthorityError, Issued, IssuedIntermediate, LEAF_BACKDATE_MS},
    certify::{Progress, ProgressReport, certify},
    keys::{AuthorityKeys, FileKeys, HeldKeys, Signer},
    request::{CheckedRequest, RequestError},
    status::CaStatus,
};
use crate::{
    held::{KeyHolder, LabelSettings},
    ledger::{self, Ledger, LedgerError, Post, chain},
    names::now_ms,
    remote::{Remote, RemoteAccount},
};

/// The longest that a leaf holds, in hours: short enough that nobody misses
/// revocation, long enough to outlive a weekend without an authority.
pub const MAX_VALIDITY_HOURS: u32 = 7 * 24;

/// How long to wait before asking nodes again that all failed.
const RETRY_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);

const HOUR_MS: u64 = 60 * 60 * 1000;

/// The configuration of the authority (`ca.toml`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaConfig {
    /// The circle's constant key: all that is trusted.
    pub circle_key: CircleKey,
    /// The circle's id.
    pub circle: CircleId,
    /// Base URLs of nodes to follow.
    pub nodes: Vec<String>,
    /// The key file of the account that posts certificates; the genesis lists
    /// the account as a certificate authority.
    pub key_file: PathBuf,
    /// A file with the key file's passphrase, on its first line.
    pub passphrase_file: PathBuf,
    /// Where `roots.pem` is kept.
    pub data_dir: PathBuf,
    /// The authority's own key, PKCS #8; `ca.key` in `data_dir` by default.
    /// Made the first time, never overwritten; not used where a label is named.
    #[serde(default)]
    pub ca_key: Option<PathBuf>,
    /// The label of whose key the authority's keys come.
    #[serde(default)]
    pub label: Option<LabelSettings>,
    /// How long a leaf holds, in hours; at most, and by default,
    /// [`MAX_VALIDITY_HOURS`].
    #[serde(default)]
    pub validity_hours: Option<u32>,
    /// Where to serve roots, health and status over HTTP, if anywhere.
    #[serde(default)]
    pub http: Option<SocketAddr>,
    /// The URL under which clients reach `http`, for ACME and revocation
    /// lists; `http://` and that address by default. ACME clients ask for
    /// HTTPS from elsewhere than this machine (RFC 8555 §6.1): a server in
    /// front ends it.
    #[serde(default)]
    pub url: Option<String>,
    /// The port on which http-01 challenges are answered; 80 by default.
    #[serde(default)]
    pub challenge_http_port: Option<u16>,
    /// The port on which tls-alpn-01 challenges are answered; 443 by default.
    #[serde(default)]
    pub challenge_tls_port: Option<u16>,
    /// Whether challenges are fetched from loopback and link-local addresses:
    /// only where all of a circle stands on this machine.
    #[serde(default)]
    pub challenge_loopback: bool,
}

/// Why the authority could not start.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Its key or root.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The status interface could not be bound.
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
    /// A validity of zero hours or above the limit.
    #[error("ca.toml: `validity_hours` is 1 to {MAX_VALIDITY_HOURS}, not {0}")]
    Validity(u32),
    /// The nodes' URLs.
    #[error("ca.toml: `nodes` cannot be used")]
    Nodes(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CaConfig {
    /// Where clients reach the authority, if anywhere.
    fn url(&self) -> Option<String> {
        let own = self.http.map(|address| format!("http://{address}"));
        let url = self.url.clone().or(own)?;
        Some(url.trim_end_matches('/').to_owned())
    }

    fn validity_ms(&self) -> Result<u64, CaError> {
        let hours = self.validity_hours.unwrap_or(MAX_VALIDITY_HOURS);
        if (1..=MAX_VALIDITY_HOURS).contains(&hours) {
            Ok(u64::from(hours) * HOUR_MS)
        } else {
            Err(CaError::Validity(hours))
        }
    }
}

/// Runs the authority until the future is dropped, with the keys of `holder` if
/// there is one.
///
/// Errors: [`CaError`] if it cannot start; once started it does not end.
pub async fn run(
    config: CaConfig,
    holder: Option<Arc<dyn KeyHolder>>,
) -> Result<std::convert::Infallible, CaError> {
    let remote = Remote::new(
        &config.nodes,
        config.circle_key,
        config.circle,
        Some(client::DEFAULT_MAX_AGE),
    )
    .map_err(CaError::Nodes)?;
    let opened = RemoteAccount::open(remote, &config.key_file, &config.passphrase_file);
    let ledger = opened.map_err(|source| CaError::Account {
        path: config.key_file.clone(),
        source,
    })?;
    run_over(ledger, config, holder).await
}

/// Runs the authority over `ledger` until the future is dropped.
///
/// Errors: [`CaError`] if it cannot start; once started it does not end.
pub async fn run_over(
    ledger: impl Ledger + Post,
    config: CaConfig,
    holder: Option<Arc<dyn KeyHolder>>,
) -> Result<std::convert::Infallible, CaError> {
    let validity_ms = config.validity_ms()?;
    let apexes = loop {
        match ledger::apexes(&ledger).await {
            Ok((apexes, _)) => break apexes,
            Err(error) => {
                wait(&error).await;
            }
        }
    };
    let keys: Arc<dyn AuthorityKeys> = match holder {
        Some(holder) => Arc::new(HeldKeys(holder)),
        None => {
            let default_key = config.data_dir.join("ca.key");
            let path = config.ca_key.as_deref().unwrap_or(&default_key);
            Arc::new(FileKeys::open(path)?)
        }
    };
    let roots = config.data_dir.join("roots.pem");
    let authority = Authority::with_keys(keys, &roots, config.circle, &apexes, now_ms())?
        .with_url(config.url());
    let (ledger, authority) = (Arc::new(ledger), Arc::new(authority));
    let progress = Arc::<Progress>::default();
    let mut tasks = JoinSet::new();
    if let (Some(address), Some(url)) = (config.http, config.url()) {
        let settings = acme::AcmeSettings {
            url,
            ports: acme::ChallengePorts {
                http: config.challenge_http_port.unwrap_or(80),
                tls: config.challenge_tls_port.unwrap_or(443),
                loopback: config.challenge_loopback,
            },
            validity_ms,
        };
        let (routes, working) = routes(&ledger, &authority, &progress, settings);
        tasks.spawn(working);
        serve_http(&mut tasks, address, routes).await?;
    }
    publish_root(&*ledger, &authority).await;
    info!(account = %ledger.account(), "issuing certificates");
    tokio::select! {
        never = certify(&*ledger, &authority, validity_ms, &progress, now_ms) => Ok(never),
        never = name_servers::certify_name_servers(&*ledger, &authority, validity_ms) => Ok(never),
    }
}

/// Everything that the authority serves over HTTP, and what must run for it.
pub fn routes<L: Ledger + Post>(
    ledger: &Arc<L>,
    authority: &Arc<Authority>,
    progress: &Arc<Progress>,
    settings: acme::AcmeSettings,
) -> (axum::Router, impl Future<Output = ()> + Send + use<L>) {
    let account = ledger.account();
    let shown = status::Shown {
        account,
        authority: Arc::clone(authority),
        progress: Arc::clone(progress),
    };
    let lists = revocations::Revocations::new(Arc::clone(ledger), Arc::clone(authority), account);
    let lists = axum::Router::new()
        .route("/crl/{file}", axum::routing::get(revocations::show::<L>))
        .with_state(Arc::new(lists));
    let (acme, working) = acme::server(Arc::clone(ledger), Arc::clone(authority), settings);
    (status::routes(shown).merge(lists).merge(acme), working)
}

/// Puts the root on the ledger, unless it is there; tries until it is done or
/// the ledger says that this is no authority, which every certificate will say.
async fn publish_root(ledger: &(impl Ledger + Post), authority: &Authority) {
    loop {
        let key = wire::state_key::authority(ledger.account());
        let read =
            ledger::read_one::<wire::record::PublishedAuthority>(ledger, key, wire::Height(0));
        let done = match read.await {
            Ok((Some(found), _)) if found.root == authority.root_der() => return,
            Ok(_) => {
                let root = authority.root_der().to_vec();
                let action = wire::PublishAuthority { root };
                ledger
                    .post(vec![wire::Action::PublishAuthority(action)])
                    .await
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => return,
            Err(LedgerError::Rejected(reject)) => {
                tracing::warn!(%reject, "the root was not published");
                return;
            }
            Err(error) => wait(&error).await,
        }
    }
}

async fn wait(error: &LedgerError) {
    tracing::warn!(error = %chain(error), "the ledger could not be asked");
    tokio::time::sleep(RETRY_INTERVAL).await;
}

async fn serve_http(
    tasks: &mut JoinSet<()>,
    address: SocketAddr,
    routes: axum::Router,
) -> Result<(), CaError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| CaError::Listen { address, source })?;
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "the authority's HTTP interface ended");
        }
    });
    Ok(())
}
