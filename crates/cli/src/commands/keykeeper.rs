//! `ringfort keykeeper --config FILE`: the daemon beside a keykeeper's protected
//! process.

mod seal;

use std::path::PathBuf;

use anyhow::Context as _;
use client::{Client, Url};
use keyhost::{Files, Host, Program};
use serde::{Deserialize, Serialize};
use wire::{CircleId, CircleKey, Digest, Evidence, Measurement};
use zeroize::Zeroizing;

pub use self::seal::TpmSeal;
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
    /// Keeps the sealing key in a TPM; in a file beside the state if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<TpmSeal>,
}

impl KeykeeperConfig {
    /// The circle, by proofs from its nodes.
    ///
    /// Errors: a node's URL is malformed.
    pub fn client(&self) -> anyhow::Result<Client> {
        let nodes = self
            .nodes
            .iter()
            .map(|url| Url::parse(url).with_context(|| format!("parse {url}")))
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Client::new(nodes, self.circle_key, self.circle)?)
    }

    /// The key that the state is sealed under; made at the first time.
    ///
    /// Errors: the file system's; the TPM's, or its registers are not what they were.
    pub fn sealing_key(&self, files: &Files) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        match &self.seal {
            None => files.sealing_key().context("read the sealing key"),
            Some(seal) => seal.sealing_key(files),
        }
    }

    /// Evidence of `measurement` that binds `report_data`.
    ///
    /// Errors: the quoting key's files; evidence cannot be made.
    pub fn evidence(
        &self,
        measurement: Measurement,
        report_data: Digest,
    ) -> anyhow::Result<Evidence> {
        let quoting = self.quoting_key()?;
        key::quote(&quoting, measurement, report_data).map_err(anyhow::Error::msg)
    }

    fn quoting_key(&self) -> anyhow::Result<attest::development::QuotingKey> {
        key::quoting_key(
            &self.development.quoting_key,
            &self.development.quoting_certificate,
        )
    }
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
    let client = config.client()?;
    let program = program(&config.program)?;
    let quoting = config.quoting_key()?;
    let files = Files::at(&config.data_dir);
    let sealing_key = config.sealing_key(&files)?;
    // On the main thread, which lives as long as the protected process may.
    runtime()?.block_on(async {
        let host = Host::start(client, &program, files, &sealing_key).await?;
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
