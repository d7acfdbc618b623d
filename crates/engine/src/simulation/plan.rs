//! What goes wrong in a simulated run, and when?
//!
//! A [`Plan`] is written out before the run starts, so that a failure can be
//! read as a schedule. [`Plan::random`] derives one from a seed.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use wire::CircleId;

use crate::{Pacing, Timeouts};

/// How messages travel between two validators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkQuality {
    /// Mean time that a message takes.
    pub latency_ms: u64,
    /// Standard deviation of that time.
    pub jitter_ms: u64,
    /// Messages of a hundred that get lost.
    pub loss_percent: u8,
}

impl LinkQuality {
    /// What a link is when nothing goes wrong.
    pub const GOOD: Self = Self {
        latency_ms: 10,
        jitter_ms: 2,
        loss_percent: 0,
    };
}

/// A validator loses everything but what it had synced, and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// When, from the start of the run.
    pub at_ms: u64,
    /// Who.
    pub validator: usize,
    /// For how long it is down.
    pub down_ms: u64,
}

/// Some validators cannot reach the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// When, from the start of the run.
    pub at_ms: u64,
    /// For how long.
    pub for_ms: u64,
    /// Who is cut off from the rest.
    pub side: Vec<usize>,
}

/// A client gives a validator a message, which gossips it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// When, from the start of the run.
    pub at_ms: u64,
    /// To whom; nothing happens if it is down.
    pub validator: usize,
    /// What the chain gets in [`crate::Chain::gossip`].
    pub message: Vec<u8>,
}

/// Everything that happens in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything that the plan leaves open: scheduling, jitter, loss.
    pub seed: u64,
    /// The circle, under whose name everything is signed.
    pub circle: CircleId,
    /// How many founding validators there are.
    pub validators: usize,
    /// Nodes without a founding share; their numbers follow the validators'.
    pub joiners: usize,
    /// How long the network is bad; crashes and partitions end by then.
    pub chaos_ms: u64,
    /// The links until then; after it they are [`LinkQuality::GOOD`].
    pub links: LinkQuality,
    /// Crashes; none of the equivocator.
    pub crashes: Vec<Crash>,
    /// Partitions.
    pub partitions: Vec<Partition>,
    /// A validator that runs twice under one key, each half before a part of
    /// the others: it proposes two blocks, and votes twice, in one view.
    pub equivocator: Option<usize>,
    /// What clients submit.
    pub submissions: Vec<Submission>,
    /// Blocks that every honest validator must finalize after the chaos.
    pub heights_after: u64,
    /// How long that may take.
    pub patience_ms: u64,
    /// Pacing of all validators.
    pub pacing: Pacing,
    /// Timeouts of all validators.
    pub timeouts: Timeouts,
}

impl Plan {
    /// Nodes of any kind; an equivocator's second half comes after them.
    pub fn nodes(&self) -> usize {
        self.validators + self.joiners
    }

    /// Nothing goes wrong.
    pub fn calm(seed: u64, validators: usize) -> Self {
        Self {
            seed,
            circle: super::CIRCLE,
            validators,
            joiners: 0,
            chaos_ms: 0,
            links: LinkQuality::GOOD,
            crashes: Vec::new(),
            partitions: Vec::new(),
            equivocator: None,
            submissions: Vec::new(),
            heights_after: 20,
            patience_ms: 60_000,
            pacing: Pacing {
                min_block_interval_ms: 50,
                idle_block_interval_ms: 200,
            },
            timeouts: Timeouts::default(),
        }
    }

    /// Everything goes wrong, as the seed has it.
    ///
    /// One run in five has seven validators, one in two an equivocator, two
    /// in three lossy links. Crashes and partitions may overlap, so for a
    /// while there may be no quorum.
    pub fn random(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let validators = if rng.random_range(0..5) == 0 { 7 } else { 4 };
        let chaos_ms = rng.random_range(3_000..5_000);
        let equivocator = (rng.random_range(0..2) == 0).then(|| rng.random_range(0..validators));
        let loss_percent = match rng.random_range(0..3) {
            0 => 0,
            1 => 3,
            _ => 10,
        };
        let links = LinkQuality {
            latency_ms: rng.random_range(5..60),
            jitter_ms: rng.random_range(0..30),
            loss_percent,
        };
        let mut crashes: Vec<Crash> = Vec::new();
        for _ in 0..rng.random_range(0..4) {
            let validator = rng.random_range(0..validators);
            let at_ms = rng.random_range(0..chaos_ms - 500);
            let down_ms = rng.random_range(50..chaos_ms - at_ms);
            let overlaps = |other: &Crash| {
                other.validator == validator
                    && at_ms <= other.at_ms + other.down_ms
                    && other.at_ms <= at_ms + down_ms
            };
            if Some(validator) != equivocator && !crashes.iter().any(overlaps) {
                crashes.push(Crash {
                    at_ms,
                    validator,
                    down_ms,
                });
            }
        }
        let partitions = (0..rng.random_range(0..3))
            .map(|_| {
                let at_ms = rng.random_range(0..chaos_ms - 500);
                let side = (0..validators)
                    .filter(|_| rng.random_range(0..2) == 0)
                    .collect();
                let for_ms = rng.random_range(100..chaos_ms - at_ms);
                Partition {
                    at_ms,
                    for_ms,
                    side,
                }
            })
            .collect();
        let submissions = (0..30u64)
            .map(|number| Submission {
                at_ms: rng.random_range(0..chaos_ms + 1_000),
                validator: rng.random_range(0..validators),
                message: number.to_be_bytes().to_vec(),
            })
            .collect();
        Self {
            chaos_ms,
            links,
            crashes,
            partitions,
            equivocator,
            submissions,
            heights_after: 8,
            pacing: Pacing {
                min_block_interval_ms: 100,
                idle_block_interval_ms: 300,
            },
            ..Self::calm(seed, validators)
        }
    }
}
