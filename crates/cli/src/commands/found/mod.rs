//! `ringfort found`: founders make their circle's key together.
//!
//! Nobody deals: each founder runs the same few commands in a directory of its
//! own and gives the files that they write to the others, over any channel. What
//! is secret in a file is sealed to one founder. The key exists only as shares.
//!
//! 1. `key` makes a founder's keys and card. All cards go to all founders.
//! 2. `deal` reads all cards. All deals go to all founders.
//! 3. `acknowledge` reads all deals. All acknowledgements go to all founders.
//! 4. `publish` reads all acknowledgements. All dealings go to all founders.
//! 5. `finish` reads all dealings and makes the share. Every founder then has the
//!    same circle key; they compare it.
//! 6. One founder makes the `genesis`; every other one runs `check` on it.
//!
//! Every step needs the files of *all* founders: a founder who stays away is
//! left out by beginning again without it.

pub(super) mod ceremony;
pub(super) mod files;
pub(super) mod genesis;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use wire::{AccountId, Amount, DomainName};

use crate::{failure::Status, session::Session};

/// Steps of a founding, in their order.
#[derive(clap::Subcommand)]
pub enum Found {
    /// Make a founder's keys and its card.
    Key {
        /// The founder's directory; it will hold secrets.
        directory: PathBuf,
        /// The founder's name, for people.
        #[arg(long)]
        name: String,
        /// Where its validator will be reached, HOST:PORT.
        #[arg(long)]
        address: String,
    },
    /// Deal to the founders whose cards these are.
    Deal(Step),
    /// Check what was dealt to you, and acknowledge it.
    Acknowledge(Step),
    /// Publish your dealing with everybody's acknowledgements.
    Publish(Step),
    /// Make your share of the key from everybody's dealings.
    Finish(Step),
    /// Make the circle's genesis; one founder does.
    Genesis {
        /// The founder's directory, after `finish`.
        directory: PathBuf,
        /// The circle's name, for people.
        #[arg(long)]
        name: String,
        /// The zone beneath which names are registered.
        #[arg(long)]
        apex: DomainName,
        /// What an account holds at the start, as ACCOUNT=AMOUNT; each founder's
        /// validator gets an equal amount besides.
        #[arg(long = "account", value_parser = allotment)]
        accounts: Vec<(AccountId, Amount)>,
        /// What each founder's validator holds at the start.
        #[arg(long, default_value_t = 1_000_000_000)]
        each: u64,
    },
    /// Check a genesis that another founder made, and write this node's configuration.
    Check {
        /// The founder's directory, after `finish`.
        directory: PathBuf,
        /// The genesis.
        genesis: PathBuf,
    },
}

/// A step that reads the files of all founders.
#[derive(clap::Args)]
pub struct Step {
    /// The founder's directory.
    directory: PathBuf,
    /// The files of the step before, one of each founder, in any order.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

fn allotment(text: &str) -> Result<(AccountId, Amount), String> {
    let wrong = || "give ACCOUNT=AMOUNT".to_owned();
    let (account, amount) = text.split_once('=').ok_or_else(wrong)?;
    let account = account.parse().map_err(|_| wrong())?;
    let amount = amount.parse().map_err(|_| wrong())?;
    Ok((account, Amount(amount)))
}

/// Takes a step.
pub fn execute(session: &Session, found: &Found) -> anyhow::Result<Status> {
    let made = match found {
        Found::Key {
            directory,
            name,
            address,
        } => ceremony::make_keys(directory, name, address)?,
        Found::Deal(step) => ceremony::deal(&step.directory, &step.files)?,
        Found::Acknowledge(step) => ceremony::acknowledge(&step.directory, &step.files)?,
        Found::Publish(step) => ceremony::publish(&step.directory, &step.files)?,
        Found::Finish(step) => ceremony::finish(&step.directory, &step.files)?,
        Found::Genesis {
            directory,
            name,
            apex,
            accounts,
            each,
        } => genesis::make(directory, name, apex, accounts, Amount(*each))?,
        Found::Check { directory, genesis } => genesis::check(directory, genesis)?,
    };
    made.print(session)?;
    Ok(Status::Done)
}

impl Made {
    /// Prints what was made.
    pub(super) fn print(&self, session: &Session) -> anyhow::Result<()> {
        session.print(self, |made| {
            let next = &made.next;
            format!(
                "{}\n{}: {}\n{next}\n",
                made.file.display(),
                made.what,
                made.value
            )
        })
    }
}

/// What a step made, as it is printed.
#[derive(serde::Serialize)]
pub(super) struct Made {
    /// The file to hand on.
    pub(super) file: PathBuf,
    /// What founders compare at this point.
    pub(super) what: &'static str,
    /// Its value.
    pub(super) value: String,
    /// What to do next.
    pub(super) next: &'static str,
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
