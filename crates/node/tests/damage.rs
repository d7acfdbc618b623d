//! A validator whose disk has altered what it stored finds out when it starts,
//! keeps the damaged files apart, and has everything again from its peers; one
//! that has lost its memory of votes does not vote.

mod harness;

use std::{
    fs,
    path::{Path, PathBuf},
};

use harness::{EPOCH, configure, free_ports, get, until};
use node::{
    Node, NodeConfig,
    checkpoint::Policy,
    sample::{self, BALANCE, Circle},
};
use reqwest::Client;
use serde_json::Value;

/// The validator to which it happens.
const HIT: usize = 3;

struct Scene {
    circle: Circle,
    http: Client,
    configs: Vec<NodeConfig>,
    nodes: Vec<Option<Node>>,
    sent: u64,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn open() -> Self {
        let mut circle = Circle::with_epochs(4, EPOCH);
        circle.genesis.parameters.idle_block_interval_ms = 120;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        circle.genesis.time_ms = now.unwrap().as_millis() as u64;
        let ports = free_ports(4);
        let folder = tempfile::tempdir().unwrap();
        let mut configs = Vec::new();
        let mut nodes = Vec::new();
        for number in 0..4 {
            let mut config = configure(&circle, number, &ports, folder.path());
            config.checkpoints = Policy {
                every_blocks: 10,
                keep: 3,
                chunk_bytes: 1024,
            };
            nodes.push(Some(Node::start(&config).await.unwrap()));
            configs.push(config);
        }
        let mut scene = Self {
            circle,
            http: Client::new(),
            configs,
            nodes,
            sent: 0,
            _folder: folder,
        };
        scene.transfer(3).await;
        scene.until(HIT, "it votes", in_office).await;
        scene
    }

    fn node(&self, number: usize) -> &Node {
        self.nodes[number].as_ref().unwrap()
    }

    async fn until(&self, number: usize, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let api = self.node(number).api_address();
        until(&self.http, api, "/v1/status", what, done).await
    }

    /// Transfers one unit so many times, each final before the next.
    async fn transfer(&mut self, times: u64) {
        let api = self.node(0).api_address();
        let url = format!("http://{api}/v1/transactions?wait=final&timeout_ms=50000");
        for _ in 0..times {
            let transfer = self.circle.transfer(0, self.sent, 1, 1);
            let request = self.http.post(&url).body(transfer.encode());
            let text = request.send().await.unwrap().text().await.unwrap();
            assert!(text.contains("\"applied\""), "{text}");
            self.sent += 1;
        }
    }

    async fn stop(&mut self) {
        self.nodes[HIT].take().unwrap().stop().await.unwrap();
    }

    /// Starts the node that was hit and waits until it is as the others are.
    async fn recovers(&mut self) {
        self.nodes[HIT] = Some(Node::start(&self.configs[HIT]).await.unwrap());
        self.transfer(3).await;
        let head = self.until(0, "there is a head", |_| true).await["height"].as_u64();
        self.until(HIT, "it is well again and votes", |status| {
            status["healthy"] == true && in_office(status) && status["height"].as_u64() >= head
        })
        .await;
        let path = format!("/v1/accounts/{}", sample::account(1));
        let api = self.node(HIT).api_address();
        let (_, account) = get(&self.http, api, &path).await;
        assert_eq!(account["record"]["balance"], BALANCE.0 + self.sent);
    }

    /// Starts the node that was hit, of whose share there is no file, and waits until it
    /// follows the others: without its memory of votes it has no vote.
    async fn follows_without_a_vote(&mut self) -> Value {
        self.configs[HIT].share_file = None;
        self.nodes[HIT] = Some(Node::start(&self.configs[HIT]).await.unwrap());
        self.transfer(3).await;
        let head = self.until(0, "there is a head", |_| true).await["height"].as_u64();
        let status = self
            .until(HIT, "it follows", |status| {
                status["height"].as_u64() >= head
            })
            .await;
        assert_eq!(status["in_office"], false, "{status}");
        status
    }

    /// What was set aside, which is one folder.
    fn aside(&self) -> PathBuf {
        let folders: Vec<_> = fs::read_dir(&self.configs[HIT].data_dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("/damaged-"))
            .collect();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders[0].clone()
    }

    async fn close(self) {
        for node in self.nodes.into_iter().flatten() {
            node.stop().await.unwrap();
        }
    }
}

fn in_office(status: &Value) -> bool {
    status["in_office"] == true
}

/// Alters one byte of every thousand in the middle half of a file.
fn damage(path: &Path) {
    let length = fs::metadata(path).unwrap().len() as usize;
    alter(path, length / 4..length * 3 / 4, 1_000);
}

/// Alters every page of a database but its header: most of a young one's pages
/// are free, and nobody misses those.
fn damage_every_page(path: &Path) {
    let length = fs::metadata(path).unwrap().len() as usize;
    alter(path, 4_096..length, 64);
}

fn alter(path: &Path, range: std::ops::Range<usize>, step: usize) {
    let mut bytes = fs::read(path).unwrap();
    assert!(bytes.len() > 4_096, "{} is too small", path.display());
    for at in range.step_by(step) {
        bytes[at] ^= 0x40;
    }
    fs::write(path, bytes).unwrap();
}

/// The largest file of one part of the engine's directory.
fn largest(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    files
        .max_by_key(|file| fs::metadata(file).unwrap().len())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_is_kept_apart_and_executed_again() {
    let mut scene = Scene::open().await;
    scene.stop().await;
    damage_every_page(&scene.configs[HIT].data_dir.join("ledger.redb"));
    scene.recovers().await;
    assert!(scene.aside().join("ledger.redb").exists());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_is_kept_apart_and_fetched_from_peers() {
    let mut scene = Scene::open().await;
    let api = scene.node(1).api_address();
    until(
        &scene.http,
        api,
        "/v1/checkpoints",
        "a checkpoint",
        |list| list["checkpoints"][0]["height"].is_u64(),
    )
    .await;
    scene.stop().await;
    let ledger = scene.configs[HIT].data_dir.join("ledger.redb");
    damage(&ledger);
    fs::OpenOptions::new()
        .write(true)
        .open(&ledger)
        .and_then(|file| std::os::unix::fs::FileExt::write_all_at(&file, b"none", 0))
        .unwrap();
    scene.configs[HIT].sync.peers = vec![format!("http://{api}")];
    scene.recovers().await;
    // It has the state of a checkpoint, and no block before.
    let own = scene.node(HIT).api_address();
    let (status, _) = get(&scene.http, own, "/v1/blocks/1").await;
    assert_eq!(status, reqwest::StatusCode::NOT_FOUND);
    assert!(scene.aside().join("ledger.redb").exists());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_blocks_are_kept_apart_and_fetched_from_peers() {
    let mut scene = Scene::open().await;
    scene.stop().await;
    let engine = scene.configs[HIT].data_dir.join("engine");
    damage(&largest(&engine.join("engine-blocks-values")));
    scene.recovers().await;
    let aside = scene.aside();
    assert!(aside.join("engine/engine-blocks-values").exists());
    assert!(aside.join("ledger.redb").exists());
    assert!(!aside.join("engine/engine-vault").exists());
    scene.close().await;
}

/// The files of every journal of votes.
fn journals(engine: &Path) -> Vec<PathBuf> {
    let parts = fs::read_dir(engine).unwrap();
    let parts = parts.map(|entry| entry.unwrap().path());
    let votes = parts.filter(|path| path.to_string_lossy().contains("engine-simplex-"));
    let files = votes.flat_map(|part| fs::read_dir(part).unwrap());
    files.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_votes_of_a_view_are_taken_for_writes_that_a_crash_cut_off() {
    let mut scene = Scene::open().await;
    scene.transfer(20).await;
    scene.stop().await;
    let engine = scene.configs[HIT].data_dir.join("engine");
    let mut damaged = 0;
    for file in journals(&engine) {
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        // One byte: everything before and behind it is as it was written.
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 0x40;
            damaged += 1;
            println!("{}: byte {middle} of {}", file.display(), bytes.len());
            fs::write(&file, bytes).unwrap();
        }
    }
    assert!(damaged > 0, "there are votes to damage");
    // Each view has a file, of one page in a small circle, and its last page is where a
    // crash would cut. The votes are forgotten, and the node goes on.
    scene.recovers().await;
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_engines_directory_builds_its_ledger_anew_and_does_not_vote() {
    let mut scene = Scene::open().await;
    scene.stop().await;
    let data_dir = scene.configs[HIT].data_dir.clone();
    fs::remove_dir_all(data_dir.join("engine")).unwrap();
    scene.follows_without_a_vote().await;
    assert!(scene.aside().join("ledger.redb").exists());
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undamaged_files_stay_where_they_are() {
    let mut scene = Scene::open().await;
    scene.stop().await;
    scene.recovers().await;
    let entries = fs::read_dir(&scene.configs[HIT].data_dir).unwrap();
    for entry in entries {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().starts_with("damaged"), "{name:?}");
    }
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_lost_its_memory_of_votes_does_not_vote() {
    let mut scene = Scene::open().await;
    let config = &scene.configs[HIT];
    // The share went to where the votes are remembered.
    assert!(!config.share_file.as_ref().unwrap().exists());
    let data_dir = config.data_dir.clone();
    scene.stop().await;
    fs::remove_dir_all(&data_dir).unwrap();
    assert!(
        Node::start(&scene.configs[HIT]).await.is_err(),
        "the share that the configuration names is gone"
    );
    let status = scene.follows_without_a_vote().await;
    assert!(status["why"].to_string().contains("no share"), "{status}");
    scene.close().await;
}
