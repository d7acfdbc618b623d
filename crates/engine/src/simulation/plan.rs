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

/// A validator loses its power at one of its steps (see [`super::Power`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerLoss {
    /// Who.
    pub validator: usize,
    /// The step that no longer reaches the disk, counted over all lives.
    pub at_step: u64,
    /// For how long it is down.
    pub down_ms: u64,
}

/// What a byzantine validator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// It runs twice under one key, each half before a part of the others: it
    /// proposes two blocks, and votes twice, in one view.
    Equivocate,
    /// It orders blocks and gives them to nobody.
    Withhold,
    /// It is there and never votes; its views pass without a block.
    Stall,
    /// It proposes blocks that claim another state than they make.
    ForgeStateRoot,
    /// It deals shares in resharings that do not fit their commitments.
    BadShare,
    /// It publishes dealings that nobody acknowledged.
    BadDealing,
    /// It sends three messages of garbage for each of its own.
    Spam,
    /// It sends two of its old messages with each new one.
    Replay,
}

/// A byzantine validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Byzantine {
    /// Who; a founder.
    pub validator: usize,
    /// What it does.
    pub conduct: Conduct,
}

/// A build that is broken on purpose, to see that the checkers find it. Only a
/// plan can ask for one: no configuration of a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A validator that starts again has forgotten what it voted, and so what
    /// it is locked on: it may vote twice in one view.
    SkipLock,
    /// A validator goes on with whatever share it holds, also with one of an
    /// earlier sharing.
    AcceptStaleShare,
    /// The archives of final blocks, from which a chain's store is made whole
    /// after a crash, say that they have synced and have not.
    DropFlush,
}

/// Places that are far from each other: node `n` is at place `n` modulo their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// One way, in milliseconds, from place to place.
    pub one_way_ms: Vec<Vec<u64>>,
    /// Standard deviation of it, in percent.
    pub jitter_percent: u64,
    /// Messages of a thousand that get lost.
    pub loss_permille: u64,
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
    /// Where the nodes are, all the time; none: all links are as above.
    pub places: Option<Places>,
    /// How far the nodes' clocks are ahead, in milliseconds; 0 for those that
    /// it does not reach.
    pub clocks_ahead_ms: Vec<u64>,
    /// Crashes; none of a byzantine validator.
    pub crashes: Vec<Crash>,
    /// Losses of power while the network is bad; none of a byzantine validator.
    pub power_losses: Vec<PowerLoss>,
    /// Partitions.
    pub partitions: Vec<Partition>,
    /// Who breaks the rules: fewer than a third, or nothing is promised.
    pub byzantine: Vec<Byzantine>,
    /// How all validators' builds are broken, if they are.
    pub mutation: Option<Mutation>,
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
    /// The validators that equivocate.
    pub fn equivocators(&self) -> Vec<usize> {
        let all = self.byzantine.iter();
        all.filter(|byzantine| byzantine.conduct == Conduct::Equivocate)
            .map(|byzantine| byzantine.validator)
            .collect()
    }

    /// What a node does against the rules, if it does.
    pub fn conduct(&self, node: usize) -> Option<Conduct> {
        let mut all = self.byzantine.iter();
        all.find(|byzantine| byzantine.validator == node)
            .map(|byzantine| byzantine.conduct)
    }

    /// Whether a node keeps to the rules.
    pub fn is_honest(&self, node: usize) -> bool {
        self.conduct(node).is_none()
    }

    /// Nodes of any kind.
    pub fn nodes(&self) -> usize {
        self.validators + self.joiners
    }

    /// Nodes, and after them the equivocators' second halves, in the order of
    /// [`Plan::equivocators`].
    pub fn members(&self) -> usize {
        self.nodes() + self.equivocators().len()
    }

    /// The node whose key a member has: itself, or the equivocator whose second
    /// half it is.
    pub fn node_of(&self, member: usize) -> usize {
        match member.checked_sub(self.nodes()) {
            None => member,
            Some(second) => self.equivocators()[second],
        }
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
            places: None,
            clocks_ahead_ms: Vec::new(),
            crashes: Vec::new(),
            power_losses: Vec::new(),
            partitions: Vec::new(),
            byzantine: Vec::new(),
            mutation: None,
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
    /// One run in five has seven validators, three in four a byzantine one, of
    /// which three in four of seven have another; two in three lossy links, one
    /// in four slow ones, one in two wrong clocks. Crashes, losses of power and partitions may overlap, so for a while there
    /// may be no quorum.
    pub fn random(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let validators = if rng.random_range(0..5) == 0 { 7 } else { 4 };
        let chaos_ms = rng.random_range(3_000..5_000);
        let byzantine = byzantine(&mut rng, validators);
        let honest = |validator| byzantine.iter().all(|one| one.validator != validator);
        let loss_percent = match rng.random_range(0..3) {
            0 => 0,
            1 => 3,
            _ => 10,
        };
        let links = LinkQuality {
            latency_ms: match rng.random_range(0..4) {
                0 => rng.random_range(60..400),
                _ => rng.random_range(5..60),
            },
            jitter_ms: rng.random_range(0..30),
            loss_percent,
        };
        // Within what honest clocks may differ by, with what a message takes.
        let clocks_ahead_ms = match rng.random_range(0..2) {
            0 => Vec::new(),
            _ => (0..validators)
                .map(|_| rng.random_range(0..3_000))
                .collect(),
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
            if honest(validator) && !crashes.iter().any(overlaps) {
                crashes.push(Crash {
                    at_ms,
                    validator,
                    down_ms,
                });
            }
        }
        // A validator takes some hundred steps while the network is bad.
        let power_losses = (0..rng.random_range(0..4))
            .map(|_| PowerLoss {
                validator: rng.random_range(0..validators),
                at_step: rng.random_range(1..300),
                down_ms: rng.random_range(50..1_500),
            })
            .filter(|loss| honest(loss.validator))
            .collect();
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
            clocks_ahead_ms,
            crashes,
            power_losses,
            partitions,
            byzantine,
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

/// Who breaks the rules: one at the most of four, two of seven.
fn byzantine(rng: &mut StdRng, validators: usize) -> Vec<Byzantine> {
    let mut conduct = || match rng.random_range(0..12) {
        0 | 1 => Some(Conduct::Equivocate),
        2 => Some(Conduct::Withhold),
        3 => Some(Conduct::Stall),
        4 | 5 => Some(Conduct::ForgeStateRoot),
        6 => Some(Conduct::Spam),
        7 | 8 => Some(Conduct::Replay),
        _ => None,
    };
    let Some(first) = conduct() else {
        return Vec::new();
    };
    let second = (validators >= 7).then(conduct).flatten();
    let validator = rng.random_range(0..validators);
    let mut all = vec![Byzantine {
        validator,
        conduct: first,
    }];
    all.extend(second.map(|conduct| Byzantine {
        validator: (validator + rng.random_range(1..validators)) % validators,
        conduct,
    }));
    all
}
