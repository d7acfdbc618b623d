//! Who validates now, who prepares to, and where are they reached?
//!
//! The chain's state says so, since all must agree; [`Office`] is that part of
//! the state, as of the chain's latest finalized block. The engine trusts it,
//! and leaves to the chain how it came about.

use std::sync::Arc;

use crate::{Validator, keys::PeerKey};

/// What the finalized state says of validators.
///
/// A new one is made whenever any of it changes; [`Arc::ptr_eq`] then tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Office {
    /// The epoch of the next block.
    pub epoch: u64,
    /// Who validates in it. An empty address is looked up in the configuration.
    pub committee: Vec<Validator>,
    /// The public side of their shares ([`crate::resharing::Conclusion::sharing`]).
    pub sharing: Vec<u8>,
    /// How that sharing was made; none of a genesis'.
    pub origin: Option<Origin>,
    /// The resharing under way.
    pub handover: Option<Handover>,
    /// Who may follow without a vote: members with a seat that are neither in
    /// office nor to be.
    pub followers: Vec<Validator>,
}

/// The resharing that made the sharing in office. With the messages that it
/// stored, a member of the committee puts its share together from this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its number.
    pub round: u64,
    /// The sharing before.
    pub previous: Vec<u8>,
    /// What was dealt, by whom; ascending by dealer.
    pub dealings: Vec<(PeerKey, Vec<u8>)>,
}

/// A resharing under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Its number.
    pub round: u64,
    /// Who is to hold shares.
    pub target: Vec<Validator>,
    /// Whose dealings are in the state already.
    pub dealt: Vec<PeerKey>,
}

impl Office {
    /// The office that a genesis founds, with nobody else about.
    pub fn founding(committee: Vec<Validator>, sharing: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            committee,
            sharing,
            ..Self::default()
        })
    }

    /// The keys of the committee.
    pub(crate) fn keys(&self) -> Vec<PeerKey> {
        self.committee.iter().map(|seat| seat.key).collect()
    }

    pub(crate) fn is_in_committee(&self, key: &PeerKey) -> bool {
        self.committee.iter().any(|seat| seat.key == *key)
    }
}
