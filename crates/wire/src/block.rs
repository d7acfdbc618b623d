//! Blocks and their headers: what the engine orders and the circle certifies.
//!
//! A header is small because every proof carries one. It is trusted only
//! under a certificate of the circle's key; this file checks nothing but form.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{CircleId, Digest, Height};

/// What the circle certifies of a block.
///
/// Shape:  fixed, 145 bytes in borsh.
/// Units:  `time_ms` is Unix time in milliseconds as the proposer saw it;
///         it never decreases along a chain.
/// Source: docs/spec/blocks.md §1.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Header {
    /// Version of the header's form; 1.
    pub version: u8,
    /// The circle this chain belongs to.
    pub circle: CircleId,
    /// Distance from genesis.
    pub height: Height,
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// Digest of the parent's header; zero at genesis.
    pub parent: Digest,
    /// Root of the state after this block was applied.
    pub state_root: Digest,
    /// Digest over the transactions, in order ([`Block::transactions_digest`]).
    pub transactions: Digest,
}

impl Header {
    /// The version this build writes.
    pub const VERSION: u8 = 1;

    /// The header's digest: what a certificate certifies.
    pub fn digest(&self) -> Digest {
        self.summary().digest()
    }

    /// What a proof needs of the header.
    pub fn summary(&self) -> HeaderSummary {
        HeaderSummary {
            version: self.version,
            circle: self.circle,
            height: self.height,
            time_ms: self.time_ms,
            links: Digest::tagged("ringfort/links/1", &[&self.parent.0, &self.transactions.0]),
            state_root: self.state_root,
        }
    }
}

/// A header as proofs carry it: parent and transactions stand in it as one
/// digest, which who asks for an entry of the state never opens.
///
/// Shape:  fixed, 113 bytes in borsh.
/// Units:  as [`Header`].
/// Source: docs/spec/blocks.md §1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize)]
pub struct HeaderSummary {
    /// As [`Header::version`].
    pub version: u8,
    /// As [`Header::circle`].
    pub circle: CircleId,
    /// As [`Header::height`].
    pub height: Height,
    /// As [`Header::time_ms`].
    pub time_ms: u64,
    /// Digest over parent and transactions.
    pub links: Digest,
    /// As [`Header::state_root`].
    pub state_root: Digest,
}

impl HeaderSummary {
    /// The digest of the header that this is of.
    pub fn digest(&self) -> Digest {
        let bytes = borsh::to_vec(self).expect("a header always encodes");
        Digest::tagged("ringfort/header/1", &[&bytes])
    }
}

/// A header with its transactions.
///
/// Shape: `transactions` holds encoded [`crate::SignedTransaction`]s in the
///        order in which they are applied.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// What the circle certifies.
    pub header: Header,
    /// Encoded signed transactions, in order.
    pub transactions: Vec<Vec<u8>>,
}

impl Block {
    /// Digest over encoded transactions, in order.
    pub fn transactions_digest(transactions: &[Vec<u8>]) -> Digest {
        let parts: Vec<&[u8]> = transactions.iter().map(Vec::as_slice).collect();
        Digest::tagged("ringfort/transactions/1", &parts)
    }
}
