//! Records of names: the registered name itself, commitments, what became of
//! released names, bids, recoveries, and the names of an address.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Amount, ContractId, Digest, DomainName, Height, Parameters, PublicKey, RecordSet,
    RelativeName, Sale, ServerKey, ServiceEndpoint,
};

/// A commitment that waits for its name.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Commitment {
    /// Who committed.
    pub owner: AccountId,
    /// When it was first recorded; a repeat does not move it.
    pub committed_at: Height,
}

/// The newest signed updates of a name, so that each is good once.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameUpdates {
    /// When the newest signature began to hold, Unix seconds; none older counts.
    pub inception: u32,
    /// What was signed of those that began to hold in that second, at most
    /// [`crate::limits::MAX_UPDATES_PER_SECOND`].
    pub digests: Vec<Digest>,
}

/// Whether a name resolves.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum NameStatus {
    /// Rent is paid: it resolves.
    Active,
    /// Rent could not be drawn: it does not resolve, and is released after grace.
    Suspended {
        /// Since when.
        since: Height,
    },
}

/// A live replica behind a name: its addresses and its TLS key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameEndpoint {
    /// The contract that serves it.
    pub contract: ContractId,
    /// Where it is reached.
    pub endpoint: ServiceEndpoint,
    /// SHA-256 of its TLS key's SubjectPublicKeyInfo.
    pub tls_key: Digest,
}

/// A registered name.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Name {
    /// The name.
    pub name: DomainName,
    /// The primary key: it alone changes the name.
    pub owner: PublicKey,
    /// What rent is drawn from.
    pub deposit: Amount,
    /// Whether it resolves.
    pub status: NameStatus,
    /// When it was registered.
    pub registered_at: Height,
    /// When rent is drawn next; of a suspended name, when it is released.
    pub rent_due: Height,
    /// When its owner, records, server keys, endpoints or status last changed.
    pub changed_at: Height,
    /// When notice of its suspension is due; none once it was given, and
    /// while it is suspended.
    pub notice_due: Option<Height>,
    /// For what it is for sale, if it is.
    pub sale: Option<Sale>,
    /// RRsets the owner set, ascending by owner and type.
    pub records: Vec<RecordSet>,
    /// Keys of its servers, ascending by owner.
    pub keys: Vec<ServerKey>,
    /// Live replicas, ascending by contract; A, AAAA and TLSA follow from them.
    pub endpoints: Vec<NameEndpoint>,
}

impl Name {
    /// When the name will be suspended if nobody adds to its deposit; none for
    /// never. Of a suspended name, when it was or will have been.
    ///
    /// Drawing rent does not move it: each draw takes one period from the
    /// deposit and adds one to `rent_due`.
    pub fn paid_until(&self, parameters: &Parameters) -> Option<Height> {
        let periods = self.deposit.0.checked_div(parameters.rent_per_period.0)?;
        let blocks = periods.checked_mul(parameters.rent_period)?;
        self.rent_due.0.checked_add(blocks).map(Height)
    }
}

/// Why a name is free again.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseReason {
    /// Its rent was not paid until its time of grace was over.
    Lapsed,
    /// Its owner gave it up.
    Cancelled,
}

/// What is left of a registration that ended; the last one of a name.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Released {
    /// Who owned it.
    pub owner: PublicKey,
    /// When it was registered.
    pub registered_at: Height,
    /// When it became free.
    pub released_at: Height,
    /// Why.
    pub reason: ReleaseReason,
    /// What came back to its owner.
    pub refund: Amount,
}

/// A bid for a name; its amount is in escrow.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Bid {
    /// The key that will own the name.
    pub bidder: PublicKey,
    /// What is in escrow.
    pub amount: Amount,
    /// When it was made.
    pub bid_at: Height,
    /// The last height at which it may be accepted.
    pub expires_at: Height,
}

/// A member's vote on a recovery.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct RecoveryVote {
    /// Who voted.
    pub member: AccountId,
    /// For which key.
    pub to: PublicKey,
}

/// A recovery that the members vote on, or have decided and the owner may veto.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Recovery {
    /// When the first vote was cast.
    pub opened_at: Height,
    /// Votes, ascending by member; one for each.
    pub votes: Vec<RecoveryVote>,
    /// The key that the members decided on, once they have.
    pub decided: Option<PublicKey>,
    /// When the decision takes effect; without one, when the votes are void.
    pub due: Height,
}

/// Under which owners of one registered name an address stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AddressOwners {
    /// Owners relative to the name, ascending; none for the name itself.
    pub owners: Vec<Option<RelativeName>>,
}
