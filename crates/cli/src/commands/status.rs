//! `ringfort status`: how every part is, and why one is not well.

use std::fmt::Write as _;

use crate::{
    failure::{Advice, Status},
    health::{self, Health},
    session::Session,
    terminal::table,
    units::spoken,
};

/// Prints the health of every part; the exit status tells whether all are well.
pub fn execute(session: &Session) -> anyhow::Result<Status> {
    let file = session.state.read()?;
    let health = super::runtime()?.block_on(health::look(&session.state, &file))?;
    session.print(&health, |health| {
        let mut text = human(session, health);
        for line in super::up::encrypted_dns(&file) {
            let _ = writeln!(text, "DNS {line}");
        }
        text
    })?;
    if health.supervisor.is_none() && file.embedded.is_some() {
        return Err(
            Advice::new("the circle is not running", "`ringfort up` starts it")
                .with_status(Status::NotWell)
                .into(),
        );
    }
    Ok(if health.is_well() {
        Status::Done
    } else {
        Status::NotWell
    })
}

fn human(session: &Session, health: &Health) -> String {
    let mut text = format!("circle {} ({})", health.name, health.circle);
    if let Some(height) = health.height {
        let _ = write!(text, ", height {height}");
    }
    text.push_str("\n\n");
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = health
        .parts
        .iter()
        .map(|part| {
            vec![
                part.name.clone(),
                if part.well { "well" } else { "NOT WELL" }.to_owned(),
                or_dash(part.pid.map(|pid| pid.to_string())),
                or_dash(part.uptime.map(spoken)),
                part.restarts.to_string(),
                or_dash(part.height.map(|height| height.to_string())),
                or_dash(part.lag_blocks.map(|lag| lag.to_string())),
                or_dash(part.peers.map(|peers| peers.to_string())),
                or_dash(part.contracts.map(|contracts| contracts.to_string())),
            ]
        })
        .collect();
    let heading = [
        "PART",
        "STATE",
        "PID",
        "UPTIME",
        "RESTARTS",
        "HEIGHT",
        "LAG",
        "PEERS",
        "CONTRACTS",
    ];
    text.push_str(&table(&heading, &rows));
    for part in health.parts.iter().filter(|part| !part.well) {
        for why in &part.why {
            let _ = writeln!(
                text,
                "\n{} {}: {why}",
                session.terminal.red("not well:"),
                part.name
            );
        }
    }
    for part in &health.parts {
        for alarm in &part.alarms {
            let name = &part.name;
            let _ = writeln!(text, "\n{} {name}: {alarm}", session.terminal.red("alarm:"));
        }
    }
    text
}
