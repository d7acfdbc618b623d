//! The key of a label in a protected process, for the zone signer and the
//! authority (docs/spec/keys.md §11).

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use client::{
    Client, Url,
    account::{Account, lock_path},
};
use keyhost::{Holder, HostError, LinkError, Program};
use naming::{
    ca::CaConfig,
    held::{HolderFailed, KeyHolder, LabelSettings},
    names::signer::SignerConfig,
};
use wire::{
    Action, CircleId, CircleKey, EvidenceKind, GrantLabel, HolderPolicy, LabelName, ReferenceValue,
    record::{KeyCommittee, Label},
    state_key,
};
use zeroize::Zeroizing;

use super::{key, keykeeper};
use crate::{passphrase, user};

/// The pause before it is tried again: keykeepers make their first key within
/// seconds of a circle's start.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Who asks for the key: a daemon's account.
pub struct Asker<'a> {
    /// The circle's id.
    pub circle: CircleId,
    /// The circle's key.
    pub circle_key: CircleKey,
    /// Base URLs of nodes.
    pub nodes: &'a [String],
    /// The account's key file.
    pub key_file: &'a Path,
    /// File with its passphrase.
    pub passphrase_file: &'a Path,
}

impl<'a> From<&'a SignerConfig> for Asker<'a> {
    fn from(config: &'a SignerConfig) -> Self {
        Self {
            circle: config.circle,
            circle_key: config.circle_key,
            nodes: &config.nodes,
            key_file: &config.key_file,
            passphrase_file: &config.passphrase_file,
        }
    }
}

impl<'a> From<&'a CaConfig> for Asker<'a> {
    fn from(config: &'a CaConfig) -> Self {
        Self {
            circle: config.circle,
            circle_key: config.circle_key,
            nodes: &config.nodes,
            key_file: &config.key_file,
            passphrase_file: &config.passphrase_file,
        }
    }
}

/// A holder as the zone signer and the authority ask it.
#[derive(Debug)]
pub struct Held(Holder);

impl Held {
    /// Ends when the holder is of no use any more.
    pub async fn ended(&self) {
        self.0.ended().await;
    }
}

fn failed(error: LinkError) -> HolderFailed {
    HolderFailed(error.to_string())
}

impl KeyHolder for Held {
    fn point(&self, context: &str) -> Result<[u8; 65], HolderFailed> {
        self.0.point(context.as_bytes()).map_err(failed)
    }

    fn sign(&self, context: &str, message: &[u8]) -> Result<[u8; 64], HolderFailed> {
        self.0.sign(context.as_bytes(), message).map_err(failed)
    }

    fn secret(&self, context: &str) -> Result<Zeroizing<[u8; 32]>, HolderFailed> {
        self.0.secret(context.as_bytes()).map_err(failed)
    }
}

/// Comes to the key that `settings` name, if they name one; waits for
/// keykeepers, and for the label to be granted, as long as that takes. To be
/// called on a thread that lives as long as what it gives.
///
/// Errors: what no waiting mends: files, the program, a label of another's that
/// does not admit this.
pub async fn hold(
    settings: Option<&LabelSettings>,
    asker: Asker<'_>,
) -> anyhow::Result<Option<Arc<Held>>> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let parse = |url: &String| Url::parse(url).with_context(|| format!("parse {url}"));
    let nodes: Vec<Url> = asker
        .nodes
        .iter()
        .map(parse)
        .collect::<anyhow::Result<_>>()?;
    let client = Client::new(nodes, asker.circle_key, asker.circle)?;
    let passphrase = passphrase::for_key_file(asker.key_file, Some(asker.passphrase_file))?;
    let key = Arc::new(user::open(asker.key_file, passphrase)?);
    let account = Account::new(client.clone(), key, Some(lock_path(asker.key_file)));
    let program = keykeeper::program(&settings.program)?;
    let quoting = key::quoting_key(&settings.quoting_key, &settings.quoting_certificate)?;
    let label = LabelName {
        owner: settings.owner.unwrap_or(account.id()),
        service: settings.service.clone(),
        version: settings.version,
    };
    let epoch = written_epoch(&settings.data_dir)?;
    let evidence = |report_data| key::quote(&quoting, program.measurement(), report_data);
    let mut told = String::new();
    loop {
        let trouble = match ready(&client, &account, &label, &program).await {
            Ok(()) => {
                match Holder::start(&account, &program, label.clone(), epoch, evidence).await {
                    Ok(holder) => {
                        write_epoch(&settings.data_dir, holder.epoch())?;
                        tracing::info!(
                            service = label.service,
                            epoch = holder.epoch(),
                            "holds the label's key"
                        );
                        return Ok(Some(Arc::new(Held(holder))));
                    }
                    Err(HostError::Link(LinkError::Fault(why))) => why,
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => format!("{error:#}"),
        };
        if trouble != told {
            tracing::warn!(
                service = label.service,
                trouble,
                "waits for the label's key"
            );
            told = trouble;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Whether the key can be asked for; grants the label first if it is for this
/// account to grant.
async fn ready(
    client: &Client,
    account: &Account,
    label: &LabelName,
    program: &Program,
) -> anyhow::Result<()> {
    let (committee, _) = client
        .proven::<KeyCommittee>(state_key::key_committee())
        .await?;
    committee.context("the circle has no keykeepers in office yet")?;
    let (granted, _) = client.proven::<Label>(state_key::label(label)).await?;
    if granted.is_some() {
        return Ok(());
    }
    anyhow::ensure!(
        label.owner == account.id(),
        "its owner, {}, has not granted the label: `ringfort key grant {} --version {}`",
        label.owner,
        label.service,
        label.version,
    );
    let policy = HolderPolicy {
        codes: vec![ReferenceValue {
            kind: EvidenceKind::Development,
            measurement: program.measurement(),
        }],
        askers: vec![account.id()],
        ..HolderPolicy::default()
    };
    account
        .send(vec![Action::GrantLabel(GrantLabel {
            service: label.service.clone(),
            version: label.version,
            policy,
        })])
        .await?;
    Ok(())
}

/// The file that says which epoch's key is in use.
fn epoch_file(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("label-epoch")
}

fn written_epoch(data_dir: &Path) -> anyhow::Result<Option<u64>> {
    let path = epoch_file(data_dir);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            Ok(Some(text.trim().parse().with_context(|| {
                format!("{} holds no epoch", path.display())
            })?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn write_epoch(data_dir: &Path, epoch: u64) -> anyhow::Result<()> {
    let path = epoch_file(data_dir);
    std::fs::create_dir_all(data_dir)
        .and_then(|()| std::fs::write(&path, format!("{epoch}\n")))
        .with_context(|| format!("write {}", path.display()))
}
