//! Are the judges awake?
//!
//! Each mutation breaks the node on purpose, at a seam of ours; consensus
//! itself is a library and is not touched. A known seed shows that a judge
//! finds it, and that the same seed passes with nothing broken. Only a plan of
//! a simulation can ask for a mutation: the switches exist in builds with the
//! feature `simulation` alone, and no configuration reaches them.

use engine::simulation::Mutation;

use crate::{Checker, Report, Scenario, Violation};

/// A mutation with the run that shows it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is broken.
    pub mutation: Mutation,
    /// Where it shows.
    pub scenario: Scenario,
    /// A seed that is known to show it.
    pub seed: u64,
    /// Who finds it.
    pub checker: Checker,
    /// What is broken, in words.
    pub what: &'static str,
}

/// The mutations of docs/spec/simulation.md.
pub const KNOWN: [Known; 3] = [
    Known {
        name: "skip-lock",
        mutation: Mutation::SkipLock,
        scenario: Scenario::Outage,
        seed: 0,
        checker: Checker::Liveness,
        what: "a validator that restarts has forgotten its votes, and what it is locked on",
    },
    Known {
        name: "accept-stale-share",
        mutation: Mutation::AcceptStaleShare,
        scenario: Scenario::Members,
        seed: 0,
        checker: Checker::Panic,
        what: "a validator takes a share of an earlier sharing for one of the present",
    },
    Known {
        name: "drop-flush",
        mutation: Mutation::DropFlush,
        scenario: Scenario::Power,
        seed: 24,
        checker: Checker::Panic,
        what: "the archives of final blocks say that they have synced and have not",
    },
];

/// What a mutation's seed came to.
pub struct Shown {
    /// With the mutation.
    pub broken: Result<Report, Violation>,
    /// Without.
    pub sound: Result<Report, Violation>,
}

impl Known {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        KNOWN.into_iter().find(|known| known.name == name)
    }

    /// Runs a seed with the mutation and without.
    pub fn show(&self, seed: u64) -> Shown {
        Shown {
            broken: self.scenario.run(seed, Some(self.mutation)),
            sound: self.scenario.run(seed, None),
        }
    }
}
