//! Messages sealed to one receiver: HPKE base mode (RFC 9180).
//!
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The `info` names the
//! circle, the contract, the operation and the step, so that a message sealed
//! for one place opens at no other. Base mode says nothing about the sender:
//! the user's messages are authentic by their transaction, the enclave's by its
//! signature, and both by the OCRA responses inside.

use hpke::{
    Deserializable as _, OpModeR, OpModeS, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::X25519HkdfSha256,
};
use rand_core::CryptoRng;
use wire::{CircleId, ContractId, HandshakeStep, limits::MAX_SEALED_BYTES};
use zeroize::Zeroizing;

use crate::keys::AgreementSecret;

type Kem = X25519HkdfSha256;
type PublicKey = <Kem as hpke::Kem>::PublicKey;
type PrivateKey = <Kem as hpke::Kem>::PrivateKey;
type EncappedKey = <Kem as hpke::Kem>::EncappedKey;

/// Bytes that sealing adds: the encapsulated key and the tag.
pub const SEAL_OVERHEAD: usize = 32 + 16;

/// What a sealed message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SealedStep {
    /// [`HandshakeStep::ClientChallenge`].
    ClientChallenge = 0,
    /// [`HandshakeStep::ServerResponse`].
    ServerResponse = 1,
    /// [`HandshakeStep::ClientResponse`].
    ClientResponse = 2,
    /// The answer to the operation.
    Outcome = 3,
    /// A job's end.
    Completion = 4,
}

impl From<HandshakeStep> for SealedStep {
    fn from(step: HandshakeStep) -> Self {
        match step {
            HandshakeStep::ClientChallenge => Self::ClientChallenge,
            HandshakeStep::ServerResponse => Self::ServerResponse,
            HandshakeStep::ClientResponse => Self::ClientResponse,
        }
    }
}

/// The one place where a sealed message opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedPlace {
    /// The circle.
    pub circle: CircleId,
    /// The contract.
    pub contract: ContractId,
    /// The operation's number.
    pub operation: u32,
    /// Which message.
    pub step: SealedStep,
}

/// Why a message is not sealed or does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Over [`MAX_SEALED_BYTES`] when sealed.
    #[error("the sealed message is over the limit of {MAX_SEALED_BYTES} bytes")]
    TooLarge,
    /// The receiver's public key is of low order.
    #[error("nothing can be sealed to this key")]
    BadKey,
    /// Not sealed to this key and place, or changed.
    #[error("the message is not sealed to this key and place")]
    NotAuthentic,
}

impl SealedPlace {
    fn info(&self) -> Vec<u8> {
        let mut info = b"ringfort/sealed/1".to_vec();
        info.extend_from_slice(&self.circle.0);
        info.extend_from_slice(&self.contract.0);
        info.extend_from_slice(&self.operation.to_le_bytes());
        info.push(self.step as u8);
        info
    }

    /// Seals `plain` to the holder of `receiver`.
    ///
    /// Errors: [`SealError::TooLarge`] and [`SealError::BadKey`].
    pub fn seal(
        &self,
        receiver: &[u8; 32],
        plain: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, SealError> {
        if plain.len() > MAX_SEALED_BYTES - SEAL_OVERHEAD {
            return Err(SealError::TooLarge);
        }
        let receiver = PublicKey::from_bytes(receiver).map_err(|_| SealError::BadKey)?;
        let (key, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, Kem>(
            &OpModeS::Base,
            &receiver,
            &self.info(),
            plain,
            &[],
            rng,
        )
        .map_err(|_| SealError::BadKey)?;
        let mut sealed = key.to_bytes().to_vec();
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// Opens a message that was sealed to `secret`'s public key for this place.
    ///
    /// Errors: [`SealError::TooLarge`] and [`SealError::NotAuthentic`].
    pub fn open(
        &self,
        secret: &AgreementSecret,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if sealed.len() > MAX_SEALED_BYTES {
            return Err(SealError::TooLarge);
        }
        let refused = SealError::NotAuthentic;
        let (key, ciphertext) = sealed.split_at_checked(32).ok_or(refused)?;
        let key = EncappedKey::from_bytes(key).map_err(|_| refused)?;
        let secret = PrivateKey::from_bytes(secret.as_bytes()).map_err(|_| refused)?;
        hpke::single_shot_open::<AesGcm256, HkdfSha256, Kem>(
            &OpModeR::Base,
            &secret,
            &key,
            &self.info(),
            ciphertext,
            &[],
        )
        .map(Zeroizing::new)
        .map_err(|_| refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entropy;

    const PLACE: SealedPlace = SealedPlace {
        circle: CircleId([1; 32]),
        contract: ContractId([2; 32]),
        operation: 3,
        step: SealedStep::ClientResponse,
    };

    #[test]
    fn a_message_opens_at_its_place_and_for_its_receiver_only() {
        let secret = AgreementSecret::generate(&mut Entropy);
        let sealed = PLACE
            .seal(&secret.public(), b"plain", &mut Entropy)
            .unwrap();
        assert_eq!(sealed.len(), 5 + SEAL_OVERHEAD);
        assert_eq!(&**PLACE.open(&secret, &sealed).unwrap(), b"plain");
        for elsewhere in [
            SealedPlace {
                circle: CircleId([9; 32]),
                ..PLACE
            },
            SealedPlace {
                contract: ContractId([9; 32]),
                ..PLACE
            },
            SealedPlace {
                operation: 4,
                ..PLACE
            },
            SealedPlace {
                step: SealedStep::Outcome,
                ..PLACE
            },
        ] {
            assert_eq!(
                elsewhere.open(&secret, &sealed),
                Err(SealError::NotAuthentic)
            );
        }
        let other = AgreementSecret::generate(&mut Entropy);
        assert_eq!(PLACE.open(&other, &sealed), Err(SealError::NotAuthentic));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(PLACE.open(&secret, &changed).is_err(), "{at}");
            assert!(PLACE.open(&secret, &sealed[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn the_same_message_is_never_sealed_alike() {
        let secret = AgreementSecret::generate(&mut Entropy);
        let seal = || {
            PLACE
                .seal(&secret.public(), b"plain", &mut Entropy)
                .unwrap()
        };
        assert_ne!(seal(), seal());
    }

    #[test]
    fn refuses_long_messages_and_keys_of_low_order() {
        let secret = AgreementSecret::generate(&mut Entropy);
        let longest = vec![0; MAX_SEALED_BYTES - SEAL_OVERHEAD];
        assert!(PLACE.seal(&secret.public(), &longest, &mut Entropy).is_ok());
        let long = vec![0; longest.len() + 1];
        let error = PLACE.seal(&secret.public(), &long, &mut Entropy);
        assert_eq!(error, Err(SealError::TooLarge));
        let error = PLACE.open(&secret, &vec![0; MAX_SEALED_BYTES + 1]);
        assert_eq!(error, Err(SealError::TooLarge));
        let error = PLACE.seal(&[0; 32], b"plain", &mut Entropy);
        assert_eq!(error, Err(SealError::BadKey));
    }
}
