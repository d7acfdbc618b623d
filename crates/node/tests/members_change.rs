//! A circle of real nodes over TCP changes its validators while transfers flow.

mod harness;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use harness::{EPOCH, PATIENCE, configure, enact, free_ports, get, join, key};
use node::{
    Node,
    sample::{self, BALANCE, Circle},
};
use reqwest::Client;
use serde_json::Value;
use wire::Change;

/// The number of the node that joins.
const JOINER: usize = 4;

/// Waits until a node's status is as it should be.
async fn until(http: &Client, node: &Node, what: &str, done: impl Fn(&Value) -> bool) -> Value {
    harness::until(http, node.api_address(), "/v1/status", what, done).await
}

/// Transfers one unit at a time until it is told to stop; how many.
async fn flow(circle: Arc<Circle>, api: SocketAddr, stop: Arc<AtomicBool>) -> u64 {
    let http = Client::new();
    let url = format!("http://{api}/v1/transactions?wait=final&timeout_ms=50000");
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let transfer = circle.transfer(0, sent, 1, 1);
        let answer = http.post(&url).body(transfer.encode()).send().await;
        let text = answer.unwrap().text().await.unwrap();
        assert!(text.contains("\"applied\""), "transfer {sent}: {text}");
        sent += 1;
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_node_joins_and_a_founder_leaves_while_transfers_flow() {
    let mut circle = Circle::with_epochs(4, EPOCH);
    circle.genesis.parameters.idle_block_interval_ms = 120;
    let circle = Arc::new(circle);
    let ports = free_ports(JOINER + 1);
    let folder = tempfile::tempdir().unwrap();
    let configs: Vec<_> = (0..=JOINER)
        .map(|node| configure(&circle, node, &ports, folder.path()))
        .collect();
    let mut nodes = Vec::new();
    for config in &configs {
        nodes.push(Node::start(config).await.unwrap());
    }
    let http = Client::new();
    let stop = Arc::new(AtomicBool::new(false));
    let api = nodes[0].api_address();
    let flowing = tokio::spawn(flow(circle.clone(), api, stop.clone()));

    let before = until(&http, &nodes[0], "the circle runs", |status| {
        status["in_office"] == true && status["height"].as_u64() > Some(2)
    })
    .await;
    assert_eq!(before["validators"], 4);
    let (_, early) = get(&http, nodes[JOINER].api_address(), "/v1/status").await;
    assert_eq!(early["height"], 0, "nobody speaks to a stranger");
    assert_eq!(early["in_office"], false);

    enact(&http, api, &circle, join(&circle, JOINER, ports[JOINER])).await;
    let joined = until(&http, &nodes[JOINER], "the fifth is in office", |status| {
        status["in_office"] == true && status["validators"] == 5
    })
    .await;
    assert_eq!(joined["last_resharing"], "adopted");
    assert!(joined["height"].as_u64() >= Some(EPOCH - 1));

    // It comes back with the share that it had stored.
    let fifth = nodes.pop().unwrap();
    fifth.stop().await.unwrap();
    nodes.push(Node::start(&configs[JOINER]).await.unwrap());
    until(&http, &nodes[JOINER], "the fifth is back", |status| {
        status["in_office"] == true && status["healthy"] == true
    })
    .await;

    let leaver = key(3).public().account();
    enact(&http, api, &circle, Change::RemoveMember(leaver)).await;
    for node in [0, 1, 2, JOINER] {
        until(&http, &nodes[node], "four are in office", |status| {
            status["in_office"] == true && status["validators"] == 4
        })
        .await;
    }
    let gone = nodes.remove(3);
    gone.stop().await.unwrap();
    let remaining = &nodes;

    let (_, status) = get(&http, api, "/v1/status").await;
    let goal = status["height"].as_u64().unwrap() + EPOCH;
    for node in remaining {
        let leaver = serde_json::to_value(key(3).public()).unwrap();
        until(&http, node, "blocks go on without the leaver", |status| {
            let connected = status["connected"].as_array().unwrap();
            status["height"].as_u64() >= Some(goal) && !connected.contains(&leaver)
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let sent = flowing.await.unwrap();
    assert!(sent > 20, "{sent} transfers");
    // The founding shares are of no use, and no file has them any more.
    for (node, config) in configs.iter().enumerate().take(3) {
        assert!(!config.share_file.as_ref().unwrap().exists(), "{node}");
    }
    let path = format!("/v1/accounts/{}", sample::account(1));
    let deadline = Instant::now() + PATIENCE;
    for node in remaining {
        let api = node.api_address();
        while get(&http, api, &path).await.1["record"]["balance"] != BALANCE.0 + sent {
            assert!(Instant::now() < deadline, "balances differ");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let fifth = remaining[3].api_address();
    let (_, proven) = get(&http, fifth, &format!("{path}?proof=true")).await;
    prove(&circle, &proven);
    for node in nodes {
        node.stop().await.unwrap();
    }
}

/// The fifth's answer is proven under the key of the founding.
fn prove(circle: &Circle, answer: &Value) {
    let bytes = BASE64.decode(answer["proof"].as_str().unwrap()).unwrap();
    let proof = proof::Proof::decode(&bytes).unwrap();
    assert!(proof.certificate.epoch >= 2, "by the last committee");
    let proven = proof.verify(&circle.genesis.circle_key).unwrap();
    assert_eq!(proven.circle(), circle.genesis.circle());
}
