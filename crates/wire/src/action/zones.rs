//! Zones: what a zone signer says of an apex: its keys, its name servers and
//! how long answers keep.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::DomainName;

/// The flags of a zone's key-signing key (RFC 4034 §2.1.1).
pub const KEY_SIGNING_FLAGS: u16 = 257;

/// The flags of a zone-signing key.
pub const ZONE_SIGNING_FLAGS: u16 = 256;

/// A public key of a zone, ECDSA P-256 with SHA-256 (algorithm 13, RFC 6605).
///
/// Shape: during a roll-over a key may be in one set and not in the other.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ZoneKey {
    /// [`KEY_SIGNING_FLAGS`] or [`ZONE_SIGNING_FLAGS`].
    pub flags: u16,
    /// The point, x and y.
    #[serde(with = "hex::serde")]
    pub public_key: [u8; 64],
    /// Whether it is in the DNSKEY RRset, so that its signatures count.
    pub published: bool,
    /// Whether CDS and CDNSKEY ask the parent for its DS (RFC 7344);
    /// key-signing keys alone.
    pub announced: bool,
}

/// A name server of a zone.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ZoneServer {
    /// Its label beneath the apex; such a label cannot be registered as a name.
    pub label: DomainName,
    /// Its addresses; not empty.
    pub addresses: Vec<IpAddr>,
}

/// Sets everything about a zone that no name's owner says. From then on, name
/// servers serve the zone signed, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SetZone {
    /// An apex of this circle.
    pub apex: DomainName,
    /// Its keys, each once.
    pub keys: Vec<ZoneKey>,
    /// Its name servers, ascending by label, each once.
    pub servers: Vec<ZoneServer>,
    /// Seconds for which DNSKEY, SOA, NS and the servers' addresses may be cached.
    pub apex_ttl: u32,
    /// Seconds for which a denial may be cached (RFC 2308 §5).
    pub negative_ttl: u32,
    /// Seconds for which what follows from live replicas may be cached.
    pub endpoint_ttl: u32,
}
