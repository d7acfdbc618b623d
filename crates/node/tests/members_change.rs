//! A circle of real nodes over TCP changes its validators while transfers flow.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use node::{
    LogConfig, Node, NodeConfig, ValidatorAddress,
    sample::{self, BALANCE, Circle},
};
use reqwest::Client;
use serde_json::Value;
use wire::{
    Action, Amount, Change, Height, JoinRequest, MemberRole, MemberTerms, ProposalId, Propose,
    SignedTransaction, SigningKey, Transaction, ValidatorSeat, Vote,
};

/// How long anything may take on a loaded machine before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Blocks of an epoch: some seconds.
const EPOCH: u64 = 40;

/// The number of the node that joins.
const JOINER: usize = 4;

fn seed(node: usize) -> [u8; 32] {
    [node as u8 + 1; 32]
}

fn key(node: usize) -> SigningKey {
    SigningKey::ed25519(seed(node))
}

/// What one node is told; the joiner has no share and knows the founders only.
fn configure(circle: &Circle, node: usize, ports: &[u16], folder: &Path) -> NodeConfig {
    let folder = folder.join(node.to_string());
    fs::create_dir_all(&folder).unwrap();
    let secret = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, hex::encode(bytes)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let genesis = folder.join("genesis.json");
    fs::write(&genesis, serde_json::to_string(&circle.genesis).unwrap()).unwrap();
    let validators = circle.genesis.validators.iter().zip(ports);
    NodeConfig {
        genesis,
        data_dir: folder.join("data"),
        identity_file: secret("identity", &seed(node)),
        share_file: circle.shares.get(node).map(|share| secret("share", share)),
        listen: ([127, 0, 0, 1], ports[node]).into(),
        api: ([127, 0, 0, 1], 0).into(),
        validators: validators
            .map(|(validator, port)| ValidatorAddress {
                key: validator.key,
                address: format!("127.0.0.1:{port}"),
            })
            .collect(),
        log: LogConfig::default(),
        checkpoints: Default::default(),
        sync: Default::default(),
        history: Default::default(),
    }
}

async fn get(http: &Client, node: &Node, path: &str) -> Value {
    let url = format!("http://{}{path}", node.api_address());
    let answer = http.get(url).send().await.unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// Sends until it is final; the receipt.
async fn send(http: &Client, node: &Node, signed: &SignedTransaction) -> Value {
    let url = format!(
        "http://{}/v1/transactions?wait=final&timeout_ms=50000",
        node.api_address()
    );
    let answer = http.post(url).body(signed.encode()).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let receipt: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(receipt["result"], "applied", "{text}");
    receipt
}

/// Waits until a node's status is as it should be.
async fn until(http: &Client, node: &Node, what: &str, done: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = get(http, node, "/v1/status").await;
        if done(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "in vain until {what}: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Founder 0 proposes, 1 and 2 vote for it.
async fn enact(http: &Client, node: &Node, circle: &Circle, change: Change) {
    let mut action = Action::Propose(Propose { change });
    for founder in 0..3 {
        let own = key(founder);
        let account = own.public().account();
        let record = get(http, node, &format!("/v1/accounts/{account}")).await;
        let signed = Transaction {
            version: Transaction::VERSION,
            circle: circle.genesis.circle(),
            sender: own.public(),
            sequence: record["record"]["sequence"].as_u64().unwrap(),
            expires_at: Height(u64::MAX),
            fee_limit: Amount(100_000),
            actions: vec![action.clone()],
        }
        .sign(&own);
        send(http, node, &signed).await;
        if founder == 0 {
            let proposal = ProposalId::made_by(signed.id(), 0);
            let approve = true;
            action = Action::Vote(Vote { proposal, approve });
        }
    }
}

fn join(circle: &Circle, port: u16) -> Change {
    let own = key(JOINER);
    let terms = MemberTerms {
        name: "fifth".to_owned(),
        role: MemberRole::Validator,
        level: 0,
        facts: Vec::new(),
        seat: Some(ValidatorSeat {
            key: own.public(),
            address: format!("127.0.0.1:{port}"),
        }),
        evidence: None,
    };
    let request = JoinRequest::sign(circle.genesis.circle(), &own, Some(&own), terms);
    Change::AddMember(Box::new(request))
}

/// Transfers one unit at a time until it is told to stop; how many.
async fn flow(circle: Arc<Circle>, api: std::net::SocketAddr, stop: Arc<AtomicBool>) -> u64 {
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
    let listeners: Vec<_> = (0..=JOINER)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let ports: Vec<u16> = listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect();
    drop(listeners);
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
    let early = get(&http, &nodes[JOINER], "/v1/status").await;
    assert_eq!(early["height"], 0, "nobody speaks to a stranger");
    assert_eq!(early["in_office"], false);

    enact(&http, &nodes[0], &circle, join(&circle, ports[JOINER])).await;
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
    enact(&http, &nodes[0], &circle, Change::RemoveMember(leaver)).await;
    for node in [0, 1, 2, JOINER] {
        until(&http, &nodes[node], "four are in office", |status| {
            status["in_office"] == true && status["validators"] == 4
        })
        .await;
    }
    let gone = nodes.remove(3);
    gone.stop().await.unwrap();
    let remaining = &nodes;

    let at = get(&http, &remaining[0], "/v1/status").await["height"].as_u64();
    let goal = at.unwrap() + EPOCH;
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
        while get(&http, node, &path).await["record"]["balance"] != BALANCE.0 + sent {
            assert!(Instant::now() < deadline, "balances differ");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    prove(
        &circle,
        &get(&http, &remaining[3], &format!("{path}?proof=true")).await,
    );
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
