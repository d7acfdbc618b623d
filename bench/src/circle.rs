//! A circle of its own for a benchmark, made by the binary that people use.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use client::{
    Client, SecretString, Url,
    account::Account,
    keyfile::{self, UnlockedKey},
};
use serde_json::Value;
use tempfile::TempDir;
use wire::CircleId;

use crate::load::{Node, Payer};

/// Where a benchmark's circle has its ports: clear of the default and of the tests'.
const BASE_PORT: u16 = 31_000;

/// A running circle; stopped and removed when dropped.
pub struct Circle {
    binary: PathBuf,
    state: TempDir,
}

impl Circle {
    /// Founds a circle and waits until it is well.
    pub fn up(binary: &Path) -> Result<Self> {
        Self::up_with(binary, &[])
    }

    /// As [`Circle::up`], with further arguments.
    pub fn up_with(binary: &Path, more: &[&str]) -> Result<Self> {
        let circle = Self {
            binary: binary.to_owned(),
            state: tempfile::tempdir()?,
        };
        let port = BASE_PORT.to_string();
        circle.run(&[&["up", "--base-port", &port], more].concat())?;
        Ok(circle)
    }

    fn command(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(&self.binary)
            .arg("--state")
            .arg(self.state.path())
            .args(arguments)
            .output()
            .with_context(|| format!("{} does not start", self.binary.display()))
    }

    /// Runs `ringfort` with `arguments`; its output.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?;
        if !output.status.success() {
            bail!(
                "ringfort {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The JSON that `ringfort -o json` prints.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let all: Vec<&str> = ["-o", "json"].iter().chain(arguments).copied().collect();
        Ok(serde_json::from_str(&self.run(&all)?)?)
    }

    /// A connection pool for each node.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        let shown = self.json(&["circle", "show"])?;
        let urls = shown["nodes"]
            .as_array()
            .context("circle show lists no nodes")?;
        Ok(urls
            .iter()
            .filter_map(Value::as_str)
            .map(Node::new)
            .collect())
    }

    /// The user's account, which holds the funds.
    pub async fn funder(&self, node: &Node) -> Result<Payer> {
        let key = self.user_key()?;
        let account = node.get(&format!("/v1/accounts/{}", key.account())).await?;
        let sequence = account["record"]["sequence"]
            .as_u64()
            .context("the account has no sequence")?;
        Ok(Payer::new(key.signer(), sequence, self.id()?))
    }

    /// A client of all nodes.
    pub fn client(&self) -> Result<Client> {
        let shown = self.json(&["circle", "show"])?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("circle show");
        let nodes = shown["nodes"].as_array().context("circle show")?;
        let nodes = nodes
            .iter()
            .map(|url| Ok(Url::parse(&text(url)?)?))
            .collect::<Result<Vec<_>>>()?;
        let circle_key = text(&shown["circle_key"])?.parse()?;
        Ok(Client::new(nodes, circle_key, self.id()?)?)
    }

    /// The user's key.
    pub fn user_key(&self) -> Result<UnlockedKey> {
        let user = self.state.path().join("user");
        let passphrase = fs::read_to_string(user.join("passphrase"))?;
        let passphrase = SecretString::from(passphrase.trim().to_owned());
        Ok(keyfile::open(&user.join("user.key"), &passphrase)?)
    }

    /// The user's account, as an SDK has it.
    pub fn owner(&self) -> Result<Account> {
        let key = Arc::new(self.user_key()?);
        Ok(Account::new(self.client()?, key, None))
    }

    fn id(&self) -> Result<CircleId> {
        let shown = self.json(&["circle", "show"])?;
        Ok(shown["circle"]
            .as_str()
            .context("circle show gives no id")?
            .parse()?)
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// The certificate authority's root, PEM.
    pub fn roots(&self) -> PathBuf {
        self.state.path().join("ca/roots.pem")
    }
}

impl Drop for Circle {
    fn drop(&mut self) {
        if let Err(error) = self.run(&["down"]) {
            eprintln!("the benchmark's circle does not stop: {error:#}");
        }
    }
}
