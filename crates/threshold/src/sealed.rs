//! How do a dealer's shares and a keykeeper's answers travel on a public ledger?
//!
//! HPKE base mode (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! AES-256-GCM, to keys that are made for one message and then erased. Base
//! mode says nothing of the sender: that is the ledger's transaction.

use aws_lc_rs::agreement;
use hpke::{
    Deserializable as _, OpModeR, OpModeS, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::X25519HkdfSha256,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

type Kem = X25519HkdfSha256;

/// Bytes that sealing adds: the encapsulated key and the tag.
pub(crate) const SEAL_OVERHEAD: usize = 32 + 16;

/// The public half of an X25519 secret.
pub(crate) fn public_of(secret: &[u8; 32]) -> [u8; 32] {
    let private = agreement::PrivateKey::from_private_key(&agreement::X25519, secret)
        .expect("every 32 bytes are an X25519 private key");
    let public = private
        .compute_public_key()
        .expect("every X25519 private key has a public key");
    public
        .as_ref()
        .try_into()
        .expect("an X25519 public key has 32 bytes")
}

/// Seals `plain` to `receiver`; none for a key of low order.
pub(crate) fn seal(
    receiver: &[u8; 32],
    info: &[u8],
    plain: &[u8],
    rng: &mut impl CryptoRng,
) -> Option<Vec<u8>> {
    let receiver = <Kem as hpke::Kem>::PublicKey::from_bytes(receiver).ok()?;
    let (key, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, Kem>(
        &OpModeS::Base,
        &receiver,
        info,
        plain,
        &[],
        rng,
    )
    .ok()?;
    let mut sealed = key.to_bytes().to_vec();
    sealed.extend_from_slice(&ciphertext);
    Some(sealed)
}

/// Opens what was sealed to `secret`'s public key under the same `info`.
pub(crate) fn open(secret: &[u8; 32], info: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (key, ciphertext) = sealed.split_at_checked(32)?;
    let key = <Kem as hpke::Kem>::EncappedKey::from_bytes(key).ok()?;
    let secret = <Kem as hpke::Kem>::PrivateKey::from_bytes(secret).ok()?;
    hpke::single_shot_open::<AesGcm256, HkdfSha256, Kem>(
        &OpModeR::Base,
        &secret,
        &key,
        info,
        ciphertext,
        &[],
    )
    .map(Zeroizing::new)
    .ok()
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn opens_for_its_receiver_and_place_alone() {
        let mut rng = StdRng::from_seed([1; 32]);
        let (secret, other) = ([7; 32], [8; 32]);
        let sealed = seal(&public_of(&secret), b"here", b"plain", &mut rng).unwrap();
        assert_eq!(sealed.len(), 5 + SEAL_OVERHEAD);
        assert_eq!(&**open(&secret, b"here", &sealed).unwrap(), b"plain");
        assert!(open(&secret, b"there", &sealed).is_none());
        assert!(open(&other, b"here", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&secret, b"here", &changed).is_none(), "{at}");
            assert!(open(&secret, b"here", &sealed[..at]).is_none(), "{at}");
        }
        assert!(seal(&[0; 32], b"here", b"plain", &mut rng).is_none());
    }
}
