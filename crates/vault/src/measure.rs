//! Which code does a process have in its memory, now?
//!
//! Every executable mapping is read through `/proc/PID/mem` and hashed, whatever
//! the file that it came from holds by now. The process is held by a pidfd that
//! the kernel gave for the socket's peer, so that another process with the same
//! number is never measured in its place; that it is alive after the last read
//! shows that all of it was that process.
//!
//! What this cannot see: code that is changed between a measurement and the
//! answer, and data that changes what honest code does. The first is why a
//! caller is measured at every use and on a timer.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{fs::FileExt as _, net::UnixStream},
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::Pid,
};
use sha2::{Digest as _, Sha256};
use vault_guard::Measured;
use wire::Digest;

/// Bytes of a page: what mappings are multiples of on this kind of machine.
pub const PAGE: u64 = 4096;

/// Executable mappings, at most: a program and its libraries have dozens.
const MAX_MAPPINGS: usize = 256;

/// Executable bytes, at most: a browser has some hundreds of MiB.
const MAX_CODE_BYTES: u64 = 1 << 30;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// Mappings of the kernel's own, the same in every process.
const KERNELS: [&str; 2] = ["[vdso]", "[vsyscall]"];

/// Why a process is not measured, or not fit to be.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The process has ended; another may have its number.
    #[error("the caller has ended")]
    Gone,
    /// A debugger holds it.
    #[error("the caller is being traced")]
    Traced,
    /// Executable memory that is of no file.
    #[error("the caller has executable memory that is of no file")]
    Anonymous,
    /// Executable memory of a file without a place in any file system.
    #[error("the caller runs from memory: {0}")]
    FromMemory(String),
    /// Memory that can be written and executed.
    #[error("the caller has memory that can be written and executed")]
    Writable,
    /// Over a limit.
    #[error("the caller has more code than is measured")]
    TooMuch,
    /// The kernel refuses, or says what is not understood.
    #[error("the caller cannot be measured")]
    Io(#[from] io::Error),
}

/// A process, held so that its number means no other.
#[derive(Debug)]
pub struct Caller {
    pid: Pid,
    handle: OwnedFd,
}

impl Caller {
    /// The process at the other end of `stream`, as it was when it connected.
    ///
    /// Errors: [`MeasureError::Gone`], [`MeasureError::Io`] (a kernel before 6.5).
    pub fn of_peer(stream: &UnixStream) -> Result<Self, MeasureError> {
        let credentials = rustix::net::sockopt::socket_peercred(stream).map_err(io::Error::from)?;
        let handle = peer_handle(stream)?;
        let caller = Self {
            pid: credentials.pid,
            handle,
        };
        caller.check_alive()?;
        Ok(caller)
    }

    /// A process by its number, for tests and tools.
    ///
    /// Errors: [`MeasureError::Io`]: there is none.
    pub fn of_pid(pid: Pid) -> Result<Self, MeasureError> {
        let flags = rustix::process::PidfdFlags::empty();
        let handle = rustix::process::pidfd_open(pid, flags).map_err(io::Error::from)?;
        Ok(Self { pid, handle })
    }

    /// Whether the process lives: a pidfd can be read once it has ended.
    fn check_alive(&self) -> Result<(), MeasureError> {
        let mut fds = [PollFd::from_borrowed_fd(self.handle.as_fd(), PollFlags::IN)];
        let now = rustix::event::Timespec::try_from(Duration::ZERO).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&now)).map_err(io::Error::from)? {
            0 => Ok(()),
            _ => Err(MeasureError::Gone),
        }
    }

    /// Measures the code that it has in memory.
    ///
    /// Errors: [`MeasureError`].
    pub fn measure(&self) -> Result<Measured, MeasureError> {
        let place = |name: &str| format!("/proc/{}/{name}", self.pid.as_raw_nonzero());
        let open = |name: &str| File::open(place(name));
        let measured = (|| -> Result<Measured, MeasureError> {
            // Opened before anything is looked at: it stays that of this program
            // should the process start another one meanwhile.
            let memory = open("mem")?;
            self.check_alive()?;
            if is_traced(&fs::read_to_string(place("status"))?) {
                return Err(MeasureError::Traced);
            }
            let mappings = mappings(BufReader::new(open("maps")?))?;
            let mut code = Vec::with_capacity(mappings.len());
            for (start, end) in &mappings {
                code.push(hash(&memory, *start, *end)?);
            }
            // Neither mappings nor tracer changed while it was read.
            let again = self::mappings(BufReader::new(open("maps")?))?;
            if again != mappings || is_traced(&fs::read_to_string(place("status"))?) {
                return Err(MeasureError::Traced);
            }
            code.sort_unstable();
            Ok(Measured { code })
        })();
        // Whatever was read, it counts only if it was of this process.
        self.check_alive()?;
        measured
    }
}

fn is_traced(status: &str) -> bool {
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_none_or(|pid| pid.trim() != "0")
}

/// The executable mappings: start and end.
fn mappings(maps: impl io::BufRead) -> Result<Vec<(u64, u64)>, MeasureError> {
    let strange = || MeasureError::Io(io::Error::other("a line of maps is not understood"));
    let mut found = Vec::new();
    let mut total = 0u64;
    for line in maps.lines() {
        let line = line?;
        // proc_pid_maps(5): address perms offset dev inode pathname.
        let mut fields = line.splitn(6, ' ').map(str::trim_start);
        let (Some(range), Some(rights)) = (fields.next(), fields.next()) else {
            return Err(strange());
        };
        if !rights.contains('x') {
            continue;
        }
        let inode = fields.nth(2).ok_or_else(strange)?;
        let path = fields.next().unwrap_or_default().trim();
        if KERNELS.contains(&path) {
            continue;
        }
        if rights.contains('w') {
            return Err(MeasureError::Writable);
        }
        if inode == "0" || !path.starts_with('/') {
            return Err(MeasureError::Anonymous);
        }
        if path.starts_with("/memfd:") {
            return Err(MeasureError::FromMemory(path.to_owned()));
        }
        let (start, end) = range.split_once('-').ok_or_else(strange)?;
        let number = |text| u64::from_str_radix(text, 16).map_err(|_| strange());
        let (start, end) = (number(start)?, number(end)?);
        total = total.saturating_add(end.checked_sub(start).ok_or_else(strange)?);
        found.push((start, end));
        if found.len() > MAX_MAPPINGS || total > MAX_CODE_BYTES {
            return Err(MeasureError::TooMuch);
        }
    }
    if found.is_empty() {
        // A process that has ended has no maps.
        return Err(MeasureError::Gone);
    }
    Ok(found)
}

fn hash(memory: &File, start: u64, end: u64) -> Result<Digest, MeasureError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = start;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        memory.read_exact_at(&mut buffer[..want], at)?;
        hasher.update(&buffer[..want]);
        at += want as u64;
    }
    Ok(Digest(hasher.finalize().into()))
}

/// A pidfd of the socket's peer, by the kernel's own record of it (Linux 6.5).
#[allow(unsafe_code)]
fn peer_handle(stream: &UnixStream) -> Result<OwnedFd, MeasureError> {
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    /// `SO_PEERPIDFD` of asm-generic/socket.h.
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut handle: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `handle`, to
    // it; on success it is a descriptor that belongs to nobody else.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut handle).cast(),
            &raw mut length,
        )
    };
    if result != 0 || handle < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(handle) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Vec<(u64, u64)>, MeasureError> {
        mappings(line.as_bytes())
    }

    #[test]
    fn only_code_of_files_passes() {
        let file = "1000-3000 r-xp 00001000 fe:01 42   /usr/bin/a program\n";
        assert_eq!(of(file).unwrap(), [(0x1000, 0x3000)]);
        let kernel = format!("{file}7000-8000 r-xp 00000000 00:00 0   [vdso]\n");
        assert_eq!(of(&kernel).unwrap().len(), 1);
        assert!(matches!(
            of("1000-3000 rwxp 0 fe:01 42 /usr/bin/a\n"),
            Err(MeasureError::Writable)
        ));
        assert!(matches!(
            of("1000-3000 r-xp 0 00:00 0 \n"),
            Err(MeasureError::Anonymous)
        ));
        assert!(matches!(
            of("1000-3000 r-xp 0 00:01 9 /memfd:x (deleted)\n"),
            Err(MeasureError::FromMemory(_))
        ));
        assert!(matches!(
            of("1000-3000 r--p 0 fe:01 42 /a\n"),
            Err(MeasureError::Gone)
        ));
        for bad in [
            "x r-xp 0 fe:01 42 /a\n",
            "3000-1000 r-xp 0 fe:01 42 /a\n",
            "1000-2000\n",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_traced_process_is_known_by_its_status() {
        assert!(!is_traced("Name:\ta\nTracerPid:\t0\n"));
        assert!(is_traced("Name:\ta\nTracerPid:\t12\n"));
        assert!(is_traced("Name:\ta\n"), "what is not said is not believed");
    }
}
