//! A name server that proves who it is: from its own account through the
//! ledger and the circle's authority to a stock client.

use std::net::SocketAddr;

use naming::{
    ca::{self, CaConfig},
    names::{FrontSettings, IdentitySettings, NamesConfig, RegistrationSettings, run_over},
};
use tokio::task::JoinSet;
use wire::{AccountId, CircleId, CircleKey};

use crate::{
    memory::MemoryLedger,
    programs::{dig, free_port, output, until_async},
    values::name,
};

const SERVER: AccountId = AccountId([5; 32]);

/// A name daemon and an authority over one ledger in memory, on fixed ports.
struct Circle {
    ledger: MemoryLedger,
    directory: tempfile::TempDir,
    names: NamesConfig,
    tasks: JoinSet<()>,
}

impl Circle {
    fn new() -> Self {
        let ledger = MemoryLedger::new(&["internal"]);
        ledger.commit_names(&[name("hello.internal")]);
        let directory = tempfile::tempdir().unwrap();
        let at = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let names = NamesConfig {
            circle_key: CircleKey([0; 96]),
            circle: CircleId([9; 32]),
            nodes: Vec::new(),
            fronts: FrontSettings {
                listen: vec![at()],
                tls: vec![at()],
                https: vec![at()],
                quic: vec![at()],
                identity: Some(IdentitySettings {
                    key_file: directory.path().join("names.key"),
                    certificate_file: None,
                }),
                ..FrontSettings::default()
            },
            registration: Some(RegistrationSettings {
                updates: false,
                key_file: "unused".into(),
                passphrase_file: "unused".into(),
                apex: None,
                addresses: Vec::new(),
            }),
            apexes: Vec::new(),
            zone: Default::default(),
            tolerance: Default::default(),
            signers: Vec::new(),
            gateway: None,
        };
        Self {
            ledger,
            directory,
            names,
            tasks: JoinSet::new(),
        }
    }

    fn start_names(&mut self) {
        let ledger = self.ledger.of_account(SERVER);
        let config = self.names.clone();
        self.tasks.spawn(async move {
            match run_over(ledger.clone(), Some(ledger), config).await {
                Ok(never) => match never {},
                Err(error) => panic!("{error}"),
            }
        });
    }

    fn start_authority(&mut self) {
        let ledger = self.ledger.clone();
        let config = CaConfig {
            circle_key: CircleKey([0; 96]),
            circle: CircleId([9; 32]),
            nodes: Vec::new(),
            key_file: "unused".into(),
            passphrase_file: "unused".into(),
            data_dir: self.directory.path().to_owned(),
            ca_key: None,
            label: None,
            validity_hours: None,
            http: None,
            url: None,
            challenge_http_port: None,
            challenge_tls_port: None,
            challenge_loopback: true,
        };
        self.tasks.spawn(async move {
            match ca::run_over(ledger, config, None).await {
                Ok(never) => match never {},
                Err(error) => panic!("{error}"),
            }
        });
    }

    fn kdig(&self, address: SocketAddr, arguments: &[&str]) -> String {
        let (at, port) = (format!("@{}", address.ip()), address.port().to_string());
        let root = self.directory.path().join("roots.pem");
        let authority = format!("+tls-ca={}", root.display());
        let mut all = vec![
            at.as_str(),
            "-p",
            &port,
            &authority,
            "+tls-hostname=dns.internal",
        ];
        all.extend(arguments);
        output("kdig", &all)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_is_certified_through_the_ledger_and_then_points_to_itself() {
    let mut circle = Circle::new();
    circle.start_names();
    let ledger = circle.ledger.clone();
    until_async("registration", || ledger.server(SERVER).is_some()).await;
    let plain = circle.names.fronts.listen[0];
    // Nobody vouches for it yet: nothing points to it, and TLS does not begin.
    let told = dig(plain, &["_dns.resolver.arpa", "SVCB"]);
    assert!(told.contains("status: REFUSED"), "{told}");
    let tls = circle.names.fronts.tls[0].to_string();
    let refused = crate::programs::run("openssl", &["s_client", "-connect", &tls]);
    assert!(!refused.status.success(), "{refused:?}");
    circle.start_authority();
    until_async("a certificate", || {
        dig(plain, &["+short", "_dns.resolver.arpa", "SVCB"])
            .lines()
            .count()
            == 3
    })
    .await;
    let told = dig(plain, &["+short", "_dns.resolver.arpa", "SVCB"]);
    let port = circle.names.fronts.https[0].port();
    let https = format!(
        "3 dns.internal. alpn=\"h2,http/1.1\" port={port} ipv4hint=127.0.0.1 key7=\"/dns-query{{?dns}}\""
    );
    assert!(told.lines().any(|line| line == https), "{told}");
    // The zone says the same to whoever was told nothing but the server's name.
    assert_eq!(dig(plain, &["+short", "dns.internal", "A"]), "127.0.0.1\n");
    assert_eq!(
        dig(plain, &["+short", "_dns.dns.internal", "SVCB"]),
        dig(plain, &["+short", "_dns.resolver.arpa", "SVCB"])
    );
    let digest = ledger.server(SERVER).unwrap().terms.tls_key;
    for (port, protocol) in [
        (circle.names.fronts.tls[0].port(), "tcp"),
        (port, "tcp"),
        (circle.names.fronts.quic[0].port(), "udp"),
    ] {
        let owner = format!("_{port}._{protocol}.dns.internal");
        let told = dig(plain, &["+short", "+nosplit", &owner, "TLSA"]).to_lowercase();
        assert_eq!(told.trim(), format!("3 1 1 {digest}"), "{owner}");
    }
    // Whoever trusts the circle's root knows the server by its name.
    for (address, transport) in [
        (circle.names.fronts.tls[0], "+tls"),
        (circle.names.fronts.https[0], "+https"),
        (circle.names.fronts.quic[0], "+quic"),
    ] {
        let told = circle.kdig(address, &[transport, "internal", "SOA"]);
        assert!(told.contains("status: NOERROR"), "{transport}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_registered_and_certified_anew() {
    let mut circle = Circle::new();
    circle.start_authority();
    circle.start_names();
    let ledger = circle.ledger.clone();
    let certified = || {
        let server = ledger.server(SERVER)?;
        server.certificate.map(|_| server.terms.tls_key)
    };
    until_async("the first certificate", || certified().is_some()).await;
    let first = certified().unwrap();
    circle.tasks.shutdown().await;
    std::fs::remove_file(circle.directory.path().join("names.key")).unwrap();
    circle.start_authority();
    circle.start_names();
    until_async("the second certificate", || {
        certified().is_some_and(|key| key != first)
    })
    .await;
    let tls = circle.names.fronts.tls[0];
    until_async("its use", || {
        let told = dig(
            circle.names.fronts.listen[0],
            &["+short", "_dns.resolver.arpa", "SVCB"],
        );
        told.lines().count() == 3
    })
    .await;
    let told = circle.kdig(tls, &["+tls", "internal", "SOA"]);
    assert!(told.contains("status: NOERROR"), "{told}");
}
