//! Is a TPM key one whose signatures over registers can be believed?
//!
//! A *restricted* signing key that was made in its TPM and cannot leave it
//! signs only what the TPM made itself (TPM 2.0 Library, part 1, §27.2).

use aws_lc_rs::{
    digest,
    signature::{
        ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};
use tpm2_protocol::{
    TpmUnmarshal as _,
    data::{
        Tpm2bPublic, TpmAlgId, TpmEccCurve, TpmaObject, TpmtPublic, TpmtSignature, TpmuAsymScheme,
        TpmuPublicId, TpmuPublicParms, TpmuSignature,
    },
};

/// The exponent that a TPM's RSA key has when it states none (part 2, §12.2.3.5).
const DEFAULT_EXPONENT: u32 = 65_537;

/// Octets of a P-256 coordinate or scalar.
const P256_BYTES: usize = 32;

/// An attestation key's public part, of a kind that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationKey {
    public: PublicPart,
    name: [u8; 34],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PublicPart {
    /// SEC 1, uncompressed.
    P256([u8; 1 + 2 * P256_BYTES]),
    Rsa {
        modulus: Vec<u8>,
        exponent: u32,
    },
}

/// Why a key is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not one `TPM2B_PUBLIC`.
    #[error("not a TPM's public area: {0}")]
    Malformed(String),
    /// It could sign what its TPM did not make, or leave its TPM.
    #[error("not a restricted signing key that is fixed to its TPM")]
    Attributes,
    /// Neither ECDSA over P-256 nor RSASSA of 2048 bits or more, with SHA-256.
    #[error("an algorithm that is not used here for attestation")]
    Algorithm,
}

fn right_aligned(number: &[u8]) -> Option<[u8; P256_BYTES]> {
    let mut aligned = [0; P256_BYTES];
    let start = P256_BYTES.checked_sub(number.len())?;
    aligned[start..].copy_from_slice(number);
    Some(aligned)
}

impl AttestationKey {
    /// Reads a `TPM2B_PUBLIC` and checks that it is a restricted signing key,
    /// made in its TPM and fixed to it.
    ///
    /// Errors: [`KeyError`].
    pub fn from_public(bytes: &[u8]) -> Result<Self, KeyError> {
        let (public, rest) = Tpm2bPublic::unmarshal(bytes)
            .map_err(|error| KeyError::Malformed(format!("{error:?}")))?;
        if !rest.is_empty() || bytes.len() < 2 {
            return Err(KeyError::Malformed("bytes follow it".to_owned()));
        }
        let public: TpmtPublic = public.inner;
        let wanted = TpmaObject::FIXED_TPM
            | TpmaObject::FIXED_PARENT
            | TpmaObject::SENSITIVE_DATA_ORIGIN
            | TpmaObject::RESTRICTED
            | TpmaObject::SIGN_ENCRYPT;
        if !public.object_attributes.contains(wanted)
            || public.object_attributes.contains(TpmaObject::DECRYPT)
        {
            return Err(KeyError::Attributes);
        }
        if public.name_alg != TpmAlgId::Sha256 {
            return Err(KeyError::Algorithm);
        }
        let mut name = [0; 34];
        name[..2].copy_from_slice(&(TpmAlgId::Sha256 as u16).to_be_bytes());
        name[2..].copy_from_slice(digest::digest(&digest::SHA256, &bytes[2..]).as_ref());
        Ok(Self {
            public: public_part(&public).ok_or(KeyError::Algorithm)?,
            name,
        })
    }

    /// The key's name: the algorithm's number and the digest of the public
    /// area (part 1, §16).
    pub fn name(&self) -> &[u8; 34] {
        &self.name
    }

    /// Whether `signature` (a `TPMT_SIGNATURE`) is this key's over `message`.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok((signature, [])) = TpmtSignature::unmarshal(signature) else {
            return false;
        };
        match (&self.public, signature.signature) {
            (PublicPart::P256(point), TpmuSignature::Ecdsa(pair)) => {
                let (Some(r), Some(s)) = (
                    right_aligned(&pair.signature_r),
                    right_aligned(&pair.signature_s),
                ) else {
                    return false;
                };
                pair.hash == TpmAlgId::Sha256
                    && UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                        .verify(message, &[r, s].concat())
                        .is_ok()
            }
            (PublicPart::Rsa { modulus, exponent }, TpmuSignature::Rsassa(rsa)) => {
                // The library takes a number in its least octets.
                let octets = exponent.to_be_bytes();
                let zeros = octets.iter().take_while(|octet| **octet == 0).count();
                let key = RsaPublicKeyComponents {
                    n: modulus.as_slice(),
                    e: &octets[zeros..],
                };
                rsa.hash == TpmAlgId::Sha256
                    && key
                        .verify(&RSA_PKCS1_2048_8192_SHA256, message, &rsa.sig)
                        .is_ok()
            }
            _ => false,
        }
    }
}

fn public_part(public: &TpmtPublic) -> Option<PublicPart> {
    match (&public.parameters, &public.unique) {
        (TpmuPublicParms::Ecc(parameters), TpmuPublicId::Ecc(point)) => {
            let hashed = matches!(
                &parameters.scheme.details,
                TpmuAsymScheme::Hash(scheme) if scheme.hash_alg == TpmAlgId::Sha256
            );
            if parameters.curve_id != TpmEccCurve::NistP256
                || parameters.scheme.scheme != TpmAlgId::Ecdsa
                || !hashed
            {
                return None;
            }
            let mut encoded = [0x04; 1 + 2 * P256_BYTES];
            encoded[1..=P256_BYTES].copy_from_slice(&right_aligned(&point.x)?);
            encoded[1 + P256_BYTES..].copy_from_slice(&right_aligned(&point.y)?);
            Some(PublicPart::P256(encoded))
        }
        (TpmuPublicParms::Rsa(parameters), TpmuPublicId::Rsa(modulus)) => {
            let hashed = matches!(
                &parameters.scheme.details,
                TpmuAsymScheme::Hash(scheme) if scheme.hash_alg == TpmAlgId::Sha256
            );
            if parameters.scheme.scheme != TpmAlgId::Rsassa || !hashed {
                return None;
            }
            let exponent = match parameters.exponent.value() {
                0 => DEFAULT_EXPONENT,
                exponent => exponent,
            };
            Some(PublicPart::Rsa {
                modulus: modulus.to_vec(),
                exponent,
            })
        }
        _ => None,
    }
}
