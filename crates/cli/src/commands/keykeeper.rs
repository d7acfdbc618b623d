//! `ringfort keykeeper --config FILE`: the daemon beside a keykeeper's protected
//! process.

use std::path::PathBuf;

use anyhow::Context as _;
use client::{Client, Url};
use keyhost::{Files, Host, Program};
use serde::{Deserialize, Serialize};
use wire::{CircleId, CircleKey};

use super::{daemon, key, runtime};
use crate::failure::{Advice, Status};

/// The configuration of a keykeeper.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeykeeperConfig {
    /// The circle's id.
    pub circle: CircleId,
    /// The circle's key.
    pub circle_key: CircleKey,
    /// Base URLs of nodes.
    pub nodes: Vec<String>,
    /// The protected process's program; the circle must admit its SHA-256.
    pub program: PathBuf,
    /// Where its sealed state and the sealing key are kept; made if need be.
    pub data_dir: PathBuf,
    /// The quoting key of its development evidence.
    pub development: DevelopmentEvidence,
}

/// Development evidence: real cryptography, and no protection of the share from
/// the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevelopmentEvidence {
    /// The quoting key's 32-byte seed, in hex.
    pub quoting_key: PathBuf,
    /// Its certificate, in hex.
    pub quoting_certificate: PathBuf,
}

/// Opens and measures a keykeeper's program.
///
/// Errors: there is none.
pub fn program(path: &std::path::Path) -> anyhow::Result<Program> {
    Program::open(path).map_err(|error| {
        Advice::new(
            format!(
                "the keykeeper program {} cannot be read: {error}",
                path.display()
            ),
            "build it with `cargo build -p keykeeper`",
        )
        .into()
    })
}

/// Runs the daemon: registers, takes part in rounds, answers requests.
pub fn execute(arguments: &daemon::Daemon) -> anyhow::Result<Status> {
    let config: KeykeeperConfig = arguments.begin()?;
    let nodes = config
        .nodes
        .iter()
        .map(|url| Url::parse(url).with_context(|| format!("parse {url}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let client = Client::new(nodes, config.circle_key, config.circle)?;
    let program = program(&config.program)?;
    let quoting = key::quoting_key(
        &config.development.quoting_key,
        &config.development.quoting_certificate,
    )?;
    let files = Files::at(&config.data_dir);
    // On the main thread, which lives as long as the protected process may.
    runtime()?.block_on(async {
        let host = Host::start(client, &program, files).await?;
        let (key, account) = (host.key(), host.key().account());
        tracing::info!(%key, %account, measurement = %program.measurement(), "is there");
        let evidence =
            |report_data| key::quote(&quoting, program.measurement(), report_data);
        tokio::select! {
            ended = host.run(evidence) => ended.map(|never| match never {}).context("the keykeeper ended"),
            () = daemon::told_to_stop() => Ok(()),
        }
    })?;
    Ok(Status::Done)
}
