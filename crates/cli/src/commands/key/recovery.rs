//! `ringfort key recover …`: a lost keykeeper comes back in a new protected process,
//! out of pieces that members hand over to that process and to nothing else
//! (docs/operations/keys.md).

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use borsh::BorshDeserialize as _;
use keyhost::{Files, Recovering, read_proven};
use keykeeper::recovery::{self, HandedOver, RecoveryRequest};
use serde::Serialize;
use wire::{CircleId, Evidence, Measurement, PublicKey};

use super::escrow::{self, Holder};
use crate::{
    commands::{
        daemon as daemon_file,
        keykeeper::{self as daemon, KeykeeperConfig},
        runtime,
    },
    failure::{Advice, Status},
    session::Session,
    user,
};

/// A file of a piece: a place and 80 bytes; more is none.
const MAX_PIECE_BYTES: u64 = 256;

/// A file of a request is below this: evidence and three keys.
const MAX_REQUEST_BYTES: u64 = 64 * 1024;

/// Steps of restoring a lost keykeeper.
#[derive(clap::Subcommand)]
pub enum Recover {
    /// On the new host: make a key inside the protected process, and a request to
    /// the members with evidence of it.
    Begin {
        /// The lost keykeeper's key.
        keeper: PublicKey,
        /// The new host's keykeeper.toml, whose data directory holds no keykeeper yet.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Where the request goes.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// On a member's machine: look at the request's evidence, and hand your piece
    /// over to that process alone.
    HandOver {
        /// The request.
        request: PathBuf,
        #[command(flatten)]
        holder: Holder,
        /// Where the sealed piece goes.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// On the new host: become that keykeeper. Start it then with `ringfort keykeeper`.
    Finish {
        /// The lost keykeeper's key.
        keeper: PublicKey,
        /// The sealed pieces of the members.
        #[arg(required = true)]
        pieces: Vec<PathBuf>,
        /// The new host's keykeeper.toml.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// Carries out a step.
pub fn execute(session: &Session, command: Recover) -> anyhow::Result<Status> {
    match command {
        Recover::Begin { keeper, config, to } => begin(session, &keeper, &config, &to),
        Recover::HandOver {
            request,
            holder,
            to,
        } => hand_over(session, &request, &holder, &to),
        Recover::Finish {
            keeper,
            pieces,
            config,
        } => finish(session, &keeper, &pieces, &config),
    }
}

#[derive(Serialize)]
struct Begun {
    keeper: PublicKey,
    /// By which members tell each other that they mean the same request.
    digest: wire::Digest,
    measurement: Measurement,
    request: PathBuf,
}

fn request_digest(bytes: &[u8]) -> wire::Digest {
    wire::Digest::tagged("ringfort/keykeeper-recovery-request/1", &[bytes])
}

fn none_yet(files: &Files, config: &KeykeeperConfig) -> anyhow::Result<()> {
    if files.exist() {
        return Err(Advice::new(
            format!("{} holds a keykeeper already", config.data_dir.display()),
            "restore into a data directory of its own",
        )
        .into());
    }
    Ok(())
}

fn begin(
    session: &Session,
    keeper: &PublicKey,
    config: &Path,
    to: &Path,
) -> anyhow::Result<Status> {
    let config: KeykeeperConfig = daemon_file::read(config)?;
    let files = Files::at(&config.data_dir);
    none_yet(&files, &config)?;
    let program = daemon::program(&config.program)?;
    let circle: CircleId = config.circle;
    let keeper_key = escrow::keeper_key(keeper)?;
    let Recovering {
        key,
        report_data,
        sealed,
    } = keyhost::recover(&program, &*config.sealing_key(&files)?, circle, keeper_key)?;
    files.keep_recovery(&sealed)?;
    let measurement = program.measurement();
    let evidence: Evidence = config.evidence(measurement, report_data)?;
    let request = RecoveryRequest {
        circle,
        keeper: keeper_key,
        key,
        evidence,
    };
    let bytes = request.encode();
    std::fs::write(to, &bytes).with_context(|| format!("write {}", to.display()))?;
    let begun = Begun {
        keeper: *keeper,
        digest: request_digest(&bytes),
        measurement,
        request: to.to_owned(),
    };
    session.print(&begun, |begun| {
        format!(
            "give {} to the members; it is\n{}\n",
            begun.request.display(),
            begun.digest
        )
    })?;
    Ok(Status::Done)
}

/// Reads a file that is at most so long.
fn read_short(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let length = std::fs::metadata(path)
        .with_context(|| format!("read {}", path.display()))?
        .len();
    if length > most {
        anyhow::bail!(
            "{} has {length} bytes; at most {most} can be right",
            path.display()
        );
    }
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

#[derive(Serialize)]
struct Handed {
    keeper: PublicKey,
    digest: wire::Digest,
    /// The kind of evidence of the new process.
    kind: wire::EvidenceKind,
    measurement: Measurement,
}

fn hand_over(
    session: &Session,
    request: &Path,
    holder: &Holder,
    to: &Path,
) -> anyhow::Result<Status> {
    let bytes = read_short(request, MAX_REQUEST_BYTES)?;
    let parsed = RecoveryRequest::decode(&bytes)
        .with_context(|| format!("{} is no request to restore", request.display()))?;
    let client = user::client(session)?;
    let reading =
        runtime()?.block_on(read_proven(&client, recovery::member_keys(&parsed.keeper)))?;
    let secret = holder.secret(session)?;
    let (piece, claims) = recovery::hand_over(client.circle(), &parsed, &reading, &secret)?;
    let sealed = borsh::to_vec(&piece)?;
    std::fs::write(to, sealed).with_context(|| format!("write {}", to.display()))?;
    let handed = Handed {
        keeper: PublicKey::Ed25519(parsed.keeper),
        digest: request_digest(&bytes),
        kind: claims.kind,
        measurement: claims.measurement,
    };
    session.print(&handed, |handed| {
        format!(
            "handed over a piece of {}\nto a process of {:?} evidence, measured {}\nby the request {}\n",
            handed.keeper, handed.kind, handed.measurement, handed.digest
        )
    })?;
    Ok(Status::Done)
}

fn finish(
    session: &Session,
    keeper: &PublicKey,
    pieces: &[PathBuf],
    config: &Path,
) -> anyhow::Result<Status> {
    let config: KeykeeperConfig = daemon_file::read(config)?;
    let files = Files::at(&config.data_dir);
    none_yet(&files, &config)?;
    let sealed = files
        .recovery()
        .context("read the key that the request was made with: `key recover begin` first")?;
    let program = daemon::program(&config.program)?;
    let mut handed = Vec::new();
    for path in pieces {
        let bytes = read_short(path, MAX_PIECE_BYTES)?;
        let piece = HandedOver::try_from_slice(&bytes)
            .with_context(|| format!("{} is no piece", path.display()))?;
        handed.push(piece);
    }
    let client = config.client()?;
    let keys = recovery::keys(&escrow::keeper_key(keeper)?);
    let proofs = runtime()?.block_on(client.proofs_since(keys, client.seen()))?;
    let proofs = proofs.into_iter().map(|(_, bytes)| bytes).collect();
    let (key, state) = keyhost::restore(
        &program,
        &*config.sealing_key(&files)?,
        config.circle_key,
        sealed,
        proofs,
        handed,
    )
    .map_err(|error| {
        Advice::new(
            format!("the keykeeper is not restored: {error}"),
            "more than two thirds of the members hand their pieces over, all for this request",
        )
    })?;
    files.keep(&state)?;
    files.publish(&key)?;
    files.forget_recovery()?;
    session.print(&key, |key| {
        format!("restored {key}: start it with `ringfort keykeeper`\n")
    })?;
    Ok(Status::Done)
}
