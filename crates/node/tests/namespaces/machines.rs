//! What stands for a network of machines? Network namespaces, each with one
//! node's process and one cable to a bridge.
//!
//! There are two bridges. A machine whose cable is moved to the other one is
//! parted from those that stay, as by a network that has split: nothing is
//! refused, nothing arrives. The test itself is plugged into both.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::harness::namespace::Namespaces;

/// Which configuration a process of this test program runs a node with.
pub const CONFIG: &str = "RINGFORT_TEST_NODE";

/// The API of every machine.
pub const API_PORT: u16 = 26_800;

/// Where every machine listens for other validators.
pub const PEER_PORT: u16 = 26_700;

/// Waits for the cable, sets addresses, and becomes the node.
const BOOT: &str = "echo up; read -r number; ip link set lo up \
    && ip addr add 10.77.0.$number/24 dev eth0 && ip addr add 10.77.1.$number/24 dev eth0 \
    && ip link set eth0 up && exec \"$0\" \"$@\" >&2";

/// Runs `test` of this program again in a network and a process namespace of
/// its own, or says that it is there already, between two bridges.
pub fn is_inside(test: &str) -> bool {
    let namespaces = Namespaces {
        kinds: &["--net", "--pid", "--fork"],
        probe: &["ip", "link", "add", "name", "probe", "type", "bridge"],
        needs: "needs network namespaces and bridges: run it as root, with iproute2",
        seconds: 270,
    };
    if !namespaces.is_inside(test) {
        return false;
    }
    run("ip link set lo up");
    for side in [Side::Main, Side::Apart] {
        let (bridge, subnet) = (side.bridge(), side as u8);
        run(&format!("ip link add name {bridge} type bridge"));
        run(&format!("ip addr add 10.77.{subnet}.254/24 dev {bridge}"));
        run(&format!("ip link set {bridge} up"));
    }
    true
}

fn run(command: &str) {
    let words: Vec<_> = command.split(' ').collect();
    let done = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command}: {error}");
}

/// One of the two parts of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Main = 0,
    Apart = 1,
}

impl Side {
    fn bridge(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Apart => "apart",
        }
    }
}

/// Where the machine of this number is reached by other machines.
pub fn address(number: usize) -> String {
    format!("10.77.0.{}:{PEER_PORT}", number + 1)
}

/// A machine that runs a node's process.
pub struct Machine {
    pub number: usize,
    config: PathBuf,
    process: Child,
    side: Side,
    boots: u32,
}

impl Machine {
    /// Starts the node of a configuration file on a machine of its own.
    pub fn boot(number: usize, config: &Path) -> Self {
        Self {
            number,
            config: config.to_owned(),
            process: start(number, config, 0),
            side: Side::Main,
            boots: 0,
        }
    }

    fn cable(&self) -> String {
        cable(self.number, self.boots)
    }

    /// Its API, as the test reaches it.
    pub fn api(&self) -> SocketAddr {
        let host = [10, 77, self.side as u8, self.number as u8 + 1];
        (host, API_PORT).into()
    }

    /// Moves its cable to a side of the network.
    pub fn plug(&mut self, side: Side) {
        run(&format!(
            "ip link set {} master {}",
            self.cable(),
            side.bridge()
        ));
        self.side = side;
    }

    /// Sends its process a signal (`STOP`, `CONT`, `KILL`).
    pub fn signal(&self, signal: &str) {
        run(&format!("kill -{signal} {}", self.process.id()));
    }

    /// Ends its process without a warning and starts it on a new machine with
    /// the same disk.
    pub fn lose_power(&mut self) {
        self.end();
        self.boots += 1;
        self.side = Side::Main;
        self.process = start(self.number, &self.config, self.boots);
    }

    /// Ends its process without a warning.
    pub fn end(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// The end of what it said.
    pub fn log(&self) -> String {
        let text = fs::read(log(&self.config)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("machine {} said last:\n{}\n", self.number, self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn log(config: &Path) -> PathBuf {
    config.with_extension("log")
}

/// A cable's name; another one after every boot, since the one before may take
/// a moment to be gone with its namespace.
fn cable(number: usize, boots: u32) -> String {
    format!("v{number}b{boots}")
}

fn start(number: usize, config: &Path, boots: u32) -> Child {
    let log = File::options().create(true).append(true).open(log(config));
    let mut process = Command::new("unshare")
        .args(["--net", "sh", "-c", BOOT])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_nodes_process", "--ignored", "--nocapture"])
        .env(CONFIG, config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log.unwrap())
        .spawn()
        .unwrap();
    // It has its namespace before it says so.
    let mut said = String::new();
    let out = process.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut said).unwrap();
    assert_eq!(said, "up\n", "machine {number} has no namespace");
    let (cable, pid) = (cable(number, boots), process.id());
    run(&format!(
        "ip link add name {cable} type veth peer name eth0 netns {pid}"
    ));
    run(&format!("ip link set {cable} master main"));
    run(&format!("ip link set {cable} up"));
    let mut to = process.stdin.take().unwrap();
    writeln!(to, "{}", number + 1).unwrap();
    process
}
