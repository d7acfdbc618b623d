//! Connections by the ledger's word alone: with our own acceptor, and with
//! GnuTLS, which nobody here wrote, on either side.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use client::{
    connect::{ConnectError, Form, ProvenServer},
    listen::{Clients, acceptor, client_key, forward, shake_hands},
    names::verify_name,
    peer_verifier::key_of,
    server_key::{KeyHolder, ServerIdentity, signing_key},
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use wire::{
    Amount, Digest, DomainName, Height, PublicKey, RecordSet, ServerKey, SigningKey,
    record::{Name, NameStatus},
    state_key,
};

use crate::fake_node::{Node, circle, client};

const HELLO: &str = "hello.internal";

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

/// The record of `hello.internal`, with the server's key at it and at `www`.
fn hello(key: PublicKey, certificate: Option<Digest>) -> Name {
    let at = |owner: Option<&str>| ServerKey {
        owner: owner.map(|owner| owner.parse().unwrap()),
        key,
        certificate,
    };
    Name {
        name: name(HELLO),
        owner: SigningKey::ed25519([7; 32]).public(),
        deposit: Amount(1),
        status: NameStatus::Active,
        registered_at: Height(1),
        rent_due: Height(9),
        changed_at: Height(2),
        notice_due: None,
        sale: None,
        records: vec![RecordSet {
            owner: None,
            rtype: 1,
            ttl: 60,
            data: vec![vec![127, 0, 0, 1]],
        }],
        keys: vec![at(None), at(Some("www"))],
        endpoints: Vec::new(),
    }
}

/// What a client reads, with proofs, from a node that holds `record`.
async fn proven(record: &Name) -> ProvenServer {
    let circle = circle();
    let node = Node::start(&circle, 10).await;
    node.put(state_key::name(&record.name), record);
    let client = client(&[&node]);
    ProvenServer::read(&client, &record.name).await.unwrap()
}

fn pair(algorithm: &'static rcgen::SignatureAlgorithm) -> (KeyPair, PublicKey) {
    let pair = KeyPair::generate_for(algorithm).unwrap();
    let key = key_of(&pair.subject_public_key_info()).unwrap();
    (pair, key)
}

fn private(pair: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(pair.serialize_der()).into()
}

fn identity(pair: &KeyPair) -> ServerIdentity {
    ServerIdentity::of(&private(pair)).unwrap()
}

/// A server of ours that gives back what it is sent; counts handshakes.
async fn echo(pair: &KeyPair) -> SocketAddr {
    let acceptor = acceptor(&identity(pair), None, &Clients::Anyone).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut bytes = [0; 5];
                stream.read_exact(&mut bytes).await?;
                stream.write_all(&bytes).await?;
                stream.shutdown().await
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn seed_002_3b_a_server_is_known_by_its_key_alone() {
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
        let (pair, key) = pair(algorithm);
        let address = echo(&pair).await;
        let server = proven(&hello(key, None)).await;
        assert_eq!(server.addresses(), [address.ip()]);
        assert_eq!(server.height(), Height(10));
        let mut stream = server.connect(address, Form::Key).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(
            session.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
        // Forward secrecy: an exchange of fresh keys, and no ticket.
        assert!(session.negotiated_key_exchange_group().is_some());
        assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Full));
        stream.write_all(b"hello").await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_hears_nothing() {
    let (there, _) = pair(&PKCS_ED25519);
    let (_, key) = pair(&PKCS_ED25519);
    let address = echo(&there).await;
    let refused = proven(&hello(key, None))
        .await
        .connect(address, Form::Key)
        .await;
    assert!(
        matches!(refused, Err(ConnectError::Handshake { .. })),
        "{refused:?}"
    );
    // A server that shows the right key and does not hold it.
    let (thief, _) = pair(&PKCS_ED25519);
    let spki = {
        let mut spki = thief.subject_public_key_info();
        let end = spki.len();
        let PublicKey::Ed25519(bytes) = key else {
            panic!("{key}");
        };
        spki[end - 32..].copy_from_slice(&bytes);
        spki
    };
    let address = shows(&thief, spki).await;
    let refused = proven(&hello(key, None))
        .await
        .connect(address, Form::Key)
        .await;
    assert!(
        matches!(refused, Err(ConnectError::Handshake { .. })),
        "{refused:?}"
    );
}

/// A server that shows `certificate` and signs with another key.
async fn shows(pair: &KeyPair, certificate: Vec<u8>) -> SocketAddr {
    use rustls::{crypto::aws_lc_rs, server::AlwaysResolvesServerRawPublicKeys, sign};
    let signing = aws_lc_rs::sign::any_supported_type(&private(pair)).unwrap();
    let certified = sign::CertifiedKey::new(vec![certificate.into()], signing);
    let config = rustls::ServerConfig::builder_with_provider(std::sync::Arc::new(
        aws_lc_rs::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .with_no_client_auth()
    .with_cert_resolver(std::sync::Arc::new(AlwaysResolvesServerRawPublicKeys::new(
        std::sync::Arc::new(certified),
    )));
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = acceptor.accept(stream).await;
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_does_not_say_is_no_server() {
    let (_, key) = pair(&PKCS_ED25519);
    let circle = circle();
    let node = Node::start(&circle, 10).await;
    let mut record = hello(key, None);
    let held = state_key::name(&record.name);
    node.put(held.clone(), &record);
    let client = client(&[&node]);
    let read = async |text: &str| ProvenServer::read(&client, &name(text)).await;
    let www = read("www.hello.internal").await.unwrap();
    assert!(www.addresses().is_empty());
    assert!(matches!(
        read("other.hello.internal").await,
        Err(ConnectError::NoKey(_))
    ));
    assert!(matches!(
        read("nobody.internal").await,
        Err(ConnectError::NoName(_))
    ));
    assert!(matches!(
        read("example.com").await,
        Err(ConnectError::NoName(_))
    ));
    let server = read(HELLO).await.unwrap();
    assert!(matches!(
        server.client_config(Form::Certificate),
        Err(ConnectError::NoCertificate(_))
    ));
    // The same by a proof that was kept, and never by one of another name.
    let shown = verify_name(&node.proof(&held), &circle.key).unwrap();
    assert_eq!(ProvenServer::of(&shown, &name(HELLO)).unwrap().key(), key);
    assert!(matches!(
        ProvenServer::of(&shown, &name("xhello.internal")),
        Err(ConnectError::NoName(_))
    ));
    record.status = NameStatus::Suspended { since: Height(3) };
    node.put(held, &record);
    node.advance_to(11);
    assert!(matches!(read(HELLO).await, Err(ConnectError::Suspended(_))));
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// GnuTLS' server, which gives back what it is sent.
async fn gnutls(arguments: &[&str], directory: &std::path::Path) -> (Running, SocketAddr) {
    let port = free_port();
    let child = Command::new("gnutls-serv")
        .args(["--echo", "--quiet", "--disable-client-cert", "--port"])
        .arg(port.to_string())
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("gnutls-serv cannot be run: run script/setup, which installs it");
    let running = Running(child);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "gnutls-serv");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (running, address)
}

async fn says_hello(server: &ProvenServer, address: SocketAddr, form: Form) {
    let mut stream = server.connect(address, form).await.unwrap();
    stream.write_all(b"hello\n").await.unwrap();
    let mut back = [0; 6];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc_7250_gnutls_serves_a_key_of_the_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(directory.path())
            .output()
            .expect("openssl cannot be run: run script/setup, which installs it");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    for algorithm in [
        &["-algorithm", "ed25519"][..],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    ] {
        openssl(&[&["genpkey", "-out", "key.pem"], algorithm].concat());
        openssl(&["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]);
        let spki = openssl(&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"]);
        let key = key_of(&spki).unwrap();
        let arguments = [
            "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.3:-CTYPE-ALL:+CTYPE-SRV-RAWPK",
            "--rawpkkeyfile=key.pem",
            "--rawpkfile=public.pem",
        ];
        let (_running, address) = gnutls(&arguments, directory.path()).await;
        let server = proven(&hello(key, None)).await;
        says_hello(&server, address, Form::Key).await;
        let (_, other) = pair(&PKCS_ED25519);
        let refused = proven(&hello(other, None))
            .await
            .connect(address, Form::Key)
            .await;
        assert!(
            matches!(refused, Err(ConnectError::Handshake { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seed_002_3c_gnutls_is_known_by_its_certificate_and_no_authority() {
    let directory = tempfile::tempdir().unwrap();
    let (pair, key) = pair(&PKCS_ECDSA_P256_SHA256);
    // For another name, by nobody: the ledger's hash is what counts.
    let params = CertificateParams::new(vec!["anything.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    std::fs::write(directory.path().join("key.pem"), pair.serialize_pem()).unwrap();
    std::fs::write(directory.path().join("certificate.pem"), certificate.pem()).unwrap();
    let arguments = [
        "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.3",
        "--x509keyfile=key.pem",
        "--x509certfile=certificate.pem",
    ];
    let (_running, address) = gnutls(&arguments, directory.path()).await;
    let digest = Digest::of(&[certificate.der()]);
    let server = proven(&hello(key, Some(digest))).await;
    says_hello(&server, address, Form::Certificate).await;
    let other = proven(&hello(key, Some(Digest([1; 32])))).await;
    let refused = other.connect(address, Form::Certificate).await;
    assert!(
        matches!(refused, Err(ConnectError::Handshake { .. })),
        "{refused:?}"
    );
    // A server of 1.2 has no forward secrecy to promise.
    let arguments = [
        "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.2",
        "--x509keyfile=key.pem",
        "--x509certfile=certificate.pem",
    ];
    let (_running, address) = gnutls(&arguments, directory.path()).await;
    let refused = server.connect(address, Form::Certificate).await;
    assert!(
        matches!(refused, Err(ConnectError::Handshake { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc_7250_gnutls_connects_to_our_acceptor() {
    let (pair, _) = pair(&PKCS_ED25519);
    let address = echo(&pair).await;
    let run = tokio::task::spawn_blocking(move || {
        let mut child = Command::new("gnutls-cli")
            .args(["--priority=NORMAL:-VERS-ALL:+VERS-TLS1.3:+CTYPE-SRV-RAWPK"])
            .args(["--insecure", "127.0.0.1", "--port"])
            .arg(address.port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("gnutls-cli cannot be run: run script/setup, which installs it");
        use std::io::Write as _;
        child.stdin.take().unwrap().write_all(b"hello").unwrap();
        child.wait_with_output().unwrap()
    });
    let said = String::from_utf8(run.await.unwrap().stdout).unwrap();
    assert!(said.contains("Certificate type: Raw Public Key"), "{said}");
    assert!(said.contains("hello"), "{said}");
}

/// A service that speaks no TLS and gives back what it is sent.
async fn plain_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}

async fn forwarding(identity: &ServerIdentity, clients: Clients) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = acceptor(identity, None, &clients).unwrap();
    tokio::spawn(forward(listener, acceptor, plain_echo().await));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_behind_is_reached_by_the_ledgers_key_and_by_no_other() {
    let (pair, key) = pair(&PKCS_ED25519);
    let address = forwarding(&identity(&pair), Clients::Anyone).await;
    let server = proven(&hello(key, None)).await;
    // Many at once, each its own; the service's end is the client's.
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(server.connect(address, Form::Key).await.unwrap());
    }
    for (index, stream) in streams.iter_mut().enumerate() {
        let said = vec![index as u8; 100_000];
        let (mut from, mut to) = tokio::io::split(stream);
        let mut back = Vec::new();
        let (sent, got) = tokio::join!(
            async {
                to.write_all(&said).await?;
                to.shutdown().await
            },
            from.read_to_end(&mut back)
        );
        sent.unwrap();
        got.unwrap();
        assert_eq!(back, said);
    }
    let (_, other) = self::pair(&PKCS_ED25519);
    let refused = proven(&hello(other, None)).await;
    let refused = refused.connect(address, Form::Key).await;
    assert!(
        matches!(refused, Err(ConnectError::Handshake { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_known_by_its_key_where_the_server_asks_for_one() {
    let (pair, key) = pair(&PKCS_ED25519);
    let (friend, friends) = self::pair(&PKCS_ECDSA_P256_SHA256);
    let (stranger, _) = self::pair(&PKCS_ED25519);
    let clients = Clients::Holders(vec![friends]);
    let address = forwarding(&identity(&pair), clients.clone()).await;
    let server = proven(&hello(key, None)).await;
    let with = |own: &KeyPair| {
        server
            .client_config_with_key(Form::Key, &identity(own))
            .unwrap()
    };
    let mut stream = server.connect_with(address, with(&friend)).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
    // TLS 1.3 tells a client that it is refused with the first octets it reads.
    for config in [with(&stranger), server.client_config(Form::Key).unwrap()] {
        if let Ok(mut stream) = server.connect_with(address, config).await {
            let _ = stream.write_all(b"hello").await;
            assert!(stream.read_exact(&mut back).await.is_err());
        }
    }
    // The server is told whose key it was.
    let acceptor = acceptor(&identity(&pair), None, &clients).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (served, connected) = tokio::join!(
        async {
            let (stream, _) = listener.accept().await.unwrap();
            shake_hands(stream, &acceptor).await.unwrap()
        },
        server.connect_with(address, with(&friend))
    );
    connected.unwrap();
    assert_eq!(client_key(&served), Some(friends));
}

#[tokio::test(flavor = "multi_thread")]
async fn seed_002_3c_a_server_of_ours_shows_the_certificate_of_the_ledger() {
    let (pair, key) = pair(&PKCS_ECDSA_P256_SHA256);
    let params = CertificateParams::new(vec!["anything.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    let chain = || Some(vec![certificate.der().clone()]);
    let (other, _) = self::pair(&PKCS_ECDSA_P256_SHA256);
    assert!(
        acceptor(&identity(&other), chain(), &Clients::Anyone).is_err(),
        "a certificate of another key"
    );
    let acceptor = acceptor(&identity(&pair), chain(), &Clients::Anyone).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(forward(listener, acceptor, plain_echo().await));
    let digest = Digest::of(&[certificate.der()]);
    let server = proven(&hello(key, Some(digest))).await;
    says_hello(&server, address, Form::Certificate).await;
    let by_key = server.connect(address, Form::Key).await;
    assert!(matches!(by_key, Err(ConnectError::Handshake { .. })));
}

/// A key that something else holds and signs with, as a TPM does.
#[derive(Debug)]
struct Elsewhere {
    public: PublicKey,
    pkcs8: Vec<u8>,
}

impl KeyHolder for Elsewhere {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<wire::Signature, String> {
        use aws_lc_rs::{rand::SystemRandom, signature as ecdsa};
        let algorithm = &ecdsa::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = ecdsa::EcdsaKeyPair::from_pkcs8(algorithm, &self.pkcs8)
            .map_err(|error| error.to_string())?;
        let signed = pair.sign(&SystemRandom::new(), message).unwrap();
        let scalars = signed.as_ref().try_into().unwrap();
        wire::Signature::from_p256(scalars).ok_or_else(|| "out of range".to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_never_leaves_its_holder_serves() {
    let (pair, key) = pair(&PKCS_ECDSA_P256_SHA256);
    let holder = Elsewhere {
        public: key,
        pkcs8: pair.serialize_der(),
    };
    let held = ServerIdentity::held(std::sync::Arc::new(holder)).unwrap();
    assert_eq!(held.public(), key);
    let address = forwarding(&held, Clients::Anyone).await;
    let server = proven(&hello(key, None)).await;
    says_hello(&server, address, Form::Key).await;
    let (_, ed25519) = self::pair(&PKCS_ED25519);
    let holder = Elsewhere {
        public: ed25519,
        pkcs8: Vec::new(),
    };
    assert!(ServerIdentity::held(std::sync::Arc::new(holder)).is_err());
}

#[test]
fn a_servers_key_signs_for_the_ledger_as_the_same_key() {
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
        let (pair, key) = pair(algorithm);
        assert_eq!(signing_key(&private(&pair)).unwrap().public(), key);
    }
    let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert!(signing_key(&private(&other)).is_err());
}

#[test]
fn only_one_form_of_a_key_is_read() {
    let (pair, _) = pair(&PKCS_ED25519);
    let spki = pair.subject_public_key_info();
    assert!(key_of(&spki[1..]).is_none());
    assert!(key_of(&[&spki[..], &[0]].concat()).is_none());
    assert!(key_of(&spki[..spki.len() - 1]).is_none());
    let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert!(key_of(&other.subject_public_key_info()).is_none());
}
