//! Where are the data key and the payload's plaintext? Nowhere but in enclaves
//! and with their user: not in files, logs or the ledger, and not in the memory
//! of any other process.

use std::{fs::File, io::Read as _, process::Command};

use crate::harness::{
    Circle, Ended, component,
    search::{LONGEST, Secret, assert_not_stored, files, found_in_memory, processes},
    user::{runtime, user},
};
use base64::Engine as _;

/// Text that is nowhere else: a word and random hex digits.
fn canary(word: &str) -> String {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut bytes)
        .unwrap();
    format!("{word}-{}", hex::encode(bytes))
}

/// The user's own agent holds the user's keys to answer for replacements.
fn is_users(line: &str) -> bool {
    line.contains(" agent --config")
}

/// The forms in which a key could lie about.
fn forms_of_key(key: &[u8; 32]) -> Vec<Secret> {
    let form = |what, bytes| Secret { what, bytes };
    vec![
        form("the data key", key.to_vec()),
        form("the data key in hex", hex::encode(key).into_bytes()),
        form(
            "the data key in base64",
            base64::engine::general_purpose::STANDARD_NO_PAD
                .encode(key)
                .into_bytes(),
        ),
    ]
}

#[test]
fn key_and_plaintext_are_nowhere_outside_enclaves_and_their_user() {
    let circle = Circle::up();
    let in_environment = canary("environment");
    let in_request = canary("request");
    let name = "secret.internal";
    let variable = format!("RINGFORT_CANARY={in_environment}");
    let id = circle.serve(&component("hello"), name, &["--env", &variable]);
    let place = circle.endpoints(name).remove(0);
    // The payload really has the canary: it shows it to whoever asks over TLS.
    let facts = circle.curl(name, &place, "/facts").unwrap();
    assert!(facts.contains(&in_environment), "{facts}");
    let echoed = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--cacert"])
        .arg(circle.state().join("ca/roots.pem"))
        .args([
            "--resolve",
            &format!("{name}:{}:{}", place.1, place.0),
            "--data",
            &in_request,
        ])
        .arg(format!("https://{name}:{}/echo", place.1))
        .output()
        .unwrap();
    assert_eq!(Ended::from(echoed).success("POST /echo"), in_request);

    let user = user(&circle);
    let data_key = runtime().block_on(async {
        let id = id.parse().unwrap();
        let request = user.request(id).await.unwrap();
        *user.secrets(id, &request).unwrap().data_key.expose()
    });
    let program = std::fs::read(component("hello")).unwrap();
    let middle = program.len() / 2;
    let mut secrets = forms_of_key(&data_key);
    let mut add = |what, bytes| secrets.push(Secret { what, bytes });
    add("the canary in the environment", in_environment.into_bytes());
    add("the canary in a request", in_request.into_bytes());
    add("the program", program[middle..middle + LONGEST].to_vec());
    assert!(secrets.iter().all(|secret| secret.bytes.len() <= LONGEST));

    // The search finds what is there: this very process holds them all.
    assert_eq!(
        found_in_memory(std::process::id(), &secrets).len(),
        secrets.len()
    );

    let mut all = Vec::new();
    files(&circle.state(), &mut all);
    let stored = circle.state().join("objects/a");
    assert!(
        all.iter().any(|path| path.starts_with(&stored)),
        "the ciphertext is looked at too"
    );
    assert_not_stored(&circle, &secrets);

    let (parts, enclaves) = processes(&circle);
    assert_eq!(enclaves.len(), 1, "one enclave serves the one replica");
    assert_eq!(parts.len(), 11 + 2 * 3 + 2, "{parts:?}");
    for (pid, line) in parts {
        let mut held = found_in_memory(pid, &secrets);
        if is_users(&line) {
            held.retain(|what| !what.starts_with("the data key"));
        }
        assert_eq!(held, [""; 0], "in {line}");
    }
}
