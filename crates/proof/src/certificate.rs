//! Did the circle certify this header?
//!
//! A certificate is one BLS12-381 signature under the circle's constant key,
//! made by a threshold of the validators. It says that the block is final. It
//! is checked here with `blst` alone; the signed bytes are those of the
//! engine (docs/spec/blocks.md §3).

use blst::{
    BLST_ERROR,
    min_sig::{PublicKey, Signature},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use wire::{CircleId, CircleKey, Digest, Header, HeaderSummary};

use crate::{ProofError, varint};

/// The domain separation tag of the hash to the curve (G1).
pub const DOMAIN_SEPARATION_TAG: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// A compressed point of G1.
pub const SIGNATURE_BYTES: usize = 48;

/// What precedes the circle id in everything that a circle signs.
const NAMESPACE_PREFIX: &[u8] = b"ringfort";

/// What follows the circle id when a circle finalizes.
const FINALIZE_SUFFIX: &[u8] = b"_FINALIZE";

/// The circle's signature over one header.
///
/// A block may have several, from several views; each is as good as any other.
///
/// Source: docs/spec/blocks.md §3.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Certificate {
    /// The epoch, that is the validator set, that signed.
    pub epoch: u64,
    /// The view in which the block was finalized.
    pub view: u64,
    /// The view of the block on which the leader built; below `view`.
    pub parent_view: u64,
    /// The signature: a compressed point of G1.
    #[serde(with = "hex::serde")]
    pub signature: [u8; SIGNATURE_BYTES],
}

impl Certificate {
    /// The bytes that were signed, if this certificate is for the header of
    /// `circle` whose digest is `header`.
    pub fn message(&self, circle: CircleId, header: Digest) -> Vec<u8> {
        let namespace = [NAMESPACE_PREFIX, &circle.0, FINALIZE_SUFFIX].concat();
        let mut message = Vec::with_capacity(1 + namespace.len() + 30 + header.0.len());
        // The namespace is shorter than 128 bytes: its length is one byte.
        message.push(namespace.len() as u8);
        message.extend_from_slice(&namespace);
        for number in [self.epoch, self.view, self.parent_view] {
            varint::write(number, &mut message).expect("a vector takes every byte");
        }
        message.extend_from_slice(&header.0);
        message
    }

    /// Checks the signature over the header digest `header` of `circle`.
    ///
    /// Errors: [`ProofError::CircleKey`], [`ProofError::Certificate`].
    pub fn verify(
        &self,
        circle: CircleId,
        header: Digest,
        key: &CircleKey,
    ) -> Result<(), ProofError> {
        let key = PublicKey::key_validate(&key.0).map_err(|_| ProofError::CircleKey)?;
        let signature =
            Signature::sig_validate(&self.signature, true).map_err(|_| ProofError::Certificate)?;
        let message = self.message(circle, header);
        // Key and signature were checked to lie in their groups just above.
        match signature.verify(false, &message, DOMAIN_SEPARATION_TAG, &[], &key, false) {
            BLST_ERROR::BLST_SUCCESS => Ok(()),
            _ => Err(ProofError::Certificate),
        }
    }
}

/// Checks that the circle certified `header`.
///
/// Errors: [`ProofError::Version`], [`ProofError::CircleKey`],
///         [`ProofError::Certificate`].
/// Source: docs/spec/blocks.md §3.
pub fn verify_header(
    header: &HeaderSummary,
    certificate: &Certificate,
    key: &CircleKey,
) -> Result<(), ProofError> {
    if header.version != Header::VERSION {
        return Err(ProofError::Version(header.version));
    }
    certificate.verify(header.circle, header.digest(), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIRCLE: CircleId = CircleId([0xc1; 32]);
    const HEADER: Digest = Digest([0xd1; 32]);

    // Made by the engine from three of four validators' votes
    // (docs/spec/blocks.md §3).
    const KEY: &str = "87ae4e18c64705db77a652f32e21d4b289ffb138b9c8daad5a5cd44c92a6d03ffe307b1c44d5d78075f8d2513eb80caa02945f0256d0f65c9635f7ac23f81306c4081a31b16d2fefe6c0343ee901fe4f27d13bf3a9521b64ea8e7a973e019972";
    const MESSAGE: &str = "3172696e67666f7274c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c15f46494e414c495a4500ac02ab02d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1";
    const SIGNATURE: &str = "a9f79861a36f04915358e61ea776d4d25928682bcaaecd2334ce6e0fbff94a94d4ec70fd050846e44e73190aa78bebcb";

    fn vector() -> (CircleKey, Certificate) {
        let certificate = Certificate {
            epoch: 0,
            view: 300,
            parent_view: 299,
            signature: hex::decode(SIGNATURE).unwrap().try_into().unwrap(),
        };
        (KEY.parse().unwrap(), certificate)
    }

    #[test]
    fn the_engines_vector_verifies() {
        let (key, certificate) = vector();
        assert_eq!(hex::encode(certificate.message(CIRCLE, HEADER)), MESSAGE);
        assert_eq!(certificate.verify(CIRCLE, HEADER, &key), Ok(()));
    }

    #[test]
    fn refuses_the_certificate_for_anything_else() {
        let (key, good) = vector();
        let refused = |certificate: Certificate, circle, header| {
            assert_eq!(
                certificate.verify(circle, header, &key),
                Err(ProofError::Certificate)
            );
        };
        refused(good, CircleId([0xc2; 32]), HEADER);
        refused(good, CIRCLE, Digest([0xd2; 32]));
        refused(Certificate { epoch: 1, ..good }, CIRCLE, HEADER);
        refused(Certificate { view: 301, ..good }, CIRCLE, HEADER);
        let other_parent = Certificate {
            parent_view: 298,
            ..good
        };
        refused(other_parent, CIRCLE, HEADER);
        for byte in 0..SIGNATURE_BYTES {
            for bit in 0..8 {
                let mut changed = good;
                changed.signature[byte] ^= 1 << bit;
                refused(changed, CIRCLE, HEADER);
            }
        }
    }

    #[test]
    fn refuses_infinity_as_signature_and_as_key() {
        let (key, mut certificate) = vector();
        certificate.signature = [0; SIGNATURE_BYTES];
        certificate.signature[0] = 0xc0;
        assert_eq!(
            certificate.verify(CIRCLE, HEADER, &key),
            Err(ProofError::Certificate)
        );
        let mut infinity = CircleKey([0; 96]);
        infinity.0[0] = 0xc0;
        assert_eq!(
            certificate.verify(CIRCLE, HEADER, &infinity),
            Err(ProofError::CircleKey)
        );
        assert_eq!(
            certificate.verify(CIRCLE, HEADER, &CircleKey([0xff; 96])),
            Err(ProofError::CircleKey)
        );
    }
}
