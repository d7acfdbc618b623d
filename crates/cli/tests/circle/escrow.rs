//! The drill of docs/operations/keys.md: all keykeepers of a circle are destroyed, and
//! its members restore them in new protected processes.

use std::path::{Path, PathBuf};

use crate::harness::{
    Circle,
    keys::{Keykeeper, code, configure, derived, founder, vote},
    signal, wait_for,
};
use serde_json::Value;

const MEMBERS: usize = 4;

/// `ringfort` with the user's key.
fn user(circle: &Circle, arguments: &[&str]) -> crate::harness::Ended {
    circle.run(&[&["--key", "user"], arguments].concat())
}

/// Each member makes a key file for its escrow and enrols.
fn enrol(circle: &Circle) {
    for index in 0..MEMBERS {
        let account = founder(circle, index).id().to_string();
        circle.ringfort(&["--key", "user", "account", "transfer", &account, "1000000"]);
        let name = format!("escrow-{index}");
        let passphrase = circle.state().join("user/passphrase");
        let passphrase = passphrase.to_str().unwrap();
        circle.ringfort(&["--passphrase-file", passphrase, "keys", "new", &name]);
        let node = index.to_string();
        let enrol = [
            "key",
            "escrow",
            "enrol",
            "--with",
            &name,
            "--as-node",
            &node,
        ];
        user(circle, &enrol).success("enrol");
    }
}

/// Waits until every keykeeper in office is in escrow.
fn complete(circle: &Circle) -> Value {
    wait_for("all shares are in escrow", || {
        let shown = circle.json(&["--key", "user", "key", "escrow", "show"]);
        (shown["complete"] == true).then_some(shown)
    })
}

/// Takes keykeepers and everything they have on disk away.
fn destroy(circle: &Circle, count: usize) {
    for index in 0..count {
        let directory = circle.state().join(format!("keykeepers/{index}"));
        // Without its configuration the supervisor cannot bring it back.
        std::fs::remove_dir_all(&directory).unwrap();
        signal(circle.pid(&format!("keykeeper-{index}")), "KILL");
    }
}

/// A member hands its piece over; the file.
fn hand_over(circle: &Circle, request: &Path, member: usize) -> (crate::harness::Ended, PathBuf) {
    let piece = request.with_extension(format!("piece-{member}"));
    let ended = user(
        circle,
        &[
            "key",
            "recover",
            "hand-over",
            request.to_str().unwrap(),
            "--with",
            &format!("escrow-{member}"),
            "--to",
            piece.to_str().unwrap(),
        ],
    );
    (ended, piece)
}

fn finish(
    circle: &Circle,
    keeper: &str,
    pieces: &[PathBuf],
    config: &str,
) -> crate::harness::Ended {
    let mut all = vec!["key", "recover", "finish", keeper];
    all.extend(pieces.iter().map(|piece| piece.to_str().unwrap()));
    all.extend(["--config", config]);
    user(circle, &all)
}

/// Restores a keykeeper on a new host and starts it there.
fn restore(circle: &Circle, keeper: &str, members: [usize; 3]) -> Keykeeper {
    let directory = circle.scratch(&format!("restored {keeper}"));
    configure(circle, &directory);
    let config = directory.join("keykeeper.toml");
    let config = config.to_str().unwrap();
    let request = directory.join("request");
    let to = request.to_str().unwrap();
    let begin = [
        "key", "recover", "begin", keeper, "--config", config, "--to", to,
    ];
    user(circle, &begin).success("begin");

    // A request whose key somebody put his own in the place of: its evidence is of
    // another key.
    let mut forged = std::fs::read(&request).unwrap();
    forged[32 + 32 + 5] ^= 1;
    let other = directory.join("forged");
    std::fs::write(&other, forged).unwrap();
    let (refused, piece) = hand_over(circle, &other, members[0]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("evidence"), "{}", refused.stderr);
    assert!(!piece.exists());

    let mut pieces = Vec::new();
    for member in members {
        // Two of four members restore nothing.
        if pieces.len() == 2 {
            let refused = finish(circle, keeper, &pieces, config);
            assert_ne!(refused.code, 0);
            let why = "2 good pieces of 2; it takes 3";
            assert!(refused.stderr.contains(why), "{}", refused.stderr);
        }
        let (handed, piece) = hand_over(circle, &request, member);
        handed.success("hand over");
        pieces.push(piece);
    }
    finish(circle, keeper, &pieces, config).success("finish");
    Keykeeper::spawn(&directory)
}

#[test]
fn members_restore_keykeepers_that_were_all_destroyed_and_labels_keep_their_keys() {
    let circle = Circle::up();
    let code = code(&circle);
    circle.ringfort(&["--key", "user", "key", "grant", "disk.example"]);
    enrol(&circle);
    let shown = complete(&circle);
    assert_eq!(shown["least"], 3, "{shown}");
    let keepers: Vec<String> = shown["keepers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kept| kept["keeper"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(keepers.len(), 3);
    for member in 0..MEMBERS {
        let name = format!("escrow-{member}");
        user(&circle, &["key", "escrow", "check", "--with", &name]).success("check");
    }
    // Whoever is no holder has no piece.
    let stranger = user(&circle, &["key", "escrow", "check", "--with", "user"]);
    assert_ne!(stranger.code, 0);
    let before = derived(&circle, &code).unwrap();

    destroy(&circle, keepers.len());
    // Different members for each, so that no machine opens pieces of both.
    let first = restore(&circle, &keepers[0], [0, 1, 2]);
    let second = restore(&circle, &keepers[1], [3, 2, 1]);
    assert_eq!(derived(&circle, &code).unwrap(), before);

    // What was restored hands its shares on, and the new ones go in escrow again.
    // The third, which is lost, deals nothing: that phase lasts to its end.
    vote(&circle, &keepers[..2], 60);
    wait_for("two keykeepers are in office", || {
        let shown = circle.json(&["--key", "user", "key", "show"]);
        (shown["committee"]["keepers"].as_array()?.len() == 2).then_some(())
    });
    let shown = complete(&circle);
    assert_eq!(shown["keepers"].as_array().unwrap().len(), 2, "{shown}");
    assert_eq!(derived(&circle, &code).unwrap(), before);
    drop((first, second));
}
