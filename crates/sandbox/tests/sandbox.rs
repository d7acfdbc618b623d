//! What a process in the sandbox can still do: nothing.
//!
//! Each attempt runs in a process of its own, which enters the very sandbox of
//! the enclave and the keykeeper, and then tries. It has its own `main`, because the sandbox wants
//! a process with one thread.

use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitCode, Stdio},
};

use libtest_mimic::{Arguments, Failed, Trial};

/// Tells a child which attempt it is.
const ATTEMPT: &str = "RINGFORT_SANDBOX_ATTEMPT";

/// What becomes of an attempt.
enum End {
    /// The kernel ends the process.
    Killed,
    /// It fails, and the process goes on.
    Refused,
    /// It works: the enclave needs it.
    Works,
}

type Attempt = (&'static str, fn() -> bool, End);

/// Every attempt: its claim, what it does, and what must become of it.
const ATTEMPTS: &[Attempt] = &[
    (
        "a_tcp_listener_ends_the_process",
        || TcpListener::bind("127.0.0.1:0").is_ok(),
        End::Killed,
    ),
    (
        "a_tcp_connection_ends_the_process",
        || TcpStream::connect("127.0.0.1:1").is_ok(),
        End::Killed,
    ),
    (
        "a_udp_socket_ends_the_process",
        || UdpSocket::bind("127.0.0.1:0").is_ok(),
        End::Killed,
    ),
    (
        "a_named_unix_socket_ends_the_process",
        || std::os::unix::net::UnixDatagram::unbound().is_ok(),
        End::Killed,
    ),
    (
        "another_program_ends_the_process",
        || Command::new("/bin/true").status().is_ok(),
        End::Killed,
    ),
    (
        "a_signal_to_the_parent_ends_the_process",
        || rustix::process::kill_process(parent(), rustix::process::Signal::CONT).is_ok(),
        End::Killed,
    ),
    (
        "files_cannot_be_read",
        || fs::read("/etc/passwd").is_ok(),
        End::Refused,
    ),
    (
        "its_own_memory_cannot_be_opened",
        || fs::read("/proc/self/maps").is_ok(),
        End::Refused,
    ),
    (
        "files_cannot_be_made",
        || fs::write("/tmp/ringfort-sandbox", b"x").is_ok(),
        End::Refused,
    ),
    (
        "directories_cannot_be_listed",
        || fs::read_dir("/").is_ok(),
        End::Refused,
    ),
    (
        "the_environment_is_empty",
        || std::env::vars_os().next().is_some(),
        End::Refused,
    ),
    (
        "core_dumps_cannot_be_turned_on_again",
        || {
            let unlimited = rustix::process::Rlimit {
                current: None,
                maximum: None,
            };
            rustix::process::setrlimit(rustix::process::Resource::Core, unlimited).is_ok()
        },
        End::Killed,
    ),
    (
        "threads_memory_time_and_entropy_work",
        || {
            let thread =
                std::thread::spawn(|| vec![1u8; 10 << 20].iter().map(|one| u64::from(*one)).sum());
            let mut bytes = [0; 32];
            let sum: u64 = thread.join().unwrap();
            sum == 10 << 20
                && aws_lc_rs::rand::fill(&mut bytes).is_ok()
                && std::time::SystemTime::now().elapsed().is_ok()
        },
        End::Works,
    ),
];

fn parent() -> rustix::process::Pid {
    rustix::process::getppid().expect("the test is the parent")
}

/// The child's side: enters the sandbox and tries.
fn attempt(name: &str) -> ExitCode {
    let Some((_, act, _)) = ATTEMPTS.iter().find(|(known, ..)| *known == name) else {
        return ExitCode::from(9);
    };
    match sandbox::enter(|| [0u8; 32]) {
        Ok(_sandboxed) if act() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(3),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(8)
        }
    }
}

/// The test's side.
fn check(name: &str, end: &End) -> Result<(), Failed> {
    let status = Command::new(std::env::current_exe()?)
        .env(ATTEMPT, name)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    let as_claimed = match end {
        End::Killed => status.signal() == Some(libc::SIGSYS),
        End::Refused => status.code() == Some(3),
        End::Works => status.code() == Some(0),
    };
    if as_claimed {
        Ok(())
    } else {
        Err(format!("it ended with {status}").into())
    }
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(ATTEMPT) {
        return attempt(&name);
    }
    let trials = ATTEMPTS
        .iter()
        .map(|(name, _, end)| Trial::test(*name, move || check(name, end)))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
