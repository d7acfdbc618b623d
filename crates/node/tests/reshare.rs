//! A validator of a running circle that lost its engine's directory, and with it its
//! share: members have the key shared anew, and it votes again.

mod harness;

use std::fs;

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use harness::{EPOCH, configure, enact, free_ports, get, until};
use node::{
    Node,
    sample::{self, Circle},
};
use reqwest::Client;
use serde_json::Value;
use wire::{Change, record::Epoch, state_key};

/// The validator that loses its directory.
const UNLUCKY: usize = 3;

async fn epoch(http: &Client, node: &Node) -> Epoch {
    let key = hex::encode(state_key::epoch());
    let path = format!("/v1/entries/{key}?proof=true");
    let (_, answer) = get(http, node.api_address(), &path).await;
    let value = hex::decode(answer["value"].as_str().unwrap()).unwrap();
    wire::record::decode(&value).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_its_share_gets_another_by_a_vote_and_the_key_stays() {
    let mut circle = Circle::with_epochs(4, EPOCH);
    circle.genesis.parameters.idle_block_interval_ms = 120;
    let ports = free_ports(4);
    let folder = tempfile::tempdir().unwrap();
    let configs: Vec<_> = (0..4)
        .map(|node| configure(&circle, node, &ports, folder.path()))
        .collect();
    let mut nodes = Vec::new();
    for config in &configs {
        nodes.push(Node::start(config).await.unwrap());
    }
    let http = Client::new();
    let first = nodes[0].api_address();
    let runs =
        |status: &Value| status["in_office"] == true && status["height"].as_u64() > Some(EPOCH + 2);
    for node in &nodes {
        until(
            &http,
            node.api_address(),
            "/v1/status",
            "an epoch is over",
            runs,
        )
        .await;
    }
    let before = epoch(&http, &nodes[0]).await;

    nodes.pop().unwrap().stop().await.unwrap();
    fs::remove_dir_all(configs[UNLUCKY].data_dir.join("engine")).unwrap();
    let share = configs[UNLUCKY].share_file.as_ref().unwrap();
    if share.exists() {
        fs::remove_file(share).unwrap();
    }
    nodes.push(Node::start(&configs[UNLUCKY]).await.unwrap());
    let unlucky = nodes[UNLUCKY].api_address();
    until(
        &http,
        unlucky,
        "/v1/status",
        "it says what it lacks",
        |status| status["why"].to_string().contains("has no share"),
    )
    .await;
    assert_eq!(epoch(&http, &nodes[0]).await.sharing, before.sharing);

    enact(&http, first, &circle, Change::Reshare).await;
    for node in &nodes {
        until(
            &http,
            node.api_address(),
            "/v1/status",
            "all vote",
            |status| status["in_office"] == true && status["last_resharing"] == "adopted",
        )
        .await;
    }
    let after = epoch(&http, &nodes[0]).await;
    assert_eq!(after.committee, before.committee);
    assert_ne!(after.sharing, before.sharing);
    assert_eq!(after.reshare_since, None, "once is enough");

    // With another validator gone its vote is needed: its share is a share of the key.
    nodes.remove(0).stop().await.unwrap();
    let api = nodes[0].api_address();
    let (_, status) = get(&http, api, "/v1/status").await;
    let goal = status["height"].as_u64().unwrap() + EPOCH;
    until(&http, api, "/v1/status", "blocks go on", |status| {
        status["height"].as_u64() >= Some(goal)
    })
    .await;
    let path = format!("/v1/accounts/{}?proof=true", sample::account(1));
    let (_, answer) = get(&http, unlucky, &path).await;
    let bytes = BASE64.decode(answer["proof"].as_str().unwrap()).unwrap();
    let proof = proof::Proof::decode(&bytes).unwrap();
    assert!(proof.certificate.epoch >= after.sharing_since);
    proof.verify(&circle.genesis.circle_key).unwrap();
    for node in nodes {
        node.stop().await.unwrap();
    }
}
