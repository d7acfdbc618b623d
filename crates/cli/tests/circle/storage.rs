//! Stores that give other bytes than were put there (seed 000, procedure 400).

use std::path::PathBuf;

use crate::harness::{Circle, Ended, component, signal, wait_for};

/// Posts a request while the providers stand still, damages the ciphertext in
/// `mirrors`, and lets them go on: so the damage comes before any download.
fn run_with_damage(circle: &Circle, mirrors: &[&str]) -> Ended {
    let providers = [circle.pid("provider-0"), circle.pid("provider-1")];
    providers.iter().for_each(|pid| signal(*pid, "STOP"));
    let hello = component("hello");
    let arguments = [
        "run",
        hello.to_str().unwrap(),
        "--label",
        "damaged",
        "-o",
        "json",
    ];
    let running = circle
        .command(&arguments)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the request is posted", || {
        let rows = circle.json(&["ps"]);
        rows.as_array()
            .is_some_and(|rows| !rows.is_empty())
            .then_some(())
    });
    for mirror in mirrors {
        let object = only_object(&circle.state().join("objects").join(mirror));
        let mut bytes = std::fs::read(&object).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&object, bytes).unwrap();
    }
    providers.iter().for_each(|pid| signal(*pid, "CONT"));
    running.wait_with_output().unwrap().into()
}

fn only_object(directory: &PathBuf) -> PathBuf {
    let mut objects = std::fs::read_dir(directory).unwrap();
    let object = objects.next().unwrap().unwrap().path();
    assert!(
        objects.next().is_none(),
        "more than one object in {}",
        directory.display()
    );
    object
}

#[test]
fn a_flipped_bit_in_one_mirror_costs_nothing_but_a_second_try() {
    let circle = Circle::up();
    let ended = run_with_damage(&circle, &["a"]);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(circle.json(&["ps"])[0]["status"], "running");
}

#[test]
fn a_flipped_bit_in_every_mirror_ends_the_request_and_says_why() {
    let circle = Circle::up();
    let ended = run_with_damage(&circle, &["a", "b"]);
    assert_eq!(ended.code, 6, "{}\n{}", ended.stdout, ended.stderr);
    let row = circle.json(&["ps", "--all"])[0].clone();
    assert_eq!(
        row["paid"], 0,
        "nobody is paid for a payload that did not run"
    );
    assert_eq!(row["escrow"], 0, "the escrow came back");
    let contracts = row["contracts"].as_array().unwrap();
    assert!(!contracts.is_empty());
    for contract in contracts {
        assert_eq!(contract["status"]["ended"], "payload_corrupt", "{contract}");
        assert_eq!(contract["served"], 0);
    }
}
