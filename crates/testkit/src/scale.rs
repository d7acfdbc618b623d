//! How do finality and throughput change with distance and number?
//!
//! Validators in eight places of the world, with the delays between them, and
//! clients near each. Time is simulated, so what is left out is what a
//! machine needs for its work: executing blocks and checking signatures takes
//! no time here, nor does it take any to send: the load is far below what links
//! carry. What remains is the protocol over the distance.

mod picture;

use std::{collections::BTreeMap, sync::Arc};

use engine::simulation::{Outcome, Places, Plan, Submission, identity_seed, simulate};
use node::{
    mempool::encode_message,
    sample::{Circle, Parts, USERS},
    store::MemoryDisk,
};
use wire::{Height, TransactionId};

pub use picture::picture;

use crate::{
    Violation,
    judge::{Evidence, judge},
    life::Lives,
};

/// The places, as a cloud names them. Four validators are at the first four.
pub const PLACES: [&str; 8] = [
    "eu-central-1",
    "us-east-1",
    "ap-northeast-3",
    "us-west-1",
    "ap-southeast-2",
    "eu-west-3",
    "ca-central-1",
    "eu-north-1",
];

/// One way between them, in milliseconds: half of the median round trips that
/// cloudping.co measured between AWS regions, as the consensus library's
/// estimator has them (examples/estimator/src/p50.json, commit 4622dfb).
const ONE_WAY_MS: [[u64; 8]; 8] = [
    [2, 46, 117, 77, 126, 6, 46, 11],
    [46, 2, 77, 32, 100, 42, 8, 56],
    [117, 77, 1, 55, 60, 113, 76, 127],
    [77, 32, 55, 1, 70, 72, 40, 86],
    [126, 100, 60, 70, 2, 140, 99, 136],
    [6, 42, 113, 72, 140, 2, 43, 16],
    [46, 8, 76, 40, 99, 43, 2, 53],
    [11, 56, 127, 86, 136, 16, 53, 2],
];

/// Standard deviation of a message's time, in percent of it.
const JITTER_PERCENT: u64 = 5;

/// Messages of a thousand that get lost. Connections repeat what the network
/// loses, so to a validator a loss is rare and long: here it is a message that
/// never comes.
const LOSS_PERMILLE: u64 = 1;

/// How long clients send, in milliseconds.
const LOAD_MS: u64 = 10_000;

/// How often a client sends what it has, in milliseconds.
const BATCH_MS: u64 = 100;

/// What one number of validators came to.
#[derive(Clone, Debug)]
pub struct Measured {
    /// How many validated.
    pub validators: usize,
    /// Transfers that clients offered in a second.
    pub offered: u64,
    /// Transfers that were final in a second, while clients sent.
    pub final_per_second: f64,
    /// Blocks that were final in a second.
    pub blocks_per_second: f64,
    /// From a block's time to its finality at each validator, in milliseconds:
    /// median and 99th percentile.
    pub block_ms: (u64, u64),
    /// From a transfer's sending to its acknowledgement by the validator that it
    /// was sent to, in milliseconds: median and 99th percentile.
    pub transfer_ms: (u64, u64),
}

fn plan(validators: usize) -> Plan {
    let one_way_ms = ONE_WAY_MS.iter().map(|row| row.to_vec()).collect();
    Plan {
        places: Some(Places {
            one_way_ms,
            jitter_percent: JITTER_PERCENT,
            loss_permille: LOSS_PERMILLE,
        }),
        chaos_ms: LOAD_MS,
        heights_after: 3,
        patience_ms: 60_000,
        pacing: engine::Pacing::default(),
        ..Plan::calm(1, validators)
    }
}

/// Every client has a validator near it and sends it transfers, many at a time.
/// Also when each transfer was sent.
fn load(
    circle: &Circle,
    validators: usize,
    offered: u64,
) -> (Vec<Submission>, BTreeMap<TransactionId, (usize, u64)>) {
    let each = (offered * BATCH_MS / 1_000 / u64::from(USERS)).max(1);
    let (mut submissions, mut sent) = (Vec::new(), BTreeMap::new());
    for round in 0..LOAD_MS / BATCH_MS {
        for user in 0..USERS {
            // Clients do not all send in the same moment.
            let at_ms = round * BATCH_MS + u64::from(user) * BATCH_MS / u64::from(USERS);
            let validator = usize::from(user) * validators / usize::from(USERS);
            let batch: Vec<Vec<u8>> = (0..each)
                .map(|number| {
                    let sequence = round * each + number;
                    let signed = circle.transfer(user, sequence, (user + 1) % USERS, 1);
                    sent.insert(signed.id(), (validator, at_ms));
                    signed.encode()
                })
                .collect();
            submissions.push(Submission {
                at_ms,
                validator,
                message: encode_message(&batch),
            });
        }
    }
    (submissions, sent)
}

fn percentiles(mut samples: Vec<u64>) -> (u64, u64) {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    let at = |percent: usize| {
        let index = (samples.len() * percent / 100).min(last);
        samples.get(index).copied().unwrap_or(0)
    };
    (at(50), at(99))
}

/// Runs so many validators under so many transfers a second.
///
/// Errors: [`Violation`]: the run is judged as any other.
pub fn measure(validators: usize, offered: u64) -> Result<Measured, Violation> {
    let circle = Arc::new(Circle::new(validators as u8));
    let mut plan = plan(validators);
    plan.circle = circle.genesis.circle();
    let (submissions, sent) = load(&circle, validators, offered);
    plan.submissions = submissions;
    let disks: Vec<MemoryDisk> = (0..validators).map(|_| MemoryDisk::default()).collect();
    let lives = Lives::new(circle.clone(), plan.seed);
    let outcome = simulate(&plan, |birth| {
        let disk = disks[birth.node].clone();
        let seed = identity_seed(birth.node);
        let parts = Parts::open_for(&circle.genesis, &disk, seed).expect("the store opens");
        lives.begin(birth, parts, disk)
    })
    .map_err(|failure| Violation::of_run(&failure))?;
    let seen = lives.seen();
    judge(&Evidence {
        circle: &circle,
        plan: &plan,
        outcome: &outcome,
        disks: &disks,
        seen: &seen,
    })?;
    let mut transfers = Vec::new();
    for ((node, id), receipt) in &seen.acknowledged {
        let Some((validator, at_ms)) = sent.get(id) else {
            continue;
        };
        let final_ms = outcome.finalized_ms[node].get(&receipt.height.0);
        if let Some(final_ms) = final_ms.filter(|_| node == validator) {
            transfers.push((*at_ms, final_ms.saturating_sub(*at_ms)));
        }
    }
    let under_load = |ms: u64| ms < LOAD_MS;
    let done = transfers.iter().filter(|(at, took)| under_load(at + took));
    let seconds = LOAD_MS as f64 / 1_000.0;
    let first = &outcome.finalized_ms[&0];
    let blocks = first.values().filter(|ms| under_load(**ms)).count();
    Ok(Measured {
        validators,
        offered: sent.len() as u64 * 1_000 / LOAD_MS,
        final_per_second: done.count() as f64 / seconds,
        blocks_per_second: blocks as f64 / seconds,
        block_ms: percentiles(block_times(&disks[0], &outcome)),
        transfer_ms: percentiles(transfers.iter().map(|(_, took)| *took).collect()),
    })
}

/// From each block's time, by its proposer's clock, to its finality at each validator.
fn block_times(disk: &MemoryDisk, outcome: &Outcome) -> Vec<u64> {
    let store = Parts::inspect(disk).expect("the judges have seen this store");
    let snapshot = store.snapshot().ok().flatten();
    let snapshot = snapshot.expect("the judges have seen this store");
    let mut times = Vec::new();
    for own in outcome.finalized_ms.values() {
        for (height, ms) in own {
            if let Ok(Some(header)) = snapshot.header_at(Height(*height)) {
                times.push((outcome.began_ms + ms).saturating_sub(header.time_ms));
            }
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_as_long_as_the_way_there() {
        for (a, row) in ONE_WAY_MS.iter().enumerate() {
            for (b, way) in row.iter().enumerate() {
                assert_eq!(*way, ONE_WAY_MS[b][a], "{} to {}", PLACES[a], PLACES[b]);
            }
        }
    }

    #[test]
    fn percentiles_of_a_known_sample() {
        assert_eq!(percentiles((0..100).rev().collect()), (50, 99));
        assert_eq!(percentiles(Vec::new()), (0, 0));
    }
}
