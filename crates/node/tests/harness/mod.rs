//! Real nodes for a test: what each is told, and what a client asks of them.

// Every test program uses a part of it.
#![allow(dead_code)]

pub mod namespace;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use node::{LogConfig, NodeConfig, ValidatorAddress, sample::Circle};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use wire::{
    Action, Amount, Change, Height, JoinRequest, MemberRole, MemberTerms, ProposalId, Propose,
    SigningKey, Transaction, ValidatorSeat, Vote,
};

/// How long a change of members may take on a loaded machine before the test
/// fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Blocks of an epoch: some seconds.
pub const EPOCH: u64 = 40;

fn seed(node: usize) -> [u8; 32] {
    [node as u8 + 1; 32]
}

/// The key of a node and of its member, a founder's or not.
pub fn key(node: usize) -> SigningKey {
    SigningKey::ed25519(seed(node))
}

/// Ports that were free a moment ago.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect()
}

/// Writes what a node needs into a folder of its own, and gives its
/// configuration; one that founds nothing has no share and knows the founders.
pub fn configure(circle: &Circle, node: usize, ports: &[u16], folder: &Path) -> NodeConfig {
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
        disk: Default::default(),
        access: Default::default(),
        evidence: None,
    }
}

/// The status and the body, null if it is no JSON.
pub async fn get(http: &Client, api: SocketAddr, path: &str) -> (StatusCode, Value) {
    let url = format!("http://{api}{path}");
    let answer = http.get(url).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

/// Asks until the answer is as it should be.
pub async fn until(
    http: &Client,
    api: SocketAddr,
    path: &str,
    what: &str,
    done: impl Fn(&Value) -> bool,
) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, answer) = get(http, api, path).await;
        if done(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain until {what}: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Founder 0 proposes, 1 and 2 vote for it; each step is final and applied.
pub async fn enact(http: &Client, api: SocketAddr, circle: &Circle, change: Change) {
    enact_by(http, api, circle, change, 3).await;
}

/// Founder 0 proposes, the next ones vote for it, `votes` in all, of which the
/// last decides; each step is final and applied.
pub async fn enact_by(
    http: &Client,
    api: SocketAddr,
    circle: &Circle,
    change: Change,
    votes: usize,
) {
    let mut action = Action::Propose(Propose { change });
    for founder in 0..votes {
        let own = key(founder);
        let path = format!("/v1/accounts/{}", own.public().account());
        let (_, record) = get(http, api, &path).await;
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
        let url = format!("http://{api}/v1/transactions?wait=final&timeout_ms=50000");
        let answer = http.post(url).body(signed.encode()).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let receipt: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(receipt["result"], "applied", "{text}");
        if founder == 0 {
            let proposal = ProposalId::made_by(signed.id(), 0);
            let approve = true;
            action = Action::Vote(Vote { proposal, approve });
        }
    }
}

/// The change by which `node` validates as the fifth member, at `port`.
pub fn join(circle: &Circle, node: usize, port: u16) -> Change {
    join_at(circle, node, format!("127.0.0.1:{port}"))
}

/// The change by which `node` validates as a further member, at `address`.
pub fn join_at(circle: &Circle, node: usize, address: String) -> Change {
    let own = key(node);
    let terms = MemberTerms {
        name: format!("member-{node}"),
        role: MemberRole::Validator,
        level: 0,
        facts: Vec::new(),
        seat: Some(ValidatorSeat {
            key: own.public(),
            address,
        }),
        evidence: None,
    };
    let request = JoinRequest::sign(circle.genesis.circle(), &own, Some(&own), terms);
    Change::AddMember(Box::new(request))
}
