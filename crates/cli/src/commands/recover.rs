//! `ringfort recover`: members found their circle anew on its last proven state,
//! because more than a third of its validators is lost.
//!
//! The validators of the new circle first make its key, as any founders do
//! (`ringfort found key … finish`). Then, with a back-up of the state:
//!
//! 1. One of them makes the `genesis`; it names the last block and its circle.
//! 2. Members `vote` for it; more than half of those that vote must.
//! 3. Each validator `sign`s the new circle's first block. It counts the votes
//!    and makes the block for itself, from its own copy of the back-up.
//! 4. One puts the signatures together (`finish`): the result is a checkpoint,
//!    with which every node of the new circle begins (`ringfort node restore`).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use engine::opening;
use node::{
    checkpoint::{
        backup::{self, Trust},
        recovery::Opening,
    },
    config::read_genesis,
};
use wire::{
    CircleKey, Genesis, Origin, RefoundingVote, SigningKey,
    record::{self, CircleRecord},
    state_key,
};
use zeroize::Zeroizing;

use super::found::{
    Made, ceremony,
    files::{Founder, Roster},
    genesis as founding,
};
use crate::{failure::Status, session::Session, state_directory::write_file, user};

/// The largest file of votes or a signature.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Steps of a recovery, in their order.
#[derive(clap::Subcommand)]
pub enum Recover {
    /// Make the genesis of the circle that takes the state over; one validator does.
    Genesis {
        /// The validator's directory, after `ringfort found finish`.
        directory: PathBuf,
        /// A back-up of the state.
        #[arg(long)]
        backup: PathBuf,
        /// The former circle's key; that of --state unless given.
        #[arg(long)]
        circle_key: Option<CircleKey>,
    },
    /// Vote for the new genesis, as a member of the former circle.
    Vote {
        /// The new genesis.
        genesis: PathBuf,
        /// Where to write the vote.
        #[arg(long)]
        out: PathBuf,
        /// Vote as this validator of the circle on this machine.
        #[arg(long, value_name = "INDEX")]
        as_node: Option<u16>,
    },
    /// Check everything and sign the new circle's first block.
    Sign(Agreed),
    /// Write the configuration of this validator's node in the new circle.
    Configure {
        /// The validator's directory, after `ringfort found finish`.
        directory: PathBuf,
        /// The new genesis.
        #[arg(long)]
        genesis: PathBuf,
    },
    /// Put the validators' signatures together.
    Finish {
        #[command(flatten)]
        agreed: Agreed,
        /// What validators have signed.
        #[arg(long = "signature", required = true)]
        signatures: Vec<PathBuf>,
    },
}

/// What everybody who signs checks.
#[derive(clap::Args)]
pub struct Agreed {
    /// The validator's directory, after `ringfort found finish`.
    directory: PathBuf,
    /// A back-up of the state.
    #[arg(long)]
    backup: PathBuf,
    /// The new genesis.
    #[arg(long)]
    genesis: PathBuf,
    /// Members' votes.
    #[arg(long = "vote", required = true)]
    votes: Vec<PathBuf>,
}

/// Takes a step.
pub fn execute(session: &Session, recover: &Recover) -> anyhow::Result<Status> {
    let made = match recover {
        Recover::Genesis {
            directory,
            backup,
            circle_key,
        } => {
            let key = match circle_key {
                Some(key) => *key,
                None => session.state.read()?.circle_key,
            };
            genesis(directory, backup, key)?
        }
        Recover::Vote {
            genesis,
            out,
            as_node,
        } => vote(session, genesis, out, *as_node)?,
        Recover::Configure { directory, genesis } => configure(directory, genesis)?,
        Recover::Sign(agreed) => sign(agreed)?,
        Recover::Finish { agreed, signatures } => finish(agreed, signatures)?,
    };
    made.print(session)?;
    Ok(Status::Done)
}

fn genesis(directory: &Path, backup: &Path, key: CircleKey) -> anyhow::Result<Made> {
    let (founder, roster, sharing) = ceremony::result(directory)?;
    let trust = Trust { circle: None, key };
    let (manifest, former) = backup::read(backup, &trust, &state_key::circle())?;
    let former = former.context("the state names no genesis")?;
    let former: CircleRecord = record::decode(&former).context("read the former genesis")?;
    let header = manifest.header;
    let genesis = Genesis {
        time_ms: header.time_ms,
        circle_key: CircleKey(engine::keys::group_key_of(&sharing)?),
        sharing,
        validators: founding::validators_of(&roster),
        origin: Some(Origin {
            circle: header.circle,
            circle_key: key,
            height: header.height,
            header: header.digest(),
        }),
        ..former.genesis
    };
    genesis.check()?;
    Ok(Made {
        file: founder.write("genesis.json", &genesis, false)?,
        what: "new circle",
        value: genesis.circle().to_string(),
        next: "give it to all members and validators; members vote: `ringfort recover vote`",
    })
}

fn vote(
    session: &Session,
    genesis: &Path,
    out: &Path,
    as_node: Option<u16>,
) -> anyhow::Result<Made> {
    let genesis = read_genesis(genesis)?;
    let origin = genesis.origin.context("this genesis takes no state over")?;
    let key = match as_node {
        Some(index) => {
            let seed = Founder::at(&session.state.node(index)).secret("identity.seed")?;
            SigningKey::ed25519(*seed)
        }
        None => user::unlock(session)?.1.signer(),
    };
    let vote = RefoundingVote::sign(&key, &origin, genesis.circle());
    write_file(out, &serde_json::to_vec_pretty(&vote)?, false)?;
    Ok(Made {
        file: out.to_owned(),
        what: "vote for",
        value: genesis.circle().to_string(),
        next: "give it to the validators: each needs all votes for `ringfort recover sign`",
    })
}

/// The new genesis, which must be for the key and the validators of this
/// directory's ceremony.
fn own_genesis(directory: &Path, file: &Path) -> anyhow::Result<(Founder, Roster, Genesis)> {
    let (founder, roster, sharing) = ceremony::result(directory)?;
    let genesis = read_genesis(file)?;
    ensure!(
        genesis.sharing == sharing && genesis.circle_key.0 == engine::keys::group_key_of(&sharing)?,
        "the genesis is for another key than its validators made"
    );
    ensure!(
        genesis.validators == founding::validators_of(&roster),
        "the genesis lists other validators"
    );
    Ok((founder, roster, genesis))
}

fn configure(directory: &Path, file: &Path) -> anyhow::Result<Made> {
    let (founder, roster, genesis) = own_genesis(directory, file)?;
    founder.write("genesis.json", &genesis, false)?;
    let made = founding::configured(&founder, &roster, &genesis)?;
    Ok(Made {
        next: "`ringfort node restore recovered.checkpoint --config node.toml`, then `ringfort node`",
        ..made
    })
}

/// The new circle's first block, made from what this validator has itself.
fn prepare(agreed: &Agreed) -> anyhow::Result<(Genesis, Opening, Scratch)> {
    let (_, _, genesis) = own_genesis(&agreed.directory, &agreed.genesis)?;
    let votes = agreed
        .votes
        .iter()
        .map(|file| read(file))
        .collect::<anyhow::Result<Vec<RefoundingVote>>>()?;
    let scratch = Scratch(agreed.directory.join("recovering"));
    let opening = Opening::prepare(&agreed.backup, genesis.clone(), &votes, &scratch.0)?;
    Ok((genesis, opening, scratch))
}

/// A folder that is removed when it is of no use any more.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is a copy of what the back-up holds.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let size = std::fs::metadata(file)
        .with_context(|| format!("read {}", file.display()))?
        .len();
    ensure!(size <= MAX_FILE_BYTES, "{} is too large", file.display());
    let text = std::fs::read_to_string(file)?;
    serde_json::from_str(&text).with_context(|| format!("parse {}", file.display()))
}

fn opening_of<'a>(genesis: &'a Genesis, block: &Opening) -> anyhow::Result<opening::Opening<'a>> {
    Ok(opening::Opening {
        circle: genesis.circle(),
        header: block.header().digest(),
        epoch: block.epoch()?,
        sharing: &genesis.sharing,
    })
}

/// A validator's signature, as a file.
#[derive(serde::Serialize, serde::Deserialize)]
struct Signed {
    /// The header's digest, for people.
    header: wire::Digest,
    #[serde(with = "hex::serde")]
    signature: Vec<u8>,
}

fn sign(agreed: &Agreed) -> anyhow::Result<Made> {
    let (genesis, block, _scratch) = prepare(agreed)?;
    let founder = Founder::at(&agreed.directory);
    let text = Zeroizing::new(std::fs::read_to_string(founder.path("share"))?);
    let share = Zeroizing::new(hex::decode(text.trim()).context("read the share")?);
    let signed = Signed {
        header: block.header().digest(),
        signature: opening_of(&genesis, &block)?.sign(&share)?,
    };
    Ok(Made {
        file: founder.write("opening.json", &signed, false)?,
        what: "first block, the same for all",
        value: signed.header.to_string(),
        next: "give it to one validator, who runs `ringfort recover finish`",
    })
}

fn finish(agreed: &Agreed, signatures: &[PathBuf]) -> anyhow::Result<Made> {
    let (genesis, block, _scratch) = prepare(agreed)?;
    let signatures = signatures
        .iter()
        .map(|file| read::<Signed>(file).map(|signed| signed.signature))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let made = opening_of(&genesis, &block)?.combine(&signatures)?;
    let certificate = proof::Certificate {
        epoch: made.epoch,
        view: made.view,
        parent_view: made.parent_view,
        signature: made.signature,
    };
    let file = agreed.directory.join("recovered.checkpoint");
    let header = block.header().digest();
    block.write(&certificate, &file)?;
    Ok(Made {
        file,
        what: "first block",
        value: header.to_string(),
        next: "give it to all validators; each runs `ringfort recover configure`, \
               `ringfort node restore` and `ringfort node`",
    })
}
