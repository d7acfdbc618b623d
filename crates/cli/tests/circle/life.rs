//! `up`, `down`, `status` and proofs: a circle's life on one machine.

use crate::harness::{Circle, Ended, component, wait_for};

fn parts_running(circle: &Circle) -> usize {
    let run = circle.state().join("run");
    let names = std::fs::read_dir(run).unwrap().flatten();
    names
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".pid"))
        .count()
}

#[test]
fn a_circle_goes_up_says_how_it_is_goes_down_and_up_again() {
    let circle = Circle::up();
    let again = circle.run(&["up"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains("already running"), "{}", again.stderr);
    let other = circle.run(&["up", "--validators", "7"]);
    assert_ne!(other.code, 0);
    assert!(
        other.stderr.contains("does not fit the circle"),
        "{}",
        other.stderr
    );

    let status = circle.run(&["status"]);
    assert_eq!(status.code, 0, "{}", status.stdout);
    for part in [
        "node-0",
        "node-3",
        "provider-1",
        "signer",
        "names",
        "ca",
        "agent",
    ] {
        assert!(status.stdout.contains(part), "{}", status.stdout);
    }
    let height = circle.height();
    circle.ringfort(&["down"]);
    assert_eq!(parts_running(&circle), 0, "pid files are left");
    assert_eq!(circle.run(&["status"]).code, 3);
    assert_eq!(circle.run(&["down"]).code, 0, "down twice is no failure");
    circle.ringfort(&["up"]);
    assert!(circle.height() >= height);

    circle.kill("provider-0");
    wait_for("status counts the restart", || {
        (circle.part("provider-0")["restarts"] == 1).then_some(())
    });
    circle.wait_until_well();
    let purge = circle.run(&["down", "--purge"]);
    assert_ne!(purge.code, 0, "state is not removed without a confirmation");
    assert!(circle.state().exists());
    circle.ringfort(&["down", "--purge", "--yes"]);
    assert!(!circle.state().exists());
}

#[test]
fn a_proof_verifies_with_everything_switched_off_and_a_changed_one_does_not() {
    let circle = Circle::up();
    circle.ringfort(&["name", "register", "proven.internal"]);
    circle.ringfort(&[
        "name",
        "set",
        "proven.internal",
        "TXT",
        "\"shown by proof\"",
    ]);
    let key = circle.json(&["circle", "show"])["circle_key"]
        .as_str()
        .unwrap()
        .to_owned();
    let proof = circle.scratch("name.proof");
    let absent = circle.scratch("absent.proof");
    for (entry, path) in [
        ("name/proven.internal", &proof),
        ("name/absent.internal", &absent),
    ] {
        circle.ringfort(&["proof", "get", entry, "--to", path.to_str().unwrap()]);
    }
    circle.ringfort(&["down", "--purge", "--yes"]);

    let verify = |path: &std::path::Path, key: &str| -> Ended {
        circle.run(&[
            "-o",
            "json",
            "proof",
            "verify",
            path.to_str().unwrap(),
            "--circle",
            key,
        ])
    };
    let shown = verify(&proof, &key).json_lines().pop().unwrap();
    assert_eq!(shown["entry"], "name/proven.internal");
    assert_eq!(shown["present"], true);
    assert_eq!(shown["record"]["records"][0]["rtype"], 16);
    assert!(shown["height"].as_u64().unwrap() > 0);
    let shown = verify(&absent, &key).json_lines().pop().unwrap();
    assert_eq!(shown["present"], false, "absence is proven too");

    let good = std::fs::read(&proof).unwrap();
    // Every part of it counts: header, certificate, key, value and path.
    for at in (0..good.len()).step_by(97) {
        let mut changed = good.clone();
        changed[at] ^= 1;
        std::fs::write(&proof, changed).unwrap();
        let ended = verify(&proof, &key);
        assert_eq!(
            ended.code, 5,
            "byte {at}: {}\n{}",
            ended.stdout, ended.stderr
        );
    }
    std::fs::write(&proof, &good).unwrap();
    let mut other = key.clone().into_bytes();
    other[40] = if other[40] == b'0' { b'1' } else { b'0' };
    assert_eq!(verify(&proof, std::str::from_utf8(&other).unwrap()).code, 5);
}

#[test]
fn up_says_what_stands_in_its_way() {
    let circle = Circle::up();
    circle.ringfort(&["down"]);
    let taken = std::net::TcpListener::bind(("127.0.0.1", circle.base_port + 100)).unwrap();
    let ended = circle.run(&["up"]);
    assert_ne!(ended.code, 0);
    assert!(ended.stderr.contains("node-0 needs"), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains(&format!("pid {}", std::process::id())),
        "{}",
        ended.stderr
    );
    drop(taken);

    let enclave = circle.state().join("enclave/ringfort-enclave");
    let program = std::fs::read(&enclave).unwrap();
    std::fs::write(&enclave, b"#!/bin/sh\n").unwrap();
    let ended = circle.run(&["up"]);
    assert_ne!(ended.code, 0);
    assert!(
        ended.stderr.contains("the genesis admits"),
        "{}",
        ended.stderr
    );
    std::fs::write(&enclave, program).unwrap();

    let file = circle.state().join("circle.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("state_version = 1", "state_version = 2"),
    )
    .unwrap();
    let ended = circle.run(&["up"]);
    assert_ne!(ended.code, 0);
    assert!(
        ended.stderr.contains("layout version 2"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("hint:"), "{}", ended.stderr);
    std::fs::write(&file, text).unwrap();
    circle.ringfort(&["up"]);
    circle.serve(&component("hello"), "after.internal", &[]);
}
