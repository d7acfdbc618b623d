//! The newtypes that carry every id, height, amount and digest.
//!
//! They trust nothing and check nothing beyond their shape; what an id stands
//! for is said by the record that it keys.

use alloc::string::String;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Makes a 32-byte identifier type that prints and parses as lower-case hex.
macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
            BorshSerialize, BorshDeserialize, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(#[serde(with = "hex::serde")] pub [u8; 32]);

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(&self.0[..4]))
            }
        }

        impl core::str::FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0u8; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError {
                    wanted: stringify!($name),
                })?;
                Ok(Self(bytes))
            }
        }

        impl $name {
            /// The first eight hex digits, for people.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }
    };
}

/// The text was not 64 hex digits.
#[derive(Debug, Clone, thiserror::Error)]
#[error("a {wanted} is 64 hex digits")]
pub struct ParseIdError {
    wanted: &'static str,
}

digest_type!(
    /// SHA-256 of a circle's genesis: what a circle is, before its key is known.
    CircleId
);
digest_type!(
    /// An account: SHA-256 of a tagged public key ([`crate::PublicKey::account`]).
    AccountId
);
digest_type!(
    /// SHA-256 of a signed transaction's bytes.
    TransactionId
);
digest_type!(
    /// A locked output.
    LockId
);
digest_type!(
    /// A provider's standing offer.
    OfferId
);
digest_type!(
    /// A user's request for a payload to be run.
    RequestId
);
digest_type!(
    /// A binding contract between one replica of a request and one offer.
    ContractId
);
digest_type!(
    /// A proposal that members vote on.
    ProposalId
);
digest_type!(
    /// A request for a label's key.
    KeyRequestId
);
digest_type!(
    /// SHA-256 of something: a header, a state root, a payload, a preimage.
    Digest
);
digest_type!(
    /// SHA-256 of an enclave's code image: what evidence measures.
    Measurement
);

impl Digest {
    /// SHA-256 of the concatenation of `parts`.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// SHA-256 of `tag`, then each part preceded by its length, so that no two
    /// lists of parts share an input.
    ///
    /// Units: lengths are eight bytes, little-endian.
    pub fn tagged(tag: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((tag.len() as u64).to_le_bytes());
        hasher.update(tag.as_bytes());
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }
}

/// A block's distance from genesis, which is height 0.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct Height(pub u64);

impl Height {
    /// The height `blocks` later; saturates, so a far expiry means "never".
    #[must_use]
    pub fn plus(self, blocks: u64) -> Self {
        Self(self.0.saturating_add(blocks))
    }

    /// Blocks from `earlier` to this height; 0 if `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl core::fmt::Display for Height {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// Base units of the circle's token. The sum of all amounts on a ledger is
/// constant and below 2^63.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct Amount(pub u64);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The sum, unless it leaves 64 bits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, unless it is negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The product, unless it leaves 64 bits.
    pub fn checked_mul(self, times: u64) -> Option<Self> {
        self.0.checked_mul(times).map(Self)
    }
}

impl core::fmt::Display for Amount {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// Ids of things that an action makes: a digest of the transaction and the
/// action's place in it, so that the sender knows them before they exist.
macro_rules! made_by_action {
    ($($name:ident = $tag:literal),*) => {
        $(impl $name {
            /// The id of what action `index` of `transaction` makes.
            pub fn made_by(transaction: TransactionId, index: usize) -> Self {
                Self(Digest::tagged($tag, &[&transaction.0, &(index as u64).to_le_bytes()]).0)
            }
        })*
    };
}

made_by_action!(
    LockId = "ringfort/lock/1",
    OfferId = "ringfort/offer/1",
    RequestId = "ringfort/request/1",
    ProposalId = "ringfort/proposal/1",
    KeyRequestId = "ringfort/key-request/1"
);

impl TransactionId {
    /// The identifier of an encoded signed transaction.
    pub fn of_encoded(bytes: &[u8]) -> Self {
        Self(Digest::tagged("ringfort/transaction-id/1", &[bytes]).0)
    }
}

impl ContractId {
    /// The id of the contract that serves `replica` of `request` after
    /// `attempt` earlier contracts of the same replica or others.
    pub fn of(request: RequestId, replica: u16, attempt: u16) -> Self {
        Self(
            Digest::tagged(
                "ringfort/contract/1",
                &[&request.0, &replica.to_le_bytes(), &attempt.to_le_bytes()],
            )
            .0,
        )
    }
}
