//! Searches memory, files and ledger of a circle for what must not be there.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{Circle, children, user::runtime};

/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// Something that must not be found, with what it is.
pub struct Secret {
    pub what: &'static str,
    pub bytes: Vec<u8>,
}

/// The longest secret that is looked for; chunks overlap by as much.
pub const LONGEST: usize = 128;

fn found_in<'a>(secrets: &'a [Secret], haystack: &[u8]) -> Vec<&'a str> {
    secrets
        .iter()
        .filter(|secret| memchr::memmem::find(haystack, &secret.bytes).is_some())
        .map(|secret| secret.what)
        .collect()
}

/// Every file beneath `directory`.
pub fn files(directory: &Path, found: &mut Vec<PathBuf>) {
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
pub fn found_in_memory(pid: u32, secrets: &[Secret]) -> Vec<&str> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else {
        panic!("the memory of process {pid} cannot be read: this test needs root");
    };
    let mut found = Vec::new();
    // What cannot be read is reserved and empty: an enclave reserves terabytes.
    let readable = |line: &&str| {
        let rights = line.split(' ').nth(1).unwrap_or_default();
        rights.starts_with('r') && !line.contains("[v")
    };
    for line in maps.lines().filter(readable) {
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

/// Which secrets are in swap, of whatever process: every device and file that is in use
/// for it, whole. A machine without swap has none. What zswap holds compressed in memory
/// is not searched; a living process's pages there are found through its memory.
pub fn found_in_swap(secrets: &[Secret]) -> Vec<&str> {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let mut found = Vec::new();
    for place in swaps.lines().skip(1) {
        let path = place.split_whitespace().next().unwrap_or_default();
        // A file that is gone meanwhile was another test's.
        let Ok(device) = File::open(path.replace("\\040", " ")) else {
            continue;
        };
        let mut buffer = vec![0; CHUNK + LONGEST];
        let mut at = 0;
        while let Ok(read @ 1..) = device.read_at(&mut buffer, at) {
            found.extend(found_in(secrets, &buffer[..read]));
            at += CHUNK.min(read) as u64;
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// What a protected process that holds the key of a label is called here.
pub const HOLDER: &str = "a holder's protected process";

/// The parts of the circle, by name, with the protected processes of keykeepers
/// and of those whose keys are a label's, and the enclaves that providers launched.
pub fn processes(circle: &Circle) -> (Vec<(u32, String)>, Vec<u32>) {
    let supervisor = circle.pid("supervisor");
    let mut parts = vec![(supervisor, "supervisor".to_owned())];
    let mut enclaves = Vec::new();
    for pid in children(supervisor) {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(" keykeeper --config") {
            let protected = children(pid).into_iter();
            parts.extend(protected.map(|pid| (pid, "a keykeeper's protected process".to_owned())));
        } else if line.contains(" signer --config") || line.contains(" ca --config") {
            parts.extend(
                children(pid)
                    .into_iter()
                    .map(|pid| (pid, HOLDER.to_owned())),
            );
        } else {
            enclaves.extend(children(pid));
        }
        parts.push((pid, line));
    }
    (parts, enclaves)
}

/// Every block of the ledger, as the API exports it.
fn ledger_export(circle: &Circle) -> Vec<u8> {
    let client = super::user::client(circle);
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

/// Asserts that no file of the circle, and no block of its ledger, holds any of
/// `secrets`.
pub fn assert_not_stored(circle: &Circle, secrets: &[Secret]) {
    let mut all = Vec::new();
    files(&circle.state(), &mut all);
    for path in &all {
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(found_in(secrets, &bytes), [""; 0], "in {}", path.display());
    }
    let ledger = ledger_export(circle);
    assert_eq!(found_in(secrets, &ledger), [""; 0], "on the ledger");
}
