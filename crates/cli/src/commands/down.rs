//! `ringfort down`: stops every part of the circle on this machine, the
//! ledger last; with `--purge`, removes its state too.

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    failure::{Advice, Status},
    process::ProcessId,
    session::Session,
    supervisor::{
        self, STOP_TIMEOUT,
        control::{self, Request},
    },
};

/// How long everything may take to stop: two groups one after the other, each
/// killed after [`STOP_TIMEOUT`], and some room.
const DOWN_WITHIN: Duration = Duration::from_secs(2 * STOP_TIMEOUT.as_secs() + 10);

/// Arguments of `ringfort down`.
#[derive(clap::Args)]
pub struct Down {
    /// Remove the circle's state as well: its ledger, keys and names are gone.
    #[arg(long)]
    purge: bool,
    /// Do not ask before removing.
    #[arg(long, requires = "purge")]
    yes: bool,
}

/// Stops the circle.
pub fn execute(session: &Session, down: &Down) -> anyhow::Result<Status> {
    let state = &session.state;
    if !state.root().exists() {
        session
            .terminal
            .progress(&format!("there is nothing at {}", state.root().display()));
        return Ok(Status::Done);
    }
    // What is purged must be a circle: any directory could have been named.
    let file = state.read()?;
    if down.purge && !down.yes {
        confirm(session, &file.name)?;
    }
    stop(session)?;
    if down.purge {
        std::fs::remove_dir_all(state.root())
            .with_context(|| format!("remove {}", state.root().display()))?;
        session
            .terminal
            .progress(&format!("removed {}", state.root().display()));
    }
    Ok(Status::Done)
}

fn stop(session: &Session) -> anyhow::Result<()> {
    let state = &session.state;
    let Some(answer) = control::ask(state, Request::Down)? else {
        session.terminal.progress("the circle is not running");
        return Ok(());
    };
    session
        .terminal
        .progress(&format!("stopping {} processes", answer.parts.len()));
    let deadline = Instant::now() + DOWN_WITHIN;
    // The lock is free once the supervisor has ended, and it ends after its parts.
    while supervisor::try_lock(state)?.is_none() {
        if Instant::now() > deadline {
            return Err(Advice::new(
                format!("the supervisor (pid {}) did not stop in time", answer.pid),
                format!(
                    "end it with `kill -9 {}`: the parts end with it",
                    answer.pid
                ),
            )
            .into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(process) = ProcessId::of(answer.pid) {
        process.wait_gone(Duration::from_secs(1));
    }
    session.terminal.progress("stopped");
    Ok(())
}

fn confirm(session: &Session, name: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Advice::new(
            "removing a circle's state needs a confirmation, and no terminal is there to ask",
            "add --yes if you are sure",
        )
        .into());
    }
    eprint!(
        "Remove {} for good: the ledger, keys and names of {name}? [y/N] ",
        session.state.root().display()
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        anyhow::bail!("nothing was stopped or removed");
    }
    Ok(())
}
