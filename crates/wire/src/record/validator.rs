//! A validator: its place in a committee, and what it has shown of the code that
//! it runs.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::AttestationResult;
use crate::{AccountId, Height, PublicKey};

/// One validator of a committee.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Seat {
    /// Its identity among validators; Ed25519.
    pub key: PublicKey,
    /// The member's account, which is paid.
    pub account: AccountId,
    /// Where others dial it; empty if their configurations say.
    pub address: String,
}

/// What a validator has shown of the code that it runs.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ValidatorEvidence {
    /// The seat's key to which the evidence is bound.
    pub seat: PublicKey,
    /// What the circle made of it.
    pub result: AttestationResult,
    /// When it was accepted.
    pub accepted_at: Height,
}
