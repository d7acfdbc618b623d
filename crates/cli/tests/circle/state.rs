//! The state of a real circle leaves it and comes back: a new node's process
//! fetches it, is killed in the middle, and goes on; a back-up made while the
//! circle runs is checked, forged, refused, and restored.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::harness::{Circle, Ended, wait_for};
use serde_json::Value;

/// The exit status of what is not proven.
const NOT_PROVEN: i32 = 5;

fn curl(url: &str) -> Option<Value> {
    let output = Command::new("curl").args(["--silent", url]).output();
    serde_json::from_slice(&output.unwrap().stdout).ok()
}

fn node_url(circle: &Circle, node: u16) -> String {
    format!("http://127.0.0.1:{}", circle.base_port + 100 + node)
}

/// The newest checkpoint that a node lists.
fn newest(url: &str) -> Option<Value> {
    let list = curl(&format!("{url}/v1/checkpoints"))?;
    list["checkpoints"].get(0).cloned()
}

/// A proxy that keeps who asks for the third chunk, or a later one, waiting.
fn stalling(upstream: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut client = stream.unwrap();
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
            let mut header = String::new();
            while reader.read_line(&mut header).unwrap() > 2 {
                header.clear();
            }
            let chunk = path.rsplit_once("/chunks/");
            if chunk.is_some_and(|(_, number)| number.parse::<u32>().unwrap() >= 2) {
                kept.push(client);
                continue;
            }
            let address = upstream.strip_prefix("http://").unwrap();
            let mut server = TcpStream::connect(address).unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
            server.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).unwrap();
            // Who was killed takes no answer.
            let _ = client.write_all(&answer);
        }
    });
    url
}

/// A node of this test's, killed with it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A member's machine apart from the circle's.
struct Fifth {
    state: PathBuf,
    api: String,
    log: PathBuf,
}

impl Fifth {
    /// Asks to be a validator and is voted in.
    fn join(circle: &Circle) -> Self {
        let config = std::fs::read_to_string(circle.state().join("nodes/0/node.toml")).unwrap();
        let config: toml::Value = toml::from_str(&config).unwrap();
        let state = circle.scratch("fifth");
        let passphrase = circle.scratch("passphrase");
        std::fs::write(&passphrase, "correct horse battery staple\n").unwrap();
        let id = circle.json(&["circle", "show"])["circle"].clone();
        let address = format!("127.0.0.1:{}", circle.base_port + 40);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort"));
        command.arg("--state").arg(&state);
        command.arg("--passphrase-file").arg(&passphrase);
        command.args(["join", &node_url(circle, 0)]);
        command.args(["--circle", id.as_str().unwrap(), "--name", "fifth"]);
        command.args(["--role", "validator", "--address", &address]);
        for peer in config["validators"].as_array().unwrap() {
            let text = |field: &str| peer[field].as_str().unwrap().to_owned();
            let peer = format!("{}@{}", text("key"), text("address"));
            command.args(["--peer", &peer]);
        }
        let asked: Ended = command.stdin(Stdio::null()).output().unwrap().into();
        asked.success("join as a validator");
        let request = state.join("join-request.json");
        for node in ["0", "1", "2"] {
            let request = request.to_str().unwrap();
            circle.ringfort(&["member", "--as-node", node, "approve", request]);
        }
        let api = format!("127.0.0.1:{}", circle.base_port + 41);
        let fifth = Self {
            log: circle.scratch("fifth.log"),
            state,
            api: format!("http://{api}"),
        };
        fifth.configure("127.0.0.1:26800", &api);
        fifth
    }

    fn config(&self) -> PathBuf {
        self.state.join("nodes/0/node.toml")
    }

    fn data(&self) -> PathBuf {
        self.state.join("nodes/0/data")
    }

    fn configure(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    fn start(&self) -> Process {
        let log = std::fs::File::options();
        let log = log
            .clone()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort"));
        command.args(["node", "--config"]).arg(self.config());
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap());
        Process(command.stderr(log).spawn().unwrap())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_for_log(&self, what: &str) {
        wait_for(what, || self.log().contains(what).then_some(()));
    }

    fn wait_for_head(&self, circle: &Circle) {
        let known = circle.height();
        wait_for("the fifth node is at the head", || {
            let status = curl(&format!("{}/v1/status", self.api))?;
            (status["height"].as_u64()? >= known).then_some(())
        });
    }
}

fn forged(file: &Path, at: u64, to: PathBuf) -> String {
    let mut bytes = std::fs::read(file).unwrap();
    let place = bytes.len() - 1 - at as usize;
    bytes[place] ^= 1;
    std::fs::write(&to, bytes).unwrap();
    to.to_str().unwrap().to_owned()
}

#[test]
fn a_killed_node_goes_on_fetching_the_state_and_a_backup_is_restored() {
    let circle = Circle::up();
    let fifth = Fifth::join(&circle);
    let voted = circle.height();
    for node in 0..4 {
        wait_for("every node has a checkpoint", || {
            let height = newest(&node_url(&circle, node))?["height"].as_u64()?;
            (height > voted).then_some(())
        });
    }

    // Killed while it waits for the third chunk, it has what it had.
    let direct = format!("{}/", node_url(&circle, 0));
    let stalled = stalling(node_url(&circle, 0));
    fifth.configure(&direct, &stalled);
    let process = fifth.start();
    fifth.wait_for_log("fetches the state");
    wait_for("two chunks are there", || {
        let size = std::fs::metadata(fifth.data().join("incoming.redb")).ok()?;
        (size.len() > 0).then_some(())
    });
    drop(process);
    assert!(!fifth.data().join("ledger.redb").exists());
    fifth.configure(&stalled, &direct);
    let process = fifth.start();
    fifth.wait_for_log("has the state and goes on from there");
    let resumed = fifth.log().contains("resumed=true");
    let newer = fifth.log().matches("fetches the state").count() == 2;
    assert!(resumed || newer, "{}", fifth.log());
    fifth.wait_for_head(&circle);
    let first = curl(&format!("{}/v1/blocks/1", fifth.api)).unwrap();
    assert_eq!(first["error"]["code"], "not_found", "{first}");
    drop(process);

    // The circle runs on while its state is backed up and checked.
    let file = circle.scratch("state.backup");
    let path = file.to_str().unwrap();
    let made = circle.json(&["node", "backup", path]);
    assert!(made["height"].as_u64() > Some(voted), "{made}");
    let key = circle.json(&["circle", "show"])["circle_key"].clone();
    let key = key.as_str().unwrap().to_owned();
    let checked = circle.json(&["node", "check", path, "--circle-key", &key]);
    assert_eq!(checked, made);
    for (at, name) in [(3, "proof"), (400, "entry"), (9_000, "earlier")] {
        let forged = forged(&file, at, circle.scratch(name));
        let refused = circle.run(&["node", "check", &forged]);
        assert_eq!(refused.code, NOT_PROVEN, "{name}: {}", refused.stderr);
    }
    let other = "87ae4e18c64705db77a652f32e21d4b289ffb138b9c8daad5a5cd44c92a6d03ffe307b1c44d5d78075f8d2513eb80caa02945f0256d0f65c9635f7ac23f81306c4081a31b16d2fefe6c0343ee901fe4f27d13bf3a9521b64ea8e7a973e019972";
    let refused = circle.run(&["node", "check", path, "--circle-key", other]);
    assert_eq!(refused.code, NOT_PROVEN, "{}", refused.stderr);

    // A node whose ledger is lost begins with it, and follows.
    let config = fifth.config();
    let restore = [
        "node",
        "restore",
        path,
        "--config",
        config.to_str().unwrap(),
    ];
    let occupied = circle.run(&restore);
    assert_ne!(occupied.code, 0);
    assert!(occupied.stderr.contains("--replace"), "{}", occupied.stderr);
    std::fs::remove_file(fifth.data().join("ledger.redb")).unwrap();
    fifth.configure(&format!("\"{direct}\""), "");
    circle.ringfort(&restore);
    let _process = fifth.start();
    fifth.wait_for_head(&circle);
    circle.ringfort(&["down", "--purge", "--yes"]);
}
