//! Members of a real circle: votes change its rules, and an outsider joins by
//! one command on each side.

use crate::harness::{Circle, Ended};
use serde_json::Value;

/// Proposes as node 0 and approves as nodes 1 and 2; the proposal's id.
fn decide(circle: &Circle, change: &[&str]) -> String {
    let mut propose = vec!["member", "--as-node", "0", "propose"];
    propose.extend(change);
    let made = circle.json(&propose)["made"].as_str().unwrap().to_owned();
    for node in ["1", "2"] {
        circle.ringfort(&["member", "--as-node", node, "approve", &made]);
    }
    made
}

fn proposal(circle: &Circle, id: &str) -> Value {
    let all = circle.json(&["member", "proposals"]);
    let all = all.as_array().unwrap();
    all.iter().find(|one| one["id"] == id).unwrap().clone()
}

#[test]
fn members_vote_a_rule_in_and_an_outsider_joins_and_votes() {
    let circle = Circle::up();
    let members = circle.json(&["member", "list"]);
    assert_eq!(members.as_array().unwrap().len(), 4);
    let stranger = circle.run(&["member", "propose", "parameter", "fee_per_byte", "2"]);
    assert_ne!(stranger.code, 0, "the user is no member");
    assert!(stranger.stderr.contains("no member"), "{}", stranger.stderr);

    let id = decide(&circle, &["parameter", "fee_per_byte", "2"]);
    assert!(proposal(&circle, &id)["status"]["enacted"].is_object());
    let rules = circle.json(&["member", "rules"]);
    assert_eq!(rules["parameters"]["fee_per_byte"], 2);

    // The outsider's machine has a state directory of its own.
    let state = circle.scratch("outsider");
    let passphrase = circle.scratch("passphrase");
    std::fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    let node = format!("http://127.0.0.1:{}", circle.base_port + 100);
    let outsider = |arguments: &[&str]| -> Ended {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringfort"));
        command.arg("--state").arg(&state).args(["-o", "json"]);
        command.arg("--passphrase-file").arg(&passphrase);
        command.args(arguments).stdin(std::process::Stdio::null());
        command.output().unwrap().into()
    };
    let unasked = outsider(&["join", &node, "--name", "newcomer"]);
    assert_ne!(unasked.code, 0, "nobody confirmed which circle it is");
    assert!(!state.join("circle.toml").exists());
    let genesis = circle.json(&["circle", "show"])["circle"]
        .as_str()
        .unwrap()
        .to_owned();
    let foreign = "00".repeat(32);
    let wrong = outsider(&["join", &node, "--circle", &foreign, "--name", "newcomer"]);
    assert_ne!(wrong.code, 0, "another circle than was meant");
    let join = ["join", &node, "--circle", &genesis, "--name", "newcomer"];
    let asked = outsider(&join);
    let asked = asked
        .json_lines()
        .pop()
        .unwrap_or_else(|| panic!("{}", asked.stderr));
    assert_eq!(asked["member"], false);
    let account = asked["account"].as_str().unwrap().to_owned();

    let request = state.join("join-request.json");
    let request = request.to_str().unwrap();
    for node in ["0", "1", "3"] {
        circle.ringfort(&["member", "--as-node", node, "approve", request]);
    }
    let mut waiting = join.to_vec();
    waiting.extend(["--wait", "30"]);
    let joined = outsider(&waiting).json_lines().pop().unwrap();
    assert_eq!(joined["member"], true);
    assert_eq!(joined["account"], account.as_str(), "it keeps its key");

    // With something to pay fees with, the newcomer votes like the others.
    circle.ringfort(&["account", "transfer", &account, "1000000"]);
    let proposed = outsider(&["member", "propose", "parameter", "fee_per_byte", "1"]);
    let proposed = proposed
        .json_lines()
        .pop()
        .unwrap_or_else(|| panic!("{}", proposed.stderr));
    let id = proposed["made"].as_str().unwrap();
    for node in ["0", "1"] {
        circle.ringfort(&["member", "--as-node", node, "vote", id, "yes"]);
    }
    assert!(proposal(&circle, id)["status"]["enacted"].is_object());
    a_new_validators_node_follows(&circle);
    circle.ringfort(&["down", "--purge", "--yes"]);
}

/// A node that ends with the test.
struct Node(std::process::Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks to be a validator, is voted in, and starts its node from what `join` wrote.
fn a_new_validators_node_follows(circle: &Circle) {
    let config = std::fs::read_to_string(circle.state().join("nodes/0/node.toml")).unwrap();
    let config: toml::Value = toml::from_str(&config).unwrap();
    let peers = config["validators"].as_array().unwrap().iter().map(|peer| {
        let text = |field: &str| peer[field].as_str().unwrap().to_owned();
        format!("{}@{}", text("key"), text("address"))
    });
    let state = circle.scratch("fifth");
    let passphrase = circle.scratch("passphrase");
    let node = format!("http://127.0.0.1:{}", circle.base_port + 100);
    let id = circle.json(&["circle", "show"])["circle"]
        .as_str()
        .unwrap()
        .to_owned();
    let address = format!("127.0.0.1:{}", circle.base_port + 40);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringfort"));
    command.arg("--state").arg(&state).args(["-o", "json"]);
    command.arg("--passphrase-file").arg(&passphrase);
    command.args(["join", &node, "--circle", &id, "--name", "fifth"]);
    command.args(["--role", "validator", "--address", &address]);
    for peer in peers {
        command.args(["--peer", &peer]);
    }
    let asked: Ended = command
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
        .into();
    asked.success("join as a validator");

    let request = state.join("join-request.json");
    let request = request.to_str().unwrap();
    for node in ["0", "1", "2"] {
        circle.ringfort(&["member", "--as-node", node, "approve", request]);
    }
    // Its API gets a port of this test's.
    let path = state.join("nodes/0/node.toml");
    let api = format!("127.0.0.1:{}", circle.base_port + 41);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("127.0.0.1:26800"), "{text}");
    std::fs::write(&path, text.replace("127.0.0.1:26800", &api)).unwrap();
    let log = std::fs::File::create(circle.scratch("fifth.log")).unwrap();
    let node = std::process::Command::new(env!("CARGO_BIN_EXE_ringfort"))
        .arg("node")
        .arg("--config")
        .arg(&path)
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let _node = Node(node);
    let known = circle.height();
    crate::harness::wait_for("the fifth node has the chain", || {
        let url = format!("http://{api}/v1/status");
        let output = std::process::Command::new("curl")
            .args(["--silent", &url])
            .output()
            .unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        (status["height"].as_u64()? >= known).then_some(())
    });
}
