//! Real chains with real stores under the engine's simulation: crashes that
//! lose what was not synced, partitions, lossy links and a validator that
//! equivocates. What comes out is judged from the stores that are left.
//!
//! In some runs members change who validates meanwhile ([`politics`]).
//!
//! Each seed is one schedule; a failure prints its seed, which repeats it.

mod absence;
mod politics;

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, Mutex},
};

use engine::{
    Certificate, Chain, Office,
    keys::PeerKey,
    simulation::{
        Crash, LinkQuality, Outcome, Partition, Plan, Submission, identity_seed, simulate,
    },
};
use node::{
    mempool::encode_message,
    sample::{Circle, Parts, USERS},
    store::{MemoryDisk, Snapshot},
};
use politics::Wish;
use wire::{Amount, Block, Height, Receipt, TransactionId, TransactionResult, record::Epoch};

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
    circle: Arc<Circle>,
    wishes: Arc<Vec<Wish>>,
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

    fn anchor(&self) -> Option<engine::Anchor> {
        self.parts.chain.anchor()
    }

    fn kept_from(&self) -> Height {
        self.parts.chain.kept_from()
    }

    fn durable_height(&self) -> Height {
        self.parts.chain.durable_height()
    }

    fn epoch_length(&self) -> NonZeroU64 {
        self.parts.chain.epoch_length()
    }

    fn office(&self) -> Arc<Office> {
        self.parts.chain.office()
    }

    fn deal(&mut self, round: u64, dealing: Vec<u8>) -> Option<Vec<u8>> {
        self.parts.chain.deal(round, dealing)
    }

    fn share_replaced(&mut self) {
        self.parts.chain.share_replaced();
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
        drop(acknowledged);
        politics::act(&self.circle, &self.parts, self.validator, &self.wishes);
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
    /// The epoch of the next block in the first validator's store.
    epoch: Epoch,
}

/// Runs a plan with real chains and judges what is left.
fn run(circle: &Arc<Circle>, plan: Plan) -> Run {
    run_with(circle, plan, Vec::new())
}

/// The same, while members want changes.
fn run_with(circle: &Arc<Circle>, mut plan: Plan, wishes: Vec<Wish>) -> Run {
    let wishes = Arc::new(wishes);
    plan.circle = circle.genesis.circle();
    plan.submissions.extend(submissions(circle, &plan));
    let disks: Vec<MemoryDisk> = (0..=plan.nodes()).map(|_| MemoryDisk::default()).collect();
    let acknowledged = Acknowledged::default();
    let outcome = simulate(&plan, |validator, _| {
        let disk = disks[validator].clone();
        let identity = match plan.equivocator {
            Some(equivocator) if validator == plan.nodes() => equivocator,
            _ => validator,
        };
        Box::new(Life {
            parts: Parts::open_for(&circle.genesis, &disk, identity_seed(identity)).unwrap(),
            circle: circle.clone(),
            wishes: wishes.clone(),
            disk,
            validator,
            seed: plan.seed,
            acknowledged: acknowledged.clone(),
        })
    })
    .unwrap_or_else(|failure| panic!("seed {}: {}", plan.seed, brief(&failure)));
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    let applied = judge(circle, &plan, &outcome, &disks, &acknowledged);
    let honest = *outcome.finalized.keys().next().unwrap();
    let store = Parts::inspect(&disks[honest]).unwrap();
    Run {
        epoch: politics::epoch(&store.snapshot().unwrap().unwrap()),
        outcome,
        applied,
    }
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
        // One that went forward to a state has nothing of before.
        for height in snapshot.first_height().unwrap().0..=snapshot.height().0 {
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
        let kept = snapshot.first_whole().unwrap()..=snapshot.height();
        if !outcome.finalized.contains_key(validator) || !kept.contains(&receipt.height) {
            continue;
        }
        let stored = snapshot.receipt(id).unwrap();
        assert_eq!(stored.as_ref(), Some(receipt), "seed {seed}");
        // A validator's dealing is free, once it is due.
        assert!(
            receipt.fee > Amount::ZERO || receipt.result == TransactionResult::Applied,
            "nothing is carried for nothing; seed {seed}"
        );
        applied += usize::from(receipt.result == TransactionResult::Applied);
    }
    applied
}

fn run_shard(shard: u64) {
    let circles = BTreeMap::from([4, 7].map(|size| (size, Arc::new(Circle::new(size as u8)))));
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
        let circle = Arc::new(Circle::new(validators));
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
    let circle = Arc::new(Circle::new(4));
    let plan = (0..).map(Plan::random).find(|plan| plan.validators == 4);
    let plan = plan.unwrap();
    let first = run(&circle, plan.clone());
    let second = run(&circle, plan);
    assert_eq!(first.outcome, second.outcome);
    assert_eq!(first.applied, second.applied);
}

/// Blocks of an epoch where members change: some seconds.
const SHORT_EPOCH: u64 = 28;

/// Nodes of such a run: four founders, one that joins, and one that takes a
/// founder's seat.
const JOINER: usize = 4;
const SUCCESSOR: usize = 5;

/// A fifth validator joins, then a founder leaves, then another hands its seat
/// to a new node.
fn wishes(circle: &Circle) -> Vec<Wish> {
    let id = circle.genesis.circle();
    let leaver = politics::key(3).public().account();
    let from = |epoch: u64| Height(epoch * SHORT_EPOCH + 1);
    vec![
        Wish {
            from: from(0),
            change: politics::join(id, JOINER),
        },
        Wish {
            from: from(2),
            change: wire::Change::RemoveMember(leaver),
        },
        Wish {
            from: from(4),
            change: politics::replace(id, 2, SUCCESSOR),
        },
    ]
}

fn committee(nodes: &[usize]) -> Vec<wire::PublicKey> {
    let mut keys: Vec<_> = nodes
        .iter()
        .map(|node| politics::key(*node).public())
        .collect();
    keys.sort_unstable();
    keys
}

fn in_office(epoch: &Epoch) -> Vec<wire::PublicKey> {
    epoch.committee.iter().map(|seat| seat.key).collect()
}

/// Members change in a run that lasts for at least so many epochs.
fn change_plan(seed: u64, epochs: u64) -> Plan {
    Plan {
        joiners: 2,
        heights_after: epochs * SHORT_EPOCH,
        patience_ms: 240_000,
        pacing: engine::Pacing {
            min_block_interval_ms: 80,
            idle_block_interval_ms: 200,
        },
        ..Plan::calm(seed, 4)
    }
}

#[test]
fn a_fifth_joins_one_leaves_and_a_key_is_replaced_under_load() {
    let circle = Arc::new(Circle::with_epochs(4, SHORT_EPOCH));
    let plan = Plan {
        chaos_ms: 24_000,
        ..change_plan(1, 3)
    };
    let run = run_with(&circle, plan, wishes(&circle));
    assert_eq!(in_office(&run.epoch), committee(&[0, 1, JOINER, SUCCESSOR]));
    assert!(run.applied >= 60, "{} transactions", run.applied);
    // Every certificate was verified under the one key of the circle.
    let signed: std::collections::BTreeSet<u64> =
        run.outcome.certificates.values().map(|c| c.epoch).collect();
    assert!(signed.len() as u64 >= run.epoch.number, "{signed:?}");
}

/// Crashes and a partition while members change, at times that the seed draws.
fn chaotic_plan(seed: u64) -> Plan {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let chaos_ms = 22_000;
    let crashes = (0..6)
        .map(|node| Crash {
            at_ms: 500 + draw(chaos_ms - 4_000),
            validator: node,
            down_ms: 200 + draw(3_000),
        })
        .filter(|crash| Some(crash.validator) != (seed % 4 == 3).then_some(1))
        .collect();
    Plan {
        chaos_ms,
        links: LinkQuality {
            latency_ms: 5 + draw(30),
            jitter_ms: draw(10),
            loss_percent: [0, 0, 2, 5][draw(4) as usize],
        },
        crashes,
        partitions: vec![Partition {
            at_ms: draw(chaos_ms - 4_000),
            for_ms: 500 + draw(3_000),
            side: vec![draw(6) as usize, draw(6) as usize],
        }],
        equivocator: (seed % 4 == 3).then_some(1),
        ..change_plan(seed, 3)
    }
}

fn change_under_chaos(seeds: std::ops::Range<u64>) {
    let circle = Arc::new(Circle::with_epochs(4, SHORT_EPOCH));
    for seed in seeds {
        let run = run_with(&circle, chaotic_plan(seed), wishes(&circle));
        println!(
            "seed {seed}: epoch {}, {} validators, sharing of epoch {}, last {:?}, {} resting",
            run.epoch.number,
            run.epoch.committee.len(),
            run.epoch.sharing_since,
            run.epoch.last_outcome,
            run.epoch.resting.len(),
        );
        let changed = run.epoch.reshared_from.is_some();
        assert!(changed, "seed {seed}: no change came through");
    }
}

#[test]
fn members_change_under_chaos_0() {
    change_under_chaos(0..4);
}

#[test]
fn members_change_under_chaos_1() {
    change_under_chaos(4..8);
}

#[test]
#[ignore = "repeats the seed in SIMULATION_SEED, named by a failure, and logs"]
fn one_seed_of_change() {
    let filter = tracing_subscriber::EnvFilter::new("warn,engine=info,node=info");
    tracing_subscriber::fmt().with_env_filter(filter).init();
    let seed = std::env::var("SIMULATION_SEED").expect("a seed is given");
    let seed: u64 = seed.parse().unwrap();
    change_under_chaos(seed..seed + 1);
}
