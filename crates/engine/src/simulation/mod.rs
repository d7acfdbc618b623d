//! Does the engine stay safe and live when everything around it fails?
//!
//! The same validators as in production, several at a time, on a runtime whose
//! clock, scheduling, storage and network are decided by a seed. A run follows
//! a [`Plan`] of crashes, losses of power, partitions, wrong clocks, bad links
//! and byzantine validators; what comes out is judged from what the chains were told, not
//! from what the engine says of itself. The same plan gives the same run.

mod cluster;
mod machine;
mod misconduct;
mod plan;
mod power;
mod record;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use commonware_utils::sync::Mutex;
use wire::{CircleId, Digest};

use crate::{Certificate, Chain, Office};

pub use plan::{
    Byzantine, Conduct, Crash, LinkQuality, Mutation, Partition, Places, Plan, PowerLoss,
    Submission,
};
pub use power::Power;

/// The circle of simulated validators whose chains have none of their own.
pub const CIRCLE: CircleId = CircleId([0x51; 32]);

/// From which the founding shares of every simulated circle are dealt.
pub const DEALER_SEED: [u8; 32] = [7; 32];

/// The identity of a simulated node.
pub fn identity_seed(node: usize) -> [u8; 32] {
    [node as u8 + 1; 32]
}

/// The office that so many simulated validators found, for a chain to tell.
///
/// Panics: for a number of validators that the engine does not take.
pub fn founding(validators: usize) -> Arc<Office> {
    let (committee, dealing) = cluster::founders(validators);
    Office::founding(committee, dealing.polynomial)
}

/// Storage of one validator that survives its crashes.
///
/// Keys and values are bytes; a write is durable when it returns.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl Disk {
    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().get(key).cloned()
    }

    /// Sets the value of `key`.
    pub fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        self.0.lock().insert(key, value);
    }

    /// All keys and values, in the order of the keys.
    pub fn entries(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let entries = self.0.lock();
        entries
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// What a life of a node begins with.
pub struct Birth {
    /// Which node.
    pub node: usize,
    /// A small disk that loses nothing.
    pub disk: Disk,
    /// The machine's power: a store with a disk of its own takes its steps here.
    pub power: Power,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Per honest validator, by its number: header digests by height.
    pub finalized: BTreeMap<usize, BTreeMap<u64, Digest>>,
    /// Certificates by height, from whoever had one; all were verified.
    pub certificates: BTreeMap<u64, Certificate>,
    /// Per honest validator: when it was told that a height is final, in
    /// milliseconds of the run, by the conductor's clock.
    pub finalized_ms: BTreeMap<usize, BTreeMap<u64, u64>>,
    /// Losses of power that happened.
    pub power_losses: usize,
    /// Steps of every node, over all its lives ([`Power`]).
    pub steps: Vec<u64>,
    /// Parents on which an equivocator's halves proposed different blocks.
    pub equivocations: usize,
    /// The highest height when the chaos ended.
    pub height_after_chaos: u64,
    /// When the run began, Unix milliseconds by the simulated clock: the network was
    /// set up then.
    pub began_ms: u64,
    /// How long the run took, by the simulated clock.
    pub simulated_ms: u64,
    /// Digest over everything that the runtime did.
    pub audit: String,
}

/// What went wrong in a run. The plan is told with it: it is the whole input.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Two honest validators finalized different blocks.
    #[error("fork at height {height} between {one} and {other}; {plan:?}")]
    Fork {
        /// Where.
        height: u64,
        /// A validator.
        one: usize,
        /// A validator that disagrees.
        other: usize,
        /// The input of the run.
        plan: Box<Plan>,
    },
    /// Honest validators did not go on after everything was well again.
    #[error("stalled at heights {heights:?}, {target} was expected of all; {plan:?}")]
    Stalled {
        /// The honest validators' heights.
        heights: BTreeMap<usize, u64>,
        /// What all should have reached.
        target: u64,
        /// The input of the run.
        plan: Box<Plan>,
    },
    /// The engine broke a promise that it makes to a chain.
    #[error("validator {validator} broke a promise: {promise}; {plan:?}")]
    Promise {
        /// Whose engine.
        validator: usize,
        /// Which promise.
        promise: String,
        /// The input of the run.
        plan: Box<Plan>,
    },
    /// A certificate does not verify.
    #[error("the certificate of height {height} does not verify; {plan:?}")]
    Certificate {
        /// Where.
        height: u64,
        /// The input of the run.
        plan: Box<Plan>,
    },
    /// The engine or a chain panicked.
    #[error("panic: {reason}; {plan:?}")]
    Panic {
        /// The panic's text.
        reason: String,
        /// The input of the run.
        plan: Box<Plan>,
    },
}

/// Runs `plan` and judges the outcome.
///
/// `make_chain` is called for every life of every node, with what it is born
/// with. An equivocator's second half has a number of its own ([`Plan::members`]).
///
/// Errors: [`Failure`], with the plan.
pub fn simulate(
    plan: &Plan,
    mut make_chain: impl FnMut(Birth) -> Box<dyn Chain>,
) -> Result<Outcome, Failure> {
    let run = AssertUnwindSafe(|| cluster::run(plan, &mut make_chain));
    catch_unwind(run).unwrap_or_else(|panic| {
        Err(Failure::Panic {
            reason: crate::handle::reason(&*panic),
            plan: Box::new(plan.clone()),
        })
    })
}
