//! The seam to the cryptography of a resharing.
//!
//! The ledger gathers validators' dealings and decides what follows from
//! them; whether a dealing is good, and what the good ones make together, is
//! told by whoever runs the ledger. The answer must be a function of the
//! question alone, since every node's state depends on it.

use wire::{CircleId, PublicKey};

/// A resharing whose dealings are to be judged.
#[derive(Clone, Copy, Debug)]
pub struct ReshareTask<'a> {
    /// The circle.
    pub circle: CircleId,
    /// The resharing's number.
    pub round: u64,
    /// The public side of the shares in office, as the ceremony encoded it.
    pub previous: &'a [u8],
    /// Who is to hold shares, ascending.
    pub players: &'a [PublicKey],
    /// What was dealt, by whom; ascending by dealer.
    pub dealings: &'a [(PublicKey, Vec<u8>)],
}

/// What enough good dealings make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concluded {
    /// The public side of the new shares.
    pub sharing: Vec<u8>,
    /// Players whose new share anyone may have put together from the dealings.
    pub revealed: Vec<PublicKey>,
}

/// Judges dealings; pure.
pub trait Ceremony {
    /// What the dealings make; `None` if too few of them are good.
    fn conclude(&self, task: &ReshareTask<'_>) -> Option<Concluded>;
}

/// Judges every resharing to have failed: committees stay in office.
pub struct NoCeremony;

impl Ceremony for NoCeremony {
    fn conclude(&self, _: &ReshareTask<'_>) -> Option<Concluded> {
        None
    }
}
