//! The HTTP API over real circles: engine, store and sockets, in one process.

mod harness;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use harness::{configure, free_ports};
use node::{
    Node, NodeConfig, NodeError,
    sample::{self, BALANCE, Circle},
};
use proof::{Proof, Proven};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use wire::{
    Action, Amount, CircleId, CircleKey, CircleKind, Height, PublicKey, SignedTransaction,
    Transfer, record, state_key,
};

/// How long anything may take on a loaded machine before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A circle of one validator, and a client of its API.
struct Running {
    circle: Circle,
    node: Node,
    config: NodeConfig,
    http: Client,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        let circle = Circle::new(1);
        let folder = tempfile::tempdir().unwrap();
        let config = configure(&circle, 0, &free_ports(1), folder.path());
        Self {
            node: Node::start(&config).await.unwrap(),
            circle,
            config,
            http: Client::new(),
            _folder: folder,
        }
    }

    async fn restart(mut self) -> Self {
        self.node.stop().await.unwrap();
        self.node = Node::start(&self.config).await.unwrap();
        self
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.node.api_address())
    }

    async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> (StatusCode, Value) {
        let request = self.http.request(method, self.url(path)).body(body);
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path, Vec::new()).await
    }

    async fn send(&self, signed: &SignedTransaction) -> (StatusCode, Value) {
        let path = "/v1/transactions?wait=final&timeout_ms=50000";
        self.ask(Method::POST, path, signed.encode()).await
    }

    /// Asks until a block after `height` is certified.
    async fn certified_from(&self, height: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, answer) = self.get("/v1/headers/certified").await;
            if answer["header"]["height"].as_u64() >= Some(height) {
                return;
            }
            assert!(Instant::now() < deadline, "{answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_final_and_proven_without_trust_in_the_node() {
    let running = Running::start().await;
    let transfer = running.circle.transfer(0, 0, 1, 250);
    let (status, receipt) = running.send(&transfer).await;
    assert_eq!(status, StatusCode::OK, "{receipt}");
    assert_eq!(receipt["result"], "applied");
    assert_eq!(receipt["transaction"], transfer.id().to_string());
    let height = receipt["height"].as_u64().unwrap();

    running.certified_from(height).await;
    let path = format!("/v1/accounts/{}?proof=true", sample::account(1));
    let (status, account) = running.get(&path).await;
    assert_eq!(status, StatusCode::OK, "{account}");
    assert_eq!(account["record"]["balance"], BALANCE.0 + 250);

    let keys = [
        state_key::account(sample::account(1)),
        state_key::account(sample::account(0)),
        b"no such entry".to_vec(),
    ];
    let body = json!({"keys": keys.iter().map(hex::encode).collect::<Vec<_>>()});
    let path = "/v1/entries/proofs";
    let (status, many) = running
        .ask(Method::POST, path, body.to_string().into_bytes())
        .await;
    assert_eq!(status, StatusCode::OK, "{many}");

    let circle = running.circle.genesis.circle();
    let circle_key = running.circle.genesis.circle_key;
    running.node.stop().await.unwrap();

    // From here on there is no node; what it said is judged by the key alone.
    let proven = verify(&account, circle, &circle_key);
    let proven_account: record::Account = proven.record().unwrap().unwrap();
    assert_eq!(proven_account.balance, Amount(BALANCE.0 + 250));
    assert!(proven.height() >= Height(height));
    let entries = many["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    for (entry, key) in entries.iter().zip(&keys) {
        let proven = verify(entry, circle, &circle_key);
        assert_eq!(proven.key(), key);
        assert_eq!(many["height"], proven.height().0, "all at one height");
    }
    let absent = verify(&entries[2], circle, &circle_key);
    assert_eq!(absent.value(), None);
    // The key of a circle whose members drew other lots.
    let other = engine::keys::development_dealer(&[[1; 32]], [8; 32]).unwrap();
    let other_key = CircleKey(other.group_key);
    let bytes = BASE64.decode(account["proof"].as_str().unwrap()).unwrap();
    assert!(Proof::decode(&bytes).unwrap().verify(&other_key).is_err());
}

/// Verifies the proof of an entry or record as a light client does.
fn verify(entry: &Value, circle: CircleId, key: &CircleKey) -> Proven {
    let bytes = BASE64.decode(entry["proof"].as_str().unwrap()).unwrap();
    let proven = Proof::decode(&bytes).unwrap().verify(key).unwrap();
    assert_eq!(proven.circle(), circle);
    assert_eq!(entry["height"], proven.height().0);
    assert_eq!(entry["key"], hex::encode(proven.key()));
    proven
}

#[tokio::test(flavor = "multi_thread")]
async fn says_what_is_wrong_and_what_to_do() {
    let running = Running::start().await;
    let digits = "00".repeat(32);
    let too_far = running.circle.transfer(0, 200, 1, 1).encode();
    let expired = running.circle.sign(
        0,
        0,
        Height(0),
        Action::Transfer(Transfer {
            to: sample::account(1),
            amount: Amount(1),
        }),
    );
    let too_many = json!({"keys": vec!["00"; 65]}).to_string().into_bytes();
    let get = |path: &str, status: u16| (Method::GET, path.to_owned(), Vec::new(), status);
    let post =
        |path: &str, body: Vec<u8>, status: u16| (Method::POST, path.to_owned(), body, status);
    let cases = [
        get("/", 404),
        get("/v1/nothing", 404),
        get("/v1/accounts/xyz", 400),
        get(&format!("/v1/accounts/{digits}"), 404),
        get(&format!("/v1/accounts/{digits}?proof=maybe"), 400),
        get(&format!("/v1/accounts/{digits}?prove=true"), 400),
        get(&format!("/v1/locks/{digits}"), 404),
        get("/v1/names/free.ring.internal", 404),
        get("/v1/names/a..b", 400),
        get("/v1/names/free.ring.internal/released", 404),
        get("/v1/names/free.ring.internal/recovery", 404),
        get("/v1/names/a..b/bids", 400),
        get("/v1/names/free.ring.internal/bids?after=zz", 400),
        get("/v1/addresses/1.2.3/names", 400),
        get("/v1/notarised/xyz", 400),
        get("/v1/hosts/xyz", 400),
        get(&format!("/v1/market/offers/{digits}"), 404),
        get(&format!("/v1/market/requests/{digits}"), 404),
        get(&format!("/v1/market/contracts/{digits}"), 404),
        get(&format!("/v1/enclaves/{digits}"), 404),
        get(&format!("/v1/certificates/{digits}"), 404),
        get(&format!("/v1/transactions/{digits}"), 404),
        get("/v1/headers/99999999", 404),
        get("/v1/headers/newest", 400),
        get("/v1/blocks/99999999", 404),
        get("/v1/blocks/-1", 400),
        get("/v1/entries/zz", 400),
        get(&format!("/v1/entries/{}", "00".repeat(600)), 400),
        get("/v1/entries", 400),
        get("/v1/entries?prefix=612f&limit=x", 400),
        get("/v1/market/offers?after=zz", 400),
        get("/v1/events?from=x", 400),
        get("/v1/market/match", 405),
        post("/v1/status", Vec::new(), 405),
        post("/v1/transactions", Vec::new(), 400),
        post("/v1/transactions", b"noise".to_vec(), 400),
        post("/v1/transactions", vec![0; 40_000], 413),
        post("/v1/transactions", vec![0; 400_000], 413),
        post("/v1/transactions?wait=forever", Vec::new(), 400),
        post("/v1/transactions", too_far, 409),
        post("/v1/transactions", expired.encode(), 409),
        post("/v1/entries/proofs", b"{".to_vec(), 400),
        post("/v1/entries/proofs", too_many, 400),
        post("/v1/market/match", b"{}".to_vec(), 400),
    ];
    for (method, path, body, wanted) in cases {
        let (status, answer) = running.ask(method.clone(), &path, body).await;
        assert_eq!(status.as_u16(), wanted, "{method} {path}: {answer}");
        for field in ["code", "message", "hint"] {
            let text = answer["error"][field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{method} {path}: {answer}");
        }
    }
    let (_, answer) = running
        .ask(
            Method::POST,
            "/v1/transactions",
            running.circle.transfer(0, 200, 1, 1).encode(),
        )
        .await;
    assert_eq!(answer["error"]["reject"], 1, "{answer}");
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_again_changes_nothing_and_gives_the_same_receipt() {
    let running = Running::start().await;
    let transfer = running.circle.transfer(0, 0, 1, 250);
    let (_, first) = running.send(&transfer).await;
    let (status, second) = running.send(&transfer).await;
    assert_eq!((status, &second), (StatusCode::OK, &first));
    let (status, third) = running
        .ask(Method::POST, "/v1/transactions", transfer.encode())
        .await;
    assert_eq!((status, &third), (StatusCode::OK, &first));
    let path = format!("/v1/transactions/{}", transfer.id());
    assert_eq!(running.get(&path).await, (StatusCode::OK, first));
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_at_once_unless_told_to_wait_and_waits_behind_a_gap() {
    let running = Running::start().await;
    let second = running.circle.transfer(0, 1, 1, 2);
    let (status, answer) = running
        .ask(Method::POST, "/v1/transactions", second.encode())
        .await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    assert_eq!(answer["status"], "pending");
    let path = format!("/v1/transactions/{}", second.id());
    assert_eq!(running.get(&path).await.0, StatusCode::ACCEPTED);
    let path = "/v1/transactions?wait=final&timeout_ms=10";
    let (status, _) = running.ask(Method::POST, path, second.encode()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "it waits for the first");
    let first = running.circle.transfer(0, 0, 1, 1);
    assert_eq!(running.send(&first).await.0, StatusCode::OK);
    assert_eq!(running.send(&second).await.0, StatusCode::OK);
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_with_too_much_waiting_is_told_to_come_back() {
    let running = Running::start().await;
    // The first is missing, so that the others wait.
    for sequence in 1..=ledger::ADMISSION_WINDOW {
        let signed = running.circle.transfer(0, sequence, 1, 1);
        let (status, answer) = running
            .ask(Method::POST, "/v1/transactions", signed.encode())
            .await;
        assert_eq!(status, StatusCode::ACCEPTED, "{sequence}: {answer}");
    }
    let other = running.circle.transfer(0, 5, 2, 9);
    let (status, answer) = running
        .ask(Method::POST, "/v1/transactions", other.encode())
        .await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(answer["error"]["code"], "sequence_taken", "{answer}");
    running.node.stop().await.unwrap();
}

/// Reads server-sent events until `enough` of them came.
async fn events(running: &Running, path: &str, last: Option<u64>, enough: usize) -> Vec<Value> {
    let mut request = running.http.get(running.url(path));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let mut events = Vec::new();
    while events.len() < enough {
        let chunk = tokio::time::timeout(PATIENCE, response.chunk()).await;
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| {
                let mut lines = event.lines();
                lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            if let Some(data) = field("data") {
                let data: Value = serde_json::from_str(data).unwrap();
                assert_eq!(field("event"), Some("block"));
                assert_eq!(field("id").unwrap(), data["height"].to_string());
                events.push(data);
            }
            text = rest.to_owned();
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_from_any_height_without_a_gap() {
    let running = Running::start().await;
    let transfer = running.circle.transfer(0, 0, 1, 250);
    let (_, receipt) = running.send(&transfer).await;
    let height = receipt["height"].as_u64().unwrap();
    let seen = events(&running, "/v1/events?from=0", None, height as usize + 4).await;
    for (wanted, event) in seen.iter().enumerate() {
        assert_eq!(event["height"], wanted);
        let path = format!("/v1/headers/{wanted}");
        assert_eq!(running.get(&path).await.1["digest"], event["digest"]);
    }
    let block = &seen[height as usize]["events"];
    assert_eq!(block[0]["transaction"], transfer.id().to_string());
    assert_eq!(block[0]["event"], "transferred", "{block}");
    assert_eq!(block[0]["amount"], 250);
    let resumed = events(&running, "/v1/events?from=0", Some(height), 2).await;
    assert_eq!(resumed[0]["height"], height + 1);
    let live = events(&running, "/v1/events", None, 1).await;
    assert!(live[0]["height"].as_u64() > Some(height));
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_again_has_everything() {
    let mut running = Running::start().await;
    let mut receipts = Vec::new();
    for sequence in 0..3 {
        let transfer = running.circle.transfer(0, sequence, 1, 10);
        let (status, receipt) = running.send(&transfer).await;
        assert_eq!(status, StatusCode::OK, "{receipt}");
        receipts.push((transfer.id(), receipt));
        running = running.restart().await;
    }
    for (id, receipt) in receipts {
        let stored = running.get(&format!("/v1/transactions/{id}")).await;
        assert_eq!(stored, (StatusCode::OK, receipt));
    }
    let (_, account) = running
        .get(&format!("/v1/accounts/{}", sample::account(1)))
        .await;
    assert_eq!(account["record"]["balance"], BALANCE.0 + 30);
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_described_path_is_served_and_lists_go_page_by_page() {
    let running = Running::start().await;
    running.certified_from(1).await;
    let (_, description) = running.get("/openapi.json").await;
    let paths = description["paths"].as_object().unwrap();
    assert!(paths.len() >= 24, "{}", paths.len());
    for (path, methods) in paths {
        if path == "/v1/events" {
            continue;
        }
        let path = path.replace(['{', '}'], "");
        for method in methods.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let (status, answer) = running.ask(method, &path, Vec::new()).await;
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(!message.contains("no such path"), "{path}: {answer}");
        }
    }
    let mut after = String::new();
    let mut seen = Vec::new();
    loop {
        let path = format!("/v1/entries?prefix={}&limit=5{after}", hex::encode("a/"));
        let (_, page) = running.get(&path).await;
        let entries = page["entries"].as_array().unwrap().clone();
        seen.extend(entries.into_iter().map(|entry| entry["key"].to_string()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert!(seen.len() >= usize::from(sample::USERS));
    assert!(seen.is_sorted());
    let (status, circle) = running.get("/v1/circle").await;
    assert_eq!(status, StatusCode::OK);
    let genesis: wire::Genesis = serde_json::from_value(circle["genesis"].clone()).unwrap();
    assert_eq!(genesis.circle().to_string(), circle["circle"]);
    let (status, _) = running.get("/readyz").await;
    assert_eq!(status, StatusCode::OK);
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_agree_and_hear_of_transactions_from_one_another() {
    let circle = Circle::new(4);
    let ports = free_ports(4);
    let mut nodes = Vec::new();
    let mut folders = Vec::new();
    for validator in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let config = configure(&circle, validator, &ports, folder.path());
        nodes.push(Node::start(&config).await.unwrap());
        folders.push(folder);
    }
    let http = Client::new();
    for (number, node) in nodes.iter().enumerate() {
        let signed = circle.transfer(number as u8, 0, 9, 5);
        let url = format!(
            "http://{}/v1/transactions?wait=final&timeout_ms=60000",
            node.api_address()
        );
        let response = http.post(url).body(signed.encode()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let receipt: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let height = receipt["height"].as_u64().unwrap();
        let digests = at_all(&http, &nodes, height).await;
        assert!(
            digests.windows(2).all(|pair| pair[0] == pair[1]),
            "{digests:?}"
        );
    }
    for node in nodes {
        node.stop().await.unwrap();
    }
}

/// Every node's header digest at `height`, once it has one.
async fn at_all(http: &Client, nodes: &[Node], height: u64) -> Vec<String> {
    let mut digests = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    for node in nodes {
        let url = format!("http://{}/v1/headers/{height}", node.api_address());
        digests.push(loop {
            let response = http.get(&url).send().await.unwrap();
            if response.status() == StatusCode::OK {
                let header: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
                break header["digest"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < deadline, "height {height} does not come");
            tokio::time::sleep(Duration::from_millis(20)).await;
        });
    }
    digests
}

#[tokio::test]
async fn refuses_to_start_on_what_cannot_be_right() {
    let circle = Circle::new(4);
    let ports = free_ports(4);
    let folder = tempfile::tempdir().unwrap();
    let good = configure(&circle, 0, &ports, folder.path());
    let start = async |config: &NodeConfig| match Node::start(config).await {
        Ok(_) => panic!("the node started"),
        Err(NodeError::Config(error)) => error.to_string(),
        Err(error) => panic!("refused late: {error}"),
    };

    let mut twice = good.clone();
    twice.validators[1] = twice.validators[0].clone();
    assert!(start(&twice).await.contains("twice"));
    let mut fewer = good.clone();
    fewer.validators.pop();
    assert!(start(&fewer).await.contains("missing"));
    let mut nowhere = good.clone();
    nowhere.genesis = folder.path().join("nowhere");
    assert!(start(&nowhere).await.contains("cannot read"));

    let share = good.share_file.as_ref().unwrap();
    fs::set_permissions(share, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(start(&good).await.contains("chmod 600"));
    fs::set_permissions(share, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&good.identity_file, "not hex").unwrap();
    assert!(start(&good).await.contains("64 hex digits"));

    let mut genesis = circle.genesis.clone();
    genesis.kind = CircleKind::Production;
    genesis.development_roots = vec![PublicKey::Ed25519([1; 32])];
    fs::write(&good.genesis, serde_json::to_string(&genesis).unwrap()).unwrap();
    assert!(start(&good).await.contains("cannot found a circle"));
    let mut genesis = circle.genesis.clone();
    genesis.circle_key.0[50] ^= 1;
    fs::write(&good.genesis, serde_json::to_string(&genesis).unwrap()).unwrap();
    assert!(
        start(&good)
            .await
            .contains("does not belong to its circle key")
    );
}

#[test]
fn reads_a_configuration_file_and_refuses_unknown_fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    let text = r#"
        genesis = "genesis.json"
        data_dir = "/var/lib/ringfort"
        identity_file = "identity"
        share_file = "share"
        listen = "127.0.0.1:26700"
        api = "127.0.0.1:26800"
        [[validators]]
        key = "ed25519:ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"
        address = "validator.example:26700"
        [log]
        json = true
    "#;
    fs::write(&path, text).unwrap();
    let config = NodeConfig::read(&path).unwrap();
    assert_eq!(config.genesis, folder.path().join("genesis.json"));
    assert_eq!(config.data_dir, Path::new("/var/lib/ringfort"));
    assert!(config.log.json && config.log.filter.starts_with("info"));
    fs::write(&path, format!("surprise = 1\n{text}")).unwrap();
    assert!(NodeConfig::read(&path).is_err());
}
