//! The authority: what it issues, what it refuses, and what stock programs
//! make of its certificates.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use naming::{
    ca::{
        Authority, AuthorityError, CheckedRequest, Issued, LEAF_BACKDATE_MS, Progress,
        RequestError, certify,
    },
    names::now_ms,
};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData as _, SanType,
};
use wire::{AccountId, CircleId, ContractId, Digest, Event, record, state_key};
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use crate::{
    memory::MemoryLedger,
    programs::{Daemon, free_port, output, run, until, until_async},
    values::{self, name_of},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const WEEK_MS: u64 = 7 * DAY_MS;
const CIRCLE: CircleId = CircleId([9; 32]);

struct Files {
    _directory: tempfile::TempDir,
    key: PathBuf,
    roots: PathBuf,
}

fn files() -> Files {
    let directory = tempfile::tempdir().unwrap();
    Files {
        key: directory.path().join("ca.key"),
        roots: directory.path().join("roots.pem"),
        _directory: directory,
    }
}

impl Files {
    fn open(&self, apexes: &[&str]) -> Result<Authority, AuthorityError> {
        let apexes: Vec<_> = apexes.iter().map(|apex| name_of(apex)).collect();
        Authority::open(&self.key, &self.roots, CIRCLE, &apexes, now_ms())
    }
}

/// A TLS key with its certificate request for `names`.
fn request(names: &[&str]) -> (KeyPair, Vec<u8>) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let der = request_of(&key, names);
    (key, der)
}

fn request_of(key: &KeyPair, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    // A wish that must not come true.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.serialize_request(key).unwrap().der().to_vec()
}

fn key_digest(key: &KeyPair) -> Digest {
    Digest::of(&[&key.subject_public_key_info()])
}

pub fn pem(der: &[u8]) -> String {
    use std::io::Write as _;
    let mut openssl = std::process::Command::new("openssl")
        .args(["x509", "-inform", "DER"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(der).unwrap();
    String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap()
}

/// Whether openssl accepts `leaf` (PEM), with the intermediates that follow it.
fn verify(roots: &Path, leaf: &str) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("leaf.pem");
    std::fs::write(&path, leaf).unwrap();
    let arguments = [
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        roots.to_str().unwrap(),
        "-untrusted",
        path.to_str().unwrap(),
        path.to_str().unwrap(),
    ];
    let output = run("openssl", &arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

fn issue(authority: &Authority, name: &str, request: &CheckedRequest, time_ms: u64) -> Issued {
    authority
        .issue(&name_of(name), request, time_ms, WEEK_MS, None)
        .unwrap()
}

/// A leaf with its intermediate, PEM.
fn chain(authority: &Authority, name: &str, leaf: &[u8]) -> String {
    let intermediate = authority.intermediate(&name_of(name), now_ms()).unwrap();
    pem(leaf) + &pem(&intermediate.der)
}

#[test]
fn openssl_accepts_a_leaf_with_the_root_alone() {
    let files = files();
    let authority = files.open(&["internal"]).unwrap();
    let long = format!("{}.internal", "a".repeat(63));
    for name in ["hello.internal", &long] {
        let (key, der) = request(&[name]);
        let request = CheckedRequest::check(&der, &name_of(name), key_digest(&key)).unwrap();
        let issued = issue(&authority, name, &request, now_ms());
        let (accepted, said) = verify(&files.roots, &chain(&authority, name, &issued.der));
        assert!(accepted, "{name}: {said}");
    }
}

#[test]
fn a_leaf_says_what_the_ledger_says_and_nothing_else() {
    let files = files();
    let authority = files.open(&["internal"]).unwrap();
    let (key, der) = request(&["hello.internal"]);
    let name = name_of("hello.internal");
    let request = CheckedRequest::check(&der, &name, key_digest(&key)).unwrap();
    let time_ms = 1_800_000_000_123;
    let issued = issue(&authority, "hello.internal", &request, time_ms);
    let (rest, leaf) = X509Certificate::from_der(&issued.der).unwrap();
    assert!(rest.is_empty());
    assert_eq!(leaf.public_key().raw, key.subject_public_key_info());
    let begins = (time_ms - LEAF_BACKDATE_MS) / 1000;
    assert_eq!(leaf.validity().not_before.timestamp(), begins as i64);
    assert_eq!(
        leaf.validity().not_after.timestamp() as u64 * 1000,
        issued.not_after_ms
    );
    assert_eq!(issued.not_after_ms, (time_ms + WEEK_MS) / 1000 * 1000);
    assert_eq!(leaf.raw_serial().len(), 16);
    let mut kinds = Vec::new();
    for extension in leaf.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                assert_eq!(
                    names.general_names,
                    [GeneralName::DNSName("hello.internal")]
                );
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                assert!(usage.server_auth && !usage.code_signing && !usage.any);
            }
            ParsedExtension::KeyUsage(usage) => {
                assert!(extension.critical && usage.digital_signature());
                assert_eq!(usage.flags, 1);
            }
            ParsedExtension::BasicConstraints(constraints) => {
                assert!(extension.critical && !constraints.ca);
            }
            ParsedExtension::AuthorityKeyIdentifier(_) => {}
            ParsedExtension::SubjectKeyIdentifier(_) => {}
            other => panic!("{other:?}"),
        }
        kinds.push(extension.oid.to_id_string());
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    let again = issue(&authority, "hello.internal", &request, time_ms);
    let (_, again) = X509Certificate::from_der(&again.der).unwrap();
    assert_ne!(leaf.raw_serial(), again.raw_serial());
}

/// Whoever holds the root's key still cannot speak for another name.
#[test]
fn openssl_refuses_what_lies_outside_the_constraints() {
    let files = files();
    files.open(&["internal", "corp.example"]).unwrap();
    let key = std::fs::read_to_string(&files.key).unwrap();
    let roots = std::fs::read_to_string(&files.roots).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&roots, KeyPair::from_pem(&key).unwrap()).unwrap();
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let leaf = |name: SanType| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "evil");
        params.subject_alt_names = vec![name];
        params.use_authority_key_identifier_extension = true;
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &issuer).unwrap().pem()
    };
    for good in ["a.internal", "a.b.corp.example"] {
        let (accepted, said) = verify(&files.roots, &leaf(dns(good)));
        assert!(accepted, "{good}: {said}");
    }
    let bad = [
        dns("example.com"),
        dns("hello.internal.example.com"),
        dns("notinternal"),
        dns("example"),
        SanType::IpAddress("192.0.2.1".parse().unwrap()),
        SanType::IpAddress("::1".parse().unwrap()),
        SanType::Rfc822Name("root@internal".try_into().unwrap()),
        SanType::Rfc822Name("root@example.com".try_into().unwrap()),
    ];
    for name in bad {
        let what = format!("{name:?}");
        let (accepted, said) = verify(&files.roots, &leaf(name));
        assert!(!accepted, "{what}");
        assert!(said.contains("subtree violation"), "{what}: {said}");
    }
}

#[test]
fn an_intermediate_signs_no_authority() {
    let files = files();
    files.open(&["internal"]).unwrap();
    let key = std::fs::read_to_string(&files.key).unwrap();
    let roots = std::fs::read_to_string(&files.roots).unwrap();
    let root = Issuer::from_ca_cert_pem(&roots, KeyPair::from_pem(&key).unwrap()).unwrap();
    let named = |common_name: &str| {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, common_name);
        name
    };
    let authority = |name: &str, issuer: &Issuer<'static, KeyPair>| {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, issuer).unwrap().pem();
        let issuer = Issuer::from_ca_cert_pem(&pem, key).unwrap();
        (pem, issuer)
    };
    let (upper, upper_issuer) = authority("upper", &root);
    let (lower, between_issuer) = authority("lower", &upper_issuer);
    let between = upper + &lower;
    let mut params = CertificateParams::new(vec!["hello.internal".to_owned()]).unwrap();
    params.distinguished_name = named("leaf");
    params.use_authority_key_identifier_extension = true;
    let leaf = params
        .signed_by(&KeyPair::generate().unwrap(), &between_issuer)
        .unwrap()
        .pem();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (leaf, between) = (path("leaf.pem", &leaf), path("between.pem", &between));
    let roots = files.roots.to_str().unwrap();
    let output = run(
        "openssl",
        &["verify", "-CAfile", roots, "-untrusted", &between, &leaf],
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("path length"),
        "{said}"
    );
}

#[test]
fn curl_opens_a_service_with_the_root_alone() {
    let files = files();
    let authority = files.open(&["internal"]).unwrap();
    let (key, der) = request(&["hello.internal"]);
    let name = name_of("hello.internal");
    let request = CheckedRequest::check(&der, &name, key_digest(&key)).unwrap();
    let issued = issue(&authority, "hello.internal", &request, now_ms());
    let directory = tempfile::tempdir().unwrap();
    let chained = chain(&authority, "hello.internal", &issued.der);
    std::fs::write(directory.path().join("leaf.pem"), chained).unwrap();
    std::fs::write(directory.path().join("leaf.key"), key.serialize_pem()).unwrap();
    let port = free_port();
    let accept = format!("127.0.0.1:{port}");
    let arguments = [
        "s_server",
        "-accept",
        &accept,
        "-cert",
        "leaf.pem",
        "-cert_chain",
        "leaf.pem",
        "-key",
        "leaf.key",
        "-www",
    ];
    let _server = Daemon::start("openssl", &arguments, directory.path());
    let roots = files.roots.to_str().unwrap();
    let get = |name: &str| {
        let resolve = format!("{name}:{port}:127.0.0.1");
        let url = format!("https://{name}:{port}/");
        run(
            "curl",
            &["-sS", "--cacert", roots, "--resolve", &resolve, &url],
        )
    };
    until("openssl s_server", || {
        get("hello.internal").status.success()
    });
    // 60: the peer's certificate could not be verified.
    assert_eq!(get("other.internal").status.code(), Some(60));
}

#[test]
fn the_key_is_made_once_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = files();
    files.open(&["internal"]).unwrap();
    let key = std::fs::read(&files.key).unwrap();
    let root = std::fs::read(&files.roots).unwrap();
    let mode = std::fs::metadata(&files.key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    files.open(&["internal"]).unwrap();
    assert_eq!(std::fs::read(&files.key).unwrap(), key);
    assert_eq!(std::fs::read(&files.roots).unwrap(), root);
    // A lost root is made again from the key, and its leaves still hold.
    let (tls, der) = request(&["hello.internal"]);
    let request =
        CheckedRequest::check(&der, &name_of("hello.internal"), key_digest(&tls)).unwrap();
    let leaf = files
        .open(&["internal"])
        .unwrap()
        .issue(&name_of("hello.internal"), &request, now_ms(), DAY_MS, None)
        .unwrap();
    std::fs::remove_file(&files.roots).unwrap();
    let again = files.open(&["internal"]).unwrap();
    assert_eq!(std::fs::read(&files.key).unwrap(), key);
    let (accepted, said) = verify(&files.roots, &chain(&again, "hello.internal", &leaf.der));
    assert!(accepted, "{said}");
    // Other apexes want another root; an exposed or damaged key is not used.
    let other = files.open(&["internal", "example"]);
    assert!(
        matches!(other, Err(AuthorityError::OtherRoot { .. })),
        "{other:?}"
    );
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let exposed = files.open(&["internal"]);
    assert!(
        matches!(exposed, Err(AuthorityError::Exposed { .. })),
        "{exposed:?}"
    );
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&files.key, "not a key").unwrap();
    let damaged = files.open(&["internal"]);
    assert!(
        matches!(damaged, Err(AuthorityError::Crypto { .. })),
        "{damaged:?}"
    );
    assert_eq!(std::fs::read(&files.key).unwrap(), b"not a key");
}

#[test]
fn refuses_requests_that_are_not_the_enclaves() {
    let name = name_of("hello.internal");
    let check = |der: &[u8], digest: Digest| CheckedRequest::check(der, &name, digest).err();
    let (key, der) = request(&["hello.internal"]);
    let digest = key_digest(&key);
    assert_eq!(check(&der, digest), None);
    assert_eq!(check(&der, Digest([0; 32])), Some(RequestError::OtherKey));
    for names in [
        &["other.internal"][..],
        &["hello.internal", "other.internal"],
        &["*.internal"],
        &["hello.internal", "192.0.2.1"],
        &["HELLO.internal"],
        &[],
    ] {
        let der = request_of(&key, names);
        let refused = Some(RequestError::Names(name.clone()));
        assert_eq!(check(&der, digest), refused, "{names:?}");
    }
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let der = request_of(&key, &["hello.internal"]);
        assert_eq!(check(&der, key_digest(&key)), Some(RequestError::Key));
    }
    let mut forged = der.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(check(&forged, digest), Some(RequestError::Signature));
    let mut longer = der.clone();
    longer.push(0);
    assert_eq!(check(&longer, digest), Some(RequestError::Malformed));
    assert_eq!(check(&[], digest), Some(RequestError::Malformed));
}

proptest::proptest! {
    #[test]
    fn a_changed_request_is_refused_or_certifies_the_same(
        at in proptest::prelude::any::<proptest::sample::Index>(),
        flip in 1u8..,
    ) {
        use std::sync::LazyLock;
        static REQUEST: LazyLock<(KeyPair, Vec<u8>)> = LazyLock::new(|| request(&["hello.internal"]));
        let mut der = REQUEST.1.clone();
        let at = at.index(der.len());
        der[at] ^= flip;
        let digest = key_digest(&REQUEST.0);
        let checked = CheckedRequest::check(&der, &name_of("hello.internal"), digest);
        // The outermost octets are under no signature; what is certified is.
        if let Ok(checked) = checked {
            let key = checked.key().subject_public_key_info();
            proptest::prop_assert_eq!(key, REQUEST.0.subject_public_key_info(), "octet {}", at);
        }
    }
}

/// A running replica that waits for a certificate.
fn contract(id: u8) -> ContractId {
    ContractId([id; 32])
}

fn changes_for(id: u8, name: &str, owner_is_user: bool) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let (key, der) = request(&[name]);
    let records = values::service(contract(id), name, der, key_digest(&key), owner_is_user);
    let mut changes: Vec<_> = records
        .into_iter()
        .map(|(key, value)| (key, Some(value)))
        .collect();
    changes.push((
        state_key::certificate_wanted(contract(id)),
        Some(Vec::new()),
    ));
    changes
}

fn registered(id: u8) -> Event {
    Event::EnclaveRegistered {
        contract: contract(id),
        user: values::owner().public().account(),
    }
}

/// Starts an authority over `ledger`; the clock is the ledger's.
fn start(ledger: &MemoryLedger, files: &Files) -> (Arc<Progress>, tokio::task::JoinHandle<()>) {
    let authority = files.open(&["internal"]).unwrap();
    let progress = Arc::<Progress>::default();
    let (ledger, counts) = (ledger.clone(), Arc::clone(&progress));
    let task = tokio::spawn(async move {
        let clock = ledger.clone();
        match certify(&ledger, &authority, WEEK_MS, &counts, || clock.time_ms()).await {}
    });
    (progress, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_follows_its_enclave_by_one_block() {
    let ledger = MemoryLedger::new(&["internal"]);
    // One waits from before the authority started, one comes later.
    ledger.commit(changes_for(1, "early.internal", true), Vec::new());
    let files = files();
    let (progress, task) = start(&ledger, &files);
    until_async("the first", || ledger.certificate(contract(1)).is_some()).await;
    let at = ledger.commit(changes_for(2, "late.internal", true), vec![registered(2)]);
    until_async("the second", || ledger.certificate(contract(2)).is_some()).await;
    let certificate = ledger.certificate(contract(2)).unwrap();
    assert_eq!(certificate.issued_at, at.plus(1));
    assert_eq!(certificate.name, name_of("late.internal"));
    let (accepted, said) = verify(&files.roots, &ledger.chain(&certificate));
    assert!(accepted, "{said}");
    assert_eq!(
        (progress.report().issued, progress.report().refused),
        (2, 0)
    );
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_owns_the_name_and_runs_gets_a_certificate() {
    let ledger = MemoryLedger::new(&["internal"]);
    let files = files();
    let (progress, task) = start(&ledger, &files);
    // Another's name.
    ledger.commit(
        changes_for(1, "stolen.internal", false),
        vec![registered(1)],
    );
    // A name outside the apexes.
    ledger.commit(changes_for(2, "hello.example", true), vec![registered(2)]);
    // A request for another name than the contract's.
    let mut crossed = changes_for(3, "mine.internal", true);
    let (key, der) = request(&["yours.internal"]);
    crossed.push((
        state_key::enclave(contract(3)),
        Some(record::encode(&values::enclave(der, key_digest(&key)))),
    ));
    ledger.commit(crossed, vec![registered(3)]);
    until_async("three refusals", || progress.report().refused >= 3).await;
    // A contract that has ended.
    let mut ended = changes_for(4, "over.internal", true);
    ended.push(values::ended(contract(4)));
    ledger.commit(ended, vec![registered(4)]);
    // And one that may have it, so that the others were surely looked at.
    ledger.commit(changes_for(5, "good.internal", true), vec![registered(5)]);
    until_async("the good one", || ledger.certificate(contract(5)).is_some()).await;
    for id in 1..=4 {
        assert_eq!(ledger.certificate(contract(id)), None, "{id}");
    }
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_after_two_thirds_while_the_contract_lives() {
    let ledger = MemoryLedger::new(&["internal"]);
    for (id, name) in [(1, "lives.internal"), (2, "ends.internal")] {
        ledger.commit(changes_for(id, name, true), vec![registered(id)]);
    }
    let files = files();
    let (progress, task) = start(&ledger, &files);
    until_async("two certificates", || progress.report().issued == 2).await;
    let first = ledger.certificate(contract(1)).unwrap();
    let over = ledger.certificate(contract(2)).unwrap();
    ledger.commit(vec![values::ended(contract(2))], Vec::new());
    // Two thirds are not yet over.
    ledger.commit_after(WEEK_MS * 2 / 3 - DAY_MS, Vec::new(), Vec::new());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ledger.certificate(contract(1)).unwrap(), first);
    ledger.commit_after(DAY_MS, Vec::new(), Vec::new());
    until_async("the renewal", || progress.report().renewed == 1).await;
    let second = ledger.certificate(contract(1)).unwrap();
    assert!(second.not_after_ms >= first.not_after_ms + WEEK_MS / 2);
    assert_eq!(ledger.certificate(contract(2)).unwrap(), over);
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_authorities_do_not_harm_each_other() {
    let ledger = MemoryLedger::new(&["internal"]);
    let (one, other) = (files(), files());
    let second = ledger.of_account(AccountId([0xcb; 32]));
    let (progress, task) = start(&ledger, &one);
    let (other_progress, other_task) = start(&second, &other);
    for id in 1..=20 {
        let name = format!("n{id}.internal");
        ledger.commit(changes_for(id, &name, true), vec![registered(id)]);
    }
    until_async("all certificates", || {
        (1..=20).all(|id| ledger.certificate(contract(id)).is_some())
    })
    .await;
    for id in 1..=20 {
        let certificate = ledger.certificate(contract(id)).unwrap();
        let roots = if certificate.authority == AccountId([0xca; 32]) {
            &one.roots
        } else {
            &other.roots
        };
        let (accepted, said) = verify(roots, &ledger.chain(&certificate));
        assert!(accepted, "{said}");
    }
    // Each saw that the work was done: no certificate follows another for ever.
    let total = || progress.report().issued + other_progress.report().issued;
    assert!((20..=40).contains(&total()), "{}", total());
    let renewed = progress.report().renewed + other_progress.report().renewed;
    assert_eq!(renewed, 0);
    task.abort();
    other_task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_come_once_nodes_answer_again() {
    let ledger = MemoryLedger::new(&["internal"]);
    let files = files();
    let (progress, task) = start(&ledger, &files);
    until_async("the start", || progress.report().time_ms > 0).await;
    ledger.set_down(true);
    ledger.commit(changes_for(1, "hello.internal", true), vec![registered(1)]);
    until_async("failures", || progress.report().failed > 0).await;
    ledger.set_down(false);
    until_async("the certificate", || {
        ledger.certificate(contract(1)).is_some()
    })
    .await;
    task.abort();
}

#[test]
fn openssl_reads_the_root_as_it_was_meant() {
    let files = files();
    files.open(&["internal"]).unwrap();
    let roots = files.roots.to_str().unwrap();
    let text = output("openssl", &["x509", "-in", roots, "-noout", "-text"]);
    for wanted in [
        "X509v3 Basic Constraints: critical",
        "CA:TRUE, pathlen:1",
        "X509v3 Name Constraints: critical",
        "DNS:internal",
        "IP:0.0.0.0/0.0.0.0",
        "prime256v1",
        "ecdsa-with-SHA256",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}
