//! `ringfort proof`: an entry of the ledger that anyone can verify, with the
//! circle's key alone and everything switched off.

mod entry;

use std::{
    io::{IsTerminal as _, Read as _, Write as _},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use base64::Engine as _;
use proof::{MAX_PROOF_BYTES, Proven};
use serde::Serialize;
use wire::{CircleId, CircleKey, Digest, Height};

pub use entry::Entry;

use crate::{
    failure::{Advice, Status},
    session::Session,
    units::spoken,
    user,
};

/// Commands on proofs.
#[derive(clap::Subcommand)]
pub enum Proof {
    /// Fetch the proof of an entry; it goes to standard output, in binary.
    Get {
        /// Entry: name/hello.internal, account/ID, contract/ID, request/ID,
        /// offer/ID, lock/ID, enclave/ID, certificate/ID, completion/ID, circle
        /// or hex:STATE-KEY.
        entry: Entry,
        /// File to write instead.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Verify a proof; nothing else is asked, not even the clock.
    Verify {
        /// File with the proof; `-` for standard input.
        file: PathBuf,
        /// The circle's key; the one in the state directory if not given.
        #[arg(long, value_name = "KEY")]
        circle: Option<CircleKey>,
    },
}

/// What was proven, as it is printed.
#[derive(Serialize)]
struct Shown {
    circle: CircleId,
    height: Height,
    time_ms: u64,
    header: Digest,
    key: String,
    entry: String,
    /// Whether the entry exists; its absence is proven too.
    present: bool,
    record: Option<serde_json::Value>,
}

/// Carries out a command on proofs.
pub fn execute(session: &Session, command: Proof) -> anyhow::Result<Status> {
    match command {
        Proof::Get { entry, to } => get(session, &entry, to),
        Proof::Verify { file, circle } => verify(session, &file, circle),
    }
}

fn get(session: &Session, entry: &Entry, to: Option<PathBuf>) -> anyhow::Result<Status> {
    if to.is_none() && std::io::stdout().is_terminal() {
        return Err(Advice::new(
            "a proof is binary and would spoil the terminal",
            "send it to a file: `ringfort proof get KEY > proof`, or --to FILE",
        )
        .into());
    }
    let bytes = super::runtime()?.block_on(fetch(session, &entry.key()))?;
    match to {
        Some(path) => {
            std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?
        }
        None => std::io::stdout()
            .write_all(&bytes)
            .context("write the proof")?,
    }
    Ok(Status::Done)
}

/// The proof of the entry under the state key `key`, verified before anyone
/// relies on it.
pub(super) async fn fetch(session: &Session, key: &[u8]) -> anyhow::Result<Vec<u8>> {
    let client = user::client(session)?;
    let path = format!("entries/{}?proof=true", hex::encode(key));
    let answer = client.view(&path).await.context("fetch the proof")?;
    let text = answer["proof"].as_str().context("the node gave no proof")?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .context("the node's proof is not base64")?;
    let proven = check(&bytes, client.circle_key()).context("the node's proof does not hold")?;
    if proven.key() != key {
        anyhow::bail!("the node proved another entry than the one asked for");
    }
    Ok(bytes)
}

fn verify(session: &Session, file: &PathBuf, circle: Option<CircleKey>) -> anyhow::Result<Status> {
    let circle = circle_key(session, circle)?;
    let bytes = read(file)?;
    let proven = check(&bytes, &circle).with_context(|| {
        Advice::new(
            "the proof does not verify",
            "whoever gave it erred or lied, or it is of another circle: ask another node",
        )
        .with_status(Status::NotProven)
    })?;
    session.print(&shown(&proven), human)?;
    Ok(Status::Done)
}

/// The circle's key: the one given, or the one in the state directory.
///
/// Errors: neither is there.
pub(super) fn circle_key(session: &Session, given: Option<CircleKey>) -> anyhow::Result<CircleKey> {
    match given {
        Some(circle) => Ok(circle),
        None => Ok(session
            .state
            .read()
            .context("no --circle KEY was given")?
            .circle_key),
    }
}

/// Reads at most what a proof can be.
pub(super) fn read(file: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let limit = MAX_PROOF_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("read {}", file.display()))?;
    Ok(bytes)
}

fn check(bytes: &[u8], circle: &CircleKey) -> anyhow::Result<Proven> {
    let proof = proof::Proof::decode(bytes).context("the bytes are no proof")?;
    Ok(proof.verify(circle)?)
}

fn shown(proven: &Proven) -> Shown {
    let (entry, record) = entry::describe(proven.key(), proven.value());
    Shown {
        circle: proven.circle(),
        height: proven.height(),
        time_ms: proven.time_ms(),
        header: proven.header_digest(),
        key: hex::encode(proven.key()),
        entry,
        present: proven.value().is_some(),
        record,
    }
}

/// How long ago a block's time was, by this machine's clock.
pub(super) fn age(time_ms: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(time_ms);
    SystemTime::now().duration_since(time).map_or_else(
        |_| "in the future by this clock".to_owned(),
        |age| format!("{} ago", spoken(age)),
    )
}

fn human(shown: &Shown) -> String {
    let record = match &shown.record {
        Some(record) => serde_json::to_string_pretty(record).unwrap_or_default(),
        None => "proven absent: there is no such entry".to_owned(),
    };
    let age = age(shown.time_ms);
    format!(
        "proven under the circle's key\nentry   {}\ncircle  {}\nheight  {}\ntime    {} ms ({age})\n{record}\n",
        shown.entry, shown.circle, shown.height, shown.time_ms
    )
}
