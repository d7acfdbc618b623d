//! What do keykeepers post in a round?
//!
//! Each message is public as a whole. Its bytes are borsh; a decoder checks the
//! length before it reads, and counts within it are bounded by that length.

use borsh::{BorshDeserialize, BorshSerialize};
use wire::limits::MAX_KEYKEEPERS;

use crate::sealed::SEAL_OVERHEAD;

/// A scalar of BLS12-381.
pub(crate) const SHARE_BYTES: usize = 32;

/// A share that is sealed to one player.
pub(crate) const SEALED_SHARE_BYTES: usize = SHARE_BYTES + SEAL_OVERHEAD;

/// A [`Join`]: one key of 32 bytes for each dealer, and a count.
pub const MAX_JOIN_BYTES: usize = 4 + 32 * MAX_KEYKEEPERS;

/// A [`Dealing`]: a commitment of 33 points of 96 bytes with its length, and a
/// sealed share for each player, of 80 bytes and a count.
pub const MAX_DEALING_BYTES: usize =
    8 + 8 + 96 * (MAX_KEYKEEPERS / 2 + 1) + (4 + SEALED_SHARE_BYTES) * MAX_KEYKEEPERS;

/// An [`Answer`]: for each dealing a tag and a signature.
pub const MAX_ANSWER_BYTES: usize = 4 + 65 * MAX_KEYKEEPERS;

/// "I take part": a player's one-time keys.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Join {
    /// An X25519 key for each dealer's share, in the order of
    /// [`crate::Task::dealers`]. One for each, so that a complaint, which shows
    /// the secret half, opens one message only.
    pub keys: Vec<[u8; 32]>,
}

/// A dealer's polynomial, committed to, and its shares.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Dealing {
    /// The commitment, as the library encodes it.
    pub commitment: Vec<u8>,
    /// A sealed share for each player that joined, ascending by its key.
    pub shares: Vec<Vec<u8>>,
}

/// What a player says of one dealing.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Verdicts {
    /// The share is good: the player's signature over the commitment, in the
    /// form of the library.
    Good([u8; 64]),
    /// The share is bad, and here is the one-time secret with which anyone sees
    /// that it is.
    Bad([u8; 32]),
}

/// What a player says of all dealings, in the order of their dealers' keys.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Answer {
    /// One for each dealing that was posted, ascending by the dealer's key.
    pub verdicts: Vec<Verdicts>,
}

macro_rules! bytes {
    ($name:ident, $most:ident) => {
        impl $name {
            /// Its bytes.
            pub fn encode(&self) -> Vec<u8> {
                borsh::to_vec(self).expect("a message always encodes")
            }

            /// Reads [`Self::encode`]'s form; none for anything else.
            pub fn decode(bytes: &[u8]) -> Option<Self> {
                if bytes.len() > $most {
                    return None;
                }
                Self::try_from_slice(bytes).ok()
            }
        }
    };
}

bytes!(Join, MAX_JOIN_BYTES);
bytes!(Dealing, MAX_DEALING_BYTES);
bytes!(Answer, MAX_ANSWER_BYTES);
