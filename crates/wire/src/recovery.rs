//! What do members sign when they found their circle anew on its last proven
//! state, because too many of its validators are lost?
//!
//! Nothing here is on the ledger that is lost: votes are files. They are
//! counted against the members of that ledger's state (`ledger::recovery`).
//!
//! Source: docs/spec/recovery.md.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{CircleId, CircleKey, Digest, Height, PublicKey, Signature, SigningKey};

/// The circle whose state a new one takes over, and the block after which.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Origin {
    /// The former circle.
    pub circle: CircleId,
    /// The key under which its last header is certified.
    pub circle_key: CircleKey,
    /// The height of that header.
    pub height: Height,
    /// Its digest.
    pub header: Digest,
}

/// A member's consent to one new genesis.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RefoundingVote {
    /// The key of the member's account in the former circle.
    pub member: PublicKey,
    /// By that key, over [`RefoundingVote::message`].
    pub signature: Signature,
}

impl RefoundingVote {
    /// The purpose for which the member's key signs.
    pub const PURPOSE: &'static str = "ringfort/recovery/1";

    /// What is signed: where the state comes from, and the new circle's id,
    /// which is a digest over its whole genesis.
    pub fn message(origin: &Origin, circle: CircleId) -> Vec<u8> {
        borsh::to_vec(&(origin, circle)).expect("a vote always encodes")
    }

    /// A vote for the new circle.
    pub fn sign(key: &SigningKey, origin: &Origin, circle: CircleId) -> Self {
        Self {
            member: key.public(),
            signature: key.sign(Self::PURPOSE, &Self::message(origin, circle)),
        }
    }

    /// Whether it is a vote for this circle.
    pub fn is_for(&self, origin: &Origin, circle: CircleId) -> bool {
        let message = Self::message(origin, circle);
        let verified = self.member.verify(Self::PURPOSE, &message, &self.signature);
        verified.is_ok()
    }
}
