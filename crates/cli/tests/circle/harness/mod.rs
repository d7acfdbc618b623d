//! A whole circle for a test: real processes on real ports in a directory of
//! its own, driven through the one binary that people use.
//!
//! Whatever is left at the end is stopped and removed; when a test fails, the
//! ends of all logs are printed first.

pub mod keys;
pub mod programs;
pub mod search;
pub mod tpm;
pub mod user;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything that the circle does by itself may take: seconds on an
/// idle machine, more on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Below where Linux takes the ports of outgoing connections from.
const FIRST_BASE: u16 = 10_000;
const BASES: u16 = 70;
const BASE_STEP: u16 = 300;

/// The last lines of a log that a failed test prints.
const LOG_LINES: usize = 40;

/// A circle that ends with the test.
pub struct Circle {
    directory: tempfile::TempDir,
    pub base_port: u16,
}

/// How a command ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// Its output, if it succeeded.
    pub fn success(self, what: &str) -> String {
        assert_eq!(self.code, 0, "{what}\n{}\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The one value that a command printed as JSON.
    pub fn value(&self) -> String {
        let made = self.json_lines().pop();
        let made = made.unwrap_or_else(|| panic!("{}", self.stderr));
        made["value"].as_str().unwrap().to_owned()
    }

    /// Every line of its output that is JSON.
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A component that `script/build-examples` made.
pub fn component(name: &str) -> PathBuf {
    let path = root()
        .join("target/components")
        .join(format!("{name}.wasm"));
    assert!(
        path.exists(),
        "{} is missing: run script/build-examples",
        path.display()
    );
    path
}

/// A payload that `script/fetch-real-payloads` made.
pub fn real_payload(name: &str) -> PathBuf {
    let path = root().join("target/real").join(format!("{name}.wasm"));
    assert!(
        path.exists(),
        "{} is missing: run script/fetch-real-payloads",
        path.display()
    );
    path
}

/// Looks until `found` gives something.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain: {what}"
        );
        std::thread::sleep(PAUSE);
    }
}

impl Circle {
    /// Founds a circle on free ports and waits until it is well.
    pub fn up() -> Self {
        Self::up_with(&[])
    }

    /// The same, with further arguments of `ringfort up`.
    pub fn up_with(arguments: &[&str]) -> Self {
        static TRIES: AtomicU16 = AtomicU16::new(0);
        // Tests run in processes of their own: each begins elsewhere.
        let start = u16::try_from(std::process::id() % u32::from(BASES)).unwrap();
        loop {
            let tried = TRIES.fetch_add(1, Ordering::Relaxed);
            assert!(tried < BASES, "no free range of ports");
            let base_port = FIRST_BASE + (start + tried) % BASES * BASE_STEP;
            let circle = Self {
                directory: tempfile::tempdir().unwrap(),
                base_port,
            };
            let port = base_port.to_string();
            let mut all = vec!["up", "--base-port", &port];
            all.extend(arguments);
            let ended = circle.run(&all);
            if ended.stderr.contains("which is taken") {
                continue;
            }
            ended.success("up");
            return circle;
        }
    }

    /// The circle's state directory.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Scratch space that is not the circle's.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `ringfort` on this circle.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort"));
        command
            .arg("--state")
            .arg(self.state())
            .args(arguments)
            .env_remove("RINGFORT_STATE")
            .env_remove("RINGFORT_KEY")
            .env_remove("RINGFORT_PASSPHRASE_FILE")
            .stdin(Stdio::null())
            .current_dir(self.directory.path());
        command
    }

    /// Runs a command to its end, however that is.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs a command that must succeed; its output.
    pub fn ringfort(&self, arguments: &[&str]) -> String {
        self.run(arguments).success(&format!("{arguments:?}"))
    }

    /// The last JSON document that a command prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["-o", "json"];
        all.extend(arguments);
        let ended = self.run(&all);
        ended.json_lines().pop().unwrap_or_else(|| {
            panic!(
                "{arguments:?} ({}) printed no JSON:\n{}\n{}",
                ended.code, ended.stdout, ended.stderr
            )
        })
    }

    /// How every part is.
    pub fn status(&self) -> Value {
        self.json(&["status"])
    }

    /// How one part is.
    pub fn part(&self, name: &str) -> Value {
        let status = self.status();
        let parts = status["parts"].as_array().unwrap();
        parts
            .iter()
            .find(|part| part["name"] == name)
            .unwrap_or_else(|| panic!("no {name}"))
            .clone()
    }

    /// The height of the foremost node.
    pub fn height(&self) -> u64 {
        self.status()["height"].as_u64().unwrap_or_default()
    }

    /// A part's process.
    pub fn pid(&self, part: &str) -> u32 {
        let path = self.state().join(format!("run/{part}.pid"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{part}: {error}"));
        text.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Ends a part as a power failure would.
    pub fn kill(&self, part: &str) -> u32 {
        let pid = self.pid(part);
        signal(pid, "KILL");
        pid
    }

    /// Waits until every part is well.
    pub fn wait_until_well(&self) -> Value {
        wait_for("every part is well", || {
            let status = self.status();
            let parts = status["parts"].as_array()?;
            parts
                .iter()
                .all(|part| part["well"] == true)
                .then_some(status.clone())
        })
    }

    /// Runs a service at a name and gives its request's id.
    pub fn serve(&self, payload: &Path, name: &str, more: &[&str]) -> String {
        let payload = payload.to_str().unwrap();
        let mut arguments = vec!["run", payload, "--name", name];
        arguments.extend(more);
        let reach = self.json(&arguments);
        reach["request"]
            .as_str()
            .unwrap_or_else(|| panic!("{reach}"))
            .to_owned()
    }

    /// One request's row of `ps --all`.
    pub fn request(&self, id: &str) -> Value {
        let rows = self.json(&["ps", "--all"]);
        let rows = rows.as_array().unwrap();
        rows.iter()
            .find(|row| row["request"] == id)
            .unwrap_or_else(|| panic!("no {id} in {rows:?}"))
            .clone()
    }

    /// The user's balance.
    pub fn balance(&self) -> u64 {
        self.json(&["account", "show"])["balance"].as_u64().unwrap()
    }

    /// Addresses and ports of a name's live replicas, as the ledger has them.
    pub fn endpoints(&self, name: &str) -> Vec<(String, u64)> {
        let shown = self.json(&["name", "show", name]);
        let endpoints = shown["endpoints"].as_array().cloned().unwrap_or_default();
        let place = |endpoint: &Value| {
            let endpoint = &endpoint["endpoint"];
            (
                endpoint["addresses"][0].as_str().unwrap().to_owned(),
                endpoint["port"].as_u64().unwrap(),
            )
        };
        endpoints.iter().map(place).collect()
    }

    /// Asks a service over HTTPS as a stock client does: the certificate is
    /// checked against the circle's root. The body, if it answers well.
    pub fn curl(&self, name: &str, place: &(String, u64), path: &str) -> Result<String, String> {
        let (address, port) = place;
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--max-time",
                "10",
                "--cacert",
            ])
            .arg(self.state().join("ca/roots.pem"))
            .args(["--resolve", &format!("{name}:{port}:{address}")])
            .arg(format!("https://{name}:{port}{path}"))
            .output()
            .unwrap();
        let ended = Ended::from(output);
        if ended.code == 0 {
            Ok(ended.stdout)
        } else {
            Err(ended.stderr)
        }
    }

    /// What `dig +short` prints for a question to the name node.
    pub fn dig(&self, name: &str, rtype: &str) -> Vec<String> {
        let port = (self.base_port + 153).to_string();
        let output = Command::new("dig")
            .args([
                "@127.0.0.1",
                "-p",
                &port,
                "+short",
                "+tries=1",
                "+time=2",
                name,
                rtype,
            ])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The DS record of the zone's key, by which resolvers trust the zone.
    pub fn anchor(&self) -> String {
        wait_for("the signer has made its keys", || {
            let keys = self.json(&["signer", "keys"]);
            let mut keys = keys.as_array()?.iter();
            keys.find_map(|key| key["ds"].as_str().map(str::to_owned))
        })
    }

    /// What delv, which trusts the keys that `signer keys` names, says of a
    /// question to the name node.
    pub fn delv(&self, name: &str, rtype: &str) -> String {
        self.delv_at(self.base_port + 153, name, rtype)
    }

    /// As [`Circle::delv`], of a question to whoever answers at a local `port`.
    pub fn delv_at(&self, port: u16, name: &str, rtype: &str) -> String {
        let ds = self.anchor();
        let fields: Vec<&str> = ds.split_whitespace().collect();
        let anchor = format!(
            "trust-anchors {{ \"{}\" static-ds {} \"{}\"; }};\n",
            fields[0],
            fields[3..6].join(" "),
            fields[6..].concat()
        );
        let file = self.state().join("run/anchor.delv");
        std::fs::write(&file, anchor).unwrap();
        let port = port.to_string();
        let output = Command::new("delv")
            .args(["@127.0.0.1", "-p", &port, "+root=internal", "-a"])
            .arg(&file)
            .args([name, rtype])
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn print_logs(&self) {
        let Ok(logs) = std::fs::read_dir(self.state().join("logs")) else {
            return;
        };
        for log in logs.flatten() {
            let text = std::fs::read_to_string(log.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("---- {}", log.path().display());
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                eprintln!("{line}");
            }
        }
    }
}

impl Drop for Circle {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        if self.state().exists() {
            let _ = self.command(&["down"]).output();
        }
    }
}

/// A port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Pids of a process's children.
pub fn children(process: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // proc(5): the parent is the second field after the command.
        stat.rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| parent(*pid) == Some(process))
        .collect()
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: &str) {
    let pid = pid.to_string();
    let _ = Command::new("kill")
        .args([&format!("-{signal}"), &pid])
        .output();
}

/// Runs the command for what it prints as JSON, without a circle.
pub fn ringfort(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort"));
    command.args(["-o", "json"]).args(arguments);
    command.stdin(Stdio::null()).output().unwrap().into()
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
