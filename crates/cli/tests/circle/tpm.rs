//! What is in a TPM: a name's primary key, an account that signs there as it sends,
//! and the key that a keykeeper's state is sealed under. swtpm is a TPM that nobody
//! here wrote.

use std::path::Path;

use crate::harness::{Circle, component, keys, keys::Keykeeper, signal, tpm::Tpm, wait_for};

#[test]
fn a_name_is_owned_and_an_account_sends_by_a_key_in_a_tpm() {
    let circle = Circle::up();
    let mut tpm = Tpm::start();
    let key = tpm.key("owner");
    let (_, device) = key.split_once('@').unwrap();
    let made = circle.json(&["host", "key", "--label", "owner", "--tpm", device]);
    let public = made["public"].as_str().unwrap().to_owned();
    assert!(public.starts_with("p256:"), "{made}");

    // Its account receives, and sends back with a signature of the TPM's.
    circle.ringfort(&["account", "transfer", &public, "1000000"]);
    let key = tpm.key("owner");
    let shown = circle.json(&["--key", &key, "account", "show"]);
    assert_eq!(shown["balance"], 1_000_000, "{shown}");
    let before = circle.balance();
    let users = circle.json(&["account", "show"])["account"].clone();
    let key = tpm.key("owner");
    let back = [
        "--key",
        &key,
        "account",
        "transfer",
        users.as_str().unwrap(),
        "5000",
    ];
    circle.ringfort(&back);
    assert_eq!(circle.balance(), before + 5000);

    // A name goes over to it: from then on the TPM's key alone sets records.
    circle.ringfort(&["name", "register", "sealed.internal"]);
    circle.ringfort(&["name", "transfer", "sealed.internal", &public]);
    let set = ["name", "set", "sealed.internal", "TXT", "\"by the TPM\""];
    assert_ne!(circle.run(&set).code, 0, "the key file owns it no more");
    let key = tpm.key("owner");
    circle.ringfort(&[&["--key", &key][..], &set].concat());
    wait_for("the record is served", || {
        let texts = circle.dig("sealed.internal", "TXT");
        (texts == ["\"by the TPM\""]).then_some(())
    });

    // It registers a name itself, by a secret that its wallet keeps meanwhile,
    // and runs a payload whose output it alone reads.
    let key = tpm.key("owner");
    circle.ringfort(&["--key", &key, "name", "register", "own.internal"]);
    let shown = circle.json(&["name", "show", "own.internal"]);
    assert_eq!(shown["owner"], public.as_str());
    let (job, text) = (component("wordcount"), circle.scratch("text.txt"));
    std::fs::write(&text, "one two two\n").unwrap();
    let (job, text) = (job.to_str().unwrap(), text.to_str().unwrap());
    let key = tpm.key("owner");
    let ran = circle.json(&["--key", &key, "run", job, "--input", text, "--", "2"]);
    assert_eq!(ran["exit_code"], 0, "{ran}");
    let key = tpm.key("owner");
    let logs = circle.ringfort(&["--key", &key, "logs", "wordcount"]);
    assert!(logs.contains("3 words"), "{logs}");
    assert_eq!(
        circle.json(&["ps", "--all"]),
        serde_json::json!([]),
        "no one else's"
    );

    // Another label is another key; what writes a key out must have a file.
    let key = tpm.key("other");
    assert_ne!(circle.run(&[&["--key", &key][..], &set].concat()).code, 0);
    let key = tpm.key("owner");
    let refused = circle.run(&[
        "--key",
        &key,
        "name",
        "update-key",
        "sealed.internal",
        "--directory",
        "/nonexistent",
    ]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("key file"), "{}", refused.stderr);
}

#[test]
fn what_an_appraisal_of_a_host_came_to_is_on_the_ledger() {
    let circle = Circle::up();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../software/tests/data");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let debian = |name: &str| text(&data.join("debian").join(name));
    // The evidence of a guest that a real firmware and kernel measured.
    let evidence = circle.scratch("evidence");
    std::fs::create_dir(&evidence).unwrap();
    for file in ["quote.bin", "key.bin", "boot.bin", "list.bin"] {
        std::fs::copy(data.join("guest/honest").join(file), evidence.join(file)).unwrap();
    }
    // An index of another package: nothing that the guest ran is in it.
    let index = circle.scratch("packages.index");
    circle.ringfort(&[
        "host",
        "index",
        "--into",
        &text(&index),
        "--release",
        &debian("InRelease"),
        "--keyring",
        &debian("keyring.gpg"),
        "--packages",
        &debian("Packages"),
        &debian("openssh-sftp-server.deb"),
    ]);
    assert_eq!(circle.json(&["host", "results"]), serde_json::json!([]));
    let key = evidence.join("key.bin");
    let ended = circle.run(&[
        "host",
        "verify",
        "--from",
        &text(&evidence),
        "--trusted-key",
        &text(&key),
        "--nonce",
        &"5a".repeat(32),
        "--index",
        &text(&index),
        "--record",
    ]);
    assert_eq!(ended.code, 10, "not as published: {}", ended.stderr);

    let sha256 = |path: &Path| wire::Digest::of(&[&std::fs::read(path).unwrap()]).to_string();
    let host = sha256(&key);
    let own = circle.json(&["account", "show"])["account"].clone();
    for arguments in [&["host", "results"][..], &["host", "results", &host]] {
        let found = circle.json(arguments);
        let [one] = &found.as_array().unwrap()[..] else {
            panic!("{found}");
        };
        assert_eq!(
            (&one["host"], &one["appraiser"]),
            (&host.clone().into(), &own)
        );
        let result = &one["record"]["result"];
        let report = evidence.join("report.json");
        assert_eq!(result["report"], sha256(&report));
        assert_eq!(result["index"], sha256(&index));
        let report: serde_json::Value =
            serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        assert_eq!(result["known"], report["known"]);
        assert_eq!(result["entries"], report["entries"]);
        let findings = report["findings"].as_array().unwrap().len();
        assert!(findings > 0 && result["findings"] == findings, "{result}");
        assert!(one["record"]["clean_since"].is_null(), "{one}");
    }
    let other = "00".repeat(32);
    assert_eq!(
        circle.json(&["host", "results", &other]),
        serde_json::json!([])
    );
}

/// Has `tpm` keep the sealing key of the keykeeper that `directory` is configured for.
fn seal_in(tpm: &Tpm, directory: &Path) {
    let file = directory.join("keykeeper.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.split("[seal]").next().unwrap();
    let socket = tpm.socket();
    std::fs::write(file, format!("{text}[seal]\ntpm = {socket:?}\n")).unwrap();
}

/// What a keykeeper says that is to start and must not.
fn refused(circle: &Circle, directory: &Path) -> String {
    let config = directory.join("keykeeper.toml");
    let ended = circle.run(&["keykeeper", "--config", config.to_str().unwrap()]);
    assert_ne!(ended.code, 0, "{}", ended.stderr);
    ended.stderr
}

#[test]
fn a_share_sealed_by_a_tpm_is_opened_by_that_tpm_on_the_system_that_it_started() {
    let circle = Circle::up();
    let code = keys::code(&circle);
    circle.ringfort(&["--key", "user", "key", "grant", "disk.example"]);
    let expected = keys::derived(&circle, &code).unwrap();
    let mut tpm = Tpm::start();

    // A further keykeeper, sealed, gets a share by the members' vote.
    let directory = circle.scratch("sealed");
    keys::configure(&circle, &directory);
    seal_in(&tpm, &directory);
    let (key, keykeeper) = keys::start_configured(&circle, &directory);
    assert!(directory.join("sealing.tpm").exists());
    assert!(!directory.join("sealing.key").exists(), "the TPM has it");
    let shown = circle.json(&["key", "show"]);
    let own = shown["committee"]["keepers"].as_array().unwrap().iter();
    let mut keepers: Vec<String> = own.map(|key| key.as_str().unwrap().to_owned()).collect();
    keepers.push(key);
    keys::vote(&circle, &keepers, 500);
    let shown = wait_for("shares are handed on", || {
        let shown = circle.json(&["key", "show"]);
        (shown["committee"]["keepers"].as_array()?.len() == 4).then_some(shown)
    });
    assert_eq!(shown["committee"]["quorum"], 3, "{shown}");

    // Without one of the others nothing is derived but with this one's share; and it
    // has it again after a start on the same system.
    drop(keykeeper);
    signal(circle.pid("keykeeper-0"), "STOP");
    let keykeeper = Keykeeper::spawn(&directory);
    assert_eq!(keys::derived(&circle, &code).unwrap(), expected);
    drop(keykeeper);

    // Another kernel, as register 9 has it: refused, with what to do.
    tpm.extend(9);
    let said = refused(&circle, &directory);
    assert!(said.contains("register 9 is not what it was"), "{said}");
    assert!(said.contains("ringfort key recover"), "{said}");
    // A register that is not among those: no matter.
    let mut tpm = tpm.switched_off_and_on();
    tpm.extend(10);
    let keykeeper = Keykeeper::spawn(&directory);
    assert_eq!(keys::derived(&circle, &code).unwrap(), expected);
    drop(keykeeper);

    // The disk in another machine: its TPM cannot.
    let other = Tpm::start();
    seal_in(&other, &directory);
    let said = refused(&circle, &directory);
    assert!(said.contains("was it sealed by this TPM?"), "{said}");
    // Nor is a new key made in the place of one that is damaged.
    seal_in(&tpm, &directory);
    let file = directory.join("sealing.tpm");
    let sealed = std::fs::read(&file).unwrap();
    std::fs::write(&file, &sealed[..sealed.len() / 2]).unwrap();
    let said = refused(&circle, &directory);
    assert!(said.contains("is no sealed key"), "{said}");
    std::fs::write(&file, sealed).unwrap();
    let _keykeeper = Keykeeper::spawn(&directory);
    assert_eq!(keys::derived(&circle, &code).unwrap(), expected);
}
