//! `ringfort name export` and `import`: zones as the files that every name
//! server reads (RFC 1035 §5).

mod difference;
mod image;
mod parse;

use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;
use wire::{Action, DomainName};

use self::{
    difference::{Change, Difference},
    image::Image,
};
use crate::{
    commands::{runtime, sent::SentReport},
    failure::{Advice, Status},
    session::Session,
    typed_name, user,
};

/// Arguments of `ringfort name export`.
#[derive(clap::Args)]
pub struct Export {
    /// An apex of the circle, or a registered name.
    #[arg(value_parser = typed_name::parse)]
    zone: DomainName,
}

/// Arguments of `ringfort name import`.
#[derive(clap::Args)]
pub struct Import {
    /// The zone file; names without a dot at their end need its $ORIGIN.
    file: PathBuf,
    /// Show the difference and send nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Exported {
    zone: DomainName,
    file: String,
}

impl Export {
    /// Prints the zone: the same records give the same text.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let client = user::client(session)?;
        let image = runtime()?
            .block_on(Image::read(&client, &self.zone))
            .with_context(|| format!("read {}", self.zone))?;
        let file = image.zone_file(&self.zone)?;
        let exported = Exported {
            zone: self.zone,
            file,
        };
        session.print(&exported, |exported| exported.file.clone())?;
        Ok(Status::Done)
    }
}

#[derive(Serialize)]
struct Planned<'a> {
    changes: &'a [Change],
    /// What of the file is the zone's own and differs from it.
    passed_over: &'a [String],
}

impl Import {
    /// Shows what differs, and makes the ledger hold it.
    ///
    /// Errors: the file does not parse; a name in it is not registered, or
    /// differs and is another's. Nothing was sent then.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let records = parse::read(&self.file)?;
        let client = user::client(session)?;
        let difference = runtime()?
            .block_on(Difference::find(&client, &records))
            .context("compare the file with the ledger")?;
        if !difference.problems.is_empty() {
            let problems = difference.problems.join("\n  ");
            return Err(Advice::new(
                format!("nothing was sent:\n  {problems}"),
                "register the names, or leave their records out of the file",
            )
            .into());
        }
        let own = user::own_id(session)?;
        let others: Vec<String> = difference
            .changes
            .iter()
            .filter(|change| change.owner.account() != own)
            .map(|change| format!("{} is owned by {}", change.name, change.owner))
            .collect();
        if !others.is_empty() && !self.dry_run {
            let others = others.join("\n  ");
            return Err(Advice::new(
                format!("nothing was sent:\n  {others}"),
                "import with its key, or leave its records out of the file or as they are",
            )
            .into());
        }
        let planned = Planned {
            changes: &difference.changes,
            passed_over: &difference.passed_over,
        };
        session.print(&planned, Planned::text)?;
        if self.dry_run {
            return Ok(Status::Done);
        }
        for actions in difference.transactions() {
            let actions = actions.into_iter().map(Action::NameSet).collect();
            SentReport::send_all(session, actions, "imported")?;
        }
        Ok(Status::Done)
    }
}

impl Planned<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        for line in self.passed_over {
            text.push_str(&format!("; passed over: {line}\n"));
        }
        for change in self.changes {
            for line in change.lines() {
                text.push_str(&line);
                text.push('\n');
            }
        }
        if self.changes.is_empty() {
            text.push_str("; no difference\n");
        }
        text
    }
}
