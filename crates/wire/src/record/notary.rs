//! The record of a notarised data item.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{Height, PublicKey};

/// That a key knew a data item at a height; its digest is in the state key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Notarisation {
    /// The key that signed.
    pub signer: PublicKey,
    /// Bytes of the item.
    pub size: u64,
    /// Whether the item is ciphertext.
    pub encrypted: bool,
    /// What it is: a media type, or empty.
    pub media: String,
    /// What the signer says of it.
    pub note: String,
    /// When it was recorded.
    pub notarised_at: Height,
    /// That block's time, Unix milliseconds.
    pub time_ms: u64,
}
