//! `ringfort key …`: keys that nobody holds alone. Labels, encryption to them,
//! and opening what was encrypted.

mod escrow;
mod recovery;

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use attest::development::{QuotingCertificate, QuotingKey};
use keyhost::Remote;
use rand::{SeedableRng as _, rngs::StdRng};
use serde::Serialize;
use wire::{
    Action, Change, GrantLabel, HolderPolicy, LabelName, Measurement, ProposalId, Propose,
    PublicKey, RotateLabel, SigningKey,
    record::{KeyCommittee, KeyRound, Label, Rules},
    state_key,
};
use zeroize::Zeroizing;

use super::{runtime, sent::SentReport};
use crate::{
    failure::{Advice, Status},
    session::Session,
    user,
};

/// Commands on keys that nobody holds alone.
#[derive(clap::Subcommand)]
pub enum Key {
    /// Show who holds shares, and how the last round went.
    Show,
    /// Propose keykeepers to the members: a first key, or new shares of it.
    Keepers {
        /// Their keys.
        #[arg(required = true)]
        keepers: Vec<PublicKey>,
        /// How many blocks each phase lasts at most.
        #[arg(long, default_value_t = 1000)]
        window: u32,
    },
    /// Keep pieces of keykeepers' shares, as a member.
    #[command(subcommand)]
    Escrow(escrow::Escrow),
    /// Restore a lost keykeeper from the members' pieces.
    #[command(subcommand)]
    Recover(recovery::Recover),
    /// Grant a label: its key exists from now on.
    Grant(Terms),
    /// Begin a label's next epoch, under another policy.
    Rotate(Terms),
    /// Encrypt a file to a label, with the circle's public key alone.
    Encrypt {
        #[command(flatten)]
        label: Named,
        /// The file; at most 64 KiB.
        file: PathBuf,
        /// Where the ciphertext goes.
        encrypted: PathBuf,
    },
    /// Ask the keykeepers for a label's key and open a file with it. The
    /// evidence is of a development quoting key.
    Decrypt {
        #[command(flatten)]
        label: Named,
        /// The encrypted file.
        encrypted: PathBuf,
        /// Where the plaintext goes.
        file: PathBuf,
        /// Directory with quoting.seed and quoting.certificate.
        #[arg(long, value_name = "DIR")]
        quoting: PathBuf,
        /// The code that the evidence is of.
        #[arg(long, value_name = "MEASUREMENT")]
        code: Measurement,
    },
}

/// A label by its parts.
#[derive(clap::Args)]
pub struct Named {
    /// The service.
    service: String,
    /// Its version.
    #[arg(long, default_value_t = 1)]
    label_version: u32,
    /// Who granted it; your own account if not given.
    #[arg(long, value_parser = super::account::account_id)]
    owner: Option<wire::AccountId>,
    /// The epoch; the present one if not given.
    #[arg(long)]
    epoch: Option<u64>,
}

/// What a label is granted with.
#[derive(clap::Args)]
pub struct Terms {
    /// The service: a-z, 0-9, dots and hyphens.
    service: String,
    /// Its version.
    #[arg(long, default_value_t = 1)]
    label_version: u32,
    /// A holder policy, as JSON; all code that the circle admits if not given.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Account whose payloads may have the key; may be given often. Your own if
    /// neither this nor a policy is given.
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "policy",
          value_parser = super::account::account_id)]
    tenant: Vec<wire::AccountId>,
    /// SHA-256 of an encrypted payload that may have the key, as `run` prints it;
    /// may be given often. Any of the tenants' if not given.
    #[arg(long, value_name = "SHA256", conflicts_with = "policy")]
    payload: Vec<wire::Digest>,
}

/// Carries out a command on keys.
pub fn execute(session: &Session, command: Key) -> anyhow::Result<Status> {
    match command {
        Key::Show => show(session),
        Key::Keepers { keepers, window } => propose(session, keepers, window),
        Key::Escrow(command) => escrow::execute(session, command),
        Key::Recover(command) => recovery::execute(session, command),
        Key::Grant(terms) => {
            let policy = terms.policy(session)?;
            let action = Action::GrantLabel(GrantLabel {
                service: terms.service,
                version: terms.label_version,
                policy,
            });
            SentReport::send(session, action, "granted")
        }
        Key::Rotate(terms) => {
            let policy = terms.policy(session)?;
            let action = Action::RotateLabel(RotateLabel {
                service: terms.service,
                version: terms.label_version,
                policy,
            });
            SentReport::send(session, action, "rotated")
        }
        Key::Encrypt {
            label,
            file,
            encrypted,
        } => encrypt(session, &label, &file, &encrypted),
        Key::Decrypt {
            label,
            encrypted,
            file,
            quoting,
            code,
        } => decrypt(session, &label, &encrypted, &file, &quoting, code),
    }
}

impl Terms {
    fn policy(&self, session: &Session) -> anyhow::Result<HolderPolicy> {
        if let Some(path) = &self.policy {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("read {}", path.display()))?;
            return serde_json::from_str(&text)
                .with_context(|| format!("{} is no holder policy", path.display()));
        }
        let client = user::client(session)?;
        let rules: Rules =
            runtime()?.block_on(client.require(state_key::rules(), || "the rules".into()))?;
        let mut codes = rules.reference_values;
        codes.sort_unstable_by_key(|value| (value.kind, value.measurement.0));
        let mut tenants = self.tenant.clone();
        if tenants.is_empty() {
            tenants.push(user::account(session)?.id());
        }
        tenants.sort_unstable();
        let mut payloads = self.payload.clone();
        payloads.sort_unstable();
        Ok(HolderPolicy {
            codes,
            tenants,
            payloads,
            ..HolderPolicy::default()
        })
    }
}

#[derive(Serialize)]
struct Shown {
    committee: Option<KeyCommittee>,
    round: Option<KeyRound>,
}

fn show(session: &Session) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let shown = runtime()?.block_on(async {
        anyhow::Ok(Shown {
            committee: client.proven(state_key::key_committee()).await?.0,
            round: client.proven(state_key::key_round()).await?.0,
        })
    })?;
    session.print(&shown, |shown| {
        let committee = match &shown.committee {
            None => "no keykeepers are in office\n".to_owned(),
            Some(committee) => format!(
                "{} keykeepers, any {} of whom derive a key, since height {}\nmaster key {}\n",
                committee.keepers.len(),
                committee.quorum,
                committee.since,
                hex::encode(&committee.master_key),
            ),
        };
        let round = shown.round.as_ref().map_or_else(String::new, |round| {
            format!(
                "round {}: {:?}, {:?}\n",
                round.round, round.phase, round.outcome
            )
        });
        committee + &round
    })?;
    Ok(Status::Done)
}

fn propose(session: &Session, mut keepers: Vec<PublicKey>, window: u32) -> anyhow::Result<Status> {
    keepers.sort_unstable();
    let change = Change::SetKeykeepers { keepers, window };
    let action = Action::Propose(Propose { change });
    SentReport::send_making(session, action, "proposed", |transaction| {
        Some(ProposalId::made_by(transaction, 0).to_string())
    })
}

impl Named {
    fn name(&self, session: &Session) -> anyhow::Result<LabelName> {
        let owner = match self.owner {
            Some(owner) => owner,
            None => user::account(session)?.id(),
        };
        Ok(LabelName {
            owner,
            service: self.service.clone(),
            version: self.label_version,
        })
    }
}

fn encrypt(session: &Session, label: &Named, file: &Path, to: &Path) -> anyhow::Result<Status> {
    let plain =
        Zeroizing::new(std::fs::read(file).with_context(|| format!("read {}", file.display()))?);
    let name = label.name(session)?;
    let client = user::client(session)?;
    let (committee, granted): (KeyCommittee, Label) = runtime()?.block_on(async {
        let committee = client
            .require(state_key::key_committee(), || "a master key".into())
            .await?;
        let label = client
            .require(state_key::label(&name), || {
                format!("the label {}", name.service)
            })
            .await?;
        anyhow::Ok((committee, label))
    })?;
    let master = committee
        .master_key
        .try_into()
        .map_err(|_| Advice::new("the master key is malformed", "this build is too old"))?;
    let bytes = name.bytes(client.circle(), label.epoch.unwrap_or(granted.epoch));
    let mut entropy = [0; 32];
    aws_lc_rs::rand::fill(&mut entropy).context("draw entropy")?;
    let message = threshold::encrypt(&master, &bytes, &plain, &mut StdRng::from_seed(entropy))?;
    std::fs::write(to, message).with_context(|| format!("write {}", to.display()))?;
    session.terminal.progress("encrypted");
    Ok(Status::Done)
}

fn decrypt(
    session: &Session,
    label: &Named,
    encrypted: &Path,
    to: &Path,
    quoting: &Path,
    code: Measurement,
) -> anyhow::Result<Status> {
    let message =
        std::fs::read(encrypted).with_context(|| format!("read {}", encrypted.display()))?;
    let name = label.name(session)?;
    let quoting = quoting_key(
        &quoting.join("quoting.seed"),
        &quoting.join("quoting.certificate"),
    )?;
    let circle = Remote::new(user::account(session)?);
    let key = runtime()?.block_on(keykeeper::derive(
        &circle,
        &name,
        label.epoch,
        |report_data| quote(&quoting, code, report_data),
    ))?;
    let plain = key.decrypt(&message).context("open the file")?;
    // For its owner alone, and never in the place of something else.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .with_context(|| format!("make {}", to.display()))?;
    file.write_all(&plain)
        .with_context(|| format!("write {}", to.display()))?;
    session.terminal.progress("decrypted");
    Ok(Status::Done)
}

/// Development evidence for `report_data`.
pub(super) fn quote(
    quoting: &QuotingKey,
    code: Measurement,
    report_data: wire::Digest,
) -> Result<wire::Evidence, String> {
    let mut nonce = [0; 32];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|error| error.to_string())?;
    Ok(quoting.quote(code, report_data, nonce))
}

/// A quoting key from its two files.
///
/// Errors: names the file.
pub(super) fn quoting_key(seed: &Path, certificate: &Path) -> anyhow::Result<QuotingKey> {
    let read = |path: &Path| -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let text = Zeroizing::new(
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?,
        );
        let bytes =
            hex::decode(text.trim()).with_context(|| format!("{} is not hex", path.display()))?;
        Ok(Zeroizing::new(bytes))
    };
    let bytes: [u8; 32] = read(seed)?
        .as_slice()
        .try_into()
        .with_context(|| format!("{} is no seed of 32 bytes", seed.display()))?;
    let certificate = QuotingCertificate::decode(&read(certificate)?)?;
    Ok(QuotingKey::new(SigningKey::ed25519(bytes), certificate)?)
}
