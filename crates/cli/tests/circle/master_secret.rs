//! Where is the circle's master secret? Nowhere: a quorum's states are opened with
//! what their hosts have, the secret is put together from them, and then it is
//! searched for in every process, in every file and on the ledger. The same search for a
//! label's key finds it in the enclave that asked for it alone.
//!
//! That this test can do so on one machine is what development evidence means.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::harness::{
    Circle, Ended, component,
    keys::{code, derived},
    search::{Secret, assert_not_stored, found_in_memory, found_in_swap, processes},
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// A keykeeper's state, opened with its host's sealing key (docs/spec/keys.md §2).
fn state(directory: &Path) -> Vec<u8> {
    let key = std::fs::read_to_string(directory.join("sealing.key")).unwrap();
    let key = hex::decode(key.trim()).unwrap();
    let sealed = std::fs::read(directory.join("state.sealed")).unwrap();
    let (nonce, ciphertext) = sealed.split_at(12);
    let mut bytes = ciphertext.to_vec();
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
    let aad = Aad::from(b"ringfort/keykeeper/state/1");
    cipher
        .open_in_place(nonce, aad, &mut bytes)
        .unwrap()
        .to_vec()
}

/// The master secret, by the example that puts it together.
fn reconstruct(sharing: &str, states: &[Vec<u8>]) -> Vec<u8> {
    let program = Path::new(env!("CARGO_BIN_EXE_ringfort")).with_file_name("examples/reconstruct");
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; cargo build -p threshold --example reconstruct",
                program.display()
            )
        });
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{sharing}").unwrap();
    for state in states {
        writeln!(input, "{}", hex::encode(state)).unwrap();
    }
    drop(input);
    let ended = Ended::from(child.wait_with_output().unwrap());
    hex::decode(ended.success("reconstruct").trim()).unwrap()
}

#[test]
fn the_master_secret_is_in_no_process_no_file_and_not_on_the_ledger() {
    let circle = Circle::up();
    // The keykeepers have made a key, and derive with it.
    circle.ringfort(&["key", "grant", "disk.example"]);
    let name = "search.internal";
    let keyed = ["--env-key", "GREETING=disk.example"];
    circle.serve(&component("hello"), name, &keyed);

    let shown = circle.json(&["key", "show"]);
    let sharing = shown["committee"]["sharing"].as_str().unwrap();
    let directories = (0..3).map(|index| {
        let place = format!("keykeepers/{index}/data");
        circle.state().join(place)
    });
    let states: Vec<Vec<u8>> = directories.map(|directory| state(&directory)).collect();
    let secret = reconstruct(sharing, &states[..2]);
    assert_eq!(
        secret,
        reconstruct(sharing, &states[1..]),
        "any quorum is one"
    );
    assert_eq!(secret.len(), 32);

    let mut reversed = secret.clone();
    reversed.reverse();
    let digits = hex::encode(&secret).into_bytes();
    let forms = [
        ("as it is", secret),
        ("reversed", reversed),
        ("in hex", digits),
    ];
    let secrets = forms.map(|(what, bytes)| Secret { what, bytes });

    // The search finds what is there: this very process holds all three.
    let own = found_in_memory(std::process::id(), &secrets);
    assert_eq!(own.len(), secrets.len());
    let (parts, enclaves) = processes(&circle);
    assert_eq!(enclaves.len(), 1);
    let enclaves = enclaves
        .into_iter()
        .map(|pid| (pid, "an enclave".to_owned()));
    for (pid, line) in parts.into_iter().chain(enclaves) {
        assert_eq!(found_in_memory(pid, &secrets), [""; 0], "in {line}");
    }
    // Nothing where there is no swap. This test's own memory is not locked: a machine that
    // swaps it out while it runs has too little.
    assert_eq!(found_in_swap(&secrets), [""; 0], "in swap");
    assert_not_stored(&circle, &secrets);
    only_the_payload_has_its_labels_key(&circle);
}

/// The key of a label is nowhere but in the enclave whose payload asked for it, and
/// there in one form: the payload's environment.
fn only_the_payload_has_its_labels_key(circle: &Circle) {
    let digits = derived(circle, &code(circle)).unwrap();
    let bytes = hex::decode(&digits).unwrap();
    let forms = [("as it is", bytes), ("in hex", digits.into_bytes())];
    let secrets = forms.map(|(what, bytes)| Secret { what, bytes });
    let (parts, enclaves) = processes(circle);
    for (pid, line) in parts {
        assert_eq!(found_in_memory(pid, &secrets), [""; 0], "in {line}");
    }
    for pid in enclaves {
        // What plain Linux does not hide from root (SECURITY.md), and the proof that
        // the search finds what is there.
        assert_eq!(found_in_memory(pid, &secrets), ["in hex"], "in the enclave");
    }
    assert_not_stored(circle, &secrets);
}
