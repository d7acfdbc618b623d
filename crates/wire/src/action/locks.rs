//! Locked outputs: funds under a small tree of conditions.
//!
//! Escrow, deposits, bounties and cross-chain locks are all trees of this
//! kind. The tree grows by new variants with new discriminants.

use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Amount, Digest, Height, LockId, PublicKey, Signature,
    limits::{MAX_CONDITION_DEPTH, MAX_CONDITION_NODES},
};

/// What must hold before a lock can be spent.
///
/// Shape:  at most [`MAX_CONDITION_DEPTH`] deep, with at most
///         [`MAX_CONDITION_NODES`] nodes; the ledger refuses larger trees.
/// Errors: decoding refuses a deeper tree, so that a peer's bytes cannot
///         exhaust the stack.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, Serialize, Deserialize)]
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

fn malformed(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl Condition {
    fn read<R: io::Read>(reader: &mut R, depth: usize) -> io::Result<Self> {
        if depth == MAX_CONDITION_DEPTH {
            return Err(malformed("the condition tree is too deep"));
        }
        match u8::deserialize_reader(reader)? {
            0 => PublicKey::deserialize_reader(reader).map(Self::Key),
            1 => {
                let need = u8::deserialize_reader(reader)?;
                Ok(Self::Threshold {
                    need,
                    of: Self::read_list(reader, depth)?,
                })
            }
            2 => Digest::deserialize_reader(reader).map(Self::Preimage),
            3 => Height::deserialize_reader(reader).map(Self::AfterHeight),
            4 => Self::read_list(reader, depth).map(Self::All),
            5 => Self::read_list(reader, depth).map(Self::Any),
            _ => Err(malformed("a condition of an unknown kind")),
        }
    }

    fn read_list<R: io::Read>(reader: &mut R, depth: usize) -> io::Result<Vec<Self>> {
        let length = u32::deserialize_reader(reader)? as usize;
        if length > MAX_CONDITION_NODES {
            return Err(malformed("a condition has too many parts"));
        }
        (0..length).map(|_| Self::read(reader, depth + 1)).collect()
    }
}

impl BorshDeserialize for Condition {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        Self::read(reader, 0)
    }
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
