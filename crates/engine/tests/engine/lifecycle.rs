//! Starting, stopping and failing: a circle of one validator in this process.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroU64,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use engine::{
    Certificate, Chain, EngineConfig, EngineError, EngineHandle, MAX_GOSSIP_BYTES, Office,
    Validator,
    keys::{PeerKey, development_dealer, public_key},
};
use wire::{Block, CircleId, Height};

use crate::list_chain::{ListChain, Log, Pool};

const CIRCLE: CircleId = CircleId([0x1C; 32]);
const SEED: [u8; 32] = [1; 32];
/// How long anything may take on a loaded machine before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps nothing: every start replays from the engine's archive.
struct NoLog;

impl Log for NoLog {
    fn load(&mut self) -> Vec<Block> {
        Vec::new()
    }

    fn append(&mut self, _: &Block, _: Option<Certificate>) {}
}

fn list() -> Box<dyn Chain> {
    let key = public_key(&SEED);
    let dealing = development_dealer(&[key], [2; 32]).unwrap();
    let address = String::new();
    let office = Office::founding(vec![Validator { key, address }], dealing.polynomial);
    Box::new(ListChain::new(
        CIRCLE,
        office,
        Box::new(NoLog),
        Pool::default(),
    ))
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn start(listen: SocketAddr, directory: &Path, chain: Box<dyn Chain>) -> EngineHandle {
    let key = public_key(&SEED);
    let dealing = development_dealer(&[key], [2; 32]).unwrap();
    let config = EngineConfig::new(
        CIRCLE,
        SEED,
        Some(dealing.shares[0].to_vec()),
        dealing.polynomial,
        vec![Validator {
            key,
            address: listen.to_string(),
        }],
        listen,
        directory.to_path_buf(),
    );
    engine::run(config, chain).unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn circle_of_one_runs_stops_and_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut reached = Height(0);
    for _ in 0..3 {
        let handle = start(free_address(), directory.path(), list());
        until("blocks are final", || {
            handle.status().finalized_height >= reached.plus(2)
        });
        assert!(handle.is_running());
        let status = handle.status();
        assert!(status.in_office);
        assert_eq!(status.validators, 1);
        assert!(status.connected.is_empty());
        assert!(handle.metrics().contains("finalized_height"));
        handle.shutdown();
        handle.join().unwrap();
        assert!(!handle.is_running());
        assert!(handle.metrics().is_empty());
        reached = handle.status().finalized_height;
    }
    assert!(reached >= Height(6));
}

#[test]
fn address_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let handle = start(taken.local_addr().unwrap(), directory.path(), list());
    assert!(matches!(handle.join(), Err(EngineError::Stopped(_))));
    assert!(!handle.is_running());
}

#[test]
fn oversized_gossip_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let handle = start(free_address(), directory.path(), list());
    assert!(matches!(
        handle.broadcast(vec![0; MAX_GOSSIP_BYTES + 1]),
        Err(EngineError::GossipTooLarge(_))
    ));
    handle.broadcast(vec![0; MAX_GOSSIP_BYTES]).unwrap();
    handle.shutdown();
    handle.join().unwrap();
    assert!(matches!(
        handle.broadcast(vec![1]),
        Err(EngineError::Stopped(_))
    ));
}

/// Panics when the second block is final.
struct Bomb(Box<dyn Chain>);

impl Chain for Bomb {
    fn genesis(&self) -> Block {
        self.0.genesis()
    }

    fn durable_height(&self) -> Height {
        self.0.durable_height()
    }

    fn epoch_length(&self) -> NonZeroU64 {
        self.0.epoch_length()
    }

    fn office(&self) -> Arc<Office> {
        self.0.office()
    }

    fn deal(&mut self, round: u64, dealing: Vec<u8>) -> Option<Vec<u8>> {
        self.0.deal(round, dealing)
    }

    fn share_replaced(&mut self) {
        self.0.share_replaced();
    }

    fn propose(&mut self, parent: &Block, now_ms: u64) -> Option<Block> {
        self.0.propose(parent, now_ms)
    }

    fn verify(&mut self, parent: &Block, block: &Block, now_ms: u64) -> bool {
        self.0.verify(parent, block, now_ms)
    }

    fn finalized(&mut self, block: Block, certificate: Option<Certificate>) {
        assert!(block.header.height < Height(2), "the disk is on fire");
        self.0.finalized(block, certificate);
    }

    fn certified(&mut self, height: Height, certificate: Certificate) {
        self.0.certified(height, certificate);
    }

    fn gossip(&mut self, from: PeerKey, message: Vec<u8>) {
        self.0.gossip(from, message);
    }

    fn has_work(&self) -> bool {
        self.0.has_work()
    }
}

#[test]
fn chain_that_panics_stops_the_engine_and_the_reason_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let handle = start(free_address(), directory.path(), Box::new(Bomb(list())));
    let Err(EngineError::Stopped(reason)) = handle.join() else {
        panic!("the engine cannot go on without its chain");
    };
    assert!(reason.contains("the disk is on fire"), "{reason}");
    // What was final but not durable in the chain comes again.
    let handle = start(free_address(), directory.path(), list());
    until("the block is delivered again", || {
        handle.status().finalized_height >= Height(2)
    });
    handle.shutdown();
    handle.join().unwrap();
}
