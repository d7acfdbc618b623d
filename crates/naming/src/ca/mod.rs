//! The certificate authority daemon: certificates for the names of running
//! services, from proofs.
//!
//! `authority` holds the key, `request` says what may be granted, `certify`
//! watches the ledger and posts what was issued; the ledger is the log of all
//! certificates. Several authorities may serve one circle: the last one to
//! post wins, and each of its certificates is as good as the other.

mod authority;
mod certify;
mod name_servers;
mod request;
mod status;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinSet};
use tracing::info;
use wire::{CircleId, CircleKey};

pub use self::{
    authority::{Authority, AuthorityError, Issued, LEAF_BACKDATE_MS},
    certify::{Progress, ProgressReport, certify},
    request::{CheckedRequest, RequestError},
    status::CaStatus,
};
use crate::{
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
    /// Made the first time, never overwritten.
    #[serde(default)]
    pub ca_key: Option<PathBuf>,
    /// How long a leaf holds, in hours; at most, and by default,
    /// [`MAX_VALIDITY_HOURS`].
    #[serde(default)]
    pub validity_hours: Option<u32>,
    /// Where to serve roots, health and status over HTTP, if anywhere.
    #[serde(default)]
    pub http: Option<SocketAddr>,
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
    fn validity_ms(&self) -> Result<u64, CaError> {
        let hours = self.validity_hours.unwrap_or(MAX_VALIDITY_HOURS);
        if (1..=MAX_VALIDITY_HOURS).contains(&hours) {
            Ok(u64::from(hours) * HOUR_MS)
        } else {
            Err(CaError::Validity(hours))
        }
    }
}

/// Runs the authority until the future is dropped.
///
/// Errors: [`CaError`] if it cannot start; once started it does not end.
pub async fn run(config: CaConfig) -> Result<std::convert::Infallible, CaError> {
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
    run_over(ledger, config).await
}

/// Runs the authority over `ledger` until the future is dropped.
///
/// Errors: [`CaError`] if it cannot start; once started it does not end.
pub async fn run_over(
    ledger: impl Ledger + Post,
    config: CaConfig,
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
    let default_key = config.data_dir.join("ca.key");
    let authority = Authority::open(
        config.ca_key.as_deref().unwrap_or(&default_key),
        &config.data_dir.join("roots.pem"),
        config.circle,
        &apexes,
        now_ms(),
    )?;
    let progress = Arc::<Progress>::default();
    let mut tasks = JoinSet::new();
    if let Some(address) = config.http {
        let shown = status::Shown {
            account: ledger.account(),
            roots_pem: authority.roots_pem().into(),
            progress: Arc::clone(&progress),
        };
        serve_http(&mut tasks, address, shown).await?;
    }
    info!(account = %ledger.account(), "issuing certificates");
    tokio::select! {
        never = certify(&ledger, &authority, validity_ms, &progress, now_ms) => Ok(never),
        never = name_servers::certify_name_servers(&ledger, &authority, validity_ms) => Ok(never),
    }
}

async fn wait(error: &LedgerError) {
    tracing::warn!(error = %chain(error), "the circle's genesis could not be read");
    tokio::time::sleep(RETRY_INTERVAL).await;
}

async fn serve_http(
    tasks: &mut JoinSet<()>,
    address: SocketAddr,
    shown: status::Shown,
) -> Result<(), CaError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| CaError::Listen { address, source })?;
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, status::routes(shown)).await {
            tracing::error!(%error, "the status interface ended");
        }
    });
    Ok(())
}
