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

/// The code that the circle admits.
fn code(circle: &Circle) -> String {
    let shown = circle.json(&["circle", "show"]);
    let rules = runtime().block_on(async {
        let rules: Option<wire::record::Rules> = client(circle)
            .proven(wire::state_key::rules())
            .await
            .unwrap()
            .0;
        rules.unwrap()
    });
    assert!(shown["circle"].is_string());
    rules.reference_values[0].measurement.to_string()
}

/// Makes a key with funds and starts a keykeeper with it; gives its public key.
fn start(circle: &Circle, name: &str, code: &str) -> (String, Keykeeper) {
    let state = circle.state();
    let passphrase = state.join("user/passphrase");
    let passphrase = passphrase.to_str().unwrap();
    let made = circle.json(&["--passphrase-file", passphrase, "keys", "new", name]);
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    let account = text(&made, "account");
    circle.ringfort(&["--key", "user", "account", "transfer", &account, "1000000"]);
    let shown = circle.json(&["circle", "show"]);
    let nodes = serde_json::to_string(&shown["nodes"]).unwrap();
    let directory = circle.scratch(name);
    std::fs::create_dir_all(&directory).unwrap();
    let config = directory.join("keykeeper.toml");
    let text = format!(
        "circle = {:?}\ncircle_key = {:?}\nnodes = {nodes}\nkey_file = {:?}\n\
         passphrase_file = {passphrase:?}\ndata_dir = {directory:?}\n\
         [development]\nquoting_key = {:?}\nquoting_certificate = {:?}\nmeasurement = {code:?}\n",
        text(&shown, "circle"),
        text(&shown, "circle_key"),
        state.join(format!("user/{name}.key")),
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
    (
        made["public"].as_str().unwrap().to_owned(),
        Keykeeper(child),
    )
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
    let remote = keykeeper::Remote::new(user.account().clone());
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
    let (keys, mut processes): (Vec<String>, Vec<Keykeeper>) = (0..4)
        .map(|index| start(&circle, &format!("keykeeper-{index}"), &code))
        .unzip();
    let registered = runtime();
    wait_for("all keykeepers are registered", || {
        let all = keys.iter().all(|key| {
            let key = wire::state_key::keykeeper(&key.parse().unwrap());
            let read = client(&circle);
            let found = registered.block_on(read.proven::<wire::record::Keykeeper>(key));
            found.is_ok_and(|(record, _)| record.is_some())
        });
        all.then_some(())
    });
    vote(&circle, &keys);
    let shown = wait_for("a first key", || {
        let shown = circle.json(&["key", "show"]);
        shown["committee"].is_object().then_some(shown)
    });
    assert_eq!(shown["committee"]["quorum"], 3, "{shown}");

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

    // One keykeeper is gone: three still derive the key.
    processes.pop();
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

    payloads_have_the_key(&circle, &code);

    // Evidence of other code gets nothing.
    let (refused, opened) = open(&"11".repeat(32), "refused");
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("81"), "{}", refused.stderr);
    assert!(!opened.exists());
}
