//! Notarised data: that a key knew a data item at a height (seed 002: a
//! transaction of a node's public key and the hash of a data item).

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::Digest;

/// Records the digest of a data item under the sender's key.
///
/// Shape: `media` is a media type (RFC 6838) or empty; `note` is for people.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Notarise {
    /// SHA-256 of the item as it is kept: of the ciphertext, if it is encrypted.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Whether the item is ciphertext.
    pub encrypted: bool,
    /// What it is; at most [`crate::limits::MAX_MEDIA_BYTES`].
    pub media: String,
    /// What the signer says of it; at most [`crate::limits::MAX_TEXT_BYTES`].
    pub note: String,
}
