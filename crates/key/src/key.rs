//! Public keys, signatures and the one way a message is signed.
//!
//! A key is Ed25519, or P-256 so that it may live in a TPM, a smart card or a
//! passkey. What is signed is always a tagged digest, so that a signature made
//! for one purpose means nothing for another.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use serde::{Deserialize, Serialize};

use crate::{AccountId, Digest};

/// A public key.
///
/// Shape: Ed25519 is the 32-byte encoding of RFC 8032; P-256 is the 33-byte
///        compressed point of SEC 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum PublicKey {
    /// RFC 8032, verified by the rules of ZIP 215.
    Ed25519([u8; 32]),
    /// ECDSA over P-256 with SHA-256; the signature's `s` is the lower one.
    P256([u8; 33]),
}

/// A signature: 64 bytes under either algorithm (for P-256, `r` then `s`).
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signature(#[serde(with = "hex::serde")] pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(&self.0[..4]))
    }
}

impl Signature {
    /// The signature that a P-256 key outside this process made: `r` and `s`,
    /// brought to the lower `s`.
    ///
    /// Returns none for numbers that are zero or not below the group's order.
    pub fn from_p256(scalars: [u8; 64]) -> Option<Self> {
        let parsed = p256::ecdsa::Signature::from_slice(&scalars).ok()?;
        Some(Self(parsed.normalize_s().to_bytes().into()))
    }
}

/// The signature does not fit key and message, or the key is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// The text is not `ed25519:` or `p256:` followed by the key in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public key is written ed25519:HEX (64 digits) or p256:HEX (66 digits)")]
pub struct ParseKeyError;

/// The digest that is signed for `purpose`: what a key outside this process (a
/// TPM's, a smart card's) is handed. P-256 signs its SHA-256.
pub fn signed_digest(purpose: &str, message: &[u8]) -> Digest {
    Digest::tagged(purpose, &[message])
}

impl PublicKey {
    /// The account that this key controls.
    pub fn account(&self) -> AccountId {
        let bytes = borsh::to_vec(self).expect("a key always encodes");
        AccountId(Digest::tagged("ringfort/account/1", &[&bytes]).0)
    }

    /// The key's bytes without its algorithm.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(bytes) => bytes,
            Self::P256(bytes) => bytes,
        }
    }

    /// Checks `signature` over `message` for `purpose`.
    ///
    /// Errors: [`BadSignature`], whatever the cause; a malformed key verifies nothing.
    pub fn verify(
        &self,
        purpose: &str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        let digest = signed_digest(purpose, message);
        match self {
            Self::Ed25519(bytes) => ed25519_zebra::VerificationKey::try_from(*bytes)
                .and_then(|key| key.verify(&ed25519_zebra::Signature::from(signature.0), &digest.0))
                .map_err(|_| BadSignature),
            Self::P256(bytes) => verify_p256(bytes, &digest.0, signature),
        }
    }
}

impl PublicKey {
    /// The number of the key's algorithm among DNSSEC's, and the key as DNSKEY
    /// and KEY records hold it (RFC 6605 §4, RFC 8080 §3); none for bytes that
    /// are no point of the curve.
    pub fn dns_form(&self) -> Option<(u8, Vec<u8>)> {
        match self {
            Self::Ed25519(bytes) => Some((15, bytes.to_vec())),
            Self::P256(bytes) => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes).ok()?;
                // Without the octet that says that both coordinates follow.
                Some((13, key.to_sec1_point(false).as_bytes()[1..].to_vec()))
            }
        }
    }

    /// Checks a signature over the octets as they are, without a purpose: for
    /// protocols of others, whose octets nothing here ever signs (what is signed
    /// for a purpose has 32). Either `s` of P-256 will do.
    ///
    /// Errors: [`BadSignature`], whatever the cause.
    pub fn verify_octets(&self, octets: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        if octets.len() == size_of::<Digest>() {
            return Err(BadSignature);
        }
        match self {
            Self::Ed25519(bytes) => ed25519_zebra::VerificationKey::try_from(*bytes)
                .and_then(|key| key.verify(&ed25519_zebra::Signature::from(signature.0), octets))
                .map_err(|_| BadSignature),
            Self::P256(bytes) => {
                let signature = Signature::from_p256(signature.0).ok_or(BadSignature)?;
                verify_p256(bytes, octets, &signature)
            }
        }
    }
}

/// Checks ECDSA over P-256 with SHA-256 of `message`.
///
/// Errors: [`BadSignature`], also for the upper `s`: it would give one message
///         two valid encodings. Whoever holds a signature can bring it to the
///         lower one ([`Signature::from_p256_der`]); the key is not needed.
pub fn verify_p256(
    point: &[u8; 33],
    message: &[u8],
    signature: &Signature,
) -> Result<(), BadSignature> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| BadSignature)?;
    let parsed = p256::ecdsa::Signature::from_slice(&signature.0).map_err(|_| BadSignature)?;
    if parsed.normalize_s() != parsed {
        return Err(BadSignature);
    }
    key.verify(message, &parsed).map_err(|_| BadSignature)
}

impl Signature {
    /// A P-256 signature from the DER form that TPMs, smart cards and passkeys
    /// give, brought to the lower `s`.
    ///
    /// Errors: [`BadSignature`] if it is not the DER of two numbers in range.
    pub fn from_p256_der(der: &[u8]) -> Result<Self, BadSignature> {
        let parsed = p256::ecdsa::Signature::from_der(der).map_err(|_| BadSignature)?;
        Ok(Self(parsed.normalize_s().to_bytes().into()))
    }

    /// A P-256 signature in the DER form that TLS and X.509 have; none for
    /// numbers out of range.
    pub fn to_p256_der(&self) -> Option<Vec<u8>> {
        let parsed = p256::ecdsa::Signature::from_slice(&self.0).ok()?;
        Some(parsed.to_der().as_bytes().to_vec())
    }
}

impl PublicKey {
    /// The P-256 key of an uncompressed or compressed point of SEC 1.
    ///
    /// Errors: [`ParseKeyError`] if it is no point of the curve.
    pub fn from_p256_point(point: &[u8]) -> Result<Self, ParseKeyError> {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| ParseKeyError)?;
        let compressed = key.to_sec1_point(true);
        let bytes = compressed
            .as_bytes()
            .try_into()
            .map_err(|_| ParseKeyError)?;
        Ok(Self::P256(bytes))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519(bytes) => write!(f, "ed25519:{}", hex::encode(bytes)),
            Self::P256(bytes) => write!(f, "p256:{}", hex::encode(bytes)),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let (algorithm, digits) = text.split_once(':').ok_or(ParseKeyError)?;
        let bytes = hex::decode(digits).map_err(|_| ParseKeyError)?;
        match algorithm {
            "ed25519" => bytes
                .try_into()
                .map(Self::Ed25519)
                .map_err(|_| ParseKeyError),
            "p256" => bytes.try_into().map(Self::P256).map_err(|_| ParseKeyError),
            _ => Err(ParseKeyError),
        }
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A private key held in this process's memory.
///
/// Where the memory needs more protection than that of an ordinary process,
/// the holder keeps the seed elsewhere and makes one of these for each use.
pub enum SigningKey {
    /// RFC 8032.
    Ed25519(Box<ed25519_zebra::SigningKey>),
    /// ECDSA over P-256.
    P256(Box<p256::ecdsa::SigningKey>),
}

impl SigningKey {
    /// The Ed25519 key of a 32-byte seed.
    pub fn ed25519(seed: [u8; 32]) -> Self {
        Self::Ed25519(Box::new(ed25519_zebra::SigningKey::from(seed)))
    }

    /// The P-256 key of a 32-byte scalar.
    ///
    /// Errors: none is given for a scalar that is zero or not below the
    /// group's order; the caller draws another.
    pub fn p256(scalar: [u8; 32]) -> Option<Self> {
        p256::ecdsa::SigningKey::from_slice(&scalar)
            .ok()
            .map(|key| Self::P256(Box::new(key)))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => {
                PublicKey::Ed25519(ed25519_zebra::VerificationKey::from(&**key).into())
            }
            Self::P256(key) => {
                let point = key.verifying_key().to_sec1_point(true);
                let bytes = point
                    .as_bytes()
                    .try_into()
                    .expect("a compressed point is 33 bytes");
                PublicKey::P256(bytes)
            }
        }
    }

    /// Signs `message` for `purpose`; deterministic under both algorithms.
    pub fn sign(&self, purpose: &str, message: &[u8]) -> Signature {
        let digest = signed_digest(purpose, message);
        match self {
            Self::Ed25519(key) => Signature(key.sign(&digest.0).into()),
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(&digest.0);
                Signature(signature.normalize_s().to_bytes().into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    fn keys() -> [SigningKey; 2] {
        [
            SigningKey::ed25519([7; 32]),
            SigningKey::p256([9; 32]).unwrap(),
        ]
    }

    #[test]
    fn a_signature_holds_for_its_key_purpose_and_message_only() {
        for key in keys() {
            let signature = key.sign("a", b"message");
            let public = key.public();
            assert_eq!(public.verify("a", b"message", &signature), Ok(()));
            assert_eq!(
                public.verify("b", b"message", &signature),
                Err(BadSignature)
            );
            assert_eq!(
                public.verify("a", b"massage", &signature),
                Err(BadSignature)
            );
            let mut changed = signature;
            changed.0[40] ^= 1;
            assert_eq!(public.verify("a", b"message", &changed), Err(BadSignature));
        }
    }

    #[test]
    fn refuses_the_upper_s_of_a_p256_signature() {
        let key = SigningKey::p256([9; 32]).unwrap();
        let signature = key.sign("a", b"message");
        let parsed = p256::ecdsa::Signature::from_slice(&signature.0).unwrap();
        let (r, s) = parsed.split_scalars();
        let upper = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
        let upper = Signature(upper.to_bytes().into());
        assert_eq!(
            key.public().verify("a", b"message", &upper),
            Err(BadSignature)
        );
    }

    #[test]
    fn a_public_key_survives_its_text_form() {
        for key in keys() {
            let public = key.public();
            assert_eq!(public.to_string().parse(), Ok(public));
        }
        for bad in ["", "ed25519", "ed25519:00", "rsa:00", "p256:zz"] {
            assert_eq!(bad.parse::<PublicKey>(), Err(ParseKeyError));
        }
    }
}
