//! Validators of a running circle that show evidence of their code again by themselves,
//! and one whose source of it fails.

mod harness;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use attest::development::{QuotingKey, certify};
use harness::{EPOCH, configure, enact, free_ports, until};
use node::{
    Node,
    attesting::{EvidenceSource, SourceError},
    sample::Circle,
};
use reqwest::Client;
use serde_json::Value;
use wire::{
    Change, Digest, Evidence, EvidenceKind, Measurement, ReferenceValue, SigningKey,
    ValidatorPolicy,
};

const CODE: ReferenceValue = ReferenceValue {
    measurement: Measurement([0xc0; 32]),
    kind: EvidenceKind::Development,
};

/// The least that a policy may ask for.
const RENEW_WITHIN: u64 = 2 * EPOCH;

/// A machine's quoting key, whose machine may be unwell.
struct Machine {
    quoting: QuotingKey,
    unwell: AtomicBool,
}

impl EvidenceSource for Machine {
    fn evidence(&self, report_data: Digest) -> Result<Evidence, SourceError> {
        if self.unwell.load(Ordering::Relaxed) {
            return Err("the vendor's collateral is out of reach".into());
        }
        Ok(self.quoting.quote(CODE.measurement, report_data, [1; 32]))
    }
}

fn machine(root: &SigningKey, node: u8) -> Arc<Machine> {
    let quoting = SigningKey::ed25519([90 + node; 32]);
    let certificate = certify(root, quoting.public(), None, "machine").unwrap();
    Arc::new(Machine {
        quoting: QuotingKey::new(quoting, certificate).unwrap(),
        unwell: AtomicBool::new(false),
    })
}

async fn status(
    http: &Client,
    api: SocketAddr,
    what: &str,
    done: impl Fn(&Value) -> bool,
) -> Value {
    until(http, api, "/v1/status", what, done).await
}

/// The value of one figure.
async fn figure(http: &Client, api: SocketAddr, name: &str) -> Option<u64> {
    let url = format!("http://{api}/metrics");
    let text = http.get(url).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_renew_their_evidence_and_one_that_cannot_is_named_leaves_and_comes_back() {
    let root = SigningKey::ed25519([80; 32]);
    let mut circle = Circle::with_epochs(4, EPOCH);
    circle.genesis.parameters.idle_block_interval_ms = 120;
    circle.genesis.development_roots = vec![root.public()];
    circle.genesis.reference_values = vec![CODE];
    let ports = free_ports(4);
    let folder = tempfile::tempdir().unwrap();
    let machines: Vec<_> = (0..4).map(|node| machine(&root, node)).collect();
    let mut nodes = Vec::new();
    for (node, machine) in machines.iter().enumerate() {
        let config = configure(&circle, node, &ports, folder.path());
        let source: Arc<dyn EvidenceSource> = machine.clone();
        nodes.push(Node::start_with(&config, Some(source)).await.unwrap());
    }
    let apis: Vec<SocketAddr> = nodes.iter().map(Node::api_address).collect();
    let http = Client::new();
    let before = status(&http, apis[0], "the circle runs", |status| {
        status["in_office"] == true && status["height"].as_u64() > Some(2)
    });
    assert_eq!(before.await["evidence"], Value::Null, "nobody asks for it");

    let policy = ValidatorPolicy {
        codes: vec![CODE],
        renew_within: RENEW_WITHIN,
    };
    let change = Change::SetValidatorPolicy(policy);
    enact(&http, apis[0], &circle, change).await;
    // Three times, each at half of its time: longer than the first would count for.
    for api in &apis {
        let shown = status(&http, *api, "evidence was shown three times", |status| {
            status["evidence"]["shown"].as_u64() >= Some(3)
        });
        let shown = shown.await;
        assert_eq!(shown["validators"], 4, "{shown}");
        assert_eq!(shown["last_resharing"], Value::Null, "nobody left: {shown}");
        assert_eq!(shown["alarms"], serde_json::json!([]), "{shown}");
        let left = figure(&http, *api, "ringfort_evidence_blocks_left").await;
        assert!(left > Some(0), "{left:?}");
    }

    machines[3].unwell.store(true, Ordering::Relaxed);
    let named = status(&http, apis[3], "the failure is named", |status| {
        let alarms = status["alarms"].to_string();
        alarms.contains("the vendor's collateral is out of reach")
    });
    let named = named.await;
    assert_eq!(
        named["in_office"], true,
        "there is time to mend it: {named}"
    );
    let failing = figure(&http, apis[3], "ringfort_evidence_failing").await;
    assert_eq!(failing, Some(1));
    for api in &apis {
        status(&http, *api, "it has left", |status| {
            status["validators"] == 3 && status["last_resharing"] == "adopted"
        })
        .await;
    }
    let left = status(&http, apis[3], "it does not vote", |status| {
        status["in_office"] == false
    });
    let alarms = left.await["alarms"].to_string();
    assert!(alarms.contains("it is left out"), "{alarms}");

    machines[3].unwell.store(false, Ordering::Relaxed);
    for api in &apis {
        status(&http, *api, "it is back", |status| {
            status["validators"] == 4 && status["in_office"] == true
        })
        .await;
    }
    let well = status(&http, apis[3], "nothing is wrong", |status| {
        status["alarms"] == serde_json::json!([])
    });
    assert_eq!(well.await["evidence"]["last_failure"], Value::Null);
    for node in nodes {
        node.stop().await.unwrap();
    }
}
