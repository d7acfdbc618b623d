//! A running node that has fallen far behind fetches the state by itself. One
//! to whom no validator speaks stands for it: it gets no blocks however long it
//! waits.

mod harness;

use harness::{EPOCH, configure, free_ports, get, until};
use node::{Node, checkpoint::Policy, sample::Circle};
use reqwest::{Client, StatusCode};

/// Blocks between two checkpoints.
const EVERY: u64 = 10;

/// How far ahead a state must be.
const BEHIND: u64 = 20;

/// The number of the node that is no member.
const STRANGER: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_that_falls_behind_goes_forward_by_itself() {
    let mut circle = Circle::with_epochs(4, EPOCH);
    circle.genesis.parameters.idle_block_interval_ms = 120;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    circle.genesis.time_ms = now.unwrap().as_millis() as u64;
    let ports = free_ports(STRANGER + 2);
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Vec::new();
    let mut peers = Vec::new();
    for number in 0..STRANGER {
        let mut config = configure(&circle, number, &ports, folder.path());
        config.checkpoints = Policy {
            every_blocks: EVERY,
            keep: 3,
            chunk_bytes: 1024,
        };
        let node = Node::start(&config).await.unwrap();
        peers.push(format!("http://{}", node.api_address()));
        nodes.push(node);
    }
    let http = Client::new();
    let founder = nodes[0].api_address();
    let path = "/v1/checkpoints";
    until(&http, founder, path, "there is a checkpoint", |list| {
        list["checkpoints"][0]["height"].is_u64()
    })
    .await;
    let mut config = configure(&circle, STRANGER, &ports, folder.path());
    config.api = ([127, 0, 0, 1], ports[STRANGER + 1]).into();
    config.sync.peers = peers;
    config.sync.min_blocks_behind = BEHIND;
    let api = config.api;
    let running = tokio::spawn(node::run(config));

    // It may not listen yet, or not for a moment.
    let height = async || {
        let url = format!("http://{api}/v1/status");
        let text = http.get(url).send().await.ok()?.text().await.ok()?;
        let status: serde_json::Value = serde_json::from_str(&text).ok()?;
        status["height"].as_u64()
    };
    let deadline = std::time::Instant::now() + harness::PATIENCE;
    let mut first = None;
    let last = loop {
        assert!(!running.is_finished(), "it has ended");
        if let Some(now) = height().await {
            let first = *first.get_or_insert(now);
            if now >= first + BEHIND {
                break now;
            }
        }
        assert!(
            std::time::Instant::now() < deadline,
            "it stays at {first:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert!(
        last.is_multiple_of(EVERY),
        "{last} is no checkpoint's height"
    );
    let (status, _) = get(&http, api, &format!("/v1/blocks/{}", last - 1)).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it has a state, no blocks");
    let theirs = get(&http, founder, &format!("/v1/headers/{last}")).await.1;
    let own = get(&http, api, &format!("/v1/headers/{last}")).await.1;
    assert_eq!(own["digest"], theirs["digest"]);
    for node in nodes {
        node.stop().await.unwrap();
    }
    running.abort();
}
