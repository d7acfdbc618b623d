//! Real chains with real stores under the engine's simulation: crashes that
//! lose what was not synced, partitions, lossy links and a validator that
//! equivocates. What comes out is judged from the stores that are left.
//!
//! Each seed is one schedule; a failure prints its seed, which repeats it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use engine::{
    Certificate, Chain,
    keys::PeerKey,
    simulation::{Outcome, Plan, Submission, simulate},
};
use node::{
    mempool::encode_message,
    sample::{Circle, Parts, USERS},
    store::{MemoryDisk, Snapshot},
};
use wire::{Amount, Block, Height, Receipt, TransactionId, TransactionResult};

/// Schedules of everything at once.
const SEEDS: u64 = 100;

/// Tests over which the seeds are spread.
const SHARDS: u64 = 8;

/// What a validator told its clients: receipts of final blocks.
type Acknowledged = Arc<Mutex<BTreeMap<(usize, TransactionId), Receipt>>>;

/// One life of a validator: it ends without warning.
struct Life {
    parts: Parts,
    disk: MemoryDisk,
    validator: usize,
    seed: u64,
    acknowledged: Acknowledged,
}

impl Drop for Life {
    /// The disk goes first, so that an orderly end of the chain cannot sync it.
    fn drop(&mut self) {
        let mut state = self.seed.wrapping_add(self.validator as u64);
        self.disk.crash(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 63 == 1
        });
    }
}

impl Chain for Life {
    fn genesis(&self) -> Block {
        self.parts.chain.genesis()
    }

    fn durable_height(&self) -> Height {
        self.parts.chain.durable_height()
    }

    fn propose(&mut self, parent: &Block, now_ms: u64) -> Option<Block> {
        self.parts.chain.propose(parent, now_ms)
    }

    fn verify(&mut self, parent: &Block, block: &Block, now_ms: u64) -> bool {
        self.parts.chain.verify(parent, block, now_ms)
    }

    fn finalized(&mut self, block: Block, certificate: Option<Certificate>) {
        let height = block.header.height;
        self.parts.chain.finalized(block, certificate);
        let receipts = self.parts.tip.snapshot().receipts(height).unwrap().unwrap();
        let mut acknowledged = self.acknowledged.lock().unwrap();
        for receipt in receipts {
            acknowledged.insert((self.validator, receipt.transaction), receipt);
        }
    }

    fn certified(&mut self, height: Height, certificate: Certificate) {
        self.parts.chain.certified(height, certificate);
    }

    fn gossip(&mut self, from: PeerKey, message: Vec<u8>) {
        self.parts.chain.gossip(from, message);
    }

    fn has_work(&self) -> bool {
        self.parts.chain.has_work()
    }
}

/// Clients that send transfers to validators, each client its own in order but
/// to whomever it likes.
fn submissions(circle: &Circle, plan: &Plan) -> Vec<Submission> {
    let mut sequences = [0u64; USERS as usize];
    (0..60u64)
        .map(|number| {
            let user = (number % 7) as u8;
            let sequence = &mut sequences[usize::from(user)];
            let signed = circle.transfer(user, *sequence, (user + 1) % USERS, 1 + number);
            *sequence += 1;
            Submission {
                at_ms: number * (plan.chaos_ms + 2_000) / 60,
                validator: ((plan.seed + number * 13) % plan.validators as u64) as usize,
                message: encode_message(&[signed.encode()]),
            }
        })
        .collect()
}

/// A failure without its plan, which its seed and this file give.
fn brief(failure: &impl std::fmt::Display) -> String {
    let text = failure.to_string();
    text.split("; Plan").next().unwrap_or_default().to_owned()
}

struct Run {
    outcome: Outcome,
    applied: usize,
}

/// Runs a plan with real chains and judges what is left.
fn run(circle: &Circle, mut plan: Plan) -> Run {
    plan.submissions = submissions(circle, &plan);
    let disks: Vec<MemoryDisk> = (0..=plan.validators)
        .map(|_| MemoryDisk::default())
        .collect();
    let acknowledged = Acknowledged::default();
    let outcome = simulate(&plan, |validator, _| {
        let disk = disks[validator].clone();
        Box::new(Life {
            parts: Parts::open(&circle.genesis, &disk).unwrap(),
            disk,
            validator,
            seed: plan.seed,
            acknowledged: acknowledged.clone(),
        })
    })
    .unwrap_or_else(|failure| panic!("seed {}: {}", plan.seed, brief(&failure)));
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    let applied = judge(circle, &plan, &outcome, &disks, &acknowledged);
    Run { outcome, applied }
}

fn judge(
    circle: &Circle,
    plan: &Plan,
    outcome: &Outcome,
    disks: &[MemoryDisk],
    acknowledged: &BTreeMap<(usize, TransactionId), Receipt>,
) -> usize {
    let seed = plan.seed;
    let mut roots: BTreeMap<Height, wire::Digest> = BTreeMap::new();
    let mut applied = 0;
    for validator in outcome.finalized.keys() {
        // A power cut may have taken the last blocks from the store; the
        // engine has them and would give them again.
        let store = Parts::inspect(&disks[*validator]).unwrap();
        store.check(circle.genesis.circle()).unwrap();
        let snapshot = store.snapshot().unwrap().unwrap();
        let audit = ledger::audit(&snapshot)
            .unwrap_or_else(|error| panic!("validator {validator}: {error}; seed {seed}"));
        assert_eq!(audit.supply, circle.genesis.supply(), "seed {seed}");
        for height in 0..=snapshot.height().0 {
            let header = snapshot.header_at(Height(height)).unwrap().unwrap();
            let root = *roots.entry(Height(height)).or_insert(header.state_root);
            assert_eq!(root, header.state_root, "height {height}; seed {seed}");
        }
        applied = applied.max(judge_receipts(seed, outcome, &snapshot, acknowledged));
    }
    applied
}

/// Every acknowledged transaction is where it was said to be.
fn judge_receipts(
    seed: u64,
    outcome: &Outcome,
    snapshot: &Snapshot,
    acknowledged: &BTreeMap<(usize, TransactionId), Receipt>,
) -> usize {
    let mut applied = 0;
    for ((validator, id), receipt) in acknowledged {
        if !outcome.finalized.contains_key(validator) || receipt.height > snapshot.height() {
            continue;
        }
        let stored = snapshot.receipt(id).unwrap();
        assert_eq!(stored.as_ref(), Some(receipt), "seed {seed}");
        assert!(
            receipt.fee > Amount::ZERO,
            "nothing is carried for nothing; seed {seed}"
        );
        applied += usize::from(receipt.result == TransactionResult::Applied);
    }
    applied
}

fn run_shard(shard: u64) {
    let circles = BTreeMap::from([(4, Circle::new(4)), (7, Circle::new(7))]);
    let mut applied = 0;
    for seed in (0..SEEDS).filter(|seed| seed % SHARDS == shard) {
        println!("seed {seed}");
        let plan = Plan::random(seed);
        let run = run(&circles[&plan.validators], plan);
        applied += run.applied;
    }
    assert!(applied > 0, "the runs did something");
}

/// One test for each shard, so that they run side by side.
macro_rules! shards {
    ($($name:ident = $shard:literal),*) => {
        $(
            #[test]
            fn $name() {
                run_shard($shard);
            }
        )*
    };
}

shards!(
    survives_chaos_0 = 0,
    survives_chaos_1 = 1,
    survives_chaos_2 = 2,
    survives_chaos_3 = 3,
    survives_chaos_4 = 4,
    survives_chaos_5 = 5,
    survives_chaos_6 = 6,
    survives_chaos_7 = 7
);

#[test]
fn a_calm_circle_applies_everything_that_is_sent() {
    for validators in [4, 7] {
        let circle = Circle::new(validators);
        let mut plan = Plan::calm(11, usize::from(validators));
        plan.heights_after = 60;
        let run = run(&circle, plan);
        assert!(
            run.applied >= 60 * usize::from(validators),
            "{} of 60 at {validators} validators",
            run.applied
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let circle = Circle::new(4);
    let plan = (0..).map(Plan::random).find(|plan| plan.validators == 4);
    let plan = plan.unwrap();
    let first = run(&circle, plan.clone());
    let second = run(&circle, plan);
    assert_eq!(first.outcome, second.outcome);
    assert_eq!(first.applied, second.applied);
}
