//! The seeds that every change must survive: those of `testkit simulate
//! --seeds 200`, spread over tests so that they run side by side, and the runs
//! whose end is known in detail.

use std::{collections::BTreeSet, sync::Arc};

use engine::simulation::{Mutation, Plan};
use node::sample::Circle;
use testkit::{
    Checker, Scenario, Violation, absence, mutations,
    scenario::{
        JOINER, SHORT_EPOCH, SUCCESSOR, change_plan, committee, in_office, run, run_with, wishes,
    },
};

/// Seeds of every run of the tests.
const SEEDS: u64 = 200;

/// Tests over which they are spread; no factor of the scenarios' cycle, so that
/// each has some of all.
const SHARDS: u64 = 8;

fn run_shard(shard: u64) {
    let (mut applied, mut reads, mut losses) = (0, 0, 0);
    for seed in (0..SEEDS).filter(|seed| seed % SHARDS == shard) {
        let scenario = Scenario::of(seed);
        let name = scenario.name();
        let report = scenario.run(seed, None).unwrap_or_else(|violation| {
            panic!(
                "{violation}; again: cargo run -p testkit -- simulate \
                 --scenario {name} --from {seed} --seeds 1"
            )
        });
        println!("seed {seed} {name}: {report:?}");
        applied += report.applied;
        reads += report.reads.0;
        losses += report.power_losses;
    }
    // Runs in which nothing happens would prove nothing.
    assert!(applied > 0 && reads > 0 && losses > 0);
}

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
    survives_seeds_0 = 0,
    survives_seeds_1 = 1,
    survives_seeds_2 = 2,
    survives_seeds_3 = 3,
    survives_seeds_4 = 4,
    survives_seeds_5 = 5,
    survives_seeds_6 = 6,
    survives_seeds_7 = 7
);

#[test]
fn a_calm_circle_applies_everything_that_is_sent() {
    for validators in [4, 7] {
        let mut plan = Plan::calm(11, validators);
        plan.heights_after = 60;
        let run = run(plan).unwrap();
        assert!(
            run.report.applied >= 60 * validators,
            "{} of 60 at {validators} validators",
            run.report.applied
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let report = |seed| Scenario::Chaos.run(seed, None).unwrap();
    assert_eq!(report(4), report(4));
    assert_ne!(report(4).audit, report(5).audit);
}

#[test]
fn a_fifth_joins_one_leaves_and_a_key_is_replaced_under_load() {
    let circle = Arc::new(Circle::with_epochs(4, SHORT_EPOCH));
    let plan = Plan {
        chaos_ms: 24_000,
        ..change_plan(1, 3)
    };
    let run = run_with(&circle, plan, wishes(&circle)).unwrap();
    assert_eq!(in_office(&run.epoch), committee(&[0, 1, JOINER, SUCCESSOR]));
    assert!(run.report.applied >= 60, "{:?}", run.report);
    // Every certificate was verified under the one key of the circle.
    let certificates = run.outcome.certificates.values();
    let signed: BTreeSet<u64> = certificates.map(|certificate| certificate.epoch).collect();
    assert!(signed.len() as u64 >= run.epoch.number, "{signed:?}");
}

#[test]
fn who_was_away_goes_forward_past_a_crash_and_lies() {
    let mut refused = 0;
    for seed in 0..3 {
        let absence = absence::run(seed, true).unwrap();
        println!("seed {seed}: went on from {}", absence.began_at);
        refused += absence.refused;
    }
    assert!(refused > 0, "nobody lied");
}

#[test]
fn who_was_away_cannot_come_back_by_blocks_that_nobody_has() {
    let Err(Violation { checker, what }) = absence::run(3, false) else {
        panic!("the blocks are gone");
    };
    assert_eq!(checker, Checker::Liveness, "{what}");
}

fn is_shown(mutation: Mutation) {
    let known = mutations::KNOWN
        .iter()
        .find(|known| known.mutation == mutation);
    let known = known.unwrap();
    let shown = known.show(known.seed);
    let violation = shown.broken.expect_err("a judge finds it");
    println!("{mutation:?}: {violation}");
    assert_eq!(violation.checker, known.checker, "{violation}");
    shown
        .sound
        .expect("nothing is found where nothing is broken");
}

#[test]
fn a_skipped_lock_is_found() {
    is_shown(Mutation::SkipLock);
}

#[test]
fn a_stale_share_is_found() {
    is_shown(Mutation::AcceptStaleShare);
}

#[test]
fn a_dropped_flush_is_found() {
    is_shown(Mutation::DropFlush);
}
