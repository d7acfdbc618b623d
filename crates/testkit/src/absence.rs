//! A node that was away for so long that nobody has the blocks any more: it
//! goes forward to a checkpoint, and a crash in the middle does not matter.

use std::{path::Path, sync::Arc};

use engine::simulation::{Crash, LinkQuality, Outcome, Plan, identity_seed, simulate};
use node::{
    checkpoint::{CheckpointFile, Chunk, Manifest, Policy, Restoration, Shelf},
    sample::{Circle, Parts},
    store::{Entries, MemoryDisk, Store},
};
use wire::Height;

use crate::{
    Checker, Report, Violation,
    judge::{Evidence, judge},
    life::Lives,
    scenario::{SHORT_EPOCH, all_are_final, submissions},
};

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

/// What became of a run.
pub struct Absence {
    /// What the judges found.
    pub report: Report,
    /// The height from which the node went on.
    pub began_at: Height,
    /// Lies of other nodes that it refused.
    pub refused: u32,
    /// Whether it went on with what it had begun before a crash.
    pub resumed: bool,
}

/// Runs a seed; the node that is away goes forward only if it `may`.
///
/// Errors: [`Violation`].
pub fn run(seed: u64, may: bool) -> Result<Absence, Violation> {
    let circle = Arc::new(Circle::with_epochs(4, SHORT_EPOCH));
    let mut plan = plan(seed);
    plan.circle = circle.genesis.circle();
    plan.submissions.extend(submissions(&circle, &plan));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut disks: Vec<MemoryDisk> = (0..plan.nodes()).map(|_| MemoryDisk::default()).collect();
    let lives = Lives::new(circle.clone(), seed);
    let mut catching = Catching::new(seed);
    let outcome = simulate(&plan, |birth| {
        let node = birth.node;
        if node == AWAY
            && may
            && let Some(disk) = catching.start(&circle, folder.path())
        {
            disks[AWAY] = disk;
        }
        let disk = disks[node].clone();
        let power = birth.power.clone();
        disk.powered_by(move || power.step());
        let mut parts = Parts::open_for(&circle.genesis, &disk, identity_seed(node)).unwrap();
        if node != AWAY {
            let shelf = Arc::new(shelf(folder.path(), node));
            parts.chain = parts.chain.with_shelf(shelf, ARCHIVED);
        }
        lives.begin(birth, parts, disk)
    })
    .map_err(|failure| Violation::of_run(&failure))?;
    let seen = lives.seen();
    all_are_final(&circle, &seen)?;
    let report = judge(&Evidence {
        circle: &circle,
        plan: &plan,
        outcome: &outcome,
        disks: &disks,
        seen: &seen,
    })?;
    let began_at = executed_nothing_before(&outcome, &catching)?;
    Ok(Absence {
        report,
        began_at,
        refused: catching.refused,
        resumed: catching.resumed,
    })
}

fn executed_nothing_before(outcome: &Outcome, catching: &Catching) -> Result<Height, Violation> {
    let unmet = |what: &str| Violation {
        checker: Checker::FastForward,
        what: what.to_owned(),
    };
    let began_at = catching
        .began_at
        .ok_or_else(|| unmet("it never went forward"))?;
    let own = &outcome.finalized[&AWAY];
    let first = own.keys().find(|height| **height > 20);
    if first != Some(&(began_at.0 + 1)) {
        return Err(unmet("it executed blocks below the state that it took"));
    }
    Ok(began_at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn blocks_below_the_state_that_was_taken_are_found() {
        let mut catching = Catching::new(1);
        let told = |heights: &[u64]| Outcome {
            finalized: BTreeMap::from([(
                AWAY,
                heights
                    .iter()
                    .map(|h| (*h, wire::Digest([1; 32])))
                    .collect(),
            )]),
            ..crate::nothing()
        };
        let went_on = told(&[1, 2, 41, 42]);
        let found = |outcome: &Outcome, catching: &Catching| {
            executed_nothing_before(outcome, catching).map_err(|violation| violation.checker)
        };
        assert_eq!(found(&went_on, &catching), Err(Checker::FastForward));
        catching.began_at = Some(Height(40));
        assert_eq!(found(&went_on, &catching), Ok(Height(40)));
        let replayed = told(&[1, 2, 30, 41]);
        assert_eq!(found(&replayed, &catching), Err(Checker::FastForward));
    }
}
