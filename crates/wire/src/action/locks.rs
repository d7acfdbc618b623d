//! Locked outputs: funds under a small tree of conditions.
//!
//! Escrow, deposits, bounties and cross-chain locks are all trees of this
//! kind. The tree grows by new variants with new discriminants.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{AccountId, Amount, Digest, Height, LockId, PublicKey, Signature};

/// What must hold before a lock can be spent.
///
/// Shape: at most [`crate::limits::MAX_CONDITION_DEPTH`] deep, with at most
///        [`crate::limits::MAX_CONDITION_NODES`] nodes; the ledger refuses larger trees.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Condition {
    /// A signature by this key over the spend.
    Key(PublicKey) = 0,
    /// At least `need` of the conditions in `of`.
    Threshold {
        /// How many must hold; from 1 to the length of `of`.
        need: u8,
        /// The conditions, in order.
        of: Vec<Condition>,
    } = 1,
    /// A preimage whose SHA-256 is this.
    Preimage(Digest) = 2,
    /// The spend is in a block above this height.
    AfterHeight(Height) = 3,
    /// Every one of these; not empty.
    All(Vec<Condition>) = 4,
    /// At least one of these; not empty.
    Any(Vec<Condition>) = 5,
}

/// Locks funds of the sender.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct LockFunds {
    /// How much; not zero.
    pub amount: Amount,
    /// What must hold for it to be spent.
    pub condition: Condition,
}

/// What a spender shows for a lock's condition.
///
/// Shape: signatures by key, preimages in any order; what no leaf asks for is refused.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Witness {
    /// Signatures over [`UnlockFunds::message`] for the purpose [`UnlockFunds::PURPOSE`].
    pub signatures: Vec<(PublicKey, Signature)>,
    /// Preimages, hex in JSON.
    #[serde(with = "crate::bytes::list")]
    pub preimages: Vec<Vec<u8>>,
}

/// Spends a lock, whole, to `to`. The sender need not be a key of the lock.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct UnlockFunds {
    /// Which lock.
    pub lock: LockId,
    /// Who receives the funds.
    pub to: AccountId,
    /// What satisfies the condition.
    pub witness: Witness,
}

impl UnlockFunds {
    /// The purpose for which a lock's keys sign.
    pub const PURPOSE: &'static str = "ringfort/unlock/1";

    /// What a lock's keys sign: the lock and the receiver, so that a witness
    /// seen on its way cannot be turned to another account.
    pub fn message(lock: LockId, to: AccountId) -> [u8; 64] {
        let mut message = [0; 64];
        message[..32].copy_from_slice(&lock.0);
        message[32..].copy_from_slice(&to.0);
        message
    }
}
