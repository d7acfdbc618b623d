//! `ringfort logs`: what a payload printed. It arrives encrypted to the user
//! and is opened here.

use std::time::Duration;

use anyhow::Context as _;
use client::{
    LogRecord, LogSource, User,
    run::{LogCursor, ReplicaView},
};

use crate::{
    failure::{Advice, Status},
    session::{Format, Session},
    user,
};

/// How long a provider is asked to wait for more, with `--follow`.
const FOLLOW_WAIT: Duration = Duration::from_secs(10);

/// The pause after a provider that is followed did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `ringfort logs`.
#[derive(clap::Args)]
pub struct Logs {
    /// Request: its id or the beginning of it, its name or its label.
    #[arg(value_name = "REQUEST")]
    request: String,
    /// Go on as more is printed.
    #[arg(short, long)]
    follow: bool,
    /// Only this replica, from 0.
    #[arg(long)]
    replica: Option<u16>,
}

/// Prints the logs of every replica that has run, one after the other.
pub fn execute(session: &Session, logs: &Logs) -> anyhow::Result<Status> {
    let user = user::user(session)?;
    super::runtime()?.block_on(async {
        tokio::select! {
            shown = show(session, &user, logs) => shown,
            _ = tokio::signal::ctrl_c() => Ok(Status::Interrupted),
        }
    })
}

async fn show(session: &Session, user: &User, logs: &Logs) -> anyhow::Result<Status> {
    let request = user::find(user, &logs.request).await?;
    let view = user.view(request.id).await.context("read the request")?;
    let wanted = |replica: &&ReplicaView| {
        replica.enclave.is_some()
            && logs
                .replica
                .is_none_or(|only| replica.contract.replica == only)
    };
    let mut cursors = Vec::new();
    for replica in view.replicas.iter().filter(wanted) {
        let cursor = user
            .logs(request.id, replica)
            .await
            .context("open the log")?;
        cursors.push((replica.contract.replica, cursor));
    }
    if cursors.is_empty() {
        return Err(Advice::new(
            "no replica has run yet, so there is no log",
            "`ringfort ps` shows where the request stands",
        )
        .into());
    }
    let several = cursors.len() > 1;
    let mut failures = 0;
    for (replica, cursor) in &mut cursors {
        // The provider of a replica that was replaced may be gone; the others' logs are not.
        if let Err(error) = drain(session, user, cursor, several.then_some(*replica)).await {
            failures += 1;
            session
                .terminal
                .note(&format!("replica {replica}: {error:#}"));
        }
    }
    if logs.follow {
        return follow(session, user, cursors).await;
    }
    Ok(if failures == cursors.len() {
        Status::Failed
    } else {
        Status::Done
    })
}

/// Prints what there is.
async fn drain(
    session: &Session,
    user: &User,
    cursor: &mut LogCursor,
    replica: Option<u16>,
) -> anyhow::Result<()> {
    loop {
        let page = user.next_logs(cursor, Duration::ZERO).await?;
        print_page(session, replica, page.missing, &page.records)?;
        if !page.more {
            return Ok(());
        }
    }
}

/// Prints what comes, of all replicas, until Ctrl-C.
async fn follow(
    session: &Session,
    user: &User,
    cursors: Vec<(u16, LogCursor)>,
) -> anyhow::Result<Status> {
    let several = cursors.len() > 1;
    let mut followers = tokio::task::JoinSet::new();
    let (send, mut pages) = tokio::sync::mpsc::channel(cursors.len());
    for (replica, mut cursor) in cursors {
        let (user, send) = (user.clone(), send.clone());
        followers.spawn(async move {
            loop {
                let page = user.next_logs(&mut cursor, FOLLOW_WAIT).await;
                if page.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
                if send.send((replica, page)).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(send);
    while let Some((replica, page)) = pages.recv().await {
        match page {
            Ok(page) => {
                let replica = several.then_some(replica);
                print_page(session, replica, page.missing, &page.records)?;
            }
            Err(error) => session
                .terminal
                .note(&format!("replica {replica}: {error:#}")),
        }
    }
    Ok(Status::Done)
}

fn print_page(
    session: &Session,
    replica: Option<u16>,
    missing: u64,
    records: &[LogRecord],
) -> anyhow::Result<()> {
    if missing > 0 {
        session.terminal.note(&format!(
            "{missing} records are missing: the provider holds them no more"
        ));
    }
    for record in records {
        let source = match record.source {
            LogSource::Stdout => "stdout",
            LogSource::Stderr => "stderr",
            LogSource::Enclave => "enclave",
        };
        if session.format == Format::Json {
            let line = serde_json::json!({
                "replica": replica, "sequence": record.sequence, "time_ms": record.time_ms,
                "source": source, "text": record.text,
            });
            println!("{line}");
            continue;
        }
        let replica = replica.map_or_else(String::new, |replica| format!("{replica} "));
        println!("{replica}{source:7} {}", printable(&record.text));
    }
    Ok(())
}

/// A payload's text without what would drive the terminal: a log must not be
/// able to repaint what its reader sees.
fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.trim_end_matches('\n').chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_cannot_drive_the_terminal() {
        assert_eq!(printable("a\tb\n"), "a\tb");
        assert_eq!(printable("\x1b[2Jx\r"), "\u{fffd}[2Jx\u{fffd}");
    }
}
