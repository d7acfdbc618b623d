//! One part's life: started, watched, started again after a while when it dies.
//!
//! The wait doubles from death to death, so that a part that cannot run does
//! not keep the machine busy, and begins anew once the part has lasted.

use std::{
    fs::{File, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::{process::Child, sync::watch};

use super::{Reports, STOP_TIMEOUT};
use crate::{
    parts::Part,
    process::{ProcessId, own_program},
    state_directory::StateDirectory,
};

/// The wait after a first death.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait: someone who mended what was wrong need not wait longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A part that lived this long is well: its next death counts as a first one.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// How long a part waits for the one it needs before it starts all the same.
const NEED_TIMEOUT: Duration = Duration::from_secs(20);

/// A log beyond this is set aside when its part starts, and the one set aside before is dropped.
const MAX_LOG_BYTES: u64 = 32 * 1024 * 1024;

/// The environment variable that tells a part its supervisor's pid.
pub const SUPERVISOR_VARIABLE: &str = "RINGFORT_SUPERVISOR_PID";

/// What the supervisor knows of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReport {
    /// The part's name.
    pub name: String,
    /// Whether it runs.
    pub state: PartState,
    /// Deaths since the supervisor started.
    pub restarts: u32,
    /// How it last ended; none if it never did.
    pub last_end: Option<String>,
    /// Its log.
    pub log: PathBuf,
}

/// Whether a part runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PartState {
    /// It has not been started yet: it waits for what it needs.
    Waiting,
    /// It runs.
    Running {
        /// Which process it is.
        process: ProcessId,
        /// When it started, Unix milliseconds.
        since_ms: u64,
    },
    /// It died and will be started again.
    Dead {
        /// When it will be, Unix milliseconds.
        again_at_ms: u64,
    },
    /// It was told to stop, and has.
    Stopped,
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        })
}

/// A part and what has become of it.
pub struct Life {
    state: StateDirectory,
    part: Part,
    order: usize,
    reports: Reports,
    restarts: u32,
    last_end: Option<String>,
}

impl Life {
    /// A part that has not been started.
    pub fn new(state: StateDirectory, part: Part, order: usize, reports: Reports) -> Self {
        let life = Self {
            state,
            part,
            order,
            reports,
            restarts: 0,
            last_end: None,
        };
        life.report(PartState::Waiting);
        life
    }

    fn report(&self, state: PartState) {
        let report = PartReport {
            name: self.part.name.clone(),
            state,
            restarts: self.restarts,
            last_end: self.last_end.clone(),
            log: self.state.log(&self.part.name),
        };
        let mut reports = self.reports.lock().expect("no holder panics");
        reports.insert(self.order, report);
    }

    /// Lives until `stop` becomes true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        if let Some(address) = self.part.needs {
            tokio::select! {
                () = wait_for(address) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        let mut wait = FIRST_WAIT;
        while !*stop.borrow() {
            let started = Instant::now();
            let end = match self.spawn() {
                Ok(child) => self.watch(child, &mut stop).await,
                Err(error) => Some(format!("did not start: {error:#}")),
            };
            let Some(end) = end else { break };
            if started.elapsed() > WELL_AFTER {
                wait = FIRST_WAIT;
            }
            tracing::warn!(
                part = self.part.name,
                end,
                wait_ms = wait.as_millis(),
                "a part died"
            );
            self.restarts += 1;
            self.last_end = Some(end);
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            self.report(PartState::Dead {
                again_at_ms: now_ms() + wait_ms,
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        let _ = std::fs::remove_file(self.state.pid(&self.part.name));
        self.report(PartState::Stopped);
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let program = own_program()?;
        let log = open_log(&self.state.log(&self.part.name))?;
        let child = tokio::process::Command::new(&program)
            .args(&self.part.arguments)
            .env(SUPERVISOR_VARIABLE, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A part's directory is the state's: a stray relative path stays inside.
            .current_dir(self.state.root())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        if let Some(process) = child.id().and_then(ProcessId::of) {
            process.write(&self.state.pid(&self.part.name))?;
            self.report(PartState::Running {
                process,
                since_ms: now_ms(),
            });
        }
        Ok(child)
    }

    /// Waits for the part's death, which it describes, or for the order to stop, which it
    /// carries out and answers with none.
    async fn watch(&self, mut child: Child, stop: &mut watch::Receiver<bool>) -> Option<String> {
        tokio::select! {
            ended = child.wait() => return Some(describe(ended)),
            _ = stop.wait_for(|stop| *stop) => {}
        }
        if let Some(process) = child.id().and_then(ProcessId::of) {
            process.signal(Signal::TERM);
        }
        if tokio::time::timeout(STOP_TIMEOUT, child.wait())
            .await
            .is_err()
        {
            tracing::warn!(part = self.part.name, "did not stop in time and is killed");
            let _ = child.kill().await;
        }
        None
    }
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    let open = || -> std::io::Result<File> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        if std::fs::metadata(path).is_ok_and(|log| log.len() > MAX_LOG_BYTES) {
            std::fs::rename(path, path.with_extension("log.1"))?;
        }
        OpenOptions::new().create(true).append(true).open(path)
    };
    open().with_context(|| format!("open {}", path.display()))
}

fn describe(ended: std::io::Result<ExitStatus>) -> String {
    match ended {
        // "exit status: 1" or "signal: 9 (SIGKILL)".
        Ok(status) => status.to_string(),
        Err(error) => format!("could not be waited for: {error}"),
    }
}

/// Waits until something answers at `address`, at most [`NEED_TIMEOUT`].
async fn wait_for(address: SocketAddr) {
    let deadline = tokio::time::Instant::now() + NEED_TIMEOUT;
    while tokio::time::Instant::now() < deadline {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
