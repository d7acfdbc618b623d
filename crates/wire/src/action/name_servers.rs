//! Actions on name servers: the keys with which they prove who they are, and
//! certificates for these.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{AccountId, Digest, DomainName};

/// The label beneath an apex by which the circle's name servers prove who
/// they are; it cannot be registered.
pub const NAME_SERVER_LABEL: &str = "dns";

/// Where a name server answers over encrypted transports.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct NameServerPorts {
    /// TCP port of DNS over TLS (RFC 7858).
    pub tls: Option<u16>,
    /// TCP port of DNS over HTTPS (RFC 8484), at `/dns-query`.
    pub https: Option<u16>,
    /// UDP port of DNS over QUIC (RFC 9250).
    pub quic: Option<u16>,
}

/// What a name server says of itself.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameServerTerms {
    /// Its name: [`NAME_SERVER_LABEL`] beneath an apex of the circle.
    pub name: DomainName,
    /// Its addresses; not empty.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: NameServerPorts,
    /// A PKCS #10 request (DER) for its name, signed by its TLS key.
    #[serde(with = "hex::serde")]
    pub certificate_request: Vec<u8>,
    /// SHA-256 of its TLS key's SubjectPublicKeyInfo (a TLSA 3 1 1 record's
    /// data, RFC 6698).
    pub tls_key: Digest,
}

/// Registers the sender's name server, or changes what it said.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RegisterNameServer {
    /// What it says.
    pub terms: NameServerTerms,
}

/// Records a certificate that one of the circle's authorities issued for a
/// name server.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct CertifyNameServer {
    /// Whose it is.
    pub server: AccountId,
    /// The key that it is for; the server may have changed it meanwhile.
    pub tls_key: Digest,
    /// The certificate, DER.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
    /// When it ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
}
