//! `ringfort name register`: a name, and in the same transaction whatever its
//! server needs.

use client::run::{Observer, Registration};
use wire::{Action, Amount, DomainName};

use super::secure::Server;
use crate::{commands::run::StepPrinter, failure::Status, session::Session, typed_name, user};

/// Arguments of `ringfort name register`.
#[derive(clap::Args)]
pub struct Register {
    /// The name; its registration can carry the key, certificate and addresses of its server.
    #[arg(value_parser = typed_name::parse)]
    name: DomainName,
    /// What rent is drawn from.
    #[arg(long, default_value_t = 10_000)]
    deposit: u64,
    #[command(flatten)]
    server: Server,
}

impl Register {
    /// Registers the name, or goes on where an earlier run was broken off.
    pub fn execute(self, session: &Session) -> anyhow::Result<Status> {
        let along: Vec<Action> = self.server.actions(&self.name, None)?;
        let user = user::user(session)?;
        let observer: Observer = StepPrinter::new(session).observer();
        let deposit = Some(Amount(self.deposit));
        let wants_more = !along.is_empty();
        let registration = crate::commands::runtime()?
            .block_on(user.register_name_with(&self.name, deposit, along, &observer))?;
        if registration == Registration::AlreadyOwned && !session.quiet {
            eprintln!("{} is registered to this key", self.name);
            if wants_more {
                eprintln!("`ringfort name secure` sets its server's key and addresses");
            }
        }
        Ok(Status::Done)
    }
}
