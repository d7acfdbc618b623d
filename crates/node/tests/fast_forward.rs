//! A node that is new reaches the head of a real circle over TCP through a
//! proven state, although one of those that it asks lies, and takes office.

mod harness;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use harness::{EPOCH, configure, enact, free_ports, get, join, until};
use node::{Node, NodeConfig, checkpoint::Policy, sample::Circle};
use reqwest::Client;
use serde_json::Value;
use wire::{AccountId, Amount};

/// Where a node's checkpoints are listed.
const LIST: &str = "/v1/checkpoints";

/// Blocks between two checkpoints.
const EVERY: u64 = 10;

/// The number of the node that is new.
const NEW: usize = 4;

/// Accounts that nobody uses: they make the state some dozens of chunks.
const IDLE_ACCOUNTS: u64 = 400;

/// A node that makes checkpoints often.
fn with_checkpoints(circle: &Circle, node: usize, ports: &[u16], folder: &Path) -> NodeConfig {
    let checkpoints = Policy {
        every_blocks: EVERY,
        keep: 3,
        chunk_bytes: 1024,
    };
    NodeConfig {
        checkpoints,
        ..configure(circle, node, ports, folder)
    }
}

/// A circle of so many validators that makes blocks quickly, with a state of some dozens
/// of chunks; a node goes forward to a recent state only.
fn circle_of_today(validators: usize) -> Circle {
    let mut circle = Circle::with_epochs(validators as u8, EPOCH);
    circle.genesis.parameters.idle_block_interval_ms = 120;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    circle.genesis.time_ms = now.unwrap().as_millis() as u64;
    let idle = (0..IDLE_ACCOUNTS).map(|number| {
        let digest = wire::Digest::tagged("idle", &[&number.to_le_bytes()]);
        (AccountId(digest.0), Amount(1))
    });
    circle.genesis.accounts.extend(idle);
    circle.genesis.accounts.sort_unstable();
    circle
}

/// What one that lies does with chunks.
#[derive(Clone, Copy, PartialEq)]
enum Lie {
    /// Alters one byte of every chunk from the third on.
    Alters,
    /// Lists its oldest state alone, and gives two chunks of it and no more.
    Stops,
    /// Lists its oldest state alone at first, and then no longer has it.
    Forgets,
}

#[derive(Clone)]
struct Liar {
    behind: SocketAddr,
    lie: Lie,
    /// The path of the one state that it lists: always, or at first.
    only: Arc<OnceLock<String>>,
    http: Client,
    lies: Arc<AtomicU64>,
}

/// An API that passes everything on to an honest one, but for chunks.
async fn liar(behind: SocketAddr, lie: Lie) -> (SocketAddr, Arc<AtomicU64>) {
    let lies = Arc::new(AtomicU64::new(0));
    let state = Liar {
        behind,
        lie,
        only: Arc::default(),
        http: Client::new(),
        lies: lies.clone(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(pass_on).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, lies)
}

async fn pass_on(State(liar): State<Liar>, uri: Uri) -> Response {
    let url = format!("http://{}{uri}", liar.behind);
    let answer = liar.http.get(url).send().await.unwrap();
    let status = answer.status();
    let mut body = answer.bytes().await.unwrap().to_vec();
    if liar.lie != Lie::Alters && uri.path() == LIST {
        let mut list: Value = serde_json::from_slice(&body).unwrap();
        let all = list["checkpoints"].as_array_mut().unwrap();
        let path = |state: &Value| format!("{LIST}/{}", state["height"]);
        let first_time = liar.only.get().is_none();
        let only = liar.only.get_or_init(|| path(all.last().unwrap()));
        if first_time || liar.lie == Lie::Stops {
            all.retain(|state| path(state) == *only);
        }
        return axum::Json(list).into_response();
    }
    let chunk = uri.path().rsplit_once("/chunks/");
    if let Some((state, number)) = chunk
        && number.parse::<u64>().unwrap() >= 2
    {
        if liar.lie == Lie::Forgets && liar.only.get().unwrap() != state {
            return (status, Bytes::from(body)).into_response();
        }
        liar.lies.fetch_add(1, Ordering::Relaxed);
        match liar.lie {
            Lie::Stops => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Lie::Forgets => return StatusCode::NOT_FOUND.into_response(),
            Lie::Alters => {
                let middle = body.len() / 2;
                body[middle] ^= 1;
            }
        }
    }
    (status, Bytes::from(body)).into_response()
}

/// What all nodes of this process log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_env_filter("info,commonware_consensus=warn,commonware_p2p=warn")
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        log
    }

    fn lines(&self, with: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains(with));
        lines.map(str::to_owned).collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::stderr().write_all(bytes)?;
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_goes_forward_to_a_proven_state_past_a_liar_and_takes_office() {
    let log = Log::start();
    let circle = circle_of_today(4);
    let ports = free_ports(NEW + 1);
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Vec::new();
    for number in 0..4 {
        let config = with_checkpoints(&circle, number, &ports, folder.path());
        nodes.push(Node::start(&config).await.unwrap());
    }
    let http = Client::new();
    let api: Vec<_> = nodes.iter().map(Node::api_address).collect();
    until(&http, api[0], "/v1/status", "the circle runs", |status| {
        status["height"].as_u64() > Some(2)
    })
    .await;
    enact(&http, api[0], &circle, join(&circle, NEW, ports[NEW])).await;
    let enacted = get(&http, api[0], "/v1/status").await.1["height"].as_u64();
    for api in &api {
        until(&http, *api, LIST, "there is a checkpoint", |list| {
            list["checkpoints"][0]["height"].as_u64() > enacted
        })
        .await;
    }

    // Alone with one that gives two chunks only, it keeps these and follows the
    // blocks from the beginning, as far as others have them.
    let mut config = with_checkpoints(&circle, NEW, &ports, folder.path());
    let (stops, refusals) = liar(api[0], Lie::Stops).await;
    config.sync.peers = vec![format!("http://{stops}")];
    let new = Node::start(&config).await.unwrap();
    assert!(refusals.load(Ordering::Relaxed) > 1, "it was asked again");
    assert!(config.data_dir.join("incoming.redb").exists());
    until(
        &http,
        new.api_address(),
        "/v1/status",
        "it follows",
        |status| status["height"].as_u64() > Some(1),
    )
    .await;
    new.stop().await.unwrap();
    fs::remove_file(config.data_dir.join("ledger.redb")).unwrap();
    fs::remove_dir_all(config.data_dir.join("engine")).unwrap();

    // With one that alters chunks and two that do not, it reaches the head.
    let (alters, lies) = liar(api[0], Lie::Alters).await;
    let peers = [alters, api[1], api[2]];
    config.sync.peers = peers.map(|peer| format!("http://{peer}")).into();
    let new = Node::start(&config).await.unwrap();
    assert_eq!(lies.load(Ordering::Relaxed), 1, "it was not asked again");
    let named = log.lines("gives a false state");
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(named[0].contains(&format!("http://{alters}")), "{named:?}");
    assert!(!config.data_dir.join("incoming.redb").exists());
    let own = new.api_address();
    let began = log.lines("has the state and goes on from there");
    assert_eq!(began.len(), 1, "{began:?}");

    // It has nothing of the past, and says so.
    let (status, answer) = get(&http, own, "/v1/blocks/1").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    let (status, answer) = get(&http, own, "/v1/events?from=1").await;
    assert_eq!(status, StatusCode::GONE, "{answer}");

    // It has the present: the same state, proven, and a share in time.
    let joined = until(&http, own, "/v1/status", "it is in office", |status| {
        status["in_office"] == true && status["validators"] == 5
    })
    .await;
    assert_eq!(joined["last_resharing"], "adopted");
    let idle = wire::Digest::tagged("idle", &[&7u64.to_le_bytes()]);
    let path = format!("/v1/accounts/{}?proof=true", AccountId(idle.0));
    let account = until(&http, own, &path, "it proves what it has", |answer| {
        answer["proof"].is_string()
    })
    .await;
    assert_eq!(account["record"]["balance"], 1);

    // It makes checkpoints of its own, the same as the others', and starts again.
    let list = until(&http, own, LIST, "it has a checkpoint", |list| {
        list["checkpoints"][0]["height"].is_u64()
    })
    .await;
    let height = list["checkpoints"][0]["height"].as_u64().unwrap();
    let theirs = until(&http, api[1], LIST, "the others have it too", |list| {
        list["checkpoints"][0]["height"].as_u64() >= Some(height)
    })
    .await;
    let mut all = theirs["checkpoints"].as_array().unwrap().iter();
    if let Some(same) = all.find(|checkpoint| checkpoint["height"] == height) {
        assert_eq!(*same, list["checkpoints"][0]);
    }
    new.stop().await.unwrap();
    let new = Node::start(&config).await.unwrap();
    until(
        &http,
        new.api_address(),
        "/v1/status",
        "it is back",
        |status| status["in_office"] == true && status["healthy"] == true,
    )
    .await;
    nodes.push(new);
    for node in nodes {
        node.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_dropped_while_it_was_fetched_is_passed_over_for_a_newer_one() {
    let circle = circle_of_today(1);
    let ports = free_ports(NEW + 1);
    let folder = tempfile::tempdir().unwrap();
    let config = with_checkpoints(&circle, 0, &ports, folder.path());
    let validator = Node::start(&config).await.unwrap();
    let http = Client::new();
    let api = validator.api_address();
    until(&http, api, LIST, "there are two", |list| {
        list["checkpoints"][1]["height"].is_u64()
    })
    .await;

    let (forgets, lies) = liar(api, Lie::Forgets).await;
    let mut config = with_checkpoints(&circle, NEW, &ports, folder.path());
    config.sync.peers = vec![format!("http://{forgets}")];
    let new = Node::start(&config).await.unwrap();
    assert_eq!(lies.load(Ordering::Relaxed), 1, "it was not asked again");
    assert!(!config.data_dir.join("incoming.redb").exists());
    let (status, answer) = get(&http, new.api_address(), "/v1/blocks/1").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
    new.stop().await.unwrap();
    validator.stop().await.unwrap();
}
