//! What goes wrong in a run, by its seed?
//!
//! A scenario is a family of plans; a seed picks one. What the seeds of a
//! family enumerate rather than draw is said beside it.

use std::{collections::BTreeSet, sync::Arc};

use engine::simulation::{
    Byzantine, Conduct, Crash, LinkQuality, Mutation, Outcome, Partition, Plan, PowerLoss,
    Submission, identity_seed, simulate,
};
use node::{
    mempool::encode_message,
    sample::{Circle, Parts, USERS},
    store::MemoryDisk,
};
use wire::{Change, Height, PublicKey, SignedTransaction, record::Epoch};

use crate::{
    Checker, Report, Violation, absence,
    judge::{Evidence, judge},
    life::{Lives, Seen},
    politics::{self, Wish},
};

/// Blocks of an epoch where members change: some seconds.
pub const SHORT_EPOCH: u64 = 28;

/// Nodes of a run in which members change: four founders, one that joins, and
/// one that takes a founder's seat.
pub const JOINER: usize = 4;
/// See [`JOINER`].
pub const SUCCESSOR: usize = 5;

/// Steps at which the power is taken away, one seed after the other: a run of
/// the scenario has a few more.
pub const POWER_STEPS: u64 = 900;

/// Users that send transfers, and how many they send together.
const CLIENTS: u8 = 7;
/// See [`CLIENTS`].
const TRANSFERS: u64 = 60;

/// What kind of things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Crashes, losses of power, partitions, lossy and slow links, wrong
    /// clocks, and mostly a byzantine validator or two, all drawn.
    Chaos,
    /// The power goes at the k-th write or sync of one validator, and again a
    /// little later, while it recovers; in every eighth seed it goes for all.
    /// Seeds enumerate k.
    Power,
    /// One of seven validators is cut off, then two, under load.
    Partition,
    /// All but one of four crash together while that one is cut off.
    Outage,
    /// A validator joins, one leaves, one hands its seat on, under crashes, a
    /// partition, bad links, and one who deals badly or equivocates.
    Members,
    /// A node was away for so long that nobody has the blocks any more.
    Absence,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Chaos,
        Self::Power,
        Self::Partition,
        Self::Outage,
        Self::Members,
        Self::Absence,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chaos => "chaos",
            Self::Power => "power",
            Self::Partition => "partition",
            Self::Outage => "outage",
            Self::Members => "members",
            Self::Absence => "absence",
        }
    }

    /// The scenario of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
    }

    /// Which scenario a seed stands for where none is named: of 25 seeds two
    /// are long runs, of which members' changes and absence have one each.
    pub fn of(seed: u64) -> Self {
        match seed % 25 {
            0 => Self::Members,
            1 => Self::Absence,
            2 | 6 | 10 | 14 | 18 | 22 => Self::Power,
            3 | 15 => Self::Partition,
            7 | 19 => Self::Outage,
            _ => Self::Chaos,
        }
    }

    /// Runs a seed and judges it.
    ///
    /// Errors: [`Violation`].
    pub fn run(self, seed: u64, mutation: Option<Mutation>) -> Result<Report, Violation> {
        let with = |plan: Plan| Plan { mutation, ..plan };
        match self {
            Self::Chaos => run(with(Plan::random(seed))).map(|run| run.report),
            Self::Power => run(with(power_plan(seed))).map(|run| run.report),
            Self::Partition => {
                let plan = with(partition_plan(seed));
                let run = run(plan.clone())?;
                majority_goes_on(&plan, &run.outcome)?;
                Ok(run.report)
            }
            Self::Outage => run(with(outage_plan(seed))).map(|run| run.report),
            Self::Members => change(with(members_plan(seed))),
            // A broken build needs no node that is away.
            Self::Absence => absence::run(seed, true).map(|absence| absence.report),
        }
    }
}

/// Transfers of a run's clients: each client's in order.
pub(crate) fn transfers(circle: &Circle) -> Vec<Vec<SignedTransaction>> {
    (0..CLIENTS)
        .map(|user| {
            let numbers = (u64::from(user)..TRANSFERS).step_by(usize::from(CLIENTS));
            let sent = numbers.enumerate().map(|(sequence, number)| {
                circle.transfer(user, sequence as u64, (user + 1) % USERS, 1 + number)
            });
            sent.collect()
        })
        .collect()
}

/// Clients that send transfers to validators, each client its own in order but
/// to whomever it likes. When all is well they send again what a validator may
/// have lost, to two that are honest: all must be final in the end.
pub(crate) fn submissions(circle: &Circle, plan: &Plan) -> Vec<Submission> {
    let all = transfers(circle);
    let mut submissions: Vec<Submission> = (0..TRANSFERS)
        .map(|number| {
            let user = (number % u64::from(CLIENTS)) as usize;
            let signed = &all[user][(number / u64::from(CLIENTS)) as usize];
            Submission {
                at_ms: number * (plan.chaos_ms + 2_000) / TRANSFERS,
                validator: ((plan.seed + number * 13) % plan.validators as u64) as usize,
                message: encode_message(&[signed.encode()]),
            }
        })
        .collect();
    let honest = (0..plan.validators).filter(|node| plan.is_honest(*node));
    for validator in honest.take(2) {
        submissions.extend(all.iter().map(|own| {
            let own: Vec<_> = own.iter().map(SignedTransaction::encode).collect();
            Submission {
                at_ms: plan.chaos_ms + 2_000,
                validator,
                message: encode_message(&own),
            }
        }));
    }
    submissions
}

/// What became of a run that kept all promises.
pub struct Run {
    /// What the judges found.
    pub report: Report,
    /// What the engine's simulation saw.
    pub outcome: Outcome,
    /// The epoch of the next block in the first honest validator's store.
    pub epoch: Epoch,
}

/// Runs a plan with real chains and judges what is left.
///
/// Errors: [`Violation`].
pub fn run(plan: Plan) -> Result<Run, Violation> {
    let circle = Arc::new(Circle::new(plan.validators as u8));
    run_with(&circle, plan, Vec::new())
}

/// The same in a circle of one's own, while members want changes.
///
/// Errors: [`Violation`].
pub fn run_with(circle: &Arc<Circle>, mut plan: Plan, wishes: Vec<Wish>) -> Result<Run, Violation> {
    plan.circle = circle.genesis.circle();
    plan.submissions = submissions(circle, &plan);
    let disks: Vec<MemoryDisk> = (0..plan.members()).map(|_| MemoryDisk::default()).collect();
    let mut lives = Lives::new(circle.clone(), plan.seed);
    lives.wishes = Arc::new(wishes);
    let outcome = simulate(&plan, |birth| {
        let node = birth.node;
        let disk = disks[node].clone();
        let power = birth.power.clone();
        disk.powered_by(move || power.step());
        let seed_of = identity_seed(plan.node_of(node));
        let parts = Parts::open_for(&circle.genesis, &disk, seed_of).expect("the store opens");
        lives.begin(birth, parts, disk)
    })
    .map_err(|failure| Violation::of_run(&failure))?;
    let seen = lives.seen();
    all_are_final(circle, &seen)?;
    let report = judge(&Evidence {
        circle,
        plan: &plan,
        outcome: &outcome,
        disks: &disks,
        seen: &seen,
    })?;
    let epoch = outcome.finalized.keys().next().and_then(|honest| {
        let store = Parts::inspect(&disks[*honest]).ok()?;
        let snapshot = store.snapshot().ok()??;
        Some(politics::epoch(&snapshot))
    });
    Ok(Run {
        report,
        outcome,
        epoch: epoch.expect("the judges have seen this store"),
    })
}

/// What clients sent when all was well is final.
pub(crate) fn all_are_final(circle: &Circle, seen: &Seen) -> Result<(), Violation> {
    let known: BTreeSet<_> = seen.acknowledged.keys().map(|(_, id)| *id).collect();
    let sent = transfers(circle);
    let lost = sent
        .iter()
        .flatten()
        .filter(|signed| !known.contains(&signed.id()));
    match lost.count() {
        0 => Ok(()),
        count => Err(Violation {
            checker: Checker::Liveness,
            what: format!("{count} of {TRANSFERS} transfers were sent in good times and got lost"),
        }),
    }
}

/// See [`Scenario::Power`].
pub fn power_plan(seed: u64) -> Plan {
    // Any two numbers without a common factor: all steps come, early and late.
    let at_step = 1 + seed * 17 % POWER_STEPS;
    let again = at_step + 1 + seed % 41;
    let who: Vec<usize> = match seed % 8 {
        0 => (0..4).collect(),
        _ => vec![(seed % 4) as usize],
    };
    let losses = who.into_iter().flat_map(|validator| {
        [at_step, again].map(|at_step| PowerLoss {
            validator,
            at_step,
            down_ms: 150 + 50 * validator as u64,
        })
    });
    Plan {
        chaos_ms: 4_000,
        power_losses: losses.collect(),
        heights_after: 8,
        pacing: engine::Pacing {
            min_block_interval_ms: 100,
            idle_block_interval_ms: 300,
        },
        ..Plan::calm(seed, 4)
    }
}

/// See [`Scenario::Partition`].
pub fn partition_plan(seed: u64) -> Plan {
    let (one, two) = ((seed % 7) as usize, ((seed + 3) % 7) as usize);
    Plan {
        chaos_ms: 9_000,
        partitions: vec![
            Partition {
                at_ms: 1_000,
                for_ms: 3_000,
                side: vec![one],
            },
            Partition {
                at_ms: 5_000,
                for_ms: 3_500,
                side: vec![one, two],
            },
        ],
        links: LinkQuality {
            latency_ms: 10 + seed % 50,
            jitter_ms: seed % 10,
            loss_percent: (seed % 3) as u8,
        },
        heights_after: 8,
        pacing: engine::Pacing {
            min_block_interval_ms: 100,
            idle_block_interval_ms: 300,
        },
        ..Plan::calm(seed, 7)
    }
}

/// While two of seven are cut off the others make blocks.
fn majority_goes_on(plan: &Plan, outcome: &Outcome) -> Result<(), Violation> {
    for partition in &plan.partitions {
        let during = partition.at_ms + 200..partition.at_ms + partition.for_ms;
        for (node, times) in &outcome.finalized_ms {
            let blocks = times.values().filter(|time| during.contains(*time)).count();
            if !partition.side.contains(node) && blocks == 0 {
                let what = format!(
                    "node {node} stood still while {:?} were away",
                    partition.side
                );
                let checker = Checker::Liveness;
                return Err(Violation { checker, what });
            }
        }
    }
    Ok(())
}

/// See [`Scenario::Outage`].
pub fn outage_plan(seed: u64) -> Plan {
    let rounds = (0..4).map(|round| (700 + round * 1_500 + seed * 37 % 400, round));
    let alone = |round: u64| ((seed + round) % 4) as usize;
    let crashes = rounds.clone().flat_map(|(at_ms, round)| {
        (0..4)
            .filter(move |node| *node != alone(round))
            .map(move |validator| Crash {
                at_ms: at_ms + 1,
                validator,
                down_ms: 100,
            })
    });
    let partitions = rounds.clone().map(|(at_ms, round)| Partition {
        at_ms,
        for_ms: 1_000,
        side: vec![alone(round)],
    });
    Plan {
        chaos_ms: 7_500,
        links: LinkQuality {
            latency_ms: 15 + seed % 30,
            jitter_ms: 5 + seed % 20,
            loss_percent: 0,
        },
        crashes: crashes.collect(),
        partitions: partitions.collect(),
        heights_after: 8,
        pacing: engine::Pacing {
            min_block_interval_ms: 60,
            idle_block_interval_ms: 120,
        },
        ..Plan::calm(seed, 4)
    }
}

/// A fifth validator joins, then a founder leaves, then another hands its seat
/// to a new node.
pub fn wishes(circle: &Circle) -> Vec<Wish> {
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
            change: Change::RemoveMember(leaver),
        },
        Wish {
            from: from(4),
            change: politics::replace(id, 2, SUCCESSOR),
        },
    ]
}

/// The keys of a committee of these nodes.
pub fn committee(nodes: &[usize]) -> Vec<PublicKey> {
    let mut keys: Vec<_> = nodes
        .iter()
        .map(|node| politics::key(*node).public())
        .collect();
    keys.sort_unstable();
    keys
}

/// The keys of who is in office.
pub fn in_office(epoch: &Epoch) -> Vec<PublicKey> {
    epoch.committee.iter().map(|seat| seat.key).collect()
}

/// Members change in a run that lasts for at least so many epochs.
pub fn change_plan(seed: u64, epochs: u64) -> Plan {
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

/// See [`Scenario::Members`]: crashes and a partition while members change, at
/// times that the seed draws.
pub fn members_plan(seed: u64) -> Plan {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let chaos_ms = 22_000;
    let conducts = [
        None,
        Some(Conduct::BadShare),
        Some(Conduct::BadDealing),
        Some(Conduct::Equivocate),
    ];
    let conduct = conducts[(seed / 25 % 4) as usize];
    let byzantine: Vec<_> = conduct
        .map(|conduct| Byzantine {
            validator: 1,
            conduct,
        })
        .into_iter()
        .collect();
    let honest = |node: usize| byzantine.iter().all(|one| one.validator != node);
    let crashes = (0..6)
        .map(|node| Crash {
            at_ms: 500 + draw(chaos_ms - 4_000),
            validator: node,
            down_ms: 200 + draw(3_000),
        })
        .filter(|crash| honest(crash.validator))
        .collect();
    let power_losses = (0..6)
        .filter(|node| honest(*node))
        .map(|validator| PowerLoss {
            validator,
            at_step: 200 + draw(3_000),
            down_ms: 100 + draw(1_000),
        })
        .collect();
    Plan {
        chaos_ms,
        links: LinkQuality {
            latency_ms: 5 + draw(30),
            jitter_ms: draw(10),
            loss_percent: [0, 0, 2, 5][draw(4) as usize],
        },
        crashes,
        power_losses,
        partitions: vec![Partition {
            at_ms: draw(chaos_ms - 4_000),
            for_ms: 500 + draw(3_000),
            side: vec![draw(6) as usize, draw(6) as usize],
        }],
        byzantine,
        ..change_plan(seed, 3)
    }
}

/// Runs a plan in which members change; some change must come through.
///
/// Errors: [`Violation`].
pub fn change(plan: Plan) -> Result<Report, Violation> {
    let circle = Arc::new(Circle::with_epochs(4, SHORT_EPOCH));
    let run = run_with(&circle, plan, wishes(&circle))?;
    if run.epoch.reshared_from.is_none() {
        return Err(Violation {
            checker: Checker::Membership,
            what: format!(
                "no change came through in {} epochs, the last resharing: {:?}",
                run.epoch.number, run.epoch.last_outcome
            ),
        });
    }
    Ok(run.report)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_majority_that_stands_still_is_found() {
        let plan = partition_plan(0);
        let every = |ms: u64| {
            (1..=9_000 / ms)
                .map(|height| (height, height * ms))
                .collect()
        };
        let told = |all: BTreeMap<usize, BTreeMap<u64, u64>>| Outcome {
            finalized_ms: all,
            ..crate::nothing()
        };
        let mut all: BTreeMap<_, _> = (0..7).map(|node| (node, every(300))).collect();
        assert_eq!(majority_goes_on(&plan, &told(all.clone())), Ok(()));
        // Node 0 is cut off both times: it may stand still, node 5 may not.
        all.insert(0, BTreeMap::new());
        assert_eq!(majority_goes_on(&plan, &told(all.clone())), Ok(()));
        all.insert(5, BTreeMap::from([(1, 500), (2, 4_500)]));
        let found = majority_goes_on(&plan, &told(all)).unwrap_err();
        assert_eq!(found.checker, Checker::Liveness);
    }

    #[test]
    fn a_transfer_that_got_lost_is_found() {
        let circle = Circle::new(4);
        let lost = all_are_final(&circle, &Seen::default()).unwrap_err();
        assert_eq!(lost.checker, Checker::Liveness);
        assert_eq!(
            transfers(&circle).iter().flatten().count() as u64,
            TRANSFERS
        );
    }

    #[test]
    fn members_whose_change_does_not_come_through_are_found() {
        // One epoch is too short for it: it takes the vote and the dealing.
        let plan = Plan {
            heights_after: 3,
            ..change_plan(1, 0)
        };
        assert_eq!(change(plan).unwrap_err().checker, Checker::Membership);
    }
}
