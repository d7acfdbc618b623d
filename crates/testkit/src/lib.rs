//! Does the production node keep its promises when everything around it fails?
//!
//! The engine, the chain and the store of a node, several nodes at a time, on
//! the engine's deterministic runtime: clock, network, disks and power are a
//! seed's. A [`Scenario`] says what goes wrong, [`judge`] looks at what comes
//! out, and [`mutations`] breaks the node on purpose to see that the judges
//! notice. Tests, the command and the nights run the same code
//! (docs/spec/simulation.md).

pub mod absence;
pub mod judge;
pub mod life;
mod model;
pub mod mutations;
pub mod politics;
pub mod scale;
pub mod scenario;

pub use scenario::Scenario;

use engine::simulation::Failure;

/// What is looked at in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checker {
    /// No two honest validators finalize different blocks at one height.
    Agreement,
    /// Each validator's blocks are one chain, which only grows, also over crashes.
    Prefix,
    /// Every certificate verifies under the circle's one key.
    Certificates,
    /// All amounts sum to what the genesis gave out.
    Conservation,
    /// Balances are what a model makes of the final transactions.
    Model,
    /// A proven read shows every write that was acknowledged before it.
    Reads,
    /// What was acknowledged is in every longer chain, at its place.
    Acknowledged,
    /// Once all is well, all honest validators go on.
    Liveness,
    /// A change of validators that members vote for comes through.
    Membership,
    /// A node that was away goes on from a proven state.
    FastForward,
    /// No part of an honest validator panics or ends by itself.
    Panic,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{checker:?}: {what}")]
pub struct Violation {
    /// Which checker found it.
    pub checker: Checker,
    /// What it found.
    pub what: String,
}

impl Violation {
    /// What the engine's own judges found.
    pub(crate) fn of_run(failure: &Failure) -> Self {
        let checker = match failure {
            Failure::Fork { .. } => Checker::Agreement,
            Failure::Stalled { .. } => Checker::Liveness,
            Failure::Promise { .. } => Checker::Prefix,
            Failure::Certificate { .. } => Checker::Certificates,
            Failure::Panic { .. } => Checker::Panic,
        };
        // The plan follows from the seed.
        let text = failure.to_string();
        let what = text.split("; Plan").next().unwrap_or_default().to_owned();
        Self { checker, what }
    }
}

/// What a run that kept all promises did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The highest final height.
    pub height: u64,
    /// Transactions that were acknowledged as applied.
    pub applied: usize,
    /// Proven reads that were checked, and those refused as stale.
    pub reads: (usize, usize),
    /// Losses of power that happened.
    pub power_losses: usize,
    /// How long the run took, by the simulated clock.
    pub simulated_ms: u64,
    /// A digest over everything that the runtime did.
    pub audit: String,
}

/// What a run comes to in which nothing happens, for tests to fill.
#[cfg(test)]
pub(crate) fn nothing() -> engine::simulation::Outcome {
    engine::simulation::Outcome {
        finalized: Default::default(),
        certificates: Default::default(),
        finalized_ms: Default::default(),
        power_losses: 0,
        steps: Vec::new(),
        equivocations: 0,
        height_after_chaos: 0,
        began_ms: 0,
        simulated_ms: 0,
        audit: String::new(),
    }
}
