//! `ringfort node --config FILE`: a validator with its API (daemon);
//! `ringfort node backup | check | restore`: its state as a file.
//!
//! A file is believed for the circle's certificate in it only. The circle and
//! its key are those of the state directory, of the node's genesis, or given.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use client::Url;
use node::checkpoint::{
    CheckedManifest,
    backup::{self, BackupError, Trust},
};
use serde::Serialize;
use wire::{CircleId, CircleKey, Digest, Height};

use super::daemon;
use crate::{
    failure::{Advice, Status},
    session::Session,
};

/// Run a validator with its API, or back its state up and restore it.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Node {
    /// The daemon's configuration.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Write the newest proven state of a running node to a file.
    Backup {
        /// The file.
        file: PathBuf,
        /// The node's API; that of --state unless given.
        #[arg(long)]
        node: Option<Url>,
        #[command(flatten)]
        trusted: Trusted,
    },
    /// Check that a file holds a whole state that the circle has certified.
    Check {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        trusted: Trusted,
    },
    /// Make a node's ledger from a file, while the node is down.
    Restore {
        /// The file.
        file: PathBuf,
        /// The node's configuration.
        #[arg(long)]
        config: PathBuf,
        /// Replace the ledger that is there.
        #[arg(long)]
        replace: bool,
    },
}

/// Under whose key a file is checked.
#[derive(clap::Args)]
struct Trusted {
    /// The circle's key; that of --state unless given.
    #[arg(long)]
    circle_key: Option<CircleKey>,
}

impl Trusted {
    fn trust(&self, session: &Session) -> anyhow::Result<Trust> {
        if let Some(key) = self.circle_key {
            return Ok(Trust { circle: None, key });
        }
        let file = session.state.read()?;
        Ok(Trust {
            circle: Some(file.circle),
            key: file.circle_key,
        })
    }
}

/// What a file holds.
#[derive(Serialize)]
struct Held {
    file: PathBuf,
    circle: CircleId,
    height: Height,
    time_ms: u64,
    header: Digest,
    state_root: Digest,
    entries: u64,
    bytes: u64,
}

/// Runs the node, or does something with its state.
pub fn execute(session: &Session, node: &Node) -> anyhow::Result<Status> {
    match (&node.config, &node.task) {
        (_, Some(task)) => task.execute(session),
        (Some(config), None) => daemon::node(config),
        (None, None) => anyhow::bail!("--config is missing"),
    }
}

impl Task {
    fn execute(&self, session: &Session) -> anyhow::Result<Status> {
        let (file, done) = match self {
            Self::Backup {
                file,
                node,
                trusted,
            } => {
                let trust = trusted.trust(session)?;
                let url = match node {
                    Some(url) => url.to_string(),
                    None => {
                        let nodes = session.state.read()?.nodes;
                        nodes
                            .into_iter()
                            .next()
                            .context("name a node with --node")?
                    }
                };
                let made = super::runtime()?.block_on(backup::back_up(&url, &trust, file));
                (file, made)
            }
            Self::Check { file, trusted } => (file, backup::verify(file, &trusted.trust(session)?)),
            Self::Restore {
                file,
                config,
                replace,
            } => {
                let config = node::NodeConfig::read(config)?;
                let genesis = node::config::read_genesis(&config.genesis)?;
                let trust = Trust {
                    circle: Some(genesis.circle()),
                    key: genesis.circle_key,
                };
                (
                    file,
                    backup::restore(file, &trust, &config.data_dir, *replace),
                )
            }
        };
        let manifest = done.map_err(advise)?;
        print(session, file, &manifest)
    }
}

fn print(session: &Session, file: &Path, manifest: &CheckedManifest) -> anyhow::Result<Status> {
    let header = &manifest.header;
    let held = Held {
        file: file.to_owned(),
        circle: header.circle,
        height: header.height,
        time_ms: header.time_ms,
        header: header.digest(),
        state_root: header.state_root,
        entries: manifest.entries,
        bytes: manifest.bytes,
    };
    session.print(&held, |held| {
        format!(
            "{}: circle {} after block {}, {} entries, {} bytes; certified and whole\n",
            held.file.display(),
            held.circle,
            held.height,
            held.entries,
            held.bytes
        )
    })?;
    Ok(Status::Done)
}

/// Says what can be done about it.
fn advise(error: BackupError) -> anyhow::Error {
    let (hint, status) = match &error {
        BackupError::None => (
            "nodes make one after every `every_blocks` blocks (docs/operations/state.md)",
            Status::Failed,
        ),
        BackupError::Foreign { .. } | BackupError::Content { .. } => (
            "use another file, or fetch it from another node",
            Status::NotProven,
        ),
        BackupError::Occupied { .. } => (
            "stop the node, and add --replace if its ledger is to go",
            Status::Failed,
        ),
        _ => return error.into(),
    };
    let advice = Advice::new("there is no proven state to go on with", hint);
    anyhow::Error::from(error).context(advice.with_status(status))
}
