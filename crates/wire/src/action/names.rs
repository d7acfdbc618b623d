//! Actions on names: commit, reveal, records, server keys, renewal, cancellation
//! and transfer (seed 002). Those on sales and on lost keys are in files of
//! their own.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{AccountId, Amount, CircleId, Digest, DomainName, PublicKey, RelativeName};

/// Commits to a name that only the committer knows.
///
/// Source: docs/spec/names.md §2.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameCommit {
    /// [`name_commitment`] of what will be revealed.
    pub commitment: Digest,
}

/// The commitment to `name`: it binds circle, owner and nonce, so that nobody
/// can copy it, and nobody can guess the name from it.
pub fn name_commitment(
    circle: CircleId,
    owner: AccountId,
    name: &DomainName,
    nonce: &[u8; 32],
) -> Digest {
    Digest::tagged(
        "ringfort/name-commitment/1",
        &[&circle.0, &owner.0, name.as_str().as_bytes(), nonce],
    )
}

/// Shows a committed name and registers it to the sender's key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameReveal {
    /// The name: one label beneath an apex of the circle.
    pub name: DomainName,
    /// The nonce of the commitment.
    #[serde(with = "hex::serde")]
    pub nonce: [u8; 32],
    /// What rent is drawn from.
    pub deposit: Amount,
}

/// An RRset (RFC 9499) at or beneath a registered name.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RecordSet {
    /// The owner relative to the registered name; none for the name itself.
    pub owner: Option<RelativeName>,
    /// The RR type's number (IANA).
    pub rtype: u16,
    /// Time to live, in seconds.
    pub ttl: u32,
    /// RDATA in uncompressed wire form, in order; hex in JSON.
    #[serde(with = "crate::bytes::list")]
    pub data: Vec<Vec<u8>>,
}

/// Replaces RRsets of a name; one without data removes the set.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameSet {
    /// The registered name; the sender's key owns it.
    pub name: DomainName,
    /// The sets to replace.
    pub records: Vec<RecordSet>,
}

/// Changes a name's records as its owner asked in a DNS message (RFC 2136) with
/// the owner's own signature (RFC 2931); anyone may send it.
///
/// Source: docs/spec/update.md.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameUpdate {
    /// The message, as it came.
    #[serde(with = "hex::serde")]
    pub message: Vec<u8>,
}

/// The key of a server: one that answers at a name, or the name server to
/// which a subdomain is delegated (seed 002: the domain public key and the
/// certificate of the domain security transaction).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ServerKey {
    /// The name relative to the registered name; none for the name itself.
    pub owner: Option<RelativeName>,
    /// The server's public key, which peers authenticate it by.
    pub key: PublicKey,
    /// SHA-256 of its certificate, DER, if it has one.
    pub certificate: Option<Digest>,
}

/// Sets or removes the key of one server of a name (seed 002: the domain
/// security transaction; its addresses are RRsets, set in the same transaction).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameSecure {
    /// The registered name; the sender's key owns it.
    pub name: DomainName,
    /// The name relative to the registered name; none for the name itself.
    pub owner: Option<RelativeName>,
    /// The server's key and the digest of its certificate; none removes it.
    pub server: Option<(PublicKey, Option<Digest>)>,
}

/// Adds to a name's deposit. Anyone may pay.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameRenew {
    /// The registered name.
    pub name: DomainName,
    /// How much to add; not zero.
    pub amount: Amount,
}

/// Gives a name up.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameCancel {
    /// The registered name; the sender's key owns it.
    pub name: DomainName,
}

/// Hands a name, with its deposit and records, to another key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameTransfer {
    /// The registered name; the sender's key owns it.
    pub name: DomainName,
    /// The new owner.
    pub to: PublicKey,
}
