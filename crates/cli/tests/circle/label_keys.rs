//! The zone's keys and the authority's come of labels' keys: they are on no disk
//! and in no daemon, and whoever may have the labels' keys has the same.

use std::{path::Path, sync::Arc};

use crate::harness::{
    Circle, children,
    search::{HOLDER, Secret, assert_not_stored, found_in_memory, processes},
    signal,
    user::{client, runtime},
    wait_for,
};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use client::{
    SecretString,
    account::{Account, lock_path},
    keyfile,
};
use keyhost::{Program, Remote};
use serde_json::Value;
use threshold::LabelKey;
use wire::{LabelName, SigningKey};

fn read_hex(path: &Path) -> Vec<u8> {
    hex::decode(std::fs::read_to_string(path).unwrap().trim()).unwrap()
}

/// The key of a daemon's label, asked for as that daemon: with its account and
/// with evidence for the program that it runs. That a test can make such evidence
/// is what development evidence means.
fn label_key(circle: &Circle, daemon: &str, service: &str) -> LabelKey {
    let directory = circle.state().join(daemon);
    let key_file = directory.join("account.key");
    let passphrase = std::fs::read_to_string(directory.join("passphrase")).unwrap();
    let passphrase = SecretString::from(passphrase.trim().to_owned());
    let key = Arc::new(keyfile::open(&key_file, &passphrase).unwrap());
    let account = Account::new(client(circle), key, Some(lock_path(&key_file)));
    let program = Program::open(&circle.state().join("enclave/ringfort-keykeeper")).unwrap();
    let seed: [u8; 32] = read_hex(&directory.join("quoting.seed"))
        .try_into()
        .unwrap();
    let certificate = read_hex(&directory.join("quoting.certificate"));
    let certificate = attest::development::QuotingCertificate::decode(&certificate).unwrap();
    let quoting =
        attest::development::QuotingKey::new(SigningKey::ed25519(seed), certificate).unwrap();
    let label = LabelName {
        owner: account.id(),
        service: service.to_owned(),
        version: 1,
    };
    let evidence = |report_data| Ok(quoting.quote(program.measurement(), report_data, [7; 32]));
    runtime()
        .block_on(keykeeper::derive(
            &Remote::new(account),
            &label,
            None,
            evidence,
        ))
        .unwrap()
}

/// The point of a scalar, x and y in hex.
fn public(scalar: &[u8; 32]) -> String {
    let key = PrivateKey::from_private_key(&ECDH_P256, scalar).unwrap();
    hex::encode(&key.compute_public_key().unwrap().as_ref()[1..])
}

/// The zone's keys as the signer's file has them: numbers and points.
fn zone_keys(circle: &Circle) -> Vec<(u64, String)> {
    let text = std::fs::read_to_string(circle.state().join("signer/zone-keys.json")).unwrap();
    assert!(!text.contains("pkcs8"), "no private key is in it: {text}");
    let file: Value = serde_json::from_str(&text).unwrap();
    let keys = file["keys"].as_array().unwrap().iter().map(|key| {
        let held = &key["held"];
        let point = held["public_key"].as_str().unwrap().to_owned();
        (held["number"].as_u64().unwrap(), point)
    });
    keys.collect()
}

/// The process beside `part` that holds its key.
fn holder(circle: &Circle, part: &str) -> u32 {
    wait_for("the part holds its key", || {
        let found = children(circle.pid(part));
        match found.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    })
}

#[test]
fn zone_and_authority_keys_are_labels_and_on_no_disk() {
    let circle = Circle::up();
    let anchor = circle.anchor();
    assert!(!circle.state().join("ca/ca.key").exists());
    let root = std::fs::read(circle.state().join("ca/roots.pem")).unwrap();

    // They are what comes of the labels' keys.
    let zone = label_key(&circle, "signer", "zone-signer");
    let authority = label_key(&circle, "ca", "certificate-authority");
    let mut scalars = Vec::new();
    let keys = zone_keys(&circle);
    assert_eq!(keys.len(), 2, "a key-signing and a zone-signing key");
    for (number, point) in &keys {
        let scalar = zone.p256(format!("zone/internal/{number}").as_bytes());
        assert_eq!(public(scalar.as_bytes()), *point);
        scalars.push(*scalar.as_bytes());
    }
    let scalar = authority.p256(b"ca/root");
    let pem = String::from_utf8(root.clone()).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, der).unwrap();
    let point = hex::decode(public(scalar.as_bytes())).unwrap();
    assert!(
        memchr::memmem::find(&der, &point).is_some(),
        "the root is of that key"
    );
    scalars.push(*scalar.as_bytes());

    // And they are nowhere else: not in files, daemons or on the ledger.
    let mut secrets: Vec<Secret> = Vec::new();
    let mut add = |what, bytes: &[u8]| {
        secrets.push(Secret {
            what,
            bytes: bytes.to_vec(),
        });
        secrets.push(Secret {
            what,
            bytes: hex::encode(bytes).into_bytes(),
        });
    };
    for scalar in &scalars {
        add("a private key", scalar);
    }
    add("the zone's label's key", &zone.encode()[..48]);
    add("the authority's label's key", &authority.encode()[..48]);
    let own = found_in_memory(std::process::id(), &secrets);
    assert_eq!(own.len(), 3, "the search finds what is there: {own:?}");
    let (parts, _) = processes(&circle);
    assert_eq!(parts.iter().filter(|(_, line)| line == HOLDER).count(), 2);
    for (pid, line) in parts.iter().filter(|(_, line)| line != HOLDER) {
        assert_eq!(found_in_memory(*pid, &secrets), [""; 0], "in {line}");
    }
    assert_not_stored(&circle, &secrets);

    // A holder that dies takes its daemon along, which comes back with the same keys.
    for part in ["signer", "ca"] {
        let (before, held) = (circle.pid(part), holder(&circle, part));
        signal(held, "KILL");
        wait_for("the daemon is started anew", || {
            let now = circle.pid(part);
            (now != before && now != 0).then_some(())
        });
        holder(&circle, part);
    }
    circle.wait_until_well();
    assert_eq!(circle.anchor(), anchor);
    assert_eq!(
        std::fs::read(circle.state().join("ca/roots.pem")).unwrap(),
        root
    );

    // A roll-over makes its new key by the label as well.
    circle.ringfort(&["signer", "roll-zsk"]);
    let keys = zone_keys(&circle);
    assert_eq!(keys.len(), 3);
    let (number, point) = keys.last().unwrap();
    let scalar = zone.p256(format!("zone/internal/{number}").as_bytes());
    assert_eq!(public(scalar.as_bytes()), *point);
    let answer = circle.delv("ns.internal", "A");
    assert!(answer.contains("fully validated"), "{answer}");
}
