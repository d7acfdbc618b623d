//! Is the process of that pid still the one we started?
//!
//! A pid alone says little: after a crash it may belong to someone else. A
//! pid with its start time (proc(5), field 22) names one process of this boot.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// One process, named so that no later process has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started_ticks: u64,
}

impl ProcessId {
    /// The process that has `pid` now; none if there is none, or only its remains.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command, in parentheses, may itself hold blanks and parentheses.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, started) = (fields.first()?, fields.get(19)?);
        (*state != "Z" && *state != "X").then_some(Self {
            pid,
            started_ticks: started.parse().ok()?,
        })
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends `signal` if it still runs.
    pub fn signal(self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // It may end between the check and the signal: then it is gone, as wanted.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits until it has ended, at most until `timeout`; says whether it has.
    pub fn wait_gone(self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.is_alive() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Writes it to `path`, as `PID START`: whoever reads meanwhile finds the old one
    /// or this one.
    pub fn write(self, path: &Path) -> std::io::Result<()> {
        let new = path.with_extension("new");
        std::fs::write(&new, format!("{} {}\n", self.pid, self.started_ticks))?;
        std::fs::rename(new, path)
    }

    /// Reads what [`ProcessId::write`] wrote; none for anything else.
    pub fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            started_ticks: started.parse().ok()?,
        })
    }
}

/// The program to start parts with: this one, also when its file was replaced since.
///
/// Errors: the operating system does not tell.
pub fn own_program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("find our own program")?;
    if path.exists() {
        return Ok(path);
    }
    // A rebuild unlinks the file we run; the kernel still knows it.
    Ok("/proc/self/exe".into())
}

/// Ends this process when its parent ends: a part never outlives the
/// supervisor that would restart it.
///
/// Errors: none is returned; where the parent is not `parent` any more it has
///         ended already, and so does this process.
pub fn end_with_parent(parent: u32) {
    let armed = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if armed.is_err() || now != Some(parent) {
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_start_time_is_another_process() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        let earlier = ProcessId {
            started_ticks: own.started_ticks.wrapping_sub(1),
            ..own
        };
        assert!(!earlier.is_alive());
    }

    #[test]
    fn survives_its_file_and_refuses_other_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let own = ProcessId::of(std::process::id()).unwrap();
        own.write(&path).unwrap();
        assert_eq!(ProcessId::read(&path), Some(own));
        for bad in ["", "12", "a b", "1 2 3"] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(ProcessId::read(&path), None, "{bad}");
        }
    }

    #[test]
    fn whoever_reads_while_it_is_written_finds_a_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("part.pid");
        let own = ProcessId::of(std::process::id()).unwrap();
        own.write(&path).unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || (0..500).for_each(|_| own.write(&path).unwrap())
        });
        while !writer.is_finished() {
            assert_eq!(ProcessId::read(&path), Some(own));
        }
        writer.join().unwrap();
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 1, "only the file is left");
    }

    #[test]
    fn a_process_that_ended_is_not_alive_before_it_is_reaped() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = ProcessId::of(child.id());
        if let Some(id) = id {
            assert!(id.wait_gone(Duration::from_secs(10)));
        }
        child.wait().unwrap();
    }
}
