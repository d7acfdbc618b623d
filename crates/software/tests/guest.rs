//! Appraisal of a Debian guest that a real firmware and kernel measured, under
//! a TPM's quote (data/guest): as it was published, with a binary replaced, and
//! with its command line altered.

use std::collections::{BTreeMap, BTreeSet};

use attest::tpm::{AttestationKey, Quote, VerifiedQuote};
use borsh::BorshDeserialize as _;
use software::{
    appraisal::{Expectations, Finding, HostReport, HostState, appraise_host},
    archive::{ListedPackage, PackagedFile, Release},
    boot_log,
    index::Index,
};

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/guest/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the guest's packages contain, of files.txt.
fn index() -> Index {
    let text = String::from_utf8(file("files.txt")).unwrap();
    let mut packages: BTreeMap<(String, String), Vec<PackagedFile>> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [digest, path, name, version] = words[..] else {
            panic!("{line}");
        };
        let mut sha256 = [0; 32];
        hex::decode_to_slice(digest, &mut sha256).unwrap();
        let key = (name.to_owned(), version.to_owned());
        packages.entry(key).or_default().push(PackagedFile {
            sha256,
            path: path.to_owned(),
        });
    }
    let release = Release {
        name: "Debian bookworm".into(),
        date_ms: 1,
        files: BTreeMap::new(),
    };
    let added: Vec<_> = packages
        .into_iter()
        .map(|((name, version), files)| {
            let listed = ListedPackage {
                name,
                version,
                architecture: "amd64".into(),
                sha256: [0; 32],
                filename: String::new(),
            };
            (listed, files)
        })
        .collect();
    let listed: Vec<_> = added.iter().map(|(listed, _)| listed.clone()).collect();
    let mut index = Index::default();
    index.take_release(&release, &listed, added).unwrap();
    index
}

fn quote(guest: &str) -> VerifiedQuote {
    let key = AttestationKey::from_public(&file(&format!("{guest}/key.bin"))).unwrap();
    let quote = Quote::try_from_slice(&file(&format!("{guest}/quote.bin"))).unwrap();
    let verified = quote.verify(&key).unwrap();
    assert_eq!(verified.extra_data, [0x5A; 32]);
    verified
}

/// The digests that the honest guest's boot measured.
fn expected_boot() -> BTreeSet<(u8, [u8; 32])> {
    let log = file("honest/boot.bin");
    let events = boot_log::check(&log, &quote("honest").registers).unwrap();
    events
        .iter()
        .map(|event| (event.register, *event.sha256))
        .collect()
}

fn appraise(guest: &str) -> HostReport {
    let expectations = Expectations {
        boot: Some(expected_boot()),
        ..Expectations::default()
    };
    appraise_host(
        &quote(guest),
        &file(&format!("{guest}/boot.bin")),
        &file(&format!("{guest}/list.bin")),
        &index(),
        &expectations,
        &mut HostState::default(),
        2,
    )
    .unwrap()
}

#[test]
fn a_guest_that_runs_what_was_published_is_clean() {
    let report = appraise("honest");
    assert!(report.clean, "{report:?}");
    assert_eq!((report.entries, report.known), (6, 6));
    assert!(report.boot_events > 10);
}

#[test]
fn a_replaced_binary_is_named_with_its_package() {
    let report = appraise("tampered");
    let [Finding::Changed { path, package, .. }] = &report.findings[..] else {
        panic!("{report:?}");
    };
    assert_eq!(path, "/usr/bin/hello");
    assert!(package.starts_with("hello 2.10"));
}

#[test]
fn an_altered_command_line_is_named() {
    let report = appraise("altered");
    assert!(!report.clean);
    let texts: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| match finding {
            Finding::Boot { register, text, .. } => {
                assert_eq!(*register, 9, "{finding:?}");
                text.as_str()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(!texts.is_empty());
}

#[test]
fn one_guests_logs_do_not_fit_anothers_quote() {
    for (quoted, shown) in [("tampered", "honest"), ("altered", "honest")] {
        let verdict = appraise_host(
            &quote(quoted),
            &file(&format!("{shown}/boot.bin")),
            &file(&format!("{shown}/list.bin")),
            &index(),
            &Expectations::default(),
            &mut HostState::default(),
            2,
        );
        assert!(verdict.is_err(), "{quoted}");
    }
}
