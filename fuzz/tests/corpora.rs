//! Messages that broke other name servers, or nearly did: the fuzz corpora of
//! BIND, as they are, through every decoder here that reads DNS.
//!
//! A selection is in `corpora/`; `RINGFORT_CORPORA` names a directory with
//! more, which `script/fuzz --corpora` fills.

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

/// The targets that read DNS: the whole answer path for every transport, the
/// rendered path beside it, frames and JSON and TSIG, and dynamic updates.
const TARGETS: [&str; 5] = [
    "dns_query",
    "dns_rendered",
    "dns_fronts",
    "name_update",
    "presentation",
];

/// Larger files are no messages: no transport carries them.
const MAX_FILE: u64 = 65_535;

fn files(beneath: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(beneath)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", beneath.display()));
    for entry in entries {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.is_file() && entry.metadata().unwrap().len() <= MAX_FILE {
            found.push(entry.path());
        }
    }
}

/// The message as it is, behind a length as streams carry it, and as an update
/// whatever its opcode was.
fn forms(message: &[u8]) -> Vec<Vec<u8>> {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let mut forms = vec![message.to_vec(), [&length, message].concat()];
    // As a query, where it is a response: those are met with silence.
    for (opcode, response) in [(0, 0), (5, 0), (0, 0x80)] {
        let mut other = message.to_vec();
        if let Some(octet) = other.get_mut(2) {
            *octet = (*octet & 0x07) | (opcode << 3) | response;
            forms.push(other);
        }
    }
    forms
}

#[test]
fn no_message_of_the_public_corpora_breaks_anything() {
    let mut all = Vec::new();
    files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("corpora/bind9"),
        &mut all,
    );
    assert!(
        all.len() >= 30,
        "the selection is gone: {} files",
        all.len()
    );
    if let Some(more) = std::env::var_os("RINGFORT_CORPORA") {
        let before = all.len();
        files(Path::new(&more), &mut all);
        assert!(all.len() > before, "RINGFORT_CORPORA holds no file");
    }
    let mut runs = 0;
    for name in TARGETS {
        let mut targets = fuzz::TARGETS.iter();
        let target = targets.find(|target| target.name == name).unwrap();
        for file in &all {
            for form in forms(&fs::read(file).unwrap()) {
                let outcome = catch_unwind(|| (target.run)(&form));
                assert!(outcome.is_ok(), "{name} panicked on {}", file.display());
                runs += 1;
            }
        }
    }
    println!("{} files, {runs} runs, no panic", all.len());
}
