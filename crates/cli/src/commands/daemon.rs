//! `ringfort node | provider | names | signer | ca | agent --config FILE`: the
//! daemons.
//!
//! Each reads one configuration file that says everything about it, logs to
//! standard error, and ends cleanly on SIGTERM. Nothing here knows whether a
//! supervisor, an init system or a person started it.

use std::path::{Path, PathBuf};

use std::sync::Arc;

use anyhow::Context as _;
use client::{
    Client, Url,
    account::{Account, lock_path},
    run::{Observer, Step},
    wallet::Wallet,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wire::{CircleId, CircleKey};

use naming::held::{KeyHolder, LabelSettings};

use super::{
    label_holder::{self, Asker},
    runtime, validator_evidence,
};
use crate::{
    failure::{Advice, Status},
    passphrase, process,
    supervisor::SUPERVISOR_VARIABLE,
    user,
};

/// The filter of a daemon's log where `RINGFORT_LOG` sets none. The consensus
/// library speaks of every view at the level of information.
const DEFAULT_LOG: &str = "info,commonware_consensus=warn,commonware_p2p=warn";

/// Arguments of every daemon.
#[derive(clap::Args)]
pub struct Daemon {
    /// The daemon's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Daemon {
    /// What every daemon does first, and its configuration.
    ///
    /// Errors: as [`read`].
    pub(super) fn begin<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        begin();
        read(&self.config)
    }
}

/// Starts the log: to standard error, filtered by `RINGFORT_LOG`.
pub fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RINGFORT_LOG")
        .unwrap_or_else(|_| DEFAULT_LOG.into());
    // It fails only where a log was started already, which then goes on.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

/// What every daemon does first: log, and end with its supervisor if it has one.
fn begin() {
    if let Some(supervisor) = std::env::var(SUPERVISOR_VARIABLE)
        .ok()
        .and_then(|pid| pid.parse().ok())
    {
        process::end_with_parent(supervisor);
    }
    start_log();
}

/// Reads a daemon's configuration.
///
/// Errors: names the file; TOML's own message says the line.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    toml::from_str(&text).with_context(|| {
        Advice::new(
            format!("{} is not a configuration of this daemon", path.display()),
            "docs/operations lists the fields; an embedded circle's files are made by `ringfort up`",
        )
    })
}

/// Ends when the process is told to, by SIGTERM or Ctrl-C.
pub(super) async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to stop");
}

/// Runs a validator with its API.
pub fn node(config: &Path) -> anyhow::Result<Status> {
    begin();
    let config = node::NodeConfig::read(config)?;
    let source = validator_evidence::source(config.evidence.as_ref())?;
    runtime()?.block_on(node::run_with(config, source))?;
    Ok(Status::Done)
}

/// Runs a provider.
pub fn provider(daemon: &Daemon) -> anyhow::Result<Status> {
    begin();
    let config: provider::ProviderConfig = read(&daemon.config)?;
    let directory = daemon.config.parent().unwrap_or(Path::new("."));
    let config = config.resolve(directory);
    runtime()?.block_on(provider::run(config, told_to_stop()))?;
    Ok(Status::Done)
}

/// Runs a name server.
pub fn names(daemon: &Daemon) -> anyhow::Result<Status> {
    begin();
    let config: naming::names::NamesConfig = read(&daemon.config)?;
    runtime()?.block_on(async {
        tokio::select! {
            ended = naming::names::run(config) => ended.map(|never| match never {}),
            () = told_to_stop() => Ok(()),
        }
    })?;
    Ok(Status::Done)
}

/// Runs the zone signer.
pub fn signer(config: &Path) -> anyhow::Result<Status> {
    begin();
    let config: naming::names::signer::SignerConfig = read(config)?;
    with_holder(config.label.as_ref(), (&config).into(), |holder| {
        naming::names::signer::run(config.clone(), holder)
    })
}

/// Runs the circle's certificate authority.
pub fn certificate_authority(daemon: &Daemon) -> anyhow::Result<Status> {
    begin();
    let config: naming::ca::CaConfig = read(&daemon.config)?;
    with_holder(config.label.as_ref(), (&config).into(), |holder| {
        naming::ca::run(config.clone(), holder)
    })
}

/// Runs a daemon with the holder of its keys, if it is to have one; ends it with
/// the holder, as nothing can be signed any more.
fn with_holder<E, F>(
    settings: Option<&LabelSettings>,
    asker: Asker<'_>,
    run: impl FnOnce(Option<Arc<dyn KeyHolder>>) -> F,
) -> anyhow::Result<Status>
where
    E: std::error::Error + Send + Sync + 'static,
    F: Future<Output = Result<std::convert::Infallible, E>>,
{
    // On the main thread, which lives as long as the protected process may.
    let done: anyhow::Result<()> = runtime()?.block_on(async {
        let held = tokio::select! {
            held = label_holder::hold(settings, asker) => held?,
            () = told_to_stop() => return anyhow::Ok(()),
        };
        let holder = held.clone().map(|held| held as Arc<dyn KeyHolder>);
        let lost = async {
            match &held {
                Some(held) => held.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = run(holder) => Ok(ended.map(|never| match never {})?),
            () = lost => Err(Advice::new(
                "the protected process that holds the keys has ended",
                "start this daemon again: it asks the keykeepers anew",
            )
            .into()),
            () = told_to_stop() => Ok(()),
        }
    });
    done?;
    Ok(Status::Done)
}

/// The configuration of a user's agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The circle's id.
    pub circle: CircleId,
    /// The circle's key.
    pub circle_key: CircleKey,
    /// Base URLs of nodes.
    pub nodes: Vec<String>,
    /// The user's key file.
    pub key_file: PathBuf,
    /// File with its passphrase; asked for at the terminal if not given.
    pub passphrase_file: Option<PathBuf>,
    /// Directory of the user's wallet.
    pub wallet: PathBuf,
}

/// Runs a user's agent.
pub fn agent(daemon: &Daemon) -> anyhow::Result<Status> {
    begin();
    let config: AgentConfig = read(&daemon.config)?;
    let passphrase = passphrase::for_key_file(&config.key_file, config.passphrase_file.as_deref())?;
    let key = user::open(&config.key_file, passphrase)?;
    let parse = |url: &String| Url::parse(url).with_context(|| format!("parse {url}"));
    let nodes = config
        .nodes
        .iter()
        .map(parse)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let client = Client::new(nodes, config.circle_key, config.circle)?;
    let key = Arc::new(key);
    let wallet = Wallet::new(config.wallet, &key);
    let account = Account::new(client, key, Some(lock_path(&config.key_file)));
    let user = user::user_of(account, wallet)?;
    let observer: Observer = Arc::new(|step: Step| {
        let step = serde_json::to_string(&step).unwrap_or_default();
        tracing::info!(step, "took a step");
    });
    runtime()?.block_on(async {
        tokio::select! {
            ended = client::agent::run(user, observer) => ended.context("the agent ended"),
            () = told_to_stop() => Ok(()),
        }
    })?;
    Ok(Status::Done)
}
