//! How does anyone encrypt to a label, with the master public key alone?
//!
//! Boneh and Franklin's identity-based encryption with the Fujisaki-Okamoto
//! transform, from the library (its `tle`), carries a fresh 32-byte key to the
//! label; AES-256-GCM under a key derived from it carries the data. The identity
//! is the label's bytes under the namespace of labels, so what opens the
//! message is the label's key and no other signature. The derivation binds the
//! label and the key's capsule; the key is used once, so the nonce is zero.
//!
//! It says nothing of who encrypted.

use aws_lc_rs::{aead, hkdf};
use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_cryptography::bls12381::{
    primitives::{
        group::{G1, G2},
        variant::MinSig,
    },
    tle::{self, Block, Ciphertext},
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    committee::MasterKey,
    label::{LabelKey, NAMESPACE},
};

/// The capsule: a G2 point and two blocks.
const CAPSULE_BYTES: usize = 96 + 32 + 32;

/// What encryption adds: the capsule and the tag.
pub const ENCRYPTION_OVERHEAD: usize = CAPSULE_BYTES + 16;

/// A message to a label: keys and configurations; more is encrypted under a key
/// that is in the message.
pub const MAX_ENCRYPTED_BYTES: usize = 64 * 1024;

/// Why a message is not encrypted or does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionError {
    /// Over [`MAX_ENCRYPTED_BYTES`] when encrypted.
    #[error("a message to a label has at most {MAX_ENCRYPTED_BYTES} bytes when encrypted")]
    TooLarge,
    /// The master key is no point of G2.
    #[error("the master public key is none")]
    BadKey,
    /// Not encrypted to this label under this master key, or changed.
    #[error("the message is not encrypted to this label")]
    NotAuthentic,
}

/// Encrypts `plain` to `label` under `master`.
///
/// Shape:  the capsule, then the ciphertext and its tag; [`ENCRYPTION_OVERHEAD`]
///         longer than `plain`.
/// Errors: [`EncryptionError::TooLarge`], [`EncryptionError::BadKey`].
pub fn encrypt(
    master: &MasterKey,
    label: &[u8],
    plain: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, EncryptionError> {
    if plain.len() > MAX_ENCRYPTED_BYTES - ENCRYPTION_OVERHEAD {
        return Err(EncryptionError::TooLarge);
    }
    let master = G2::decode(Copying(&master[..])).map_err(|_| EncryptionError::BadKey)?;
    let mut fresh = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut fresh[..]);
    let key = Zeroizing::new(Block::new(*fresh));
    let capsule = tle::encrypt::<_, MinSig>(rng, master, (NAMESPACE, label), &key)
        .map_err(|_| EncryptionError::BadKey)?;
    let mut message = capsule.encode().to_vec();
    let mut body = plain.to_vec();
    data_key(&key, label, &message)
        .seal_in_place_append_tag(nonce(), aead::Aad::empty(), &mut body)
        .expect("a message below the limit is sealed");
    message.append(&mut body);
    Ok(message)
}

impl LabelKey {
    /// Opens what was encrypted to the label.
    ///
    /// Errors: [`EncryptionError::TooLarge`], [`EncryptionError::NotAuthentic`].
    pub fn decrypt(&self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, EncryptionError> {
        if message.len() > MAX_ENCRYPTED_BYTES {
            return Err(EncryptionError::TooLarge);
        }
        let refused = EncryptionError::NotAuthentic;
        let (capsule, body) = message.split_at_checked(CAPSULE_BYTES).ok_or(refused)?;
        let parsed: Ciphertext<MinSig> =
            Ciphertext::decode(Copying(capsule)).map_err(|_| refused)?;
        let signature = G1::decode(Copying(&self.signature[..])).map_err(|_| refused)?;
        let key = tle::decrypt::<MinSig>(&signature, &parsed).ok_or(refused)?;
        let key = Zeroizing::new(key);
        let mut body = Zeroizing::new(body.to_vec());
        let length = data_key(&key, &self.label, capsule)
            .open_in_place(nonce(), aead::Aad::empty(), &mut body)
            .map_err(|_| refused)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

fn data_key(key: &Block, label: &[u8], capsule: &[u8]) -> aead::LessSafeKey {
    let length = (label.len() as u64).to_le_bytes();
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"ringfort/to-label/1").extract(key.as_ref());
    let info: [&[u8]; 3] = [&length, label, capsule];
    let expanded = secret
        .expand(&info, &aead::AES_256_GCM)
        .expect("HKDF-SHA256 gives a key of AES-256");
    aead::LessSafeKey::new(aead::UnboundKey::from(expanded))
}

/// Each key seals one message.
fn nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}
