//! Signatures as their makers give them: plain, or wrapped as a passkey wraps
//! what it signs (WebAuthn).
//!
//! A passkey signs no message of the caller's: it signs its authenticator data
//! and the digest of a JSON text in which the caller's challenge stands. Here
//! the challenge is the tagged digest that a plain signature would be made
//! over ([`crate::signed_digest`]), so that one rule of purposes holds for both.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    BadSignature, Digest, PublicKey, Signature,
    limits::{MAX_AUTHENTICATOR_DATA_BYTES, MAX_CLIENT_DATA_BYTES},
    signed_digest,
};

/// Octets of the RP id's hash, the flags and the counter: the least that
/// authenticator data has (WebAuthn §6.1).
const MIN_AUTHENTICATOR_DATA_BYTES: usize = 37;

/// Where the flags stand, after the RP id's hash.
const FLAGS_AT: usize = 32;

/// User present: someone touched the authenticator.
const FLAG_USER_PRESENT: u8 = 0x01;

/// What the client data begins with, byte for byte (WebAuthn §5.8.1.1): the
/// serialisation is fixed so that a verifier needs no JSON parser.
const CLIENT_DATA_BEGINS: &str = r#"{"type":"webauthn.get","challenge":""#;

/// What follows the challenge.
const ORIGIN_BEGINS: &str = r#"","origin":""#;

/// What follows the origin where the page was not embedded in another's;
/// clients of Level 1 leave it out.
const SAME_ORIGIN: &str = r#","crossOrigin":false"#;

/// An assertion of a passkey (WebAuthn §6.3.3) with algorithm ES256.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Assertion {
    /// The authenticator data, as the authenticator made it.
    #[serde(with = "hex::serde")]
    pub authenticator_data: Vec<u8>,
    /// The client data, as the browser serialised it.
    pub client_data: String,
    /// The signature, `r` then `s`, of which `s` is the lower one.
    pub signature: Signature,
}

/// A signature by a key that may be a passkey's.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum AnySignature {
    /// Over the tagged digest itself: keys in memory, TPMs, smart cards.
    Plain(Signature) = 0,
    /// Over authenticator data and client data that hold it.
    WebAuthn(Assertion) = 1,
}

impl From<Signature> for AnySignature {
    fn from(signature: Signature) -> Self {
        Self::Plain(signature)
    }
}

impl AnySignature {
    /// Checks the signature by `key` over `message` for `purpose`.
    ///
    /// Errors: [`BadSignature`], whatever the cause.
    pub fn verify(
        &self,
        key: &PublicKey,
        purpose: &str,
        message: &[u8],
    ) -> Result<(), BadSignature> {
        match self {
            Self::Plain(signature) => key.verify(purpose, message, signature),
            Self::WebAuthn(assertion) => assertion.verify(key, purpose, message),
        }
    }
}

impl Assertion {
    /// WebAuthn §7.2, as far as it concerns a verifier that is no web site:
    /// type, challenge, user presence and signature. The RP id and the origin
    /// are not compared, since a credential belongs to one RP id and its key
    /// signs for no other; a page within another's page is refused.
    fn verify(&self, key: &PublicKey, purpose: &str, message: &[u8]) -> Result<(), BadSignature> {
        let PublicKey::P256(point) = key else {
            return Err(BadSignature);
        };
        let data = &self.authenticator_data;
        let sizes = (MIN_AUTHENTICATOR_DATA_BYTES..=MAX_AUTHENTICATOR_DATA_BYTES)
            .contains(&data.len())
            && self.client_data.len() <= MAX_CLIENT_DATA_BYTES;
        let present = data
            .get(FLAGS_AT)
            .is_some_and(|flags| flags & FLAG_USER_PRESENT != 0);
        let digest = signed_digest(purpose, message);
        if !sizes || !present || !is_client_data_for(&self.client_data, digest) {
            return Err(BadSignature);
        }
        let mut signed = data.clone();
        signed.extend_from_slice(&Digest::of(&[self.client_data.as_bytes()]).0);
        key::verify_p256(point, &signed, &self.signature)
    }
}

/// The limited verification algorithm of WebAuthn §5.8.1.2: the text begins as
/// the serialisation fixes it, up to the end of the origin.
fn is_client_data_for(text: &str, challenge: Digest) -> bool {
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(challenge.0);
    let after_origin = text
        .strip_prefix(CLIENT_DATA_BEGINS)
        .and_then(|rest| rest.strip_prefix(&challenge))
        .and_then(|rest| rest.strip_prefix(ORIGIN_BEGINS))
        .and_then(end_of_string);
    after_origin.is_some_and(|rest| {
        let end = rest.strip_prefix(SAME_ORIGIN).unwrap_or(rest);
        // A later client may add members behind these.
        end == "}" || (end.len() < rest.len() && end.starts_with(',') && end.ends_with('}'))
    })
}

/// What follows the end of the JSON string whose inside `text` begins with.
fn end_of_string(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return text.get(at + 1..),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
