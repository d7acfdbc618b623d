//! The benchmarks' short form: that they still measure, not how much.

use std::process::Command;

/// What the benchmark says, of one round of a second.
fn bench(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--rounds", "1", "--seconds", "1"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    text
}

/// The same of a benchmark that runs in a circle of its own.
fn bench_of_a_circle(arguments: &[&str]) -> String {
    // The binary beside this one: `cargo build -p cli -p enclave -p keykeeper`.
    let ringfort = std::path::Path::new(env!("CARGO_BIN_EXE_bench")).with_file_name("ringfort");
    assert!(ringfort.exists(), "build it first: cargo build --workspace");
    let ringfort = ringfort.to_str().unwrap();
    bench(&[&["--ringfort", ringfort], arguments].concat())
}

#[test]
fn a_hosts_list_is_appraised() {
    let text = bench(&["host"]);
    assert!(text.contains("entries/s"), "{text}");
}

#[test]
fn payload_encryption_is_measured_beside_openssl() {
    let text = bench(&["payload"]);
    for line in ["machine: ", "openssl speed", "ratio"] {
        assert!(text.contains(line), "{line:?} is missing: {text}");
    }
}

#[test]
fn dns_is_measured_beside_knot_nsd_and_an_echo() {
    let text = bench(&["dns", "--names", "200"]);
    for line in [
        "knotd: ",
        "ratio to knot",
        "ratio to nsd",
        "ratio to echo",
        "memory",
    ] {
        assert!(text.contains(line), "{line:?} is missing: {text}");
    }
    // Whoever answers nothing, or something else, is no peer.
    let positives = text.lines().filter(|line| line.contains("answers/s"));
    for line in positives.take(3) {
        assert!(line.contains("100 % with records"), "{text}");
    }
}

#[test]
fn dns_over_tls_and_https_is_measured_beside_nsd_and_dnsdist() {
    let text = bench(&["encrypted", "--names", "200"]);
    let measured = |server: &str| {
        let lines = text.lines().filter(|line| line.trim().starts_with(server));
        lines.filter(|line| line.contains("answers/s")).count()
    };
    // Over TLS in two ways, and over HTTPS, which NSD does not speak.
    assert_eq!(measured("ringfort"), 3, "{text}");
    assert_eq!(measured("nsd"), 2, "{text}");
    assert_eq!(measured("dnsdist+knot"), 3, "{text}");
}

#[test]
fn a_names_change_is_measured_until_it_is_answered() {
    let text = bench_of_a_circle(&["names"]);
    for line in ["answered over DNS", "octets", "verified in"] {
        assert!(text.contains(line), "{line:?} is missing: {text}");
    }
}

#[test]
fn certificates_by_acme_are_measured_beside_pebble() {
    let text = bench_of_a_circle(&["acme"]);
    // Each of eight accounts made its twelve orders, of either server.
    let lines = text.lines().filter(|line| line.contains("certificates/s"));
    assert_eq!(
        lines.filter(|line| line.contains("96 orders")).count(),
        2,
        "{text}"
    );
}

#[test]
fn quotes_are_verified_beside_the_libraries() {
    let text = bench(&["trust", "--only", "quotes"]);
    let kinds = [
        "SGX quote",
        "TDX quote",
        "SEV-SNP report",
        "AWS Nitro document",
        "TPM 2.0 evidence",
        "TPM 2.0 quote",
    ];
    for kind in kinds {
        assert!(text.contains(kind), "{kind} is missing: {text}");
    }
    assert_eq!(text.matches("ratio").count(), kinds.len(), "{text}");
}

#[test]
fn shares_are_handed_on_in_memory() {
    let text = bench(&["trust", "--only", "resharing", "--committees", "4"]);
    assert!(text.contains("4 keykeepers, resharing"), "{text}");
}

#[test]
fn a_new_node_gets_its_state_by_blocks_and_by_a_checkpoint_and_validates() {
    let text = bench(&["state", "--names", "4000"]);
    for line in [
        "4000 names in 3 blocks",
        "executing them",
        "going forward",
        "MB of memory at most",
        "a validator that goes on from it",
    ] {
        assert!(text.contains(line), "{line:?} is missing: {text}");
    }
}

#[test]
#[ignore = "needs script/setup --bench; cargo test -p bench -- --ignored transfers"]
fn transfers_are_measured_beside_etcd_and_postgresql() {
    let text = bench_of_a_circle(&["ledger"]);
    for line in [
        "etcd, 3 members",
        "PostgreSQL, 1+1",
        "finality at half load",
        "node-3: ",
    ] {
        assert!(text.contains(line), "{line:?} is missing: {text}");
    }
}
