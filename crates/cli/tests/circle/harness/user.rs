//! The circle's user through the SDK, for what the command line refuses to do:
//! speak wrongly.

use std::sync::Arc;

use client::{
    Client, SecretString, Url, User,
    account::{Account, lock_path},
    keyfile,
    run::RunSpec,
    storage::{AccessPolicy, ObjectStorage, directory_url},
    wallet::Wallet,
};
use serde_json::Value;
use wire::{Amount, CircleKey, EvidenceKind, Resources};

use super::Circle;

/// A runtime for a test's own asking.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A client of the circle.
pub fn client(circle: &Circle) -> Client {
    let shown: Value = circle.json(&["circle", "show"]);
    let text = |field: &str| shown[field].as_str().unwrap().to_owned();
    let nodes = shown["nodes"].as_array().unwrap();
    let nodes = nodes
        .iter()
        .map(|url| Url::parse(url.as_str().unwrap()).unwrap())
        .collect();
    let key: CircleKey = text("circle_key").parse().unwrap();
    Client::new(nodes, key, text("circle").parse().unwrap()).unwrap()
}

/// The circle's user.
pub fn user(circle: &Circle) -> User {
    let path = circle.state().join("user/user.key");
    let passphrase = std::fs::read_to_string(circle.state().join("user/passphrase")).unwrap();
    let key = keyfile::open(&path, &SecretString::from(passphrase.trim().to_owned())).unwrap();
    let key = Arc::new(key);
    let wallet = Wallet::new(circle.state().join("user/wallet"), &key);
    let account = Account::new(client(circle), key, Some(lock_path(&path)));
    let storage = ObjectStorage::new(AccessPolicy::unrestricted(), None).unwrap();
    User::new(account, wallet, storage).unwrap()
}

/// What asks for one replica of `program` for some minutes.
pub fn specification(circle: &Circle, program: Vec<u8>) -> RunSpec {
    RunSpec {
        program,
        args: Vec::new(),
        env: Vec::new(),
        label_keys: Vec::new(),
        inputs: Vec::new(),
        label: "test".into(),
        name: None,
        name_deposit: None,
        mirrors: vec![directory_url(&circle.state().join("objects/a")).unwrap()],
        resources: Resources {
            cpu_milli: 250,
            memory_mib: 256,
            storage_mib: 64,
        },
        replicas: 1,
        require_spread: false,
        duration: 2000,
        max_price: Amount(20),
        escrow: None,
        location: String::new(),
        evidence: vec![EvidenceKind::Development],
        technologies: Vec::new(),
        measurement: None,
        evidence_policy: Default::default(),
        match_within: 100,
    }
}
