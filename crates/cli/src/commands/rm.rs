//! `ringfort rm`: ends a request; what is left of its escrow comes back.

use client::run::Observer;

use super::run::StepPrinter;
use crate::{failure::Status, session::Session, user};

/// Arguments of `ringfort rm`.
#[derive(clap::Args)]
pub struct Rm {
    /// Requests: ids or beginnings of them, names or labels.
    #[arg(value_name = "REQUEST", required = true)]
    requests: Vec<String>,
}

/// Closes each request.
pub fn execute(session: &Session, arguments: &Rm) -> anyhow::Result<Status> {
    let user = user::user(session)?;
    let observer: Observer = StepPrinter::new(session).observer();
    super::runtime()?.block_on(async {
        for text in &arguments.requests {
            let request = user::find(&user, text).await?;
            user.close(request.id, &observer).await?;
        }
        Ok(Status::Done)
    })
}
