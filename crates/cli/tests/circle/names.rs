//! Names as their owners use them, with real programs on the other side: `dig`
//! for what is served, a TPM for a key that never leaves it, and nothing at all
//! for proofs.

use std::{path::Path, process::Command};

use crate::harness::{Circle, tpm::Tpm, wait_for};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A second key with funds of its own; the passphrase is the user's.
fn second_key(circle: &Circle, name: &str) -> (String, String) {
    let passphrase = circle.state().join("user/passphrase");
    let made = circle.json(&[
        "--passphrase-file",
        passphrase.to_str().unwrap(),
        "keys",
        "new",
        name,
    ]);
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    let account = text("account");
    circle.ringfort(&["--key", "user", "account", "transfer", &account, "100000"]);
    (text("public"), account)
}

/// Runs a command as a key.
fn as_key(circle: &Circle, key: &str, arguments: &[&str]) -> crate::harness::Ended {
    let passphrase = circle.state().join("user/passphrase");
    let mut all = vec![
        "--key",
        key,
        "--passphrase-file",
        passphrase.to_str().unwrap(),
    ];
    all.extend(arguments);
    circle.run(&all)
}

fn owner(circle: &Circle, name: &str) -> String {
    let shown = circle.json(&["name", "show", name]);
    shown["owner"].as_str().unwrap().to_owned()
}

#[test]
fn a_name_is_registered_served_looked_up_sold_and_proven_with_everything_switched_off() {
    let circle = Circle::up();
    let key = "ed25519:".to_owned() + &"07".repeat(32);

    // In its own script, with its server's key and address in one transaction.
    circle.ringfort(&[
        "name",
        "register",
        "Bücher.internal",
        "--server-key",
        &key,
        "--address",
        "192.0.2.7",
    ]);
    let shown = circle.json(&["name", "show", "bücher.internal"]);
    assert_eq!(shown["name"], "xn--bcher-kva.internal");
    assert_eq!(shown["keys"][0]["key"], key);
    assert!(shown["paid_until"].as_u64().unwrap() > circle.height());
    let again = circle.run(&["name", "register", "bücher.internal"]);
    assert_eq!(
        again.code, 0,
        "a second run finds the name: {}",
        again.stderr
    );
    let mixed = circle.run(&["name", "register", "pаypal.internal"]);
    assert_eq!(mixed.code, 4, "Cyrillic and Latin: {}", mixed.stderr);

    records_reach_stock_resolvers(&circle);

    let (public, account) = second_key(&circle, "other");
    let double = as_key(&circle, "other", &["name", "register", "bucher.internal"]);
    assert_eq!(double.code, 0, "another look: {}", double.stderr);

    // At a price, then by a bid, then back by a transfer.
    let name = "bücher.internal";
    assert_eq!(
        as_key(&circle, "other", &["name", "buy", name, "--up-to", "500"]).code,
        1
    );
    as_key(
        &circle,
        "user",
        &["name", "sell", name, "500", "--to", &account],
    )
    .success("sell");
    as_key(&circle, "other", &["name", "buy", name, "--up-to", "500"]).success("buy");
    assert_eq!(owner(&circle, name), public);
    as_key(&circle, "user", &["name", "bid", name, "700"]).success("bid");
    let bids = circle.json(&["name", "bids", name]);
    assert_eq!(bids[0]["bid"]["amount"], 700);
    let bidder = bids[0]["bidder"].as_str().unwrap();
    as_key(
        &circle,
        "other",
        &["name", "accept-bid", name, bidder, "700"],
    )
    .success("accept");
    assert_ne!(owner(&circle, name), public);
    as_key(&circle, "user", &["name", "rotate", name, "other"]).success("rotate");
    assert_eq!(owner(&circle, name), public);

    proofs_hold_when_the_circle_is_down(&circle, name);
}

/// Records, wildcards and delegations, as `dig` gets them from the name node.
fn records_reach_stock_resolvers(circle: &Circle) {
    let name = "xn--bcher-kva.internal";
    let seen = |owner: &str, rtype: &str, wanted: &str| {
        wait_for(&format!("{owner} {rtype} is {wanted}"), || {
            circle
                .dig(owner, rtype)
                .contains(&wanted.to_owned())
                .then_some(())
        });
    };
    seen(name, "A", "192.0.2.7");
    circle.ringfort(&["name", "set", name, "A", "192.0.2.8", "--owner", "*"]);
    seen(&format!("anything.{name}"), "A", "192.0.2.8");
    circle.ringfort(&["name", "set", name, "TXT", "deep", "--owner", "a.b.c"]);
    seen(&format!("a.b.c.{name}"), "TXT", "\"deep\"");
    assert!(
        circle.dig(&format!("b.c.{name}"), "A").is_empty(),
        "an empty non-terminal is not covered by the wildcard"
    );
    circle.ringfort(&[
        "name",
        "set",
        name,
        "CNAME",
        &format!("{name}."),
        "--owner",
        "www",
    ]);
    seen(&format!("www.{name}"), "A", "192.0.2.7");

    let digest = "07".repeat(32);
    circle.ringfort(&[
        "name",
        "delegate",
        name,
        "dept",
        "--ns",
        &format!("ns.dept.{name}=192.0.2.53"),
        "--ds",
        &format!("4711 13 2 {digest}"),
        "--server-key",
        &format!("ed25519:{digest}"),
    ]);
    seen(
        &format!("dept.{name}"),
        "DS",
        &format!("4711 13 2 {} {}", digest[..56].to_owned(), &digest[56..]),
    );
    let hidden = circle.run(&["name", "set", name, "TXT", "x", "--owner", "x.dept"]);
    assert_eq!(hidden.code, 4, "beneath a cut: {}", hidden.stderr);

    let found = circle.json(&["name", "reverse", "192.0.2.7"]);
    assert_eq!(found[0]["at"], json!([name]));
    let glue = circle.json(&["name", "reverse", "192.0.2.53"]);
    assert_eq!(glue[0]["at"], json!([format!("ns.dept.{name}")]));
    assert_eq!(circle.json(&["name", "reverse", "192.0.2.99"]), json!([]));
}

fn proofs_hold_when_the_circle_is_down(circle: &Circle, name: &str) {
    let (proof, free) = (circle.scratch("name.proof"), circle.scratch("free.proof"));
    let fetch =
        |name: &str, to: &Path| circle.json(&["name", "proof", name, "--to", to.to_str().unwrap()]);
    let written = fetch(name, &proof);
    fetch("nobody.internal", &free);
    let item = circle.scratch("minutes.txt");
    std::fs::write(&item, "the minutes").unwrap();
    let item = item.to_str().unwrap();
    as_key(
        circle,
        "user",
        &["notarise", item, "--note", "board of May"],
    )
    .success("notarise");
    as_key(circle, "user", &["notarise", item]).success("a second time says so");
    circle.ringfort(&["notarise", "check", item]);
    let key = circle.json(&["circle", "show"])["circle_key"]
        .as_str()
        .unwrap()
        .to_owned();
    circle.ringfort(&["down"]);

    let verify = |file: &Path, key: &str| {
        circle.run(&[
            "-o",
            "json",
            "name",
            "verify",
            file.to_str().unwrap(),
            "--circle",
            key,
        ])
    };
    let shown = verify(&proof, &key).json_lines().pop().unwrap();
    assert_eq!(shown["name"], "xn--bcher-kva.internal");
    assert_eq!(shown["proof_bytes"], written["proof_bytes"]);
    println!("proof of a name: {} bytes", shown["proof_bytes"]);
    let shown = verify(&free, &key).json_lines().pop().unwrap();
    assert_eq!(shown["registered"], false);
    let mut bytes = std::fs::read(&proof).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&proof, bytes).unwrap();
    assert_eq!(verify(&proof, &key).code, 5);

    let stored = format!("{item}.proof");
    let check = [
        "notarise", "check", item, "--proof", &stored, "--circle", &key,
    ];
    let checked = circle.ringfort(&check);
    assert!(checked.contains("board of May"), "{checked}");
    std::fs::write(item, "the minutes!").unwrap();
    assert_eq!(circle.run(&check).code, 5);
}

/// A TPM with a P-256 signing key, and its stock tools.
struct SigningTpm(Tpm);

impl SigningTpm {
    /// Starts one, makes the key and writes its public half.
    fn start() -> Self {
        let tpm = Self(Tpm::start());
        tpm.run(
            "tpm2_createprimary",
            &["-Q", "-C", "o", "-G", "ecc", "-c", "primary"],
        );
        tpm.run(
            "tpm2_create",
            &[
                "-Q",
                "-C",
                "primary",
                "-G",
                "ecc256:ecdsa-sha256",
                "-u",
                "public",
                "-r",
                "private",
            ],
        );
        tpm.run(
            "tpm2_load",
            &[
                "-Q", "-C", "primary", "-u", "public", "-r", "private", "-c", "key",
            ],
        );
        tpm.run(
            "tpm2_readpublic",
            &["-Q", "-c", "key", "-f", "der", "-o", "key.der"],
        );
        tpm
    }

    /// Runs one of its tools; afterwards the TPM's few places are free again,
    /// as a resource manager would see to.
    fn run(&self, program: &str, arguments: &[&str]) {
        self.run_once(program, arguments);
        self.run_once("tpm2_flushcontext", &["-t"]);
    }

    fn run_once(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program)
            .args(arguments)
            .env(
                "TPM2TOOLS_TCTI",
                format!("swtpm:path={}", self.0.socket().display()),
            )
            .current_dir(self.0.directory())
            .output()
            .expect("tpm2-tools are installed: script/setup");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program}: {told}");
    }

    /// The key as Ringfort writes it: the end of a SubjectPublicKeyInfo is the
    /// uncompressed point.
    fn public(&self) -> String {
        let der = std::fs::read(self.0.directory().join("key.der")).unwrap();
        let point = &der[der.len() - 65..];
        wire::PublicKey::from_p256_point(point).unwrap().to_string()
    }

    /// Signs the SHA-256 of a challenge; the signature's file.
    fn sign(&self, challenge: &str) -> String {
        let path = |name: &str| self.0.directory().join(name);
        let challenge = hex::decode(challenge).unwrap();
        std::fs::write(path("digest"), Sha256::digest(challenge)).unwrap();
        self.run(
            "tpm2_sign",
            &[
                "-Q",
                "-c",
                "key",
                "-g",
                "sha256",
                "-d",
                "-f",
                "plain",
                "-o",
                "signature",
                "digest",
            ],
        );
        path("signature").to_str().unwrap().to_owned()
    }
}

#[test]
fn a_key_in_a_tpm_owns_a_name_and_changes_it() {
    let circle = Circle::up();
    let tpm = SigningTpm::start();
    let public = tpm.public();
    circle.ringfort(&["name", "register", "vault.internal"]);

    // The TPM consents to own the name.
    let asked = circle.run(&["name", "rotate", "vault.internal", &public]);
    assert_eq!(asked.code, 1);
    let challenge = asked
        .stderr
        .split(|c: char| !c.is_ascii_hexdigit())
        .find(|word| word.len() == 64)
        .unwrap_or_else(|| panic!("{}", asked.stderr));
    let signature = tpm.sign(challenge);
    circle.ringfort(&[
        "name",
        "rotate",
        "vault.internal",
        &public,
        "--der",
        &signature,
    ]);
    assert_eq!(owner(&circle, "vault.internal"), public);

    // And it alone changes it: a transaction that it signs.
    let refused = circle.run(&["name", "set", "vault.internal", "A", "192.0.2.9"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    let account = public.parse::<wire::PublicKey>().unwrap().account();
    circle.ringfort(&["account", "transfer", &account.to_string(), "100000"]);
    let actions = circle.scratch("actions.json");
    let set = json!([{ "name_set": { "name": "vault.internal", "records": [
        { "owner": null, "rtype": 1, "ttl": 60, "data": ["c0000209"] } ] } }]);
    std::fs::write(&actions, set.to_string()).unwrap();
    let prepared = circle.scratch("transaction");
    let (actions, file) = (actions.to_str().unwrap(), prepared.to_str().unwrap());
    let told: Value = circle.json(&["transaction", "prepare", &public, actions, "--to", file]);
    let signature = tpm.sign(told["challenge"].as_str().unwrap());
    circle.ringfort(&["transaction", "submit", file, "--der", &signature]);
    wait_for("the record is served", || {
        (circle.dig("vault.internal", "A") == ["192.0.2.9"]).then_some(())
    });
    let replayed = circle.run(&["transaction", "submit", file, "--der", &signature]);
    assert_eq!(
        replayed.code, 0,
        "the same transaction is applied once: {}",
        replayed.stderr
    );
    assert_eq!(
        circle.json(&["name", "show", "vault.internal"])["records"][0]["ttl"],
        60
    );
}

#[test]
fn members_recover_a_name_unless_its_owner_objects_beneath_a_domain_of_ones_own() {
    let circle = Circle::up_with(&["--apex", "example.com", "--apex", "internal"]);
    let name = "shop.example.com";
    circle.ringfort(&["name", "register", name, "--address", "192.0.2.7"]);
    circle.ringfort(&["name", "register", "shop.internal"]);
    let foreign = circle.run(&["name", "register", "shop.example.org"]);
    assert_eq!(foreign.code, 4, "no apex: {}", foreign.stderr);
    wait_for("the record of the real domain is served", || {
        (circle.dig(name, "A") == ["192.0.2.7"]).then_some(())
    });

    let passphrase = circle.state().join("user/passphrase");
    let (rescued, _) = second_key(&circle, "rescued");
    for member in 0..3 {
        let seed = circle.state().join(format!("nodes/{member}/identity.seed"));
        let key = format!("member-{member}");
        let made = circle.json(&[
            "--passphrase-file",
            passphrase.to_str().unwrap(),
            "keys",
            "import",
            &key,
            seed.to_str().unwrap(),
        ]);
        let account = made["account"].as_str().unwrap();
        circle.ringfort(&["--key", "user", "account", "transfer", account, "10000"]);
        as_key(&circle, &key, &["name", "recover", name, &rescued]).success("vote");
    }
    let stranger = as_key(&circle, "rescued", &["name", "recover", name, &rescued]);
    assert_eq!(stranger.code, 4, "no member: {}", stranger.stderr);
    let shown = circle.json(&["name", "show", name]);
    assert_eq!(shown["recovery"]["decided"], rescued.as_str());
    as_key(&circle, "user", &["name", "veto", name]).success("veto");
    let shown = circle.json(&["name", "show", name]);
    assert_eq!(shown["recovery"], Value::Null);
    assert_ne!(shown["owner"], rescued.as_str());

    // What is given up stays on record.
    as_key(&circle, "user", &["name", "cancel", name]).success("cancel");
    let file = circle.scratch("released.proof");
    let file = file.to_str().unwrap();
    circle.ringfort(&["proof", "get", &format!("released/{name}"), "--to", file]);
    let released = circle.json(&["proof", "verify", file]);
    assert_eq!(released["record"]["reason"], "cancelled");
}
