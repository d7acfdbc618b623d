//! The gateway: one proven name at a time, and what is left when nodes go.

use std::{net::SocketAddr, time::Duration};

use naming::names::{FrontSettings, GatewaySettings, NamesConfig, RateLimit, Tolerance};
use tokio::task::JoinHandle;
use wire::{CircleId, CircleKey, Height, record::Name, state_key};

use crate::{
    fake_node::{self, Node},
    memory::MemoryLedger,
    programs::{free_port, run, until},
    values::{name, set, text},
};

/// A running gateway; it ends when this is dropped.
struct Gateway {
    dns: SocketAddr,
    http: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gateway {
    fn start(ledger: &MemoryLedger, kept: GatewaySettings, tolerance: Tolerance) -> Self {
        let config = Self::config(kept, tolerance);
        let (dns, http) = (config.fronts.listen[0], config.fronts.http.unwrap());
        let ledger = ledger.clone();
        let task = tokio::spawn(async move {
            let ended = naming::names::run_over(ledger, None::<MemoryLedger>, config).await;
            panic!("the gateway ended: {ended:?}");
        });
        Self { dns, http, task }
    }

    /// Behind nodes, of which each proof is verified.
    fn behind(nodes: &[&Node]) -> Self {
        let config = NamesConfig {
            circle_key: nodes[0].circle.key,
            circle: nodes[0].circle.id,
            nodes: nodes.iter().map(|node| node.url().to_string()).collect(),
            ..Self::config(GatewaySettings::default(), patient())
        };
        let (dns, http) = (config.fronts.listen[0], config.fronts.http.unwrap());
        let task = tokio::spawn(async move {
            let ended = naming::names::run(config).await;
            panic!("the gateway ended: {ended:?}");
        });
        Self { dns, http, task }
    }

    fn config(kept: GatewaySettings, tolerance: Tolerance) -> NamesConfig {
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (dns, http) = (local(), local());
        NamesConfig {
            circle_key: CircleKey([0; 96]),
            circle: CircleId([0; 32]),
            nodes: Vec::new(),
            fronts: FrontSettings {
                listen: vec![dns],
                http: Some(http),
                rate_limit: RateLimit {
                    responses_per_second: 0,
                    ..RateLimit::default()
                },
                ..FrontSettings::default()
            },
            registration: None,
            apexes: Vec::new(),
            zone: Default::default(),
            tolerance,
            signers: Vec::new(),
            gateway: Some(kept),
        }
    }

    /// What it answers, once it answers at all.
    fn asked(&self, arguments: &[&str]) -> String {
        let mut told = String::new();
        until("the zones", || {
            let (at, port) = (format!("@{}", self.dns.ip()), self.dns.port().to_string());
            let mut all = vec![at.as_str(), "-p", &port, "+tries=2", "+time=5"];
            all.extend(arguments);
            let ended = run("dig", &all);
            told = String::from_utf8_lossy(&ended.stdout).into_owned();
            ended.status.success() && !told.contains("Not Ready")
        });
        told
    }

    fn status(&self) -> serde_json::Value {
        let url = format!("http://{}/v1/status", self.http);
        let told = crate::programs::output("curl", &["--silent", "--show-error", &url]);
        serde_json::from_str(&told).unwrap()
    }
}

/// The ledger in memory stands still, and a busy machine is slow.
fn patient() -> Tolerance {
    Tolerance {
        stale_after_ms: 120_000,
        ..Tolerance::default()
    }
}

fn names() -> Vec<Name> {
    let mut hello = name("hello.internal");
    hello.records = vec![
        text("by its owner"),
        set(Some("*"), 1, 60, &[&[192, 0, 2, 9]]),
    ];
    let mut alias = name("alias.internal");
    alias.records = vec![
        set(Some("www"), 5, 60, &[b"\x01a\x05hello\x08internal\x00"]),
        set(Some("gone"), 5, 60, &[b"\x06nobody\x08internal\x00"]),
        set(Some("ring"), 5, 60, &[b"\x04ring\x05other\x08internal\x00"]),
    ];
    let mut other = name("other.internal");
    other.records = vec![set(
        Some("ring"),
        5,
        60,
        &[b"\x04ring\x05alias\x08internal\x00"],
    )];
    vec![hello, alias, other]
}

#[tokio::test(flavor = "multi_thread")]
async fn dig_is_answered_one_proven_name_at_a_time() {
    let ledger = MemoryLedger::new(&["internal"]);
    ledger.commit_names(&names());
    let gateway = Gateway::start(&ledger, GatewaySettings::default(), patient());
    for transport in ["+notcp", "+tcp"] {
        let told = gateway.asked(&[transport, "hello.internal", "TXT"]);
        assert!(
            told.contains("NOERROR") && told.contains("by its owner"),
            "{told}"
        );
        assert!(
            told.contains("flags: qr aa") && !told.contains("EDE"),
            "{told}"
        );
        let told = gateway.asked(&[transport, "x.y.hello.internal", "A"]);
        assert!(told.contains("192.0.2.9"), "{told}");
        // An alias leads to a name that no question was asked for.
        let told = gateway.asked(&[transport, "www.alias.internal", "A"]);
        assert!(
            told.contains("CNAME") && told.contains("192.0.2.9"),
            "{told}"
        );
        let told = gateway.asked(&[transport, "gone.alias.internal", "A"]);
        assert!(
            told.contains("NXDOMAIN") && told.contains("CNAME"),
            "{told}"
        );
        let told = gateway.asked(&[transport, "ring.alias.internal", "A"]);
        assert!(
            told.contains("NOERROR") && told.contains("ring.other"),
            "{told}"
        );
        let told = gateway.asked(&[transport, "nobody.internal", "A"]);
        assert!(told.contains("NXDOMAIN") && told.contains("SOA"), "{told}");
        let told = gateway.asked(&[transport, "_no-name.internal", "A"]);
        assert!(told.contains("NXDOMAIN"), "{told}");
        let told = gateway.asked(&[transport, "internal", "SOA"]);
        assert!(
            told.contains("NOERROR") && told.contains("hostmaster"),
            "{told}"
        );
        let told = gateway.asked(&[transport, "hello.example", "A"]);
        assert!(told.contains("REFUSED"), "{told}");
    }
    let status = gateway.status();
    // hello, alias, other and the two that are proven not to exist.
    assert_eq!(status["gateway"]["names"], 5, "{status}");
    assert_eq!(status["freshness"], "fresh", "{status}");
    assert!(status["gateway"]["age_ms"].is_u64(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_answered_when_the_proof_kept_has_run_out() {
    let ledger = MemoryLedger::new(&["internal"]);
    ledger.commit_names(&names());
    let tolerance = Tolerance {
        stale_after_ms: 2000,
        ..Tolerance::default()
    };
    let gateway = Gateway::start(&ledger, GatewaySettings::default(), tolerance);
    assert!(
        gateway
            .asked(&["hello.internal", "TXT"])
            .contains("by its owner")
    );
    let mut changed = names().remove(0);
    changed.records = vec![text("changed")];
    ledger.commit_names(&[changed]);
    until("the change", || {
        gateway
            .asked(&["hello.internal", "TXT"])
            .contains("changed")
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nodes_it_answers_from_what_was_proven_and_says_so() {
    let ledger = MemoryLedger::new(&["internal"]);
    ledger.commit_names(&names());
    let tolerance = Tolerance {
        stale_after_ms: 1500,
        expire_after_ms: 15_000,
    };
    let gateway = Gateway::start(&ledger, GatewaySettings::default(), tolerance);
    // A proof as young as this clock can tell: the ledger in memory stands still.
    let now = naming::names::now_ms();
    ledger.commit_after(now.saturating_sub(ledger.time_ms()), Vec::new(), Vec::new());
    assert!(
        gateway
            .asked(&["hello.internal", "TXT"])
            .contains("by its owner")
    );
    assert!(
        gateway
            .asked(&["nobody.internal", "A"])
            .contains("NXDOMAIN")
    );
    ledger.set_down(true);
    until("an answer that says it is stale", || {
        let told = gateway.asked(&["hello.internal", "TXT"]);
        assert!(
            told.contains("by its owner") || told.contains("SERVFAIL"),
            "{told}"
        );
        told.contains("EDE: 3 (Stale Answer)") && told.contains("height")
    });
    let told = gateway.asked(&["nobody.internal", "A"]);
    assert!(told.contains("EDE: 19 (Stale NXDOMAIN Answer)"), "{told}");
    // What was never proven is not made up.
    let told = gateway.asked(&["other.internal", "A"]);
    assert!(
        told.contains("SERVFAIL") && told.contains("EDE: 22"),
        "{told}"
    );
    assert_eq!(gateway.status()["freshness"], "stale");
    until("an end of answers", || {
        let told = gateway.asked(&["hello.internal", "TXT"]);
        told.contains("SERVFAIL") && told.contains("EDE: 24")
    });
    ledger.set_down(false);
    let now = naming::names::now_ms();
    ledger.commit_after(now.saturating_sub(ledger.time_ms()), Vec::new(), Vec::new());
    until("fresh answers again", || {
        let told = gateway.asked(&["hello.internal", "TXT"]);
        told.contains("by its owner") && !told.contains("EDE")
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_no_more_than_it_may() {
    let ledger = MemoryLedger::new(&["internal"]);
    ledger.commit_names(&names());
    let kept = GatewaySettings {
        names: 3,
        octets: 4096,
    };
    let gateway = Gateway::start(&ledger, kept, patient());
    for index in 0..20 {
        let asked = format!("nobody{index}.internal");
        assert!(gateway.asked(&[&asked, "A"]).contains("NXDOMAIN"));
    }
    assert!(
        gateway
            .asked(&["hello.internal", "TXT"])
            .contains("by its owner")
    );
    let status = gateway.status();
    assert_eq!(status["gateway"]["names"], 3, "{status}");
    assert!(
        status["gateway"]["octets"].as_u64().unwrap() <= 4096,
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_ledger_holds_up_nothing_that_was_proven() {
    let ledger = MemoryLedger::new(&["internal"]);
    ledger.commit_names(&names());
    let gateway = Gateway::start(&ledger, GatewaySettings::default(), patient());
    assert!(
        gateway
            .asked(&["hello.internal", "TXT"])
            .contains("by its owner")
    );
    ledger.set_slowness(Duration::from_secs(60));
    let told = gateway.asked(&["+tries=1", "+time=2", "hello.internal", "TXT"]);
    assert!(told.contains("by its owner"), "{told}");
    let told = gateway.asked(&["+tries=1", "+time=10", "other.internal", "TXT"]);
    assert!(
        told.contains("SERVFAIL") && told.contains("EDE: 22"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_node_made_up_is_refused() {
    let circle = fake_node::circle();
    let (liar, honest) = (
        Node::start(&circle, 10).await,
        Node::start(&circle, 10).await,
    );
    for node in [&liar, &honest] {
        for name in names() {
            let name = Name {
                changed_at: Height(9),
                ..name
            };
            node.put(state_key::name(&name.name), &name);
        }
    }
    // The liar is asked first, and again alone.
    let both = Gateway::behind(&[&liar, &honest]);
    let alone = Gateway::behind(&[&liar]);
    let told = alone.asked(&["other.internal", "TXT"]);
    assert!(told.contains("NOERROR"), "{told}");
    liar.mischief(|mischief| mischief.forge = true);
    let told = both.asked(&["hello.internal", "TXT"]);
    assert!(told.contains("by its owner"), "{told}");
    let told = alone.asked(&["+time=10", "hello.internal", "TXT"]);
    assert!(
        told.contains("SERVFAIL") && told.contains("EDE: 22"),
        "{told}"
    );
    assert!(!told.contains("by its owner"), "{told}");
    // That there is no such name is proven as well, by either.
    let told = both.asked(&["nobody.internal", "TXT"]);
    assert!(told.contains("NXDOMAIN"), "{told}");
}
