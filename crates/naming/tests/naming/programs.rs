//! Running stock programs.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rand::Rng as _;

/// How long a program may take to come up, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a program to its end and gives what it wrote to standard output.
pub fn output(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program to its end.
pub fn run(program: &str, arguments: &[&str]) -> std::process::Output {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| missing(program, &error))
}

fn missing(program: &str, error: &std::io::Error) -> ! {
    panic!("{program} cannot be run ({error}): run script/setup, which installs it")
}

/// A program that runs until this is dropped; what it said is shown if the
/// test fails.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub fn start(program: &str, arguments: &[&str], directory: &Path) -> Self {
        let path = directory.join("daemon.log");
        let log = std::fs::File::create(&path).unwrap();
        Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .map(|child| Self { child, log: path })
            .unwrap_or_else(|error| missing(program, &error))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = std::fs::read(&self.log).unwrap_or_default();
            eprintln!("{}", String::from_utf8_lossy(&said));
        }
    }
}

/// A port that was free for UDP and TCP a moment ago, and that nobody is given
/// by the system meanwhile: below where outgoing connections take theirs.
pub fn free_port() -> u16 {
    let mut random = rand::rng();
    loop {
        let port = random.random_range(20_000..32_000);
        let address = ("127.0.0.1", port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return port;
        }
    }
}

/// Asks again until `done`, for at most [`PATIENCE`].
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same, for tasks.
pub async fn until_async(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What `dig @server` with `arguments` writes.
pub fn dig(server: SocketAddr, arguments: &[&str]) -> String {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let mut all = vec![at.as_str(), "-p", &port, "+tries=2", "+time=5"];
    all.extend(arguments);
    output("dig", &all)
}
