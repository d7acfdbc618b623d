//! JSON Web Signatures as ACME uses them (RFC 7515, RFC 8555 §6.2): the
//! flattened form, decoded within bounds; every signature is checked by the
//! cryptographic library.

use aws_lc_rs::{
    hmac,
    signature::{
        self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519,
        RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wire::Digest;

/// The longest body: a request for sixteen names by an RSA key of 4096 bits,
/// in base64 within base64, is below 16 KiB.
pub const MAX_BODY_BYTES: usize = 32 * 1024;

/// The longest RSA modulus, octets: beyond, verifying is an attack.
const MAX_RSA_BYTES: usize = 512;

/// The longest protected header, octets.
const MAX_HEADER_BYTES: usize = 4 * 1024;

/// Why a signed message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoseError {
    /// Not a flattened JWS with what ACME asks for.
    #[error("the body is no JWS as RFC 8555 §6.2 asks for: {0}")]
    Malformed(&'static str),
    /// An algorithm that is not taken, or not with this key.
    #[error("the algorithm is not one of ES256, ES384, EdDSA and RS256, or not the key's")]
    Algorithm,
    /// A key that is not taken.
    #[error("the key is not EC on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits")]
    Key,
    /// The signature does not fit.
    #[error("the signature does not verify")]
    Signature,
}

/// The algorithms that are taken.
pub const ALGORITHMS: [&str; 4] = ["ES256", "ES384", "EdDSA", "RS256"];

/// A public key (RFC 7517), within bounds; other members are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kty")]
pub enum Jwk {
    /// An elliptic curve.
    #[serde(rename = "EC")]
    Ec {
        /// `P-256` or `P-384`.
        crv: String,
        /// Coordinate, base64url.
        x: String,
        /// Coordinate, base64url.
        y: String,
    },
    /// An Edwards curve (RFC 8037).
    #[serde(rename = "OKP")]
    Okp {
        /// `Ed25519`.
        crv: String,
        /// The key, base64url.
        x: String,
    },
    /// RSA.
    #[serde(rename = "RSA")]
    Rsa {
        /// Modulus, base64url.
        n: String,
        /// Exponent, base64url.
        e: String,
    },
}

/// Base64url without padding, in the one form (RFC 7515 §2).
///
/// Errors: [`JoseError::Malformed`].
pub fn decode(text: &str) -> Result<Vec<u8>, JoseError> {
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| JoseError::Malformed("base64url"))
}

/// Base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Jwk {
    /// The key of an uncompressed point (SEC 1) on P-256 or P-384.
    pub fn of_point(point: &[u8]) -> Option<Self> {
        let (crv, size) = match point.len() {
            65 => ("P-256", 32),
            97 => ("P-384", 48),
            _ => return None,
        };
        Some(Self::Ec {
            crv: crv.to_owned(),
            x: encode(&point[1..=size]),
            y: encode(&point[size + 1..]),
        })
    }

    /// The canonical form of RFC 7638 §3: only the members that make the key,
    /// in lexicographic order, each in the one form of base64url.
    ///
    /// Errors: [`JoseError::Key`].
    pub fn canonical(&self) -> Result<String, JoseError> {
        let fixed = |text: &str, size: usize| match decode(text) {
            Ok(bytes) if bytes.len() == size => Ok(encode(&bytes)),
            _ => Err(JoseError::Key),
        };
        match self {
            Self::Ec { crv, x, y } => {
                let size = match crv.as_str() {
                    "P-256" => 32,
                    "P-384" => 48,
                    _ => return Err(JoseError::Key),
                };
                let (x, y) = (fixed(x, size)?, fixed(y, size)?);
                Ok(format!(
                    r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#
                ))
            }
            Self::Okp { crv, x } => {
                if crv != "Ed25519" {
                    return Err(JoseError::Key);
                }
                let x = fixed(x, 32)?;
                Ok(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#))
            }
            Self::Rsa { n, e } => {
                let (n, e) = rsa(n, e)?;
                let (n, e) = (encode(&n), encode(&e));
                Ok(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#))
            }
        }
    }

    /// SHA-256 of the canonical form: the thumbprint of RFC 7638.
    ///
    /// Errors: [`JoseError::Key`].
    pub fn thumbprint(&self) -> Result<Digest, JoseError> {
        Ok(Digest::of(&[self.canonical()?.as_bytes()]))
    }

    /// Checks a signature over `message`.
    ///
    /// Errors: [`JoseError`].
    pub fn verify(&self, algorithm: &str, message: &[u8], tag: &[u8]) -> Result<(), JoseError> {
        let check = |scheme: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(scheme, key)
                .verify(message, tag)
                .map_err(|_| JoseError::Signature)
        };
        match (self, algorithm) {
            (Self::Ec { crv, x, y }, "ES256") if crv == "P-256" => {
                check(&ECDSA_P256_SHA256_FIXED, &point(x, y)?)
            }
            (Self::Ec { crv, x, y }, "ES384") if crv == "P-384" => {
                check(&ECDSA_P384_SHA384_FIXED, &point(x, y)?)
            }
            (Self::Okp { crv, x }, "EdDSA") if crv == "Ed25519" => check(&ED25519, &decode(x)?),
            (Self::Rsa { n, e }, "RS256") => {
                let (n, e) = rsa(n, e)?;
                RsaPublicKeyComponents { n, e }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, tag)
                    .map_err(|_| JoseError::Signature)
            }
            _ => Err(JoseError::Algorithm),
        }
    }
}

fn point(x: &str, y: &str) -> Result<Vec<u8>, JoseError> {
    let mut point = vec![4];
    point.extend(decode(x)?);
    point.extend(decode(y)?);
    Ok(point)
}

/// Modulus and exponent without leading zeros, within bounds.
fn rsa(n: &str, e: &str) -> Result<(Vec<u8>, Vec<u8>), JoseError> {
    let shortest = |text: &str| {
        let bytes = decode(text).map_err(|_| JoseError::Key)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok(bytes[zeros..].to_vec())
    };
    let (n, e) = (shortest(n)?, shortest(e)?);
    let fits = (256..=MAX_RSA_BYTES).contains(&n.len()) && (1..=4).contains(&e.len());
    if fits {
        Ok((n, e))
    } else {
        Err(JoseError::Key)
    }
}

/// The protected header (RFC 8555 §6.2).
#[derive(Clone, Debug, Deserialize)]
pub struct Header {
    /// The algorithm.
    pub alg: String,
    /// The anti-replay nonce.
    pub nonce: Option<String>,
    /// The URL that the message is for.
    pub url: String,
    /// The key, of messages without an account.
    pub jwk: Option<Jwk>,
    /// The account's URL, or the id of a credential.
    pub kid: Option<String>,
    /// Extensions that must be understood; none is (RFC 7515 §4.1.11).
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flattened {
    protected: String,
    payload: String,
    signature: String,
}

/// A message whose signature has not been checked.
#[derive(Clone, Debug)]
pub struct Message {
    /// The protected header.
    pub header: Header,
    signed: String,
    signature: Vec<u8>,
    payload: Vec<u8>,
}

impl Message {
    /// Reads a flattened JWS.
    ///
    /// Errors: [`JoseError::Malformed`], [`JoseError::Algorithm`].
    pub fn parse(body: &[u8]) -> Result<Self, JoseError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(JoseError::Malformed("over its limit"));
        }
        let flattened: Flattened = serde_json::from_slice(body)
            .map_err(|_| JoseError::Malformed("not the flattened form"))?;
        let header = decode(&flattened.protected)?;
        if header.len() > MAX_HEADER_BYTES {
            return Err(JoseError::Malformed("a header over its limit"));
        }
        let header: Header = serde_json::from_slice(&header)
            .map_err(|_| JoseError::Malformed("the protected header"))?;
        if header.crit.is_some() {
            return Err(JoseError::Malformed("an extension is critical"));
        }
        if header.jwk.is_some() == header.kid.is_some() {
            return Err(JoseError::Malformed("one of jwk and kid is needed"));
        }
        Ok(Self {
            signature: decode(&flattened.signature)?,
            payload: decode(&flattened.payload)?,
            signed: format!("{}.{}", flattened.protected, flattened.payload),
            header,
        })
    }

    /// The payload, once the signature by `key` holds.
    ///
    /// Errors: [`JoseError`].
    pub fn verify(&self, key: &Jwk) -> Result<&[u8], JoseError> {
        if !ALGORITHMS.contains(&self.header.alg.as_str()) {
            return Err(JoseError::Algorithm);
        }
        key.canonical()?;
        key.verify(&self.header.alg, self.signed.as_bytes(), &self.signature)?;
        Ok(&self.payload)
    }

    /// The payload, once the MAC by `key` holds (RFC 8555 §7.3.4).
    ///
    /// Errors: [`JoseError`].
    pub fn verify_mac(&self, key: &[u8]) -> Result<&[u8], JoseError> {
        if self.header.alg != "HS256" {
            return Err(JoseError::Algorithm);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::verify(&key, self.signed.as_bytes(), &self.signature)
            .map_err(|_| JoseError::Signature)?;
        Ok(&self.payload)
    }
}

/// A payload's JSON.
///
/// Errors: [`JoseError::Malformed`].
pub fn json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, JoseError> {
    serde_json::from_slice(payload).map_err(|_| JoseError::Malformed("the payload"))
}
