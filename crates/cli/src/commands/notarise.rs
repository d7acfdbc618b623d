//! `ringfort notarise`: that a data item existed, and who vouched for it.

use std::{fs::File, path::PathBuf};

use anyhow::Context as _;
use client::notary::{Item, Witnessed, verify_item};
use serde::Serialize;
use wire::{
    Action, CircleKey, Digest, Height, Notarise as NotariseItem, Reject, record, state_key,
};

use super::{proof, runtime};
use crate::{
    failure::{Advice, Status},
    session::Session,
    user,
};

/// Arguments of `ringfort notarise`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Notarise {
    #[command(subcommand)]
    check: Option<Command>,
    #[command(flatten)]
    record: Option<Record>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Check a file against what was notarised; with a stored proof, offline.
    Check(Check),
}

#[derive(clap::Args)]
struct Record {
    /// The file; its hash goes on the ledger, nothing else of it.
    file: PathBuf,
    /// What it is: a media type, such as application/pdf.
    #[arg(long, default_value = "")]
    media: String,
    /// What you say of it, for everyone to read.
    #[arg(long, default_value = "")]
    note: String,
    /// Say that the file is ciphertext.
    #[arg(long)]
    encrypted: bool,
    /// File for the proof; FILE.proof if not given.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Check {
    /// The file.
    file: PathBuf,
    /// The stored proof: nobody is asked. Without it the circle is.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// The circle's key; the one in the state directory if not given.
    #[arg(long, value_name = "KEY", requires = "proof")]
    circle: Option<CircleKey>,
}

/// Carries out `ringfort notarise`.
pub fn execute(session: &Session, notarise: &Notarise) -> anyhow::Result<Status> {
    match (&notarise.check, &notarise.record) {
        (Some(Command::Check(check)), _) => check.execute(session),
        (None, Some(record)) => record.execute(session),
        (None, None) => Err(Advice::new("no file was given", "`ringfort notarise FILE`").into()),
    }
}

fn item(path: &PathBuf) -> anyhow::Result<Item> {
    File::open(path)
        .and_then(Item::read)
        .with_context(|| format!("read {}", path.display()))
}

#[derive(Serialize)]
struct Recorded {
    digest: Digest,
    size: u64,
    /// Whether it had been recorded by this key before.
    before: bool,
    proof: PathBuf,
    proof_bytes: usize,
}

impl Record {
    /// Records the digest, if this key has not before, and stores the proof.
    fn execute(&self, session: &Session) -> anyhow::Result<Status> {
        let item = item(&self.file)?;
        let account = user::account(session)?;
        let action = Action::Notarise(NotariseItem {
            digest: item.digest,
            size: item.size,
            encrypted: self.encrypted,
            media: self.media.clone(),
            note: self.note.clone(),
        });
        let key = state_key::notarisation(item.digest, account.id());
        let (before, bytes) = runtime()?.block_on(async {
            let before = match account.send(vec![action]).await {
                Ok(_) => false,
                Err(error) if error.reject() == Some(Reject::AlreadyNotarised) => true,
                Err(error) => return Err(error).context("notarise the file"),
            };
            anyhow::Ok((before, proof::fetch(session, &key).await?))
        })?;
        let path = self.proof.clone().unwrap_or_else(|| {
            let mut name = self.file.clone().into_os_string();
            name.push(".proof");
            name.into()
        });
        std::fs::write(&path, &bytes).with_context(|| format!("write {}", path.display()))?;
        let recorded = Recorded {
            digest: item.digest,
            size: item.size,
            before,
            proof: path,
            proof_bytes: bytes.len(),
        };
        session.print(&recorded, |recorded| {
            let before = if recorded.before { " before" } else { "" };
            format!(
                "notarised{before}: SHA-256 {}, {} bytes\nproof      {} ({} bytes)\n",
                recorded.digest,
                recorded.size,
                recorded.proof.display(),
                recorded.proof_bytes
            )
        })?;
        Ok(Status::Done)
    }
}

#[derive(Serialize)]
struct Checked {
    digest: Digest,
    size: u64,
    witnesses: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    record: record::Notarisation,
    proven_at: Height,
}

impl Check {
    fn execute(&self, session: &Session) -> anyhow::Result<Status> {
        let item = item(&self.file)?;
        let witnesses = match &self.proof {
            Some(path) => vec![self.stored(session, &item, path)?],
            None => asked(session, &item)?,
        };
        let checked = Checked {
            digest: item.digest,
            size: item.size,
            witnesses,
        };
        session.print(&checked, human)?;
        Ok(Status::Done)
    }

    fn stored(&self, session: &Session, item: &Item, path: &PathBuf) -> anyhow::Result<Shown> {
        let circle = proof::circle_key(session, self.circle)?;
        let bytes = proof::read(path)?;
        let (record, proven) = verify_item(item, &bytes, &circle).with_context(|| {
            Advice::new(
                "the proof does not show that this file was notarised",
                "the file was changed, or the proof is another file's or another circle's",
            )
            .with_status(Status::NotProven)
        })?;
        Ok(Shown {
            record,
            proven_at: proven.height(),
        })
    }
}

fn asked(session: &Session, item: &Item) -> anyhow::Result<Vec<Shown>> {
    let client = user::client(session)?;
    let found = runtime()?
        .block_on(client.notarisations(item.digest))
        .context("ask the circle")?;
    let shown = |one: Witnessed| Shown {
        record: one.record,
        proven_at: one.height,
    };
    let found: Vec<Shown> = found.into_iter().map(shown).collect();
    if found.is_empty() {
        return Err(Advice::new(
            "nobody has notarised this file",
            "it was changed, or it never was: its SHA-256 is not on the ledger",
        )
        .with_status(Status::NotProven)
        .into());
    }
    Ok(found)
}

fn human(checked: &Checked) -> String {
    let mut text = format!("SHA-256 {}, {} bytes\n", checked.digest, checked.size);
    for Shown { record, proven_at } in &checked.witnesses {
        let age = proof::age(record.time_ms);
        text.push_str(&format!(
            "notarised by {}\n  at height {} ({age}), proven at height {proven_at}\n",
            record.signer, record.notarised_at
        ));
        for (what, said) in [("media", &record.media), ("note", &record.note)] {
            if !said.is_empty() {
                text.push_str(&format!("  {what} {said:?}\n"));
            }
        }
        if record.encrypted {
            text.push_str("  the file is ciphertext, by the signer's word\n");
        }
    }
    text
}
