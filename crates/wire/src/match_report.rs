//! What the market would do with a request, as a dry run tells it: each open
//! offer with its price or every reason for which it does not fit, and what
//! the request would be matched with and cost.
//!
//! A report promises nothing: another request may be matched first.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Amount, CipherSuite, EvidenceKind, Height, Measurement, OfferId, PayloadKind,
    Reject, Resources,
};

/// Why an offer cannot serve a replica of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "misfit", rename_all = "snake_case")]
pub enum Misfit {
    /// It was withdrawn or has expired.
    Closed,
    /// One replica may not ask for so much.
    ReplicaTooLarge {
        /// The most that one replica may ask for.
        limit: Resources,
    },
    /// Too little of its capacity is free.
    NoRoom {
        /// What is free.
        free: Resources,
    },
    /// It runs as many replicas as it will.
    ConcurrencyReached {
        /// How many those are.
        concurrency: u16,
    },
    /// Its price is above the request's highest.
    PriceTooHigh {
        /// Its price of a block.
        price: Amount,
    },
    /// The duration that is left is below its shortest or above its longest contract.
    Duration {
        /// Its shortest, in blocks.
        min: u64,
        /// Its longest, in blocks.
        max: u64,
    },
    /// It stands elsewhere.
    Location {
        /// Where it stands.
        location: String,
    },
    /// It lacks encryption that the request requires.
    Encryption {
        /// What it lacks.
        missing: Vec<CipherSuite>,
    },
    /// The request accepts none of the evidence that it can give and the
    /// circle admits for its code.
    Evidence {
        /// What it can give.
        offered: Vec<EvidenceKind>,
    },
    /// It lacks technologies that the request requires.
    Technologies {
        /// What it lacks.
        missing: Vec<String>,
    },
    /// It does not run this kind of payload.
    PayloadKind {
        /// What it runs.
        offered: Vec<PayloadKind>,
    },
    /// It launches other code than the request's.
    Measurement {
        /// What it launches.
        offered: Measurement,
    },
    /// Its provider failed this request before.
    ProviderExcluded,
    /// Its provider runs another replica, and the request requires a spread.
    SpreadRequired,
}

/// One open offer, as the request sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferReport {
    /// The offer.
    pub offer: OfferId,
    /// Who offers.
    pub provider: AccountId,
    /// What a replica would pay for a block.
    pub price: Amount,
    /// Every reason for which it does not fit; empty if it does.
    pub misfits: Vec<Misfit>,
}

/// Where one replica would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Which replica, from 0.
    pub replica: u16,
    /// The offer.
    pub offer: OfferId,
    /// Who offers.
    pub provider: AccountId,
    /// What it would pay for a block.
    pub price: Amount,
}

/// The outcome of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchReport {
    /// The height of the state that was read.
    pub height: Height,
    /// Why the request would be refused; none if it would be taken.
    pub reject: Option<Reject>,
    /// Open offers, those that expire first before others.
    pub offers: Vec<OfferReport>,
    /// Whether there are more open offers than are listed.
    pub truncated: bool,
    /// Replicas that would be matched at once, ascending.
    pub placements: Vec<Placement>,
    /// What all placed replicas would pay for a block.
    pub cost_per_block: Amount,
    /// What they would pay for the request's whole duration; none if that
    /// leaves 64 bits.
    pub cost: Option<Amount>,
}
