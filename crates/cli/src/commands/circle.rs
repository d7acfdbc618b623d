//! `ringfort circle`: which circle this is, and its genesis.

use crate::{failure::Status, session::Session};

/// Commands on the circle.
#[derive(clap::Subcommand)]
pub enum Circle {
    /// Show the circle's id, key and where it is reached.
    Show,
    /// Show the genesis: founders, keys and rules.
    Genesis,
}

/// Prints what was asked for.
pub fn execute(session: &Session, circle: Circle) -> anyhow::Result<Status> {
    match circle {
        Circle::Show => show(session)?,
        Circle::Genesis => genesis(session)?,
    }
    Ok(Status::Done)
}

fn show(session: &Session) -> anyhow::Result<()> {
    let file = session.state.read()?;
    session.print(&file, |file| {
        format!(
            "name    {}\ncircle  {}\nkey     {}\nzone    {}\nnodes   {}\nDNS     {}\n",
            file.name,
            file.circle,
            file.circle_key,
            file.apex,
            file.nodes.join(" "),
            file.names
        )
    })
}

fn genesis(session: &Session) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let path = session.state.genesis();
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let genesis: wire::Genesis =
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    // A genesis is JSON for people too: nested lists of keys and numbers.
    println!("{}", serde_json::to_string_pretty(&genesis)?);
    Ok(())
}
