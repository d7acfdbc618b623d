//! `ringfort stop` and `ringfort start`: each repeats the handshake with every
//! replica; after a stop the enclaves hold no key.

use client::run::Observer;
use wire::Operation;

use super::run::StepPrinter;
use crate::{failure::Status, session::Session, user};

/// Arguments of both.
#[derive(clap::Args)]
pub struct Operate {
    /// Request: its id or the beginning of it, its name or its label.
    #[arg(value_name = "REQUEST")]
    request: String,
}

/// Carries out `operation` on every live replica and waits for their answers.
pub fn execute(
    session: &Session,
    arguments: &Operate,
    operation: Operation,
) -> anyhow::Result<Status> {
    let user = user::user(session)?;
    let observer: Observer = StepPrinter::new(session).observer();
    super::runtime()?.block_on(async {
        let request = user::find(&user, &arguments.request).await?;
        user.operate(request.id, operation, &observer).await?;
        Ok(Status::Done)
    })
}
