//! Who may depend on whom? The table below is ARCHITECTURE.md's map; what the
//! manifests say must fit it.
//!
//! Manifests are read as they are written, so a forbidden dependency is found
//! whether or not it is built by default.

use std::{collections::BTreeMap, path::Path};

/// Each crate of ours, and all of ours that it may depend on. A new crate
/// needs a line here before it may exist.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("key", &[]),
    ("wire", &["key"]),
    ("proof", &["wire"]),
    ("attest", &["wire"]),
    ("tsm", &["wire"]),
    ("platform", &["wire", "attest", "tsm"]),
    ("software", &["wire", "attest"]),
    ("handshake", &["wire"]),
    ("threshold", &["wire"]),
    ("update", &["wire"]),
    (
        "ledger",
        &["wire", "proof", "attest", "threshold", "update"],
    ),
    ("engine", &["wire"]),
    ("node", &["wire", "proof", "attest", "ledger", "engine"]),
    ("client", &["wire", "proof", "attest", "handshake"]),
    (
        "provider",
        &["wire", "client", "attest", "handshake", "platform"],
    ),
    ("naming", &["wire", "client", "update"]),
    ("sandbox", &[]),
    (
        "keykeeper",
        &["wire", "proof", "attest", "threshold", "sandbox"],
    ),
    ("keyhost", &["wire", "client", "keykeeper", "platform"]),
    ("vault-guard", &["key"]),
    ("vault", &["wire", "sandbox", "vault-guard"]),
    (
        "enclave",
        &["wire", "handshake", "threshold", "sandbox", "tsm"],
    ),
    (
        "cli",
        &[
            "wire",
            "proof",
            "attest",
            "handshake",
            "engine",
            "node",
            "client",
            "provider",
            "naming",
            "keykeeper",
            "keyhost",
            "threshold",
            "vault",
            "platform",
            "software",
        ],
    ),
    ("testkit", &["wire", "proof", "ledger", "engine", "node"]),
    ("house", &[]),
];

/// What a crate's tests may use beyond what the crate itself may: a test may
/// check an agent against the real ledger, it must only not ship with it.
const TESTS_MAY_ALSO_USE: &[(&str, &[&str])] = &[
    ("proof", &["engine"]),
    ("engine", &["proof"]),
    ("client", &["engine", "ledger", "node"]),
    (
        "provider",
        &["engine", "ledger", "node", "enclave", "proof"],
    ),
    ("naming", &["engine", "ledger", "node", "proof", "attest"]),
    ("keykeeper", &["ledger"]),
    ("enclave", &["attest"]),
    ("software", &["platform"]),
    ("cli", &["ledger"]),
];

/// The prefix of the consensus library's crates, and the one crate that may name
/// all of them.
const CONSENSUS: (&str, &str) = ("commonware", "engine");

/// Who else may name which of the consensus library's crates: the cryptography,
/// and the codec and containers that its interface is made of; never consensus,
/// network, storage or runtime.
const CRYPTOGRAPHY: (&str, &[&str]) = (
    "threshold",
    &[
        "commonware-codec",
        "commonware-cryptography",
        "commonware-math",
        "commonware-parallel",
        "commonware-utils",
    ],
);

/// The names of a manifest's dependencies, by whether only tests use them.
struct Dependencies {
    shipped: Vec<String>,
    tests: Vec<String>,
}

fn crates_directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn table_keys(manifest: &toml::Table, section: &str) -> Vec<String> {
    let direct = manifest.get(section).and_then(toml::Value::as_table);
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let of_targets = targets
        .into_iter()
        .flat_map(|targets| targets.values())
        .filter_map(|target| target.get(section)?.as_table());
    direct
        .into_iter()
        .chain(of_targets)
        .flat_map(|table| table.iter())
        // A dependency may be renamed; the package's own name decides.
        .map(
            |(key, value)| match value.get("package").and_then(toml::Value::as_str) {
                Some(package) => package.to_owned(),
                None => key.clone(),
            },
        )
        .collect()
}

fn manifests() -> BTreeMap<String, Dependencies> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(crates_directory()).unwrap() {
        let path = entry.unwrap().path().join("Cargo.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let manifest: toml::Table = toml::from_str(&text).unwrap();
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        let mut shipped = table_keys(&manifest, "dependencies");
        shipped.extend(table_keys(&manifest, "build-dependencies"));
        let tests = table_keys(&manifest, "dev-dependencies");
        found.insert(name, Dependencies { shipped, tests });
    }
    found
}

fn allowed<'a>(table: &[(&'a str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table
        .iter()
        .find(|(of, _)| *of == name)
        .map(|(_, allowed)| *allowed)
}

/// Every breach of the rules in `manifests`, in words.
fn breaches(manifests: &BTreeMap<String, Dependencies>) -> Vec<String> {
    let mut breaches = Vec::new();
    for (name, dependencies) in manifests {
        let Some(may) = allowed(MAY_DEPEND_ON, name) else {
            breaches.push(format!("{name} has no place in the layers: give it a line"));
            continue;
        };
        let tests_may = allowed(TESTS_MAY_ALSO_USE, name).unwrap_or_default();
        let ours = |dependency: &&String| manifests.contains_key(*dependency);
        for dependency in dependencies.shipped.iter().filter(ours) {
            if !may.contains(&dependency.as_str()) {
                breaches.push(format!("{name} must not depend on {dependency}"));
            }
        }
        for dependency in dependencies.tests.iter().filter(ours) {
            let dependency = dependency.as_str();
            // A crate's tests may switch on its own features.
            let own = dependency == name;
            if !own && !may.contains(&dependency) && !tests_may.contains(&dependency) {
                breaches.push(format!("tests of {name} must not use {dependency}"));
            }
        }
        let (library, only) = CONSENSUS;
        let all = dependencies.shipped.iter().chain(&dependencies.tests);
        for dependency in all.filter(|dependency| dependency.starts_with(library)) {
            let (also, cryptography) = CRYPTOGRAPHY;
            let allowed = name == also && cryptography.contains(&dependency.as_str());
            if name != only && !allowed {
                breaches.push(format!(
                    "{name} must not name {dependency}; only {only} may"
                ));
            }
        }
    }
    breaches
}

#[test]
fn crates_depend_only_downwards() {
    let breaches = breaches(&manifests());
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn the_table_itself_has_no_cycle() {
    fn reaches(from: &str, to: &str, depth: usize) -> bool {
        assert!(depth < MAY_DEPEND_ON.len(), "a cycle through {from}");
        allowed(MAY_DEPEND_ON, from)
            .unwrap_or_default()
            .iter()
            .any(|next| *next == to || reaches(next, to, depth + 1))
    }
    for (name, _) in MAY_DEPEND_ON {
        assert!(!reaches(name, name, 0), "{name} depends on itself");
    }
}

#[test]
fn each_kind_of_breach_is_found() {
    let crate_with = |shipped: &[&str], tests: &[&str]| Dependencies {
        shipped: shipped.iter().map(ToString::to_string).collect(),
        tests: tests.iter().map(ToString::to_string).collect(),
    };
    let manifests = BTreeMap::from([
        ("wire".to_owned(), crate_with(&["serde"], &[])),
        (
            "ledger".to_owned(),
            crate_with(&["wire"], &["commonware-runtime"]),
        ),
        ("naming".to_owned(), crate_with(&["ledger"], &["ledger"])),
        ("proof".to_owned(), crate_with(&[], &["naming"])),
        ("stray".to_owned(), crate_with(&[], &[])),
        (
            "threshold".to_owned(),
            crate_with(&["commonware-cryptography", "commonware-p2p"], &[]),
        ),
    ]);
    assert_eq!(
        breaches(&manifests),
        [
            "ledger must not name commonware-runtime; only engine may",
            "naming must not depend on ledger",
            "tests of proof must not use naming",
            "stray has no place in the layers: give it a line",
            "threshold must not name commonware-p2p; only engine may",
        ]
    );
}
