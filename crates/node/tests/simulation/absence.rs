//! A node that was away for so long that nobody has the blocks any more: it
//! goes forward to a checkpoint, and a crash in the middle does not matter.

use std::{path::Path, sync::Arc};

use engine::simulation::{Crash, Failure, LinkQuality, Outcome, Plan, identity_seed, simulate};
use node::{
    checkpoint::{CheckpointFile, Chunk, Manifest, Policy, Restoration, Shelf},
    sample::{Circle, Parts},
    store::{Entries, MemoryDisk, Store},
};
use wire::Height;

use super::{Acknowledged, Life, SHORT_EPOCH, brief, judge, submissions};

/// The node that is away; it follows without a vote.
const AWAY: usize = 4;

/// Blocks between two checkpoints.
const EVERY: u64 = 8;

/// Blocks that the engines keep, beside those from the oldest checkpoint on.
const ARCHIVED: u64 = 8;

/// The checkpoints of a validator, which outlive its crashes.
fn shelf(folder: &Path, validator: usize) -> Shelf {
    let policy = Policy {
        every_blocks: EVERY,
        // Enough that what was begun is still there after a crash.
        keep: 6,
        chunk_bytes: 1024,
    };
    let folder = folder.join(validator.to_string());
    Shelf::open(&folder, policy).unwrap().without_threads()
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// How the node that was away gets its state.
struct Catching {
    draw: Draw,
    staging: MemoryDisk,
    lives: u32,
    /// The checkpoint that was begun, and whether it was gone on with.
    begun: Option<Height>,
    resumed: bool,
    /// The height from which it went on.
    began_at: Option<Height>,
    refused: u32,
}

impl Catching {
    fn new(seed: u64) -> Self {
        Self {
            draw: Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            staging: MemoryDisk::default(),
            lives: 0,
            begun: None,
            resumed: false,
            began_at: None,
            refused: 0,
        }
    }

    /// Takes chunks at the start of a life, the second time until it crashes;
    /// the disk with the whole state, once it is there.
    fn start(&mut self, circle: &Circle, folder: &Path) -> Option<MemoryDisk> {
        self.lives += 1;
        if self.lives == 1 || self.began_at.is_some() {
            return None;
        }
        let file = self.choose(folder)?;
        let manifest = Manifest::decode(file.manifest_bytes()).unwrap();
        let genesis = &circle.genesis;
        let manifest = manifest
            .check(genesis.circle(), &genesis.circle_key)
            .unwrap();
        let store = Store::in_memory(&self.staging).unwrap();
        let mut restoration = match Restoration::open(store, manifest.clone()) {
            Ok(restoration) => restoration,
            Err(_) => {
                self.staging = MemoryDisk::default();
                let store = Store::in_memory(&self.staging).unwrap();
                Restoration::open(store, manifest.clone()).unwrap()
            }
        };
        let crash_after = match self.lives {
            2 => 1 + self.draw.below(u64::from(manifest.chunks)),
            _ => u64::MAX,
        };
        let mut taken = 0;
        while let Some(index) = restoration.next_chunk() {
            if taken == crash_after {
                let mut kept = self.draw.below(u64::MAX);
                self.staging.crash(|_| {
                    kept = kept.rotate_left(7);
                    kept & 1 == 1
                });
                return None;
            }
            let mut chunk = file.chunk(index).unwrap().unwrap();
            if self.draw.below(3) == 0 {
                // Another node gave it, and lied.
                let place = self.draw.below(chunk.len() as u64) as usize;
                chunk[place] ^= 1;
                if restoration.add(&chunk).is_err() {
                    self.refused += 1;
                    continue;
                }
                // It lied of entries that were there already.
                taken += 1;
                continue;
            }
            restoration.add(&chunk).unwrap();
            taken += 1;
        }
        if self.lives == 2 {
            // It crashes before the last step.
            self.staging.crash(|_| true);
            return None;
        }
        let store = restoration.finish().unwrap();
        let entries = store
            .snapshot()
            .unwrap()
            .unwrap()
            .entries(b"", None, usize::MAX);
        assert_eq!(entries.unwrap(), self.whole(&file), "a lie was stored");
        drop(store);
        self.began_at = Some(manifest.header.height);
        Some(self.staging.clone())
    }

    /// All entries of a checkpoint, ascending by key.
    fn whole(&self, file: &CheckpointFile) -> Entries {
        let numbers = 0..file.manifest().chunks;
        let chunks = numbers.map(|n| Chunk::decode(&file.chunk(n).unwrap().unwrap()).unwrap());
        let mut entries: Vec<_> = chunks.flat_map(|chunk| chunk.entries).collect();
        entries.sort_unstable();
        entries
    }

    /// What was begun, if anybody still has it, or the newest there is.
    fn choose(&mut self, folder: &Path) -> Option<Arc<CheckpointFile>> {
        let mut files: Vec<_> = (0..AWAY).flat_map(|v| shelf(folder, v).list()).collect();
        let height = |file: &Arc<CheckpointFile>| file.manifest().header.height;
        files.sort_by_key(height);
        let begun = files.iter().find(|file| Some(height(file)) == self.begun);
        self.resumed |= begun.is_some();
        let chosen = begun.or(files.last()).cloned();
        self.begun = chosen.as_ref().map(height);
        chosen
    }
}

/// Four validators, one of which may crash now and then, and one that is away.
fn plan(seed: u64) -> Plan {
    let mut draw = Draw(seed.wrapping_mul(0xD1B5_4A32_D192_ED03) | 1);
    let crash = |at_ms, validator, down_ms| Crash {
        at_ms,
        validator,
        down_ms,
    };
    Plan {
        joiners: 1,
        chaos_ms: 30_000,
        links: LinkQuality {
            latency_ms: 5 + draw.below(20),
            jitter_ms: draw.below(10),
            loss_percent: [0, 0, 2][draw.below(3) as usize],
        },
        crashes: vec![
            crash(300, AWAY, 22_000 + draw.below(2_000)),
            crash(25_500 + draw.below(500), AWAY, 500 + draw.below(2_000)),
            crash(2_000 + draw.below(15_000), 1, 300 + draw.below(1_500)),
        ],
        heights_after: SHORT_EPOCH,
        patience_ms: 60_000,
        pacing: engine::Pacing {
            min_block_interval_ms: 60,
            idle_block_interval_ms: 200,
        },
        ..Plan::calm(seed, 4)
    }
}

struct Run {
    outcome: Result<Outcome, String>,
    catching: Catching,
}

/// Runs a plan; the node that is away goes forward only if it `may`.
fn run(seed: u64, may: bool) -> Run {
    let circle = Arc::new(Circle::with_epochs(4, SHORT_EPOCH));
    let mut plan = plan(seed);
    plan.circle = circle.genesis.circle();
    plan.submissions.extend(submissions(&circle, &plan));
    let folder = tempfile::tempdir().unwrap();
    let mut disks: Vec<MemoryDisk> = (0..plan.nodes()).map(|_| MemoryDisk::default()).collect();
    let acknowledged = Acknowledged::default();
    let mut catching = Catching::new(seed);
    let outcome = simulate(&plan, |validator, _| {
        if validator == AWAY
            && may
            && let Some(disk) = catching.start(&circle, folder.path())
        {
            disks[AWAY] = disk;
        }
        let disk = disks[validator].clone();
        let seed_of = identity_seed(validator);
        let mut parts = Parts::open_for(&circle.genesis, &disk, seed_of).unwrap();
        if validator != AWAY {
            let shelf = Arc::new(shelf(folder.path(), validator));
            parts.chain = parts.chain.with_shelf(shelf, ARCHIVED);
        }
        Box::new(Life {
            parts,
            circle: circle.clone(),
            wishes: Arc::default(),
            disk,
            validator,
            seed,
            acknowledged: acknowledged.clone(),
        })
    });
    let outcome = match outcome {
        Ok(outcome) => {
            let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
            judge(&circle, &plan, &outcome, &disks, &acknowledged);
            Ok(outcome)
        }
        Err(failure @ Failure::Stalled { .. }) => Err(brief(&failure)),
        Err(failure) => panic!("seed {seed}: {}", brief(&failure)),
    };
    Run { outcome, catching }
}

fn comes_back(seeds: std::ops::Range<u64>) {
    let mut refused = 0;
    for seed in seeds {
        let Run { outcome, catching } = run(seed, true);
        let outcome = outcome.unwrap_or_else(|stalled| panic!("seed {seed}: {stalled}"));
        let began_at = catching.began_at.expect("it went forward");
        let own = &outcome.finalized[&AWAY];
        let first = own.keys().find(|height| **height > 20).unwrap();
        println!(
            "seed {seed}: went on from {began_at} of {}, {} lies refused, {} lives, resumed: {}",
            own.keys().next_back().unwrap(),
            catching.refused,
            catching.lives,
            catching.resumed,
        );
        assert_eq!(
            *first,
            began_at.0 + 1,
            "seed {seed}: it executed nothing before"
        );
        refused += catching.refused;
    }
    assert!(refused > 0, "nobody lied");
}

#[test]
fn who_was_away_goes_forward_past_a_crash_and_lies_0() {
    comes_back(0..5);
}

#[test]
fn who_was_away_goes_forward_past_a_crash_and_lies_1() {
    comes_back(5..10);
}

#[test]
fn who_was_away_cannot_come_back_by_blocks_that_nobody_has() {
    let stalled = run(3, false).outcome.expect_err("the blocks are gone");
    assert!(stalled.contains("stalled"), "{stalled}");
}
