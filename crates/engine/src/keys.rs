//! Which key material does a validator need, and in which bytes?
//!
//! Identity keys are Ed25519 (RFC 8032) from 32-byte seeds; the circle's key
//! is a BLS12-381 threshold key of which every validator holds one share.
//! Everything here is bytes at the public interface. This file trusts its
//! caller to keep shares secret and leaves storing them to the caller.

use commonware_codec::{Copying, DecodeExt, Encode, ReadExt};
use commonware_cryptography::{
    Signer as _,
    bls12381::{
        dkg::feldman_desmedt,
        primitives::{
            group::Share,
            sharing::{Mode, Sharing},
            variant::MinSig,
        },
    },
    ed25519,
};
use commonware_utils::{Faults as _, N3f1, TryCollect, ordered::Set};
use rand::{SeedableRng, rngs::StdRng};

use crate::resharing;

/// Length of a validator's Ed25519 public key, in bytes.
pub const PEER_KEY_LENGTH: usize = 32;

/// Length of the circle's group key: a compressed point of G2.
pub const GROUP_KEY_LENGTH: usize = 96;

/// The most validators a circle may have: certificates cost the same for any
/// number, but votes travel between all pairs and a dealing is quadratic.
pub const MAX_VALIDATORS: u32 = 128;

/// A validator's Ed25519 public key (RFC 8032), as its 32 bytes.
pub type PeerKey = [u8; PEER_KEY_LENGTH];

/// The circle's group key: a compressed BLS12-381 G2 point.
pub type GroupKey = [u8; GROUP_KEY_LENGTH];

/// Why key material was refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The number of validators is outside `1..=MAX_VALIDATORS`.
    #[error("{0} validators; a circle has between 1 and {MAX_VALIDATORS}")]
    ValidatorCount(usize),
    /// Two validators have one key.
    #[error("two validators have the same key")]
    DuplicateValidator,
    /// A public key is not a point of the curve.
    #[error("validator {index} has no valid Ed25519 key")]
    PeerKey {
        /// Position in the list that was given.
        index: usize,
    },
    /// The public polynomial does not decode, or is for another set of validators.
    #[error("the circle's public polynomial is malformed or made for another set of validators")]
    Polynomial,
    /// The share does not decode.
    #[error("the threshold share is malformed")]
    Share,
    /// The share belongs to another validator or another polynomial.
    #[error("the threshold share does not belong to this validator and polynomial")]
    ShareMismatch,
}

/// What a dealer hands to a new circle.
///
/// Shape: `shares` has one entry per validator, in the order in which the
///        validators were given to the dealer (not in the engine's own order).
pub struct Dealing {
    /// The circle's constant public key.
    pub group_key: GroupKey,
    /// The public side of the shares: lets every validator check every partial
    /// signature, and the next committee take the shares over.
    pub polynomial: Vec<u8>,
    /// Secret shares; each must reach its validator alone.
    pub shares: Vec<zeroize::Zeroizing<Vec<u8>>>,
}

/// The Ed25519 public key (RFC 8032) of a 32-byte seed.
pub fn public_key(seed: &[u8; 32]) -> PeerKey {
    peer_key(&private_key(seed).public_key())
}

/// Deals shares of a fresh group key to `validators`, for DEVELOPMENT circles only.
///
/// Whoever runs this sees every share and could sign as the whole circle, so
/// a circle whose members do not trust one another must generate its key
/// jointly. The same `seed` deals the same key.
///
/// Errors: [`KeyError::ValidatorCount`], [`KeyError::DuplicateValidator`],
///         [`KeyError::PeerKey`].
pub fn development_dealer(validators: &[PeerKey], seed: [u8; 32]) -> Result<Dealing, KeyError> {
    let (keys, participants) = participant_set(validators)?;
    let (output, shares) = feldman_desmedt::deal::<MinSig, _, N3f1>(
        StdRng::from_seed(seed),
        Mode::NonZeroCounter,
        participants,
    )
    .map_err(|_| KeyError::ValidatorCount(validators.len()))?;
    let public = output.public();
    let shares = keys
        .iter()
        .map(|key| {
            let share = shares.get_value(key).expect("a dealing covers its players");
            zeroize::Zeroizing::new(share.encode().to_vec())
        })
        .collect();
    Ok(Dealing {
        group_key: group_key(public),
        polynomial: output.encode().to_vec(),
        shares,
    })
}

/// The group key that a public polynomial stands for.
///
/// Errors: [`KeyError::Polynomial`].
pub fn group_key_of(polynomial: &[u8]) -> Result<GroupKey, KeyError> {
    decode_polynomial(polynomial).map(|sharing| group_key(&sharing))
}

pub(crate) fn private_key(seed: &[u8; 32]) -> ed25519::PrivateKey {
    ed25519::PrivateKey::decode(Copying(&seed[..])).expect("every 32 bytes are an Ed25519 seed")
}

pub(crate) fn peer_key(key: &ed25519::PublicKey) -> PeerKey {
    key.as_ref().try_into().expect("an Ed25519 key is 32 bytes")
}

pub(crate) fn decode_peer_key(key: &PeerKey) -> Option<ed25519::PublicKey> {
    ed25519::PublicKey::decode(Copying(&key[..])).ok()
}

/// The validators' keys, in the given order and as the engine's sorted set.
pub(crate) fn participant_set(
    validators: &[PeerKey],
) -> Result<(Vec<ed25519::PublicKey>, Set<ed25519::PublicKey>), KeyError> {
    if validators.is_empty() || validators.len() > MAX_VALIDATORS as usize {
        return Err(KeyError::ValidatorCount(validators.len()));
    }
    let keys = validators
        .iter()
        .enumerate()
        .map(|(index, key)| decode_peer_key(key).ok_or(KeyError::PeerKey { index }))
        .collect::<Result<Vec<_>, _>>()?;
    let set = keys
        .iter()
        .cloned()
        .try_collect()
        .map_err(|_| KeyError::DuplicateValidator)?;
    Ok((keys, set))
}

/// Whether a sharing is for so many participants, with the quorum that the
/// engine counts with: its schemes take that for granted and panic without.
pub(crate) fn check_sharing(
    participants: &Set<ed25519::PublicKey>,
    polynomial: &Sharing<MinSig>,
) -> Result<(), KeyError> {
    let count = participants.len();
    if polynomial.total().get() as usize != count || polynomial.required() != N3f1::quorum(count) {
        return Err(KeyError::Polynomial);
    }
    Ok(())
}

pub(crate) fn decode_polynomial(bytes: &[u8]) -> Result<Sharing<MinSig>, KeyError> {
    resharing::decode_sharing(bytes).map(|sharing| sharing.public().clone())
}

pub(crate) fn decode_share(bytes: &[u8]) -> Result<Share, KeyError> {
    let mut reader = Copying(bytes);
    let share = Share::read(&mut reader).map_err(|_| KeyError::Share)?;
    if reader.0.is_empty() {
        Ok(share)
    } else {
        Err(KeyError::Share)
    }
}

pub(crate) fn group_key(sharing: &Sharing<MinSig>) -> GroupKey {
    sharing
        .public()
        .encode()
        .as_ref()
        .try_into()
        .expect("a compressed G2 point is 96 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validators(n: u8) -> Vec<PeerKey> {
        (0..n).map(|i| public_key(&[i + 1; 32])).collect()
    }

    #[test]
    fn public_key_is_the_ordinary_ed25519_key_of_the_seed() {
        for seed in [[0u8; 32], [7; 32], [0xFF; 32]] {
            let ordinary: [u8; 32] =
                ed25519_zebra::VerificationKey::from(&ed25519_zebra::SigningKey::from(seed)).into();
            assert_eq!(public_key(&seed), ordinary);
        }
    }

    #[test]
    fn same_seed_deals_the_same_key_and_another_seed_another() {
        let first = development_dealer(&validators(4), [1; 32]).unwrap();
        let again = development_dealer(&validators(4), [1; 32]).unwrap();
        let other = development_dealer(&validators(4), [2; 32]).unwrap();
        assert_eq!(first.group_key, again.group_key);
        assert_eq!(first.shares, again.shares);
        assert_ne!(first.group_key, other.group_key);
        assert_eq!(group_key_of(&first.polynomial).unwrap(), first.group_key);
    }

    #[test]
    fn refuses_duplicate_absent_and_malformed_validators() {
        let mut twice = validators(4);
        twice[3] = twice[0];
        assert!(matches!(
            development_dealer(&twice, [1; 32]),
            Err(KeyError::DuplicateValidator)
        ));
        assert!(matches!(
            development_dealer(&[], [1; 32]),
            Err(KeyError::ValidatorCount(0))
        ));
        // 2 is not the y coordinate of any point of the curve.
        let mut off_curve = [0u8; 32];
        off_curve[0] = 2;
        let bad = [validators(1)[0], off_curve];
        assert!(matches!(
            development_dealer(&bad, [1; 32]),
            Err(KeyError::PeerKey { index: 1 })
        ));
    }

    #[test]
    fn refuses_truncated_and_trailing_bytes() {
        let dealing = development_dealer(&validators(4), [1; 32]).unwrap();
        let mut longer = dealing.polynomial.clone();
        longer.push(0);
        assert!(matches!(group_key_of(&longer), Err(KeyError::Polynomial)));
        let shorter = &dealing.polynomial[..dealing.polynomial.len() - 1];
        assert!(matches!(group_key_of(shorter), Err(KeyError::Polynomial)));
        assert!(decode_share(&dealing.shares[0][1..]).is_err());
        let mut longer = dealing.shares[0].to_vec();
        longer.push(0);
        assert!(decode_share(&longer).is_err());
    }
}
