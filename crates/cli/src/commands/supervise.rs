//! `ringfort supervise`: what `up` leaves running.

use anyhow::Context as _;

use crate::{failure::Status, parts, ports::Ports, session::Session, supervisor};

/// Runs the parts of the circle at the state directory until told to stop.
pub fn execute(session: &Session) -> anyhow::Result<Status> {
    // A session of its own: neither the terminal's end nor its Ctrl-C reaches
    // the parts. It fails only where this process leads a group already.
    let _ = rustix::process::setsid();
    super::daemon::start_log();
    let file = session.state.read()?;
    let embedded = file
        .embedded
        .context("the circle does not run on this machine")?;
    let ports = Ports::above(embedded.base_port).context("the circle's base port")?;
    supervisor::run(&session.state, parts::of(&session.state, &embedded, ports))?;
    Ok(Status::Done)
}
