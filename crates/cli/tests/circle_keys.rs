//! Keys that nobody holds alone, in a whole circle: keykeepers as processes, a
//! first key by the members' vote, a label, and a file that only its key opens.

mod harness;

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
};

use client::{
    account::Account,
    keyfile::{KeyKind, UnlockedKey},
};
use harness::{
    Circle, component,
    user::{client, runtime},
    wait_for,
};
use serde_json::Value;
use wire::{Action, ProposalId, Vote};
use zeroize::Zeroizing;

/// A keykeeper's process, which ends with the test.
struct Keykeeper(Child);

impl Drop for Keykeeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rules(circle: &Circle) -> wire::record::Rules {
    let read = client(circle);
    let rules = runtime().block_on(read.proven(wire::state_key::rules()));
    rules.unwrap().0.unwrap()
}

/// The code of payloads' enclaves, which the circle admits.
fn code(circle: &Circle) -> String {
    rules(circle).reference_values[0].measurement.to_string()
}

/// Starts a further keykeeper as an operator does, funds it and waits until it has
/// registered; gives its key.
fn start(circle: &Circle, name: &str) -> (String, Keykeeper) {
    let state = circle.state();
    let shown = circle.json(&["circle", "show"]);
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    let nodes = serde_json::to_string(&shown["nodes"]).unwrap();
    let directory = circle.scratch(name);
    std::fs::create_dir_all(&directory).unwrap();
    let config = directory.join("keykeeper.toml");
    let text = format!(
        "circle = {:?}\ncircle_key = {:?}\nnodes = {nodes}\nprogram = {:?}\n\
         data_dir = {directory:?}\n\
         [development]\nquoting_key = {:?}\nquoting_certificate = {:?}\n",
        text(&shown, "circle"),
        text(&shown, "circle_key"),
        state.join("enclave/ringfort-keykeeper"),
        state.join("providers/0/quoting.seed"),
        state.join("providers/0/quoting.certificate"),
    );
    std::fs::write(&config, text).unwrap();
    let log = std::fs::File::create(directory.join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_ringfort"))
        .args(["keykeeper", "--config", config.to_str().unwrap()])
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let keykeeper = Keykeeper(child);
    let key: wire::PublicKey = wait_for("the keykeeper has made its identity", || {
        let text = std::fs::read_to_string(directory.join("public")).ok()?;
        text.trim().parse().ok()
    });
    let account = key.account().to_string();
    circle.ringfort(&["--key", "user", "account", "transfer", &account, "1000000"]);
    let read = runtime();
    wait_for("it is registered", || {
        let record = client(circle);
        let record = record.proven::<wire::record::Keykeeper>(wire::state_key::keykeeper(&key));
        read.block_on(record).ok()?.0.map(drop)
    });
    (key.to_string(), keykeeper)
}

/// An account of a founder, by the seed of its validator.
fn founder(circle: &Circle, index: usize) -> Account {
    let path = circle.state().join(format!("nodes/{index}/identity.seed"));
    let text = std::fs::read_to_string(path).unwrap();
    let seed: [u8; 32] = hex::decode(text.trim()).unwrap().try_into().unwrap();
    let key = UnlockedKey::from_seed("founder", KeyKind::Ed25519, Zeroizing::new(seed)).unwrap();
    Account::new(client(circle), Arc::new(key), None)
}

/// Three founders propose and approve of `keepers`.
fn vote(circle: &Circle, keepers: &[String]) {
    let mut keepers: Vec<wire::PublicKey> =
        keepers.iter().map(|key| key.parse().unwrap()).collect();
    keepers.sort_unstable();
    let founders: Vec<Account> = (0..3).map(|index| founder(circle, index)).collect();
    for founder in &founders {
        let account = founder.id().to_string();
        circle.ringfort(&["--key", "user", "account", "transfer", &account, "1000000"]);
    }
    runtime().block_on(async {
        let change = wire::Change::SetKeykeepers {
            keepers,
            window: 500,
        };
        let propose = Action::Propose(wire::Propose { change });
        let sent = founders[0].send(vec![propose]).await.unwrap();
        let proposal = ProposalId::made_by(sent.transaction, 0);
        for founder in &founders[1..] {
            let vote = Action::Vote(Vote {
                proposal,
                approve: true,
            });
            founder.send(vec![vote]).await.unwrap();
        }
    });
}

/// The members vote for the circle's own keykeepers and a further one: it gets a
/// share of the same secret.
fn hand_on(circle: &Circle, own: &[Value], master_key: &Value) {
    let (key, further) = start(circle, "further");
    let mut keepers: Vec<String> = own
        .iter()
        .map(|key| key.as_str().unwrap().to_owned())
        .collect();
    keepers.push(key);
    vote(circle, &keepers);
    let shown = wait_for("shares are handed on", || {
        let shown = circle.json(&["key", "show"]);
        (shown["committee"]["keepers"].as_array()?.len() == 4).then_some(shown)
    });
    assert_eq!(shown["committee"]["quorum"], 3, "{shown}");
    assert_eq!(&shown["committee"]["master_key"], master_key);
    drop(further);
}

const NAME: &str = "keys.internal";

/// What the example service greets with: its variable, which holds the key.
fn greeting(circle: &Circle, place: &(String, u64)) -> String {
    let answer = circle.curl(NAME, place, "/").unwrap();
    answer.split(',').next().unwrap().to_owned()
}

/// The label's key, as an enclave of the admitted code derives it for itself.
fn derived(circle: &Circle, code: &str) -> String {
    let user = harness::user::user(circle);
    let label = wire::LabelName {
        owner: user.account().id(),
        service: "disk.example".into(),
        version: 1,
    };
    let directory = circle.state().join("providers/0");
    let read = |name: &str| {
        let text = std::fs::read_to_string(directory.join(name)).unwrap();
        hex::decode(text.trim()).unwrap()
    };
    let seed: [u8; 32] = read("quoting.seed").try_into().unwrap();
    let certificate =
        attest::development::QuotingCertificate::decode(&read("quoting.certificate")).unwrap();
    let quoting = wire::SigningKey::ed25519(seed);
    let quoting = attest::development::QuotingKey::new(quoting, certificate).unwrap();
    let code: wire::Measurement = code.parse().unwrap();
    let remote = keyhost::Remote::new(user.account().clone());
    let key = runtime().block_on(keykeeper::derive(&remote, &label, None, |report_data| {
        Ok(quoting.quote(code, report_data, [5; 32]))
    }));
    hex::encode(key.unwrap().symmetric(&[]).as_bytes())
}

/// Two replicas of a service are given one key, which is the label's; a payload
/// that the policy does not admit is refused, and told so.
fn payloads_have_the_key(circle: &Circle, code: &str) {
    let hello = component("hello");
    let keyed = ["--env-key", "GREETING=disk.example", "--key", "user"];
    let more = [&keyed[..], &["--replicas", "2", "--spread"]].concat();
    circle.serve(&hello, NAME, &more);
    let places = wait_for("both replicas are there", || {
        Some(circle.endpoints(NAME)).filter(|places| places.len() == 2)
    });
    let first = greeting(circle, &places[0]);
    assert_eq!(first, derived(circle, code));
    assert_eq!(first, greeting(circle, &places[1]));

    // The next epoch's key is another one.
    circle.ringfort(&["--key", "user", "key", "rotate", "disk.example"]);
    circle.ringfort(&["--key", "user", "rm", NAME]);
    circle.serve(&hello, NAME, &keyed);
    let place = circle.endpoints(NAME).remove(0);
    let second = greeting(circle, &place);
    assert_ne!(first, second);
    assert_eq!(second, derived(circle, code));
    circle.ringfort(&["--key", "user", "rm", NAME]);

    // Revoked: the next epoch is for another account's payloads.
    let stranger = founder(circle, 0).id().to_string();
    let to = ["--tenant", &stranger];
    let rotate = ["--key", "user", "key", "rotate", "disk.example"];
    circle.ringfort(&[&rotate[..], &to].concat());
    let hello = hello.to_str().unwrap();
    let run = [&["run", hello, "--name", NAME][..], &keyed].concat();
    let refused = circle.run(&run);
    assert_ne!(refused.code, 0);
    assert!(
        refused
            .stderr
            .contains("the label's policy does not admit who asks"),
        "{}",
        refused.stderr
    );
    // Back to what the rest of the test was written under.
    circle.ringfort(&rotate);
}

#[test]
fn a_file_is_encrypted_to_a_label_and_opens_with_a_key_that_nobody_holds_alone() {
    let circle = Circle::up();
    let code = code(&circle);
    // `up` returned when the circle's own keykeepers had made the first key.
    let shown = circle.json(&["key", "show"]);
    assert_eq!(shown["committee"]["quorum"], 2, "{shown}");
    let master_key = shown["committee"]["master_key"].clone();
    let own = shown["committee"]["keepers"].as_array().unwrap().clone();
    assert_eq!(own.len(), 3, "{shown}");

    circle.ringfort(&["--key", "user", "key", "grant", "disk.example"]);
    let plain = circle.scratch("plain");
    std::fs::write(&plain, b"a disk's key").unwrap();
    let sealed = circle.scratch("sealed");
    let [plain, sealed] = [&plain, &sealed].map(|path| path.to_str().unwrap());
    circle.ringfort(&[
        "--key",
        "user",
        "key",
        "encrypt",
        "disk.example",
        plain,
        sealed,
    ]);
    assert!(
        !std::fs::read(sealed)
            .unwrap()
            .windows(4)
            .any(|at| at == b"disk")
    );

    // One keykeeper is silent: two still derive the key.
    let silent = circle.pid("keykeeper-0");
    harness::signal(silent, "STOP");
    let quoting = circle.state().join("providers/0");
    let open = |code: &str, to: &str| {
        let to = circle.scratch(to);
        let ended = circle.run(&[
            "--key",
            "user",
            "key",
            "decrypt",
            "disk.example",
            sealed,
            to.to_str().unwrap(),
            "--quoting",
            quoting.to_str().unwrap(),
            "--code",
            code,
        ]);
        (ended, to)
    };
    let (ended, opened) = open(&code, "opened");
    ended.success("decrypt");
    assert_eq!(std::fs::read(opened).unwrap(), b"a disk's key");

    harness::signal(silent, "CONT");
    hand_on(&circle, &own, &master_key);
    let (ended, opened) = open(&code, "opened by the new committee");
    ended.success("decrypt");
    assert_eq!(std::fs::read(opened).unwrap(), b"a disk's key");

    payloads_have_the_key(&circle, &code);

    // Evidence of other code gets nothing.
    let (refused, opened) = open(&"11".repeat(32), "refused");
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("81"), "{}", refused.stderr);
    assert!(!opened.exists());
}
