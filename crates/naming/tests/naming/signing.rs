//! The zone signer and a name server that mirrors it, each as the daemon that
//! runs alone, over a ledger in memory.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use naming::ledger::Post as _;
use naming::names::{
    FrontSettings, NamesConfig, RateLimit, now_ms,
    signer::{ServerSettings, SignerConfig, keys::FileKeys},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use wire::{
    AccountId, Action, CircleId, CircleKey, Digest, Event, Height, NameServerPorts,
    NameServerTerms, RegisterNameServer, record, state_key,
};

use crate::{
    memory::MemoryLedger,
    programs::{dig, free_port, run, until_async},
    values::{name, name_of, text},
};

/// A running daemon; it ends when this is dropped.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Circle {
    ledger: MemoryLedger,
    directory: tempfile::TempDir,
    feed: SocketAddr,
    dns: SocketAddr,
}

impl Circle {
    fn new() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            ledger: MemoryLedger::new(&["internal"]),
            directory: tempfile::tempdir().unwrap(),
            feed: local(free_port()),
            dns: local(free_port()),
        }
    }

    fn keys(&self) -> std::path::PathBuf {
        self.directory.path().join("zone-keys.json")
    }

    fn signer(&self) -> Running {
        let config = SignerConfig {
            circle_key: CircleKey([0; 96]),
            circle: CircleId([0; 32]),
            nodes: Vec::new(),
            key_file: "unused".into(),
            passphrase_file: "unused".into(),
            zone_keys: self.keys(),
            label: None,
            listen: self.feed,
            apexes: Vec::new(),
            servers: vec![ServerSettings {
                label: name_of("ns"),
                addresses: vec!["192.0.2.53".parse().unwrap()],
            }],
            apex_ttl: 300,
            negative_ttl: 5,
            endpoint_ttl: 5,
        };
        let ledger = self.ledger.clone();
        Running(tokio::spawn(async move {
            let ended = naming::names::signer::run_over(ledger, config, None).await;
            panic!("the signer ended: {ended:?}");
        }))
    }

    fn names(&self, signers: &[SocketAddr]) -> Running {
        let config = NamesConfig {
            circle_key: CircleKey([0; 96]),
            circle: CircleId([0; 32]),
            nodes: Vec::new(),
            fronts: FrontSettings {
                listen: vec![self.dns],
                rate_limit: RateLimit {
                    responses_per_second: 0,
                    ..RateLimit::default()
                },
                ..FrontSettings::default()
            },
            registration: None,
            apexes: Vec::new(),
            zone: Default::default(),
            tolerance: Default::default(),
            signers: signers.iter().map(ToString::to_string).collect(),
            gateway: None,
        };
        let ledger = self.ledger.clone();
        Running(tokio::spawn(async move {
            let ended = naming::names::run_over(ledger, None::<MemoryLedger>, config).await;
            panic!("the name server ended: {ended:?}");
        }))
    }

    /// What the name server answers, from a task that may wait.
    async fn ask(&self, arguments: &'static [&'static str]) -> String {
        let dns = self.dns;
        tokio::task::spawn_blocking(move || dig(dns, arguments))
            .await
            .unwrap()
    }

    async fn until_told(&self, arguments: &'static [&'static str], wanted: &str) {
        let deadline = tokio::time::Instant::now() + crate::programs::PATIENCE;
        loop {
            let dns = self.dns;
            let asking = tokio::task::spawn_blocking(move || {
                let (at, port) = (format!("@{}", dns.ip()), dns.port().to_string());
                let mut all = vec![at.as_str(), "-p", &port, "+tries=1", "+time=1"];
                all.extend(arguments);
                String::from_utf8_lossy(&run("dig", &all).stdout).into_owned()
            });
            let told = asking.await.unwrap();
            if told.contains(wanted) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "no {wanted}: {told}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn quiet_blocks(&self) -> Running {
        let ledger = self.ledger.clone();
        Running(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                ledger.commit_after(50, Vec::new(), Vec::new());
            }
        }))
    }
}

fn named(text_of: &str, said: &str) -> record::Name {
    let mut name = name(text_of);
    name.records = vec![text(said)];
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_the_ledger_is_served_signed() {
    let circle = Circle::new();
    circle
        .ledger
        .commit_names(&[named("hello.internal", "one")]);
    let _blocks = circle.quiet_blocks();
    let _signer = circle.signer();
    let _names = circle.names(&[circle.feed]);
    // The signer makes its keys, sets the zone, and everything is signed.
    circle
        .until_told(&["+dnssec", "hello.internal", "TXT"], "RRSIG\tTXT 13 2 60")
        .await;
    let keys = FileKeys::open(&circle.keys()).unwrap();
    assert_eq!(keys.public(&name_of("internal")).len(), 2);
    circle
        .ledger
        .commit_names(&[named("hello.internal", "two"), named("more.internal", "x")]);
    circle
        .until_told(&["+dnssec", "hello.internal", "TXT"], "\"two\"")
        .await;
    let told = circle.ask(&["+dnssec", "more.internal", "MX"]).await;
    assert!(told.contains("more.internal.\t\t5\tIN\tNSEC"), "{told}");
    let released = Event::NameReleased {
        name: name_of("more.internal"),
        refund: wire::Amount(1),
    };
    let key = state_key::name(&name_of("more.internal"));
    circle.ledger.commit(vec![(key, None)], vec![released]);
    circle
        .until_told(&["+dnssec", "more.internal", "MX"], "NXDOMAIN")
        .await;
}

fn server(address: &str) -> NameServerTerms {
    NameServerTerms {
        name: name_of("dns.internal"),
        addresses: vec![address.parse().unwrap()],
        ports: NameServerPorts {
            https: Some(443),
            ..NameServerPorts::default()
        },
        certificate_request: vec![1],
        tls_key: Digest([5; 32]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_name_servers_say_of_themselves_is_served_signed() {
    let circle = Circle::new();
    let _blocks = circle.quiet_blocks();
    let register = async |account: u8, terms: NameServerTerms| {
        let ledger = circle.ledger.of_account(AccountId([account; 32]));
        let action = Action::RegisterNameServer(RegisterNameServer { terms });
        ledger.post(vec![action]).await.unwrap();
    };
    register(5, server("192.0.2.1")).await;
    let _signer = circle.signer();
    let _names = circle.names(&[circle.feed]);
    circle
        .until_told(&["+dnssec", "dns.internal", "A"], "RRSIG\tA 13 2 300")
        .await;
    circle
        .until_told(
            &["+dnssec", "_dns.dns.internal", "SVCB"],
            "RRSIG\tSVCB 13 3 300",
        )
        .await;
    // A second server joins, and the first moves.
    register(6, server("192.0.2.2")).await;
    register(5, server("192.0.2.3")).await;
    circle
        .until_told(&["+dnssec", "dns.internal", "A"], "192.0.2.3")
        .await;
    let told = circle.ask(&["+dnssec", "dns.internal", "A"]).await;
    assert!(told.contains("192.0.2.2"), "{told}");
    assert!(!told.contains("192.0.2.1"), "{told}");
    let told = circle.ask(&["+short", "dns.internal", "HTTPS"]).await;
    assert_eq!(told, "1 . alpn=\"h2,http/1.1\"\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_without_a_signer_serves_no_signed_zone() {
    let circle = Circle::new();
    circle
        .ledger
        .commit_names(&[named("hello.internal", "one")]);
    let _blocks = circle.quiet_blocks();
    let signer = circle.signer();
    let mirrored = circle.names(&[circle.feed]);
    circle
        .until_told(&["+dnssec", "hello.internal", "TXT"], "RRSIG")
        .await;
    drop((signer, mirrored));
    let other = Circle {
        directory: tempfile::tempdir().unwrap(),
        dns: SocketAddr::from(([127, 0, 0, 1], free_port())),
        ledger: circle.ledger.clone(),
        ..circle
    };
    let _names = other.names(&[]);
    other
        .until_told(&["hello.internal", "TXT"], "EDE: 14")
        .await;
}

/// Names change while the signer is killed and started: every answer is
/// signed, and of one height.
#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_comes_back_is_followed_again() {
    let circle = Circle::new();
    circle.ledger.commit_names(&[named("hello.internal", "0")]);
    let _blocks = circle.quiet_blocks();
    let mut signer = Some(circle.signer());
    let _names = circle.names(&[circle.feed]);
    circle
        .until_told(&["+dnssec", "hello.internal", "TXT"], "RRSIG")
        .await;
    for round in 1..4 {
        signer.take();
        circle
            .ledger
            .commit_names(&[named("hello.internal", &round.to_string())]);
        // The last image stays whole while nobody signs the next.
        let told = circle.ask(&["+dnssec", "hello.internal", "TXT"]).await;
        assert!(told.contains("RRSIG"), "{told}");
        signer = Some(circle.signer());
        let wanted = format!("\"{round}\"");
        circle
            .until_told(&["+dnssec", "hello.internal", "TXT"], &wanted)
            .await;
        let told = circle.ask(&["+dnssec", "hello.internal", "TXT"]).await;
        assert!(told.contains("RRSIG"), "{told}");
    }
}

/// A feed in the middle that changes one octet here and there.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_lies_is_never_served() {
    let circle = Circle::new();
    circle
        .ledger
        .commit_names(&[named("hello.internal", "one")]);
    let _blocks = circle.quiet_blocks();
    let _signer = circle.signer();
    let honest = circle.names(&[circle.feed]);
    circle
        .until_told(&["+dnssec", "hello.internal", "TXT"], "RRSIG")
        .await;
    drop(honest);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let liar = listener.local_addr().unwrap();
    let feed = circle.feed;
    let _middle = Running(tokio::spawn(async move {
        loop {
            let (mut down, _) = listener.accept().await.unwrap();
            let mut up = tokio::net::TcpStream::connect(feed).await.unwrap();
            tokio::spawn(async move {
                let mut greeting = [0; 24];
                down.read_exact(&mut greeting).await?;
                up.write_all(&greeting).await?;
                up.read_exact(&mut greeting).await?;
                down.write_all(&greeting).await?;
                loop {
                    let length = up.read_u32().await?;
                    let mut frame = vec![0; length as usize];
                    up.read_exact(&mut frame).await?;
                    // Signatures: the last octet of the last one.
                    if frame[0] == 1 {
                        *frame.last_mut().unwrap() ^= 1;
                    }
                    down.write_u32(length).await?;
                    down.write_all(&frame).await?;
                }
                #[allow(unreachable_code)]
                std::io::Result::Ok(())
            });
        }
    }));
    let other = Circle {
        directory: tempfile::tempdir().unwrap(),
        dns: SocketAddr::from(([127, 0, 0, 1], free_port())),
        ledger: circle.ledger.clone(),
        ..circle
    };
    let _names = other.names(&[liar]);
    other
        .until_told(&["hello.internal", "TXT"], "EDE: 14")
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = other.ask(&["+dnssec", "hello.internal", "TXT"]).await;
    assert!(
        told.contains("EDE: 14") && !told.contains("RRSIG"),
        "{told}"
    );
}

/// Ten names that always change together, under load: the zone is verified
/// as a whole by a stranger, and no answer mixes two generations.
#[tokio::test(flavor = "multi_thread")]
async fn under_load_every_image_is_whole_and_of_one_height() {
    let circle = Circle::new();
    let generation = |number: u64| -> Vec<record::Name> {
        (0..10)
            .map(|index| named(&format!("n{index}.internal"), &number.to_string()))
            .collect()
    };
    circle.ledger.commit_names(&generation(0));
    let published = Arc::new(std::sync::Mutex::new(Height(0)));
    let _signer = circle.signer();
    let _names = circle.names(&[circle.feed]);
    let ledger = circle.ledger.clone();
    let newest = Arc::clone(&published);
    let load = Running(tokio::spawn(async move {
        for number in 1.. {
            tokio::time::sleep(Duration::from_millis(5)).await;
            *newest.lock().unwrap() = ledger.commit_names(&generation(number));
        }
    }));
    circle
        .until_told(&["+dnssec", "n0.internal", "TXT"], "RRSIG")
        .await;
    let begun = now_ms();
    let mut served = std::collections::BTreeSet::new();
    while served.len() <= 5 || now_ms() < begun + 2_000 {
        assert!(now_ms() < begun + 60_000, "{served:?}");
        // One TCP connection may span images; one answer may not.
        let told = circle
            .ask(&["+dnssec", "n9.internal", "TXT", "internal", "SOA"])
            .await;
        assert_eq!(told.matches("RRSIG").count(), 2, "{told}");
        served.insert(
            told.lines()
                .find(|line| line.contains("TXT\t\""))
                .unwrap()
                .to_owned(),
        );
    }
    drop(load);
    let last = *published.lock().unwrap();
    // Afterwards the serial stands at the last change.
    let _blocks = circle.quiet_blocks();
    until_async("the last change", || {
        let told = dig(circle.dns, &["+short", "internal", "SOA"]);
        told.contains(&format!(" {last} "))
    })
    .await;
}
