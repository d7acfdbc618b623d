//! Keys that a TPM makes and keeps.

use aws_lc_rs::digest;
use tpm2_protocol::{
    basic::{TpmBuffer, TpmHandle, TpmUint16, TpmUint32},
    data::{
        Tpm2bDigest, Tpm2bPublic, TpmAlgId, TpmEccCurve, TpmSt, TpmaObject, TpmsEccParms,
        TpmsEccPoint, TpmsRsaParms, TpmsSchemeHash, TpmtEccScheme, TpmtPublic, TpmtSigScheme,
        TpmtSymDefObject, TpmtTkHashcheck, TpmuAsymScheme, TpmuPublicId, TpmuPublicParms,
        TpmuSignature, TpmuSymKeyBits, TpmuSymMode,
    },
    frame::{
        TpmCreatePrimaryCommand, TpmCreatePrimaryResponse, TpmFlushContextCommand,
        TpmFlushContextResponse, TpmNvReadCommand, TpmNvReadPublicCommand, TpmNvReadPublicResponse,
        TpmNvReadResponse, TpmReadPublicCommand, TpmReadPublicResponse, TpmSignCommand,
        TpmSignResponse,
    },
};
use wire::{Digest, PublicKey, Signature};

use super::{
    ENDORSEMENT, OWNER, Tpm, TpmError,
    transport::{empty_authorization, marshal},
};

/// The persistent place of the RSA endorsement key (TCG TPM v2.0 Provisioning
/// Guidance, §7.8).
const RSA_ENDORSEMENT_KEY: u32 = 0x8101_0001;

/// Where its certificate is (TCG EK Credential Profile, §2.2.1.4).
const RSA_ENDORSEMENT_CERTIFICATE: u32 = 0x01C0_0002;

/// The endorsement key's policy: PolicySecret of the endorsement hierarchy
/// (TCG EK Credential Profile, §B.3.3).
const ENDORSEMENT_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A, 0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7, 0x24,
    0xFD, 0x52, 0xD7, 0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B, 0x33, 0x14, 0x69, 0xAA,
];

/// Octets that are read from non-volatile memory at once; every TPM allows it.
const NV_CHUNK: u16 = 512;

/// An endorsement certificate is below this; a longer index is not one.
const MAX_CERTIFICATE_BYTES: u16 = 8 * 1024;

/// A key inside the TPM; flushed by [`Tpm::flush`].
#[derive(Debug)]
pub struct LoadedKey {
    pub(super) handle: TpmHandle,
    /// Its public area, a `TPM2B_PUBLIC`.
    pub public: Vec<u8>,
    /// Whether it stays when it is flushed.
    persistent: bool,
}

/// What a TPM's maker says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorsement {
    /// The maker's certificate of the RSA endorsement key, DER.
    pub certificate: Vec<u8>,
}

fn no_cipher() -> TpmtSymDefObject {
    TpmtSymDefObject {
        algorithm: TpmAlgId::Null,
        key_bits: TpmuSymKeyBits::Null,
        mode: TpmuSymMode::Null,
    }
}

fn aes_128_cfb() -> TpmtSymDefObject {
    TpmtSymDefObject {
        algorithm: TpmAlgId::Aes,
        key_bits: TpmuSymKeyBits::Aes(TpmUint16::from(128u16)),
        mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
    }
}

/// Made in the TPM, fixed to it, used without a password.
fn own_key() -> TpmaObject {
    TpmaObject::FIXED_TPM
        | TpmaObject::FIXED_PARENT
        | TpmaObject::SENSITIVE_DATA_ORIGIN
        | TpmaObject::USER_WITH_AUTH
        | TpmaObject::NO_DA
}

fn p256(
    attributes: TpmaObject,
    symmetric: TpmtSymDefObject,
    signs: bool,
    unique: TpmsEccPoint,
) -> TpmtPublic {
    let scheme = if signs {
        TpmtEccScheme {
            scheme: TpmAlgId::Ecdsa,
            details: TpmuAsymScheme::Hash(TpmsSchemeHash {
                hash_alg: TpmAlgId::Sha256,
            }),
        }
    } else {
        TpmtEccScheme {
            scheme: TpmAlgId::Null,
            details: TpmuAsymScheme::Null,
        }
    };
    TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes: attributes,
        auth_policy: Tpm2bDigest::default(),
        parameters: TpmuPublicParms::Ecc(TpmsEccParms {
            symmetric,
            scheme,
            curve_id: TpmEccCurve::NistP256,
            kdf: Default::default(),
        }),
        unique: TpmuPublicId::Ecc(unique),
    }
}

/// The attestation key: a restricted signing key.
fn attestation_template() -> TpmtPublic {
    let attributes = own_key() | TpmaObject::RESTRICTED | TpmaObject::SIGN_ENCRYPT;
    p256(attributes, no_cipher(), true, TpmsEccPoint::default())
}

/// The storage key beneath which secrets are sealed.
fn storage_template() -> TpmtPublic {
    let attributes = own_key() | TpmaObject::RESTRICTED | TpmaObject::DECRYPT;
    p256(attributes, aes_128_cfb(), false, TpmsEccPoint::default())
}

/// An account's key: `label` tells a TPM's accounts apart.
fn account_template(label: &str) -> Result<TpmtPublic, TpmError> {
    let hash = digest::digest(&digest::SHA256, label.as_bytes());
    let unique = TpmsEccPoint {
        x: TpmBuffer::try_from(hash.as_ref())
            .map_err(|error| TpmError::malformed("a label", error))?,
        y: Default::default(),
    };
    let attributes = own_key() | TpmaObject::SIGN_ENCRYPT;
    Ok(p256(attributes, no_cipher(), true, unique))
}

/// TCG EK Credential Profile, template L-1.
fn endorsement_template() -> Result<TpmtPublic, TpmError> {
    let wrong = |error| TpmError::malformed("the endorsement key's template", error);
    Ok(TpmtPublic {
        object_type: TpmAlgId::Rsa,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::FIXED_TPM
            | TpmaObject::FIXED_PARENT
            | TpmaObject::SENSITIVE_DATA_ORIGIN
            | TpmaObject::ADMIN_WITH_POLICY
            | TpmaObject::RESTRICTED
            | TpmaObject::DECRYPT,
        auth_policy: TpmBuffer::try_from(&ENDORSEMENT_POLICY[..]).map_err(wrong)?,
        parameters: TpmuPublicParms::Rsa(TpmsRsaParms {
            symmetric: aes_128_cfb(),
            scheme: Default::default(),
            key_bits: TpmUint16::from(2048u16),
            exponent: TpmUint32::from(0u32),
        }),
        unique: TpmuPublicId::Rsa(TpmBuffer::try_from(&[0u8; 256][..]).map_err(wrong)?),
    })
}

impl Tpm {
    fn create_primary(
        &mut self,
        hierarchy: u32,
        template: TpmtPublic,
    ) -> Result<LoadedKey, TpmError> {
        let command = TpmCreatePrimaryCommand {
            handles: [TpmUint32::from(hierarchy)],
            in_sensitive: Default::default(),
            in_public: Tpm2bPublic { inner: template },
            outside_info: Default::default(),
            creation_pcr: Default::default(),
        };
        let made: TpmCreatePrimaryResponse = self.command(&command, &[empty_authorization()])?;
        Ok(LoadedKey {
            handle: made.handles[0],
            public: marshal(&made.out_public)?,
            persistent: false,
        })
    }

    /// The attestation key, in the endorsement hierarchy: the same key each
    /// time until the TPM is given to another owner.
    ///
    /// Errors: [`TpmError`].
    pub fn attestation_key(&mut self) -> Result<LoadedKey, TpmError> {
        self.create_primary(ENDORSEMENT, attestation_template())
    }

    /// The storage key, in the owner's hierarchy.
    ///
    /// Errors: [`TpmError`].
    pub fn storage_key(&mut self) -> Result<LoadedKey, TpmError> {
        self.create_primary(OWNER, storage_template())
    }

    /// The endorsement key: where its maker left it, or made again.
    ///
    /// Errors: [`TpmError`].
    pub fn endorsement_key(&mut self) -> Result<LoadedKey, TpmError> {
        let handle = TpmUint32::from(RSA_ENDORSEMENT_KEY);
        let command = TpmReadPublicCommand { handles: [handle] };
        match self.command::<_, TpmReadPublicResponse>(&command, &[]) {
            Ok(read) => Ok(LoadedKey {
                handle,
                public: marshal(&read.out_public)?,
                persistent: true,
            }),
            Err(TpmError::Refused { .. }) => {
                self.create_primary(ENDORSEMENT, endorsement_template()?)
            }
            Err(error) => Err(error),
        }
    }

    /// The maker's certificate of the endorsement key.
    ///
    /// Errors: [`TpmError::Refused`] if the TPM has none.
    pub fn endorsement(&mut self) -> Result<Endorsement, TpmError> {
        let bytes = self.read_memory(RSA_ENDORSEMENT_CERTIFICATE)?;
        // The index may be longer than the certificate: a DER SEQUENCE says
        // how long it is.
        let length = match bytes.get(..4) {
            Some([0x30, 0x82, high, low]) => 4 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => bytes.len(),
        };
        Ok(Endorsement {
            certificate: bytes[..length.min(bytes.len())].to_vec(),
        })
    }

    fn read_memory(&mut self, index: u32) -> Result<Vec<u8>, TpmError> {
        let index = TpmUint32::from(index);
        let command = TpmNvReadPublicCommand { handles: [index] };
        let public: TpmNvReadPublicResponse = self.command(&command, &[])?;
        let size = public.nv_public.inner.data_size.value();
        if size > MAX_CERTIFICATE_BYTES {
            return Err(TpmError::malformed("an index", "too large"));
        }
        let mut bytes = Vec::with_capacity(usize::from(size));
        let mut offset = 0;
        while offset < size {
            let command = TpmNvReadCommand {
                handles: [index, index],
                size: TpmUint16::from(NV_CHUNK.min(size - offset)),
                offset: TpmUint16::from(offset),
            };
            let part: TpmNvReadResponse = self.command(&command, &[empty_authorization()])?;
            if part.data.is_empty() {
                return Err(TpmError::malformed("an index", "shorter than it says"));
            }
            bytes.extend_from_slice(&part.data);
            offset = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        }
        Ok(bytes)
    }

    /// Frees a key's place in the TPM.
    ///
    /// Errors: [`TpmError`].
    pub fn flush(&mut self, key: LoadedKey) -> Result<(), TpmError> {
        if key.persistent {
            return Ok(());
        }
        self.flush_handle(key.handle)
    }

    pub(super) fn flush_handle(&mut self, handle: TpmHandle) -> Result<(), TpmError> {
        let command = TpmFlushContextCommand {
            flush_handle: handle,
            handles: [],
        };
        self.command::<_, TpmFlushContextResponse>(&command, &[])?;
        Ok(())
    }

    /// The account key called `label`: the same each time, never outside.
    ///
    /// Errors: [`TpmError`].
    pub fn account_key(&mut self, label: &str) -> Result<AccountKey, TpmError> {
        let key = self.create_primary(OWNER, account_template(label)?)?;
        let public = public_of(&key)?;
        Ok(AccountKey { key, public })
    }
}

/// An account's P-256 key inside a TPM.
#[derive(Debug)]
pub struct AccountKey {
    key: LoadedKey,
    public: PublicKey,
}

/// A P-256 key as transactions name it: the compressed point.
fn public_of(key: &LoadedKey) -> Result<PublicKey, TpmError> {
    use tpm2_protocol::TpmUnmarshal as _;
    let wrong = |reason: &str| TpmError::malformed("an account's key", reason);
    let (public, _) = Tpm2bPublic::unmarshal(&key.public)
        .map_err(|error| TpmError::malformed("an account's key", error))?;
    let TpmuPublicId::Ecc(point) = public.inner.unique else {
        return Err(wrong("not on a curve"));
    };
    let mut compressed = [0u8; 33];
    let start = 33usize
        .checked_sub(point.x.len())
        .filter(|start| *start > 0)
        .ok_or_else(|| wrong("a coordinate is too long"))?;
    compressed[start..].copy_from_slice(&point.x);
    compressed[0] = 2 + (point.y.last().copied().unwrap_or(0) & 1);
    Ok(PublicKey::P256(compressed))
}

impl AccountKey {
    /// The account's public key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `message` for `purpose`, as [`wire::SigningKey::sign`] does.
    ///
    /// Errors: [`TpmError`].
    pub fn sign(
        &self,
        tpm: &mut Tpm,
        purpose: &str,
        message: &[u8],
    ) -> Result<Signature, TpmError> {
        self.sign_challenge(tpm, wire::signed_digest(purpose, message))
    }

    /// Signs what is to be signed elsewhere: a digest that already names its
    /// purpose, such as a prepared transaction's challenge.
    ///
    /// Errors: [`TpmError`].
    pub fn sign_challenge(&self, tpm: &mut Tpm, challenge: Digest) -> Result<Signature, TpmError> {
        self.sign_octets(tpm, &challenge.0)
    }

    /// ECDSA over SHA-256 of `octets` as they are, for protocols of others, such
    /// as TLS.
    ///
    /// Errors: [`TpmError`].
    pub fn sign_octets(&self, tpm: &mut Tpm, octets: &[u8]) -> Result<Signature, TpmError> {
        let hash = digest::digest(&digest::SHA256, octets);
        let command = TpmSignCommand {
            handles: [self.key.handle],
            digest: TpmBuffer::try_from(hash.as_ref())
                .map_err(|error| TpmError::malformed("a digest", error))?,
            in_scheme: TpmtSigScheme::default(),
            // The empty ticket: an unrestricted key signs any digest.
            validation: TpmtTkHashcheck {
                tag: TpmSt::HashCheck,
                ..TpmtTkHashcheck::default()
            },
        };
        let signed: TpmSignResponse = tpm.command(&command, &[empty_authorization()])?;
        let TpmuSignature::Ecdsa(pair) = signed.signature.signature else {
            return Err(TpmError::malformed("a signature", "not ECDSA"));
        };
        let mut scalars = [0u8; 64];
        for (half, scalar) in scalars
            .chunks_mut(32)
            .zip([&pair.signature_r, &pair.signature_s])
        {
            let start = 32usize
                .checked_sub(scalar.len())
                .ok_or_else(|| TpmError::malformed("a signature", "a number is too long"))?;
            half[start..].copy_from_slice(scalar);
        }
        Signature::from_p256(scalars)
            .ok_or_else(|| TpmError::malformed("a signature", "not of the curve"))
    }

    /// As [`AccountKey::flush`], of a key that somebody else still holds: it signs
    /// no more.
    ///
    /// Errors: [`TpmError`].
    pub fn release(&self, tpm: &mut Tpm) -> Result<(), TpmError> {
        tpm.flush_handle(self.key.handle)
    }

    /// Frees the key's place in the TPM; it can be made again.
    ///
    /// Errors: [`TpmError`].
    pub fn flush(self, tpm: &mut Tpm) -> Result<(), TpmError> {
        tpm.flush(self.key)
    }
}
