//! Certificates: what an authority publishes of itself, the accounts and
//! orders of ACME (RFC 8555) that any authority can continue, and revocation.
//!
//! Source: docs/spec/acme.md.

use std::{fmt, net::IpAddr, str::FromStr};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{AccountId, CircleId, Digest, DomainName, PublicKey, Signature};

/// A certificate's serial number, as its 16 octets.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct CertificateSerial(#[serde(with = "hex::serde")] pub [u8; 16]);

impl fmt::Display for CertificateSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for CertificateSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateSerial({self})")
    }
}

/// A name that a certificate may hold: a domain name, or all names one label
/// beneath it.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct CertifiedName {
    /// The name, or the one above the wildcard's label.
    pub name: DomainName,
    /// Whether it is `*.name`.
    pub wildcard: bool,
}

impl fmt::Display for CertifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.wildcard { "*." } else { "" };
        write!(f, "{star}{}", self.name)
    }
}

impl FromStr for CertifiedName {
    type Err = crate::ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = name.parse()?;
        Ok(Self { name, wildcard })
    }
}

impl TryFrom<String> for CertifiedName {
    type Error = crate::ParseNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CertifiedName> for String {
    fn from(name: CertifiedName) -> Self {
        name.to_string()
    }
}

/// An authority publishes its root, so that clients can prove which it is.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PublishAuthority {
    /// The root certificate, DER.
    #[serde(with = "hex::serde")]
    pub root: Vec<u8>,
}

/// An authority publishes the intermediate that it signs a domain's leaves with.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PublishIntermediate {
    /// The registered name to which the intermediate is constrained.
    pub domain: DomainName,
    /// The intermediate certificate, DER.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
    /// When it ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
}

/// A name owner's word that it asked an authority for credentials with which
/// ACME accounts are bound to its key (RFC 8555 §7.3.4).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct OwnerBinding {
    /// The owner's ledger key.
    pub owner: PublicKey,
    /// The authority's account.
    pub authority: AccountId,
    /// When it asked, Unix milliseconds.
    pub time_ms: u64,
    /// Over [`OwnerBinding::message`] for [`OwnerBinding::PURPOSE`].
    pub signature: Signature,
}

impl OwnerBinding {
    /// The purpose for which the owner signs.
    pub const PURPOSE: &'static str = "ringfort/acme-binding/1";

    /// The purpose for which the owner signs the same message when it asks for
    /// the credentials. A binding ends up on the ledger for all to see; what
    /// fetches credentials for it must not.
    pub const REQUEST_PURPOSE: &'static str = "ringfort/acme-credentials/1";

    /// What the owner signs: circle, authority and time (big-endian).
    pub fn message(circle: CircleId, authority: AccountId, time_ms: u64) -> [u8; 72] {
        let mut message = [0; 72];
        message[..32].copy_from_slice(&circle.0);
        message[32..64].copy_from_slice(&authority.0);
        message[64..].copy_from_slice(&time_ms.to_be_bytes());
        message
    }

    /// Whether the owner signed it, in this circle.
    pub fn holds(&self, circle: CircleId) -> bool {
        let message = Self::message(circle, self.authority, self.time_ms);
        self.owner
            .verify(Self::PURPOSE, &message, &self.signature)
            .is_ok()
    }
}

/// Opens an ACME account.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AcmeAccountOpen {
    /// Its public key: a JWK in the canonical form of RFC 7638 §3. Its SHA-256
    /// is the account's id.
    #[serde(with = "hex::serde")]
    pub key: Vec<u8>,
    /// The name owner it acts for, if it does.
    pub binding: Option<OwnerBinding>,
}

/// Changes an ACME account.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AcmeAccountChange {
    /// The account's id.
    pub account: Digest,
    /// The new key, canonical; none to deactivate the account for good.
    pub key: Option<Vec<u8>>,
}

/// Opens an order for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AcmeOrderOpen {
    /// Who orders.
    pub account: Digest,
    /// The names, ascending, each once, all at or beneath one registered name.
    pub names: Vec<CertifiedName>,
    /// Random, so that nobody can foresee the challenges' tokens.
    #[serde(with = "hex::serde")]
    pub nonce: [u8; 32],
}

impl AcmeOrderOpen {
    /// The order's id.
    pub fn id(&self) -> Digest {
        Digest::tagged("ringfort/acme-order/1", &[&self.account.0, &self.nonce])
    }
}

/// How control over a name was shown.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Validation {
    /// The account is bound to the name's owner.
    Owner = 0,
    /// The name's own records hold the TXT record that was asked for: the
    /// ledger checks it itself.
    Dns01 = 1,
    /// The authority fetched the answer from this address, which is the name's.
    Http01(IpAddr) = 2,
    /// The authority saw the certificate at this address, which is the name's.
    TlsAlpn01(IpAddr) = 3,
    /// The account is bound to the key of the node that serves the delegated
    /// subdomain in which the name lies.
    Delegate = 4,
}

/// Records how one name of an order was validated, or that it failed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AcmeValidate {
    /// The order.
    pub order: Digest,
    /// Which of its names, from 0.
    pub name: u8,
    /// How; none if the challenge failed, which ends the order.
    pub validation: Option<Validation>,
}

/// Fixes the key that an order's certificate will be for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AcmeFinalize {
    /// The order.
    pub order: Digest,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub key: Digest,
}

/// Records the certificate of an order, before anyone is handed it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AcmeIssue {
    /// The order.
    pub order: Digest,
    /// The leaf's serial number.
    pub serial: CertificateSerial,
    /// The leaf, DER.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
    /// When it ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
}

/// Revokes a certificate; sent by an authority or by the name's owner.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RevokeCertificate {
    /// The registered name under which it is logged.
    pub domain: DomainName,
    /// Which certificate.
    pub serial: CertificateSerial,
    /// Why (RFC 5280 §5.3.1): 0, 1, 3, 4, 5 or 9.
    pub reason: u8,
}

/// The token of the challenges for name `index` of an order (RFC 8555 §8.1).
pub fn acme_token(order: Digest, index: u8) -> String {
    let token = Digest::tagged("ringfort/acme-token/1", &[&order.0, &[index]]);
    BASE64_URL_SAFE_NO_PAD.encode(token.0)
}

/// The key authorization of RFC 8555 §8.1: `thumbprint` is that of the
/// account's key now.
pub fn acme_key_authorization(token: &str, thumbprint: Digest) -> String {
    format!("{token}.{}", BASE64_URL_SAFE_NO_PAD.encode(thumbprint.0))
}

/// The text of the TXT record that dns-01 asks for (RFC 8555 §8.4).
pub fn acme_dns_text(key_authorization: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Digest::of(&[key_authorization.as_bytes()]).0)
}
