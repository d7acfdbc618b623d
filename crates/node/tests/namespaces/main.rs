//! Seven validators on machines of their own, over real sockets: the network
//! splits, machines stop, lose power, come and go, and change keys, while
//! transfers flow. What was acknowledged is on every ledger at the end, and all
//! ledgers are one.
//!
//! The machines are network namespaces (`machines`), the nodes processes that
//! run what `ringfort node` runs. Times are not judged here: `bench faults`
//! measures them.

#[path = "../harness/mod.rs"]
mod harness;
mod machines;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use harness::{PATIENCE, enact_by, join_at, key};
use machines::{API_PORT, CONFIG, Machine, PEER_PORT, Side, address, is_inside};
use node::{
    NodeConfig,
    sample::{self, BALANCE, Circle},
};
use reqwest::Client;
use serde_json::Value;
use wire::{Change, SeatReplacement, ValidatorSeat};

const VALIDATORS: usize = 7;

/// Blocks of an epoch: long enough for nine dealers on a loaded machine.
const EPOCH: u64 = 60;

/// Transfers after which something counts as going on.
const SOME: u64 = 15;

/// How long two readings of a height are apart that show that it stands: many
/// times what a block takes.
const STANDSTILL: Duration = Duration::from_secs(2);

/// After which a node that is apart or stopped is given up, and another asked.
const REQUEST: Duration = Duration::from_secs(2);

/// Not a test: the process of one node, started by the tests.
#[test]
#[ignore = "is what the other tests start as a process"]
fn a_nodes_process() {
    let Some(config) = std::env::var_os(CONFIG) else {
        return;
    };
    let config = NodeConfig::read(Path::new(&config)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(node::run(config)).unwrap();
}

/// Seven machines, what speaks to them, and the transfers between them.
struct Scene {
    circle: Arc<Circle>,
    machines: Vec<Machine>,
    folder: tempfile::TempDir,
    http: Client,
    flow: Flow,
}

/// Transfers of one unit, one after the other, each sent until it is acknowledged.
#[derive(Clone, Default)]
struct Flow {
    /// Whom to ask, the first that answers.
    nodes: Arc<Mutex<Vec<SocketAddr>>>,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Flow {
    async fn run(self, circle: Arc<Circle>) {
        let http = Client::builder().timeout(REQUEST).build();
        let http = http.unwrap();
        for sequence in 0.. {
            // The same bytes however often, since an answer may be lost.
            let transfer = circle.transfer(0, sequence, 1, 1).encode();
            let mut tries = sequence as usize;
            loop {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                let nodes = self.nodes.lock().unwrap().clone();
                let url = format!(
                    "http://{}/v1/transactions?wait=final&timeout_ms=1500",
                    nodes[tries % nodes.len()]
                );
                tries += 1;
                let Ok(answer) = http.post(url).body(transfer.clone()).send().await else {
                    continue;
                };
                let status = answer.status();
                let text = answer.text().await.unwrap_or_default();
                if status.as_u16() == 200 {
                    assert!(text.contains("\"applied\""), "transfer {sequence}: {text}");
                    break;
                }
                assert_ne!(status.as_u16(), 400, "transfer {sequence}: {text}");
                // A node that cannot take it now is no reason to be asked in vain at once.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until so many more were acknowledged.
    async fn goes_on(&self, more: u64, while_what: &str) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + PATIENCE;
        while self.acknowledged.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < deadline, "no transfers while {while_what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Writes a node's configuration as its operator would.
fn write_config(circle: &Circle, number: usize, folder: &Path) -> PathBuf {
    let ports = vec![0; number.max(VALIDATORS) + 1];
    let config = harness::configure(circle, number, &ports, folder);
    let path = folder.join(format!("{number}.toml"));
    let mut text = format!(
        "genesis = {:?}\ndata_dir = {:?}\nidentity_file = {:?}\n",
        config.genesis, config.data_dir, config.identity_file
    );
    if let Some(share) = &config.share_file {
        text += &format!("share_file = {share:?}\n");
    }
    text += &format!("listen = \"0.0.0.0:{PEER_PORT}\"\napi = \"0.0.0.0:{API_PORT}\"\n");
    for (founder, validator) in circle.genesis.validators.iter().enumerate() {
        text += &format!(
            "[[validators]]\nkey = \"{}\"\naddress = \"{}\"\n",
            validator.key,
            address(founder)
        );
    }
    fs::write(&path, text).unwrap();
    path
}

impl Scene {
    /// Seven validators in office, and transfers between them.
    async fn open() -> Self {
        let mut circle = Circle::with_epochs(VALIDATORS as u8, EPOCH);
        circle.genesis.parameters.min_block_interval_ms = 60;
        circle.genesis.parameters.idle_block_interval_ms = 150;
        let circle = Arc::new(circle);
        let folder = tempfile::tempdir().unwrap();
        let machines = (0..VALIDATORS)
            .map(|number| Machine::boot(number, &write_config(&circle, number, folder.path())));
        let scene = Self {
            machines: machines.collect(),
            http: Client::builder().timeout(REQUEST).build().unwrap(),
            flow: Flow::default(),
            circle,
            folder,
        };
        for number in 0..VALIDATORS {
            scene.until_well(number).await;
        }
        scene.ask_all();
        tokio::spawn(scene.flow.clone().run(scene.circle.clone()));
        scene.flow.goes_on(SOME, "all are well").await;
        scene
    }

    /// Lets transfers go to all machines that there are.
    fn ask_all(&self) {
        let nodes = self.machines.iter().map(Machine::api).collect();
        *self.flow.nodes.lock().unwrap() = nodes;
    }

    async fn boot(&mut self, number: usize) -> usize {
        let config = write_config(&self.circle, number, self.folder.path());
        self.machines.push(Machine::boot(number, &config));
        self.machines.len() - 1
    }

    /// A machine's answer, null while it gives none.
    async fn get(&self, index: usize, path: &str) -> Value {
        let url = format!("http://{}{path}", self.machines[index].api());
        let Ok(answer) = self.http.get(url).send().await else {
            return Value::Null;
        };
        serde_json::from_str(&answer.text().await.unwrap_or_default()).unwrap_or_default()
    }

    async fn until(&self, index: usize, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.get(index, "/v1/status").await;
            if done(&status) {
                return status;
            }
            let number = self.machines[index].number;
            assert!(
                Instant::now() < deadline,
                "machine {number}: in vain until {what}: {status}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_well(&self, index: usize) {
        self.until(index, "it is well", |status| status["healthy"] == true)
            .await;
    }

    async fn height(&self, index: usize) -> u64 {
        let status = self.until(index, "it answers", |status| status["height"].is_u64());
        status.await["height"].as_u64().unwrap()
    }

    /// Waits until a machine has stopped at a height, and says which.
    async fn standstill(&self, index: usize) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        let mut height = self.height(index).await;
        loop {
            tokio::time::sleep(STANDSTILL).await;
            let now = self.height(index).await;
            if now == height {
                return height;
            }
            assert!(Instant::now() < deadline, "machine {index} goes on");
            height = now;
        }
    }

    /// Parts `apart` from the others, lets time pass, and joins them again.
    async fn part(&mut self, apart: &[usize]) {
        for index in apart {
            self.machines[*index].plug(Side::Apart);
        }
        let mut stood = Vec::new();
        for index in apart {
            stood.push(self.standstill(*index).await);
        }
        let others = (0..self.machines.len()).filter(|index| !apart.contains(index));
        let others: Vec<_> = others.collect();
        let majority = others.len() >= 5;
        let before = self.height(others[0]).await;
        if majority {
            self.flow.goes_on(SOME, "a minority is apart").await;
            assert!(self.height(others[0]).await > before);
        } else {
            // Neither side has a quorum: nothing is acknowledged by anybody.
            self.standstill(others[0]).await;
            let acknowledged = self.flow.acknowledged.load(Ordering::Relaxed);
            tokio::time::sleep(STANDSTILL).await;
            let later = self.flow.acknowledged.load(Ordering::Relaxed);
            assert_eq!(acknowledged, later, "without a quorum");
        }
        for (index, height) in apart.iter().zip(stood) {
            assert_eq!(
                self.height(*index).await,
                height,
                "a minority goes on alone"
            );
            let status = self.get(*index, "/readyz").await;
            assert_eq!(status["healthy"], false, "{status}");
            self.machines[*index].plug(Side::Main);
        }
        let joined = Instant::now();
        let head = self.height(others[0]).await;
        for index in apart {
            self.until(*index, "it has caught up", |status| {
                status["height"].as_u64() >= Some(head) && status["healthy"] == true
            })
            .await;
        }
        println!("{apart:?} were apart; well after {:?}", joined.elapsed());
        self.flow.goes_on(SOME, "all are joined again").await;
    }

    /// All ledgers are one, and what was acknowledged is on it.
    async fn close(self) {
        self.flow.stop.store(true, Ordering::Relaxed);
        let sent = self.flow.acknowledged.load(Ordering::Relaxed);
        let path = format!("/v1/accounts/{}", sample::account(1));
        let mut heights = Vec::new();
        for index in 0..self.machines.len() {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let balance = self.get(index, &path).await["record"]["balance"].as_u64();
                // One more may have been under way.
                if balance.is_some_and(|now| now >= BALANCE.0 + sent) {
                    assert!(balance <= Some(BALANCE.0 + sent + 1), "{balance:?}");
                    break;
                }
                assert!(Instant::now() < deadline, "{sent} sent, {balance:?} here");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            heights.push(self.height(index).await);
        }
        let common = heights.iter().min().unwrap();
        let path = format!("/v1/headers/{common}");
        let header = self.get(0, &path).await["header"].clone();
        assert!(header["state_root"].is_string(), "{header}");
        for index in 1..self.machines.len() {
            assert_eq!(self.get(index, &path).await["header"], header);
        }
        println!("{sent} transfers, block {common} is the same on all");
    }
}

#[test]
fn seven_validators_survive_partitions_stops_and_power_loss() {
    if !is_inside("seven_validators_survive_partitions_stops_and_power_loss") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut scene = Scene::open().await;
        scene.part(&[6]).await;
        scene.part(&[4, 5]).await;
        scene.part(&[1, 3, 5]).await;

        scene.machines[2].signal("STOP");
        scene.flow.goes_on(SOME, "one is stopped").await;
        scene.machines[2].signal("CONT");
        scene.until_well(2).await;

        scene.machines[0].end();
        scene.flow.goes_on(SOME, "one is dead").await;
        scene.machines[0].lose_power();
        scene.until_well(0).await;
        scene.flow.goes_on(SOME, "it is back").await;
        scene.close().await;
    });
}

/// The change by which the founder of this number hands its seat to another node.
fn replace(circle: &Circle, founder: usize, node: usize) -> Change {
    let member = key(founder).public().account();
    let seat = ValidatorSeat {
        key: key(node).public(),
        address: address(node),
    };
    let message = SeatReplacement::message(circle.genesis.circle(), member, &seat);
    Change::ReplaceSeat(SeatReplacement {
        member,
        seat,
        signature: key(node).sign(SeatReplacement::PURPOSE, &message),
    })
}

#[test]
fn seven_validators_change_members_and_keys_under_load() {
    if !is_inside("seven_validators_change_members_and_keys_under_load") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut scene = Scene::open().await;
        let circle = scene.circle.clone();
        let api = scene.machines[0].api();

        let eighth = scene.boot(VALIDATORS).await;
        let change = join_at(&circle, VALIDATORS, address(VALIDATORS));
        enact_by(&scene.http, api, &circle, change, 4).await;
        scene
            .until(eighth, "the eighth is in office", |status| {
                status["in_office"] == true && status["validators"] == 8
            })
            .await;
        scene.flow.goes_on(SOME, "eight are in office").await;

        let leaver = Change::RemoveMember(key(6).public().account());
        enact_by(&scene.http, api, &circle, leaver, 5).await;
        scene
            .until(0, "seven are in office", |status| status["validators"] == 7)
            .await;
        scene.machines.remove(6);
        scene.ask_all();
        scene.flow.goes_on(SOME, "one has left").await;

        // The fifth founder's machine is replaced by another with a key of its own.
        let successor = scene.boot(VALIDATORS + 1).await;
        let change = replace(&circle, 5, VALIDATORS + 1);
        enact_by(&scene.http, api, &circle, change, 4).await;
        scene
            .until(successor, "the new key is in office", |status| {
                status["in_office"] == true && status["validators"] == 7
            })
            .await;
        scene
            .until(5, "the old key is not", |status| {
                status["in_office"] == false
            })
            .await;
        let replaced = scene.machines.remove(5);
        drop(replaced);
        scene.ask_all();
        scene.flow.goes_on(SOME, "a key was replaced").await;
        scene.close().await;
    });
}
