//! Where are the data key and the payload's plaintext? Nowhere but in enclaves
//! and with their user: not in files, logs or the ledger, and not in the memory
//! of any other process.

mod harness;

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use base64::Engine as _;
use harness::{
    Circle, Ended, children, component,
    user::{runtime, user},
};

/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// Something that must not be found, with what it is.
struct Secret {
    what: &'static str,
    bytes: Vec<u8>,
}

/// Text that is nowhere else: a word and random hex digits.
fn canary(word: &str) -> String {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut bytes)
        .unwrap();
    format!("{word}-{}", hex::encode(bytes))
}

/// The longest secret that is looked for; chunks overlap by as much.
const LONGEST: usize = 128;

fn found_in<'a>(secrets: &'a [Secret], haystack: &[u8]) -> Vec<&'a str> {
    secrets
        .iter()
        .filter(|secret| memchr::memmem::find(haystack, &secret.bytes).is_some())
        .map(|secret| secret.what)
        .collect()
}

/// Every file beneath `directory`.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&path, found);
        } else if kind.is_file() {
            found.push(path);
        }
    }
}

/// Which secrets a process's readable memory holds.
///
/// Reading another's memory needs root; pages that even root cannot read
/// (secret memory) count as not held, which is their purpose.
fn found_in_memory(pid: u32, secrets: &[Secret]) -> Vec<&str> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else {
        panic!("the memory of process {pid} cannot be read: this test needs root");
    };
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| !line.contains("[v")) {
        let range = line.split(' ').next().unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let start = u64::from_str_radix(start, 16).unwrap();
        let end = u64::from_str_radix(end, 16).unwrap();
        let mut at = start;
        let mut buffer = vec![0; CHUNK + LONGEST];
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(CHUNK).min(buffer.len());
            if let Ok(read) = memory.read_at(&mut buffer[..want], at) {
                found.extend(found_in(secrets, &buffer[..read]));
            }
            at += CHUNK as u64;
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The parts of the circle, by name, and the enclaves that providers launched.
fn processes(circle: &Circle) -> (Vec<(u32, String)>, Vec<u32>) {
    let supervisor = circle.pid("supervisor");
    let mut parts = vec![(supervisor, "supervisor".to_owned())];
    let mut enclaves = Vec::new();
    for pid in children(supervisor) {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        parts.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
        enclaves.extend(children(pid));
    }
    (parts, enclaves)
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

/// Every block of the ledger, as the API exports it.
fn ledger_export(circle: &Circle) -> Vec<u8> {
    let client = harness::user::client(circle);
    let height = circle.height();
    let mut export = Vec::new();
    runtime().block_on(async {
        for height in 1..=height {
            let block = client.view(&format!("blocks/{height}")).await.unwrap();
            export.extend(serde_json::to_vec(&block).unwrap());
        }
    });
    export
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
    for path in &all {
        let mut file = File::open(path).unwrap();
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(found_in(&secrets, &bytes), [""; 0], "in {}", path.display());
    }
    assert_eq!(
        found_in(&secrets, &ledger_export(&circle)),
        [""; 0],
        "on the ledger"
    );

    let (parts, enclaves) = processes(&circle);
    assert_eq!(enclaves.len(), 1, "one enclave serves the one replica");
    assert_eq!(parts.len(), 11, "{parts:?}");
    for (pid, line) in parts {
        let mut held = found_in_memory(pid, &secrets);
        if is_users(&line) {
            held.retain(|what| !what.starts_with("the data key"));
        }
        assert_eq!(held, [""; 0], "in {line}");
    }
}
