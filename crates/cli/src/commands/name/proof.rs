//! `ringfort name proof` and `verify`: what a name is, for whoever holds the
//! circle's key and has no connection.

use std::path::PathBuf;

use anyhow::Context as _;
use client::names::{ProvenName, verify_name};
use serde::Serialize;
use wire::{CircleId, CircleKey, DomainName, Height, record, state_key};

use super::show;
use crate::{
    commands::proof,
    failure::{Advice, Status},
    session::Session,
    typed_name,
};

/// Arguments of `ringfort name proof`.
#[derive(clap::Args)]
pub struct Fetch {
    /// The name; that it is free can be proven too.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// File to write; NAME.proof if not given.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// A proof that was written, as it is printed.
#[derive(Serialize)]
struct Written {
    file: PathBuf,
    proof_bytes: usize,
}

impl Fetch {
    /// Fetches the proof, verifies it and writes it.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let key = state_key::name(&self.name);
        let bytes = crate::commands::runtime()?.block_on(proof::fetch(session, &key))?;
        let file = self
            .to
            .unwrap_or_else(|| PathBuf::from(format!("{}.proof", self.name)));
        std::fs::write(&file, &bytes).with_context(|| format!("write {}", file.display()))?;
        let written = Written {
            file,
            proof_bytes: bytes.len(),
        };
        session.print(&written, |written| {
            format!(
                "{} ({} bytes)\n",
                written.file.display(),
                written.proof_bytes
            )
        })?;
        Ok(Status::Done)
    }
}

/// Arguments of `ringfort name verify`.
#[derive(clap::Args)]
pub struct Verify {
    /// File with the proof; `-` for standard input.
    #[arg(required_unless_present = "certificate")]
    file: Option<PathBuf>,
    /// A certificate that carries a proof, PEM or DER, instead.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "name"])]
    certificate: Option<PathBuf>,
    /// The circle's key; the one in the state directory if not given.
    #[arg(long, value_name = "KEY")]
    circle: Option<CircleKey>,
    /// The name that it must be of.
    #[arg(long, value_parser = typed_name::parse)]
    name: Option<DomainName>,
}

/// What was proven of a name, as it is printed.
#[derive(Serialize)]
struct Shown {
    name: DomainName,
    /// Whether it is registered; that it is not is proven too.
    registered: bool,
    circle: CircleId,
    height: Height,
    time_ms: u64,
    proof_bytes: usize,
    record: Option<record::Name>,
}

impl Verify {
    /// Verifies; asks nobody, not even the clock.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        if let Some(certificate) = self.certificate {
            return crate::commands::cert::verify(session, &certificate, self.circle);
        }
        let circle = proof::circle_key(session, self.circle)?;
        let file = self.file.context("give the file with the proof")?;
        let bytes = proof::read(&file)?;
        let refused = |message: &str| {
            Advice::new(
                message,
                "whoever gave it erred or lied, or it is of another circle: ask another node",
            )
            .with_status(Status::NotProven)
        };
        let ProvenName {
            name,
            record,
            proven,
        } = verify_name(&bytes, &circle).with_context(|| refused("the proof does not verify"))?;
        if self.name.is_some_and(|wanted| wanted != name) {
            return Err(refused(&format!("the proof is of {name}")).into());
        }
        let shown = Shown {
            name,
            registered: record.is_some(),
            circle: proven.circle(),
            height: proven.height(),
            time_ms: proven.time_ms(),
            proof_bytes: bytes.len(),
            record,
        };
        session.print(&shown, human)?;
        Ok(Status::Done)
    }
}

fn human(shown: &Shown) -> String {
    let about = match &shown.record {
        Some(record) => show::describe(record, None),
        None => format!(
            "name        {}\nproven free: it is not registered\n",
            shown.name
        ),
    };
    let age = proof::age(shown.time_ms);
    format!(
        "{about}proven      under the circle's key, at height {} ({age}), in {} bytes\n",
        shown.height, shown.proof_bytes
    )
}
