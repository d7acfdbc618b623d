//! Keykeepers of a circle: further ones, the members' vote, and a label's key.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use client::{
    account::Account,
    keyfile::{KeyKind, UnlockedKey},
};
use serde_json::Value;
use wire::{Action, ProposalId, Vote};
use zeroize::Zeroizing;

use super::{
    Circle,
    user::{client, runtime},
    wait_for,
};

/// A keykeeper's process, which ends with the test.
pub struct Keykeeper(Child);

impl Keykeeper {
    /// Starts the one that `directory` is configured for.
    pub fn spawn(directory: &Path) -> Self {
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let config = directory.join("keykeeper.toml");
        let child = Command::new(env!("CARGO_BIN_EXE_ringfort"))
            .args(["keykeeper", "--config", config.to_str().unwrap()])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

/// Writes a keykeeper's configuration into `directory`, which is its data directory too.
pub fn configure(circle: &Circle, directory: &Path) {
    let state = circle.state();
    let shown = circle.json(&["circle", "show"]);
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    let nodes = serde_json::to_string(&shown["nodes"]).unwrap();
    std::fs::create_dir_all(directory).unwrap();
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
    std::fs::write(directory.join("keykeeper.toml"), text).unwrap();
}

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
pub fn code(circle: &Circle) -> String {
    rules(circle).reference_values[0].measurement.to_string()
}

/// Starts a further keykeeper as an operator does, funds it and waits until it has
/// registered; gives its key.
pub fn start(circle: &Circle, name: &str) -> (String, Keykeeper) {
    let directory = circle.scratch(name);
    configure(circle, &directory);
    start_configured(circle, &directory)
}

/// As [`start`], of the one that `directory` is configured for.
pub fn start_configured(circle: &Circle, directory: &Path) -> (String, Keykeeper) {
    let keykeeper = Keykeeper::spawn(directory);
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
pub fn founder(circle: &Circle, index: usize) -> Account {
    let path = circle.state().join(format!("nodes/{index}/identity.seed"));
    let text = std::fs::read_to_string(path).unwrap();
    let seed: [u8; 32] = hex::decode(text.trim()).unwrap().try_into().unwrap();
    let key = UnlockedKey::from_seed("founder", KeyKind::Ed25519, Zeroizing::new(seed)).unwrap();
    Account::new(client(circle), Arc::new(key), None)
}

/// Three founders propose and approve of `keepers`; a phase lasts `window` blocks at most.
pub fn vote(circle: &Circle, keepers: &[String], window: u32) {
    let mut keepers: Vec<wire::PublicKey> =
        keepers.iter().map(|key| key.parse().unwrap()).collect();
    keepers.sort_unstable();
    let founders: Vec<Account> = (0..3).map(|index| founder(circle, index)).collect();
    for founder in &founders {
        let account = founder.id().to_string();
        circle.ringfort(&["--key", "user", "account", "transfer", &account, "1000000"]);
    }
    runtime().block_on(async {
        let change = wire::Change::SetKeykeepers { keepers, window };
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

/// The label's key, as an enclave of the admitted code derives it for itself.
pub fn derived(circle: &Circle, code: &str) -> Result<String, keykeeper::HolderError> {
    let user = super::user::user(circle);
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
    Ok(hex::encode(key?.symmetric(&[]).as_bytes()))
}
