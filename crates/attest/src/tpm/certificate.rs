//! Who vouches that an attestation key is in a TPM, and in which?
//!
//! An enroller: a member whose key the circle lists. It has checked the
//! endorsement key's chain to the TPM's maker and has seen the TPM activate a
//! credential, which only a TPM that holds both keys can do.

use borsh::{BorshDeserialize, BorshSerialize};
use wire::{Digest, Height, PublicKey, Signature, SigningKey};

use super::{AttestationKey, KIND, key::KeyError};
use crate::EvidenceError;

/// The purpose for which an enroller signs.
pub const CERTIFICATE_PURPOSE: &str = "ringfort/tpm-attestation-key/1";

/// Octets of a certificate's label: a host's name fits.
const MAX_LABEL_BYTES: usize = 64;

/// Octets of a `TPM2B_PUBLIC`: an RSA-4096 key fits.
const MAX_PUBLIC_BYTES: usize = 1024;

/// What an enroller says of an attestation key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CertificateBody {
    /// The enroller that signs.
    pub enroller: PublicKey,
    /// The key, a `TPM2B_PUBLIC`.
    pub attestation_key: Vec<u8>,
    /// The machine: a digest of its endorsement key ([`crate::chip_digest`]).
    pub chip: Digest,
    /// The last height at which the certificate holds; none for ever.
    pub not_after: Option<Height>,
    /// The host's name, for people.
    pub label: String,
}

/// An attestation key's certificate.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AttestationKeyCertificate {
    /// What the enroller says.
    pub body: CertificateBody,
    /// Its signature over the encoded body.
    pub signature: Signature,
}

/// Why a key cannot be certified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The label is too long.
    #[error("a certificate's label has at most {MAX_LABEL_BYTES} octets")]
    LabelTooLong,
    /// The key's signatures could not be believed.
    #[error("the key is not certified: {0}")]
    Key(#[from] KeyError),
}

fn encode(body: &CertificateBody) -> Vec<u8> {
    borsh::to_vec(body).expect("a certificate always encodes")
}

/// Certifies `attestation_key` (a `TPM2B_PUBLIC`) under `enroller`. The caller
/// has seen the TPM of `chip` activate a credential for it.
///
/// Units:  `not_after` is the last height at which the certificate holds.
/// Errors: [`CertificateError`].
pub fn certify(
    enroller: &SigningKey,
    attestation_key: &[u8],
    chip: Digest,
    not_after: Option<Height>,
    label: &str,
) -> Result<AttestationKeyCertificate, CertificateError> {
    if label.len() > MAX_LABEL_BYTES {
        return Err(CertificateError::LabelTooLong);
    }
    AttestationKey::from_public(attestation_key)?;
    let body = CertificateBody {
        enroller: enroller.public(),
        attestation_key: attestation_key.to_vec(),
        chip,
        not_after,
        label: label.to_owned(),
    };
    let signature = enroller.sign(CERTIFICATE_PURPOSE, &encode(&body));
    Ok(AttestationKeyCertificate { body, signature })
}

impl AttestationKeyCertificate {
    /// The encoding in which it is kept in a file.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a certificate always encodes")
    }

    /// Reads [`AttestationKeyCertificate::encode`]'s form; nothing is verified.
    ///
    /// Errors: [`EvidenceError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        Self::try_from_slice(bytes).map_err(|error| EvidenceError::Malformed {
            kind: KIND,
            reason: error.to_string(),
        })
    }

    /// Checks who signed it and that it holds at `height`.
    ///
    /// Errors: [`EvidenceError`], the first rule that does not hold.
    pub fn check(
        &self,
        enrollers: &[PublicKey],
        height: Height,
    ) -> Result<&CertificateBody, EvidenceError> {
        let body = &self.body;
        if body.label.len() > MAX_LABEL_BYTES || body.attestation_key.len() > MAX_PUBLIC_BYTES {
            return Err(EvidenceError::Malformed {
                kind: KIND,
                reason: "a part of the certificate is too long".to_owned(),
            });
        }
        if !enrollers.contains(&body.enroller) {
            return Err(EvidenceError::UnknownRoot(KIND));
        }
        body.enroller
            .verify(CERTIFICATE_PURPOSE, &encode(body), &self.signature)
            .map_err(|_| EvidenceError::Signature {
                kind: KIND,
                part: "certificate",
            })?;
        if let Some(not_after) = body.not_after.filter(|last| *last < height) {
            return Err(EvidenceError::Expired { not_after });
        }
        Ok(body)
    }
}
