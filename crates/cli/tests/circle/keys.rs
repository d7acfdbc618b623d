//! Keys that nobody holds alone, in a whole circle: keykeepers as processes, a
//! first key by the members' vote, a label, and a file that only its key opens.

use crate::harness::{
    Circle, component,
    keys::{code, derived, founder, start, vote},
    wait_for,
};
use serde_json::Value;

/// The members vote for the circle's own keykeepers and a further one: it gets a
/// share of the same secret.
fn hand_on(circle: &Circle, own: &[Value], master_key: &Value) {
    let (key, further) = start(circle, "further");
    let mut keepers: Vec<String> = own
        .iter()
        .map(|key| key.as_str().unwrap().to_owned())
        .collect();
    keepers.push(key);
    vote(circle, &keepers, 500);
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
    assert_eq!(first, derived(circle, code).unwrap());
    assert_eq!(first, greeting(circle, &places[1]));

    // The next epoch's key is another one.
    circle.ringfort(&["--key", "user", "key", "rotate", "disk.example"]);
    circle.ringfort(&["--key", "user", "rm", NAME]);
    circle.serve(&hello, NAME, &keyed);
    let place = circle.endpoints(NAME).remove(0);
    let second = greeting(circle, &place);
    assert_ne!(first, second);
    assert_eq!(second, derived(circle, code).unwrap());
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
    crate::harness::signal(silent, "STOP");
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

    crate::harness::signal(silent, "CONT");
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
