//! `ringfort keykeeper --config FILE`: the keykeeper's daemon.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use client::{
    Client, Url,
    account::{Account, lock_path},
};
use keykeeper::{Circle as _, Keykeeper, Remote, SealedStore, decode};
use serde::{Deserialize, Serialize};
use wire::{Action, CircleId, CircleKey, Measurement, RegisterKeykeeper, record, state_key};

use super::{daemon, key, runtime};
use crate::{failure::Status, passphrase, user};

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
    /// The keykeeper's key file; Ed25519.
    pub key_file: PathBuf,
    /// File with its passphrase; asked for at the terminal if not given.
    pub passphrase_file: Option<PathBuf>,
    /// Where its share is kept, sealed under the key file.
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
    /// The code that it says it runs; the circle must admit it.
    pub measurement: Measurement,
}

/// Runs the daemon: registers, takes part in rounds, answers requests.
pub fn execute(arguments: &daemon::Daemon) -> anyhow::Result<Status> {
    let config: KeykeeperConfig = arguments.begin()?;
    let passphrase = passphrase::for_key_file(&config.key_file, config.passphrase_file.as_deref())?;
    let key = Arc::new(user::open(&config.key_file, passphrase)?);
    let nodes = config
        .nodes
        .iter()
        .map(|url| Url::parse(url).with_context(|| format!("parse {url}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let client = Client::new(nodes, config.circle_key, config.circle)?;
    let account = Account::new(client, key.clone(), Some(lock_path(&config.key_file)));
    let circle = Remote::new(account);
    let store = SealedStore::new(config.data_dir.join("share.age"));
    let keykeeper = Keykeeper::open(circle.clone(), key.clone(), store)?;
    let quoting = key::quoting_key(
        &config.development.quoting_key,
        &config.development.quoting_certificate,
    )?;
    runtime()?.block_on(async {
        let record = state_key::keykeeper(&key.public());
        let reading = circle.read(vec![record]).await?;
        if decode::<record::Keykeeper>(&reading, 0)?.is_none() {
            let report_data = RegisterKeykeeper::report_data(config.circle, &key.public());
            let evidence = key::quote(&quoting, config.development.measurement, report_data)
                .map_err(anyhow::Error::msg)?;
            let action = Action::RegisterKeykeeper(RegisterKeykeeper { evidence });
            circle.send(action).await.context("register")?;
            tracing::info!("registered");
        }
        tokio::select! {
            ended = keykeeper.run() => ended.map(|never| match never {}).context("the keykeeper ended"),
            () = daemon::told_to_stop() => Ok(()),
        }
    })?;
    Ok(Status::Done)
}
