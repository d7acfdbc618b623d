//! How do the parts of an embedded circle stay up on one machine?
//!
//! One small process starts every part as a process of its own, the same
//! daemon that would run alone on a machine of its own, and starts again what
//! dies. It knows nothing of what the parts do. It holds the lock of the state
//! directory, so that no two supervisors ever run one circle, and no part
//! outlives it.

pub mod control;
mod life;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

pub use life::{PartReport, PartState, SUPERVISOR_VARIABLE};

use crate::{parts::Part, process::ProcessId, state_directory::StateDirectory};

/// How long a part may take to end by itself before it is killed: its store
/// closes within a second; ten leave room for a loaded machine.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of every part, by name, in the order in which they are started.
type Reports = Arc<Mutex<BTreeMap<usize, PartReport>>>;

/// Takes the lock of a state directory; none while a supervisor holds it.
///
/// Errors: the file cannot be made or locked for another reason.
pub fn try_lock(state: &StateDirectory) -> anyhow::Result<Option<File>> {
    let path = state.lock();
    std::fs::create_dir_all(state.run()).context("make the run directory")?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
    }
}

/// Ends what an earlier supervisor left: parts end with their supervisor, and
/// this waits for those that are still about to.
///
/// Source: pid files hold the start time too, so a pid that another program
///         got since is never signalled.
fn end_orphans(state: &StateDirectory, parts: &[Part]) {
    for part in parts {
        let path = state.pid(&part.name);
        if let Some(orphan) = ProcessId::read(&path).filter(|process| process.is_alive()) {
            tracing::warn!(
                part = part.name,
                pid = orphan.pid,
                "ending a part that outlived its supervisor"
            );
            orphan.signal(Signal::TERM);
            if !orphan.wait_gone(STOP_TIMEOUT) {
                orphan.signal(Signal::KILL);
                orphan.wait_gone(STOP_TIMEOUT);
            }
        }
        let _ = std::fs::remove_file(path);
    }
}

/// Runs every part of `parts` until told to stop, by signal or by the control socket.
///
/// Must be called on the main thread: a part ends with the thread that started it.
///
/// Errors: another supervisor runs; the control socket cannot be made.
pub fn run(state: &StateDirectory, parts: Vec<Part>) -> anyhow::Result<()> {
    let Some(lock) = try_lock(state)? else {
        anyhow::bail!(
            "another supervisor runs the circle at {}",
            state.root().display()
        );
    };
    let own = ProcessId::of(std::process::id()).context("read our own start time")?;
    end_orphans(state, &parts);
    own.write(&state.pid("supervisor"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(supervise(state, parts));
    let _ = std::fs::remove_file(state.pid("supervisor"));
    drop(lock);
    result
}

async fn supervise(state: &StateDirectory, parts: Vec<Part>) -> anyhow::Result<()> {
    let reports: Reports = Arc::default();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let control = control::Server::bind(state)?;
    let mut ledger = Vec::new();
    let mut services = Vec::new();
    for (order, part) in parts.into_iter().enumerate() {
        let group = if part.is_ledger {
            &mut ledger
        } else {
            &mut services
        };
        let (stop, stopped) = watch::channel(false);
        let life = life::Life::new(state.clone(), part, order, reports.clone());
        group.push((stop, tokio::spawn(life.run(stopped))));
    }
    tokio::select! {
        _ = terminate.recv() => tracing::info!("told to stop by SIGTERM"),
        _ = interrupt.recv() => tracing::info!("told to stop by SIGINT"),
        () = control.serve(reports.clone()) => tracing::info!("told to stop by `ringfort down`"),
    }
    // Services stop first, so that what they still have to say reaches the ledger.
    for group in [services, ledger] {
        for (stop, _) in &group {
            let _ = stop.send(true);
        }
        for (_, life) in group {
            let _ = life.await;
        }
    }
    control::remove(state);
    Ok(())
}
