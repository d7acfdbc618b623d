//! `ringfort signer …`: the zone signer's daemon, and its keys' roll-overs.
//!
//! The commands change the keys' file alone. The daemon sees that within a
//! second and takes every later step by itself.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use naming::{
    held::KeyHolder,
    names::{
        absolute, ds,
        signer::{
            SignerConfig,
            keys::{FileKeys, Phase, Role},
            roll,
        },
    },
};
use wire::{DomainName, KEY_SIGNING_FLAGS};

use super::{daemon, label_holder};
use crate::{
    failure::{Advice, Status},
    session::Session,
    terminal::table,
};

/// Arguments of `ringfort signer`.
#[derive(clap::Args)]
pub struct Signer {
    #[command(subcommand)]
    command: Option<Command>,
    /// The signer's configuration.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// What to do with the keys, rather than sign.
#[derive(clap::Subcommand)]
enum Command {
    /// Show the keys, how far their lives have come, and what a resolver or a
    /// parent zone has to trust.
    Keys,
    /// Roll a zone-signing key: it takes two days, by itself.
    RollZsk(Which),
    /// Roll a key-signing key: the parent, or who trusts the zone directly,
    /// has to take the new DS; then say so with `confirm-ds`.
    RollKsk(Which),
    /// Say that the new DS stands at the parent and in every trust anchor.
    ConfirmDs(Which),
}

#[derive(clap::Args)]
struct Which {
    /// The zone; needed if the signer has several.
    apex: Option<DomainName>,
}

/// Runs the daemon, or carries one command out.
pub fn execute(session: &Session, signer: Signer) -> anyhow::Result<Status> {
    let config = signer
        .config
        .unwrap_or_else(|| session.state.signer().join("signer.toml"));
    let Some(command) = signer.command else {
        return daemon::signer(&config);
    };
    let config: SignerConfig = daemon::read(&config)?;
    let runtime = super::runtime()?;
    // A new key is its holder's to make.
    let held = match &command {
        Command::RollZsk(_) | Command::RollKsk(_) => {
            runtime.block_on(label_holder::hold(config.label.as_ref(), (&config).into()))?
        }
        Command::Keys | Command::ConfirmDs(_) => None,
    };
    let holder = held.map(|held| held as Arc<dyn KeyHolder>);
    let _lock = FileKeys::lock(&config.zone_keys)?;
    let mut keys = FileKeys::open_with(&config.zone_keys, holder)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let told = match command {
        Command::Keys => {
            print(session, &keys, &keys.apexes())?;
            return Ok(Status::Done);
        }
        Command::RollZsk(which) => {
            let apex = which.of(&keys)?;
            let tag = roll::roll_zone_signing(&mut keys, &apex, now)?;
            format!("key {tag} of {apex} is published; it signs in a while, by itself")
        }
        Command::RollKsk(which) => {
            let apex = which.of(&keys)?;
            let tag = roll::roll_key_signing(&mut keys, &apex, now)?;
            print(session, &keys, std::slice::from_ref(&apex))?;
            format!(
                "key {tag} of {apex} is announced (CDS, CDNSKEY); when its DS stands at the \
                 parent and in every trust anchor, run `ringfort signer confirm-ds`"
            )
        }
        Command::ConfirmDs(which) => {
            let apex = which.of(&keys)?;
            let tag = roll::confirm_parent(&mut keys, &apex, now)?;
            format!("key {tag} of {apex} takes over in two days, by itself")
        }
    };
    keys.save()?;
    session.terminal.progress(&told);
    Ok(Status::Done)
}

impl Which {
    /// The zone meant.
    fn of(self, keys: &FileKeys) -> anyhow::Result<DomainName> {
        let all = keys.apexes();
        match (self.apex, &all[..]) {
            (Some(apex), _) if all.contains(&apex) => Ok(apex),
            (None, [only]) => Ok(only.clone()),
            (_, []) => Err(Advice::new(
                "the signer has no keys yet",
                "start it once: `ringfort signer --config FILE`",
            )
            .into()),
            _ => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                Err(Advice::new(
                    "which zone?",
                    format!("the signer has keys of {}", all.join(", ")),
                )
                .into())
            }
        }
    }
}

/// One key, as it is shown.
#[derive(serde::Serialize)]
struct Shown {
    zone: DomainName,
    role: Role,
    tag: u16,
    phase: Phase,
    /// Unix seconds.
    since: u64,
    /// What a parent or a trust anchor holds; none of zone-signing keys.
    ds: Option<String>,
}

/// Shows the keys of every zone of `zones`.
fn print(session: &Session, keys: &FileKeys, zones: &[DomainName]) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for zone in zones {
        let name = absolute(zone.as_str()).context("the zone's name")?;
        for ((tag, key), public) in keys.of(zone).zip(keys.public(zone)) {
            let ds = ds(&name, &public).filter(|_| public.flags == KEY_SIGNING_FLAGS);
            all.push(Shown {
                zone: zone.clone(),
                role: key.role,
                tag,
                phase: key.phase,
                since: key.since,
                ds: ds.map(|ds| format!("{zone}. IN DS {ds}")),
            });
        }
    }
    session.print(&all, |all| {
        let row = |key: &Shown| {
            vec![
                key.zone.to_string(),
                key.tag.to_string(),
                format!("{:?}", key.role),
                format!("{:?}", key.phase),
                key.ds.clone().unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = all.iter().map(row).collect();
        table(&["ZONE", "TAG", "ROLE", "PHASE", "DS"], &rows)
    })
}
