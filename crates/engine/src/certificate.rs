//! What exactly does the circle sign when it finalizes a block?
//!
//! A [`Certificate`] is one BLS12-381 threshold signature over the block's
//! header digest and its place in the protocol. It can be verified with any
//! BLS library and the circle's constant 96-byte group key; nothing of the
//! consensus engine is needed. This file trusts nothing; whether a header is
//! *recent* is for the verifier to judge.
//!
//! # The signed bytes
//!
//! ```text
//! base      = "ringfort" || circle id (32 bytes)              40 bytes
//! namespace = base || "_FINALIZE"                             49 bytes
//! proposal  = varint(epoch) || varint(view) || varint(parent view)
//!             || header digest (32 bytes)
//! message   = varint(len(namespace)) || namespace || proposal
//! ```
//!
//! `varint` is the unsigned LEB128 of protocol buffers in its shortest form:
//! seven bits a byte, the least significant first, the top bit set on every
//! byte but the last. The length of the namespace is 49, one byte `0x31`.
//!
//! # The signature
//!
//! The "minimal signature" variant of BLS (draft-irtf-cfrg-bls-signature):
//!
//! - signature: a compressed G1 point, 48 bytes; subgroup-checked; the point
//!   at infinity is refused;
//! - group key: a compressed G2 point, 96 bytes; subgroup-checked; not infinity;
//! - hash to G1 with `BLS12381G1_XMD:SHA-256_SSWU_RO_` and the tag
//!   [`DOMAIN_SEPARATION_TAG`]; no augmentation;
//! - valid if and only if `e(hash(message), group key) = e(signature, generator of G2)`.
//!
//! In `blst`: `min_sig::Signature::verify(true, &message, DST, &[], &key, true)`.

use commonware_codec::{DecodeExt, Encode};
use commonware_consensus::{
    simplex::types::{Finalization, Proposal},
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    bls12381::primitives::variant::MinSig, ed25519, sha256::Digest as EngineDigest,
};
use wire::{CircleId, Digest};

/// The domain separation tag of the hash to the curve.
pub const DOMAIN_SEPARATION_TAG: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// What precedes the circle id in the namespace of everything that a circle signs.
const NAMESPACE_PREFIX: &[u8] = b"ringfort";

/// What the engine appends to the namespace of a finalization.
const FINALIZE_SUFFIX: &[u8] = b"_FINALIZE";

/// Length of a signature: a compressed point of G1.
pub const SIGNATURE_LENGTH: usize = 48;

/// The engine's scheme: votes are partial signatures, certificates are whole ones.
pub(crate) type Scheme =
    commonware_consensus::simplex::scheme::bls12381_threshold::standard::Scheme<
        ed25519::PublicKey,
        MinSig,
    >;

/// Proof that the circle finalized a block, apart from the header itself.
///
/// A tip may have been finalized through a descendant only, and then has no
/// certificate of its own. Two validators may hold different certificates of
/// one block (finalized in two views); each is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The epoch, that is the validator set, that signed.
    pub epoch: u64,
    /// The view in which the block was finalized.
    pub view: u64,
    /// The view of the block on which the leader built.
    pub parent_view: u64,
    /// The threshold signature: a compressed G1 point.
    pub signature: [u8; SIGNATURE_LENGTH],
}

impl Certificate {
    /// The bytes that were signed, if this certificate is for `header` of `circle`.
    pub fn message(&self, circle: CircleId, header: Digest) -> Vec<u8> {
        let mut namespace = namespace(circle);
        namespace.extend_from_slice(FINALIZE_SUFFIX);
        let round = Round::new(Epoch::new(self.epoch), View::new(self.view));
        let proposal = Proposal::new(round, View::new(self.parent_view), EngineDigest(header.0));
        commonware_utils::union_unique(&namespace, &proposal.encode())
    }

    /// What the engine calls a certificate of `header`; none if the signature
    /// is no point of the group. It is not verified.
    pub(crate) fn finalization(
        &self,
        header: Digest,
    ) -> Option<Finalization<Scheme, EngineDigest>> {
        let round = Round::new(Epoch::new(self.epoch), View::new(self.view));
        let proposal = Proposal::new(round, View::new(self.parent_view), EngineDigest(header.0));
        let certificate = DecodeExt::decode(self.signature.to_vec()).ok()?;
        Some(Finalization {
            proposal,
            certificate,
        })
    }

    pub(crate) fn from_finalization(finalization: &Finalization<Scheme, EngineDigest>) -> Self {
        let proposal = &finalization.proposal;
        Self {
            epoch: proposal.round.epoch().get(),
            view: proposal.round.view().get(),
            parent_view: proposal.parent.get(),
            signature: finalization
                .certificate
                .encode()
                .as_ref()
                .try_into()
                .expect("a compressed G1 point is 48 bytes"),
        }
    }
}

/// The namespace under which `circle` signs: what the engine is started with.
pub(crate) fn namespace(circle: CircleId) -> Vec<u8> {
    [NAMESPACE_PREFIX, &circle.0].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{
        decode_polynomial, decode_share, development_dealer, participant_set, public_key,
    };
    use commonware_consensus::simplex::types::Finalize;
    use commonware_parallel::Sequential;
    use commonware_utils::non_empty;

    const CIRCLE: CircleId = CircleId([0xC1; 32]);
    const HEADER: Digest = Digest([0xD1; 32]);
    const GOLDEN_KEY: &str = "87ae4e18c64705db77a652f32e21d4b289ffb138b9c8daad5a5cd44c92a6d03f\
        fe307b1c44d5d78075f8d2513eb80caa02945f0256d0f65c9635f7ac23f81306\
        c4081a31b16d2fefe6c0343ee901fe4f27d13bf3a9521b64ea8e7a973e019972";
    const GOLDEN_SIGNATURE: &str = "a9f79861a36f04915358e61ea776d4d2\
        5928682bcaaecd2334ce6e0fbff94a94\
        d4ec70fd050846e44e73190aa78bebcb";

    /// A certificate that the engine's own code assembles from three votes of four.
    fn engine_made() -> (crate::keys::GroupKey, Certificate) {
        let validators: Vec<_> = (0..4u8).map(|i| public_key(&[i + 1; 32])).collect();
        let dealing = development_dealer(&validators, [7; 32]).unwrap();
        let (_, participants) = participant_set(&validators).unwrap();
        let polynomial = decode_polynomial(&dealing.polynomial).unwrap();
        let schemes: Vec<_> = dealing
            .shares
            .iter()
            .map(|share| {
                Scheme::signer(
                    &namespace(CIRCLE),
                    participants.clone(),
                    polynomial.clone(),
                    decode_share(share).unwrap(),
                )
                .unwrap()
            })
            .collect();
        let round = Round::new(Epoch::new(0), View::new(300));
        let proposal = Proposal::new(round, View::new(299), EngineDigest(HEADER.0));
        let votes: Vec<_> = schemes[..3]
            .iter()
            .map(|scheme| Finalize::sign(scheme, proposal.clone()).unwrap())
            .collect();
        let finalization =
            Finalization::from_finalizes(&schemes[0], non_empty![@votes.iter()], &Sequential)
                .unwrap();
        (
            dealing.group_key,
            Certificate::from_finalization(&finalization),
        )
    }

    fn verifies(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let Ok(key) = blst::min_sig::PublicKey::key_validate(key) else {
            return false;
        };
        let Ok(signature) = blst::min_sig::Signature::sig_validate(signature, true) else {
            return false;
        };
        signature.verify(false, message, DOMAIN_SEPARATION_TAG, &[], &key, false)
            == blst::BLST_ERROR::BLST_SUCCESS
    }

    #[test]
    fn engine_made_certificate_verifies_with_blst_alone() {
        let (key, certificate) = engine_made();
        let message = certificate.message(CIRCLE, HEADER);
        assert!(verifies(&key, &message, &certificate.signature));
        // Held still: other programs verify what this one signs.
        assert_eq!(hex::encode(key), GOLDEN_KEY);
        assert_eq!(hex::encode(certificate.signature), GOLDEN_SIGNATURE);
    }

    #[test]
    fn certificate_is_bound_to_every_field() {
        let (key, certificate) = engine_made();
        let wrong_fields = [
            Certificate {
                epoch: 1,
                ..certificate
            },
            Certificate {
                view: 301,
                ..certificate
            },
            Certificate {
                parent_view: 298,
                ..certificate
            },
        ];
        for wrong in wrong_fields {
            assert!(!verifies(
                &key,
                &wrong.message(CIRCLE, HEADER),
                &wrong.signature
            ));
        }
        let other_header = certificate.message(CIRCLE, Digest([0xD2; 32]));
        assert!(!verifies(&key, &other_header, &certificate.signature));
        let other_circle = certificate.message(CircleId([0xC2; 32]), HEADER);
        assert!(!verifies(&key, &other_circle, &certificate.signature));
    }

    #[test]
    fn message_is_the_documented_concatenation() {
        let (_, certificate) = engine_made();
        let mut wanted = vec![49u8];
        wanted.extend_from_slice(b"ringfort");
        wanted.extend_from_slice(&CIRCLE.0);
        wanted.extend_from_slice(b"_FINALIZE");
        wanted.push(0); // epoch 0
        wanted.extend_from_slice(&[0xAC, 0x02]); // view 300
        wanted.extend_from_slice(&[0xAB, 0x02]); // parent view 299
        wanted.extend_from_slice(&HEADER.0);
        assert_eq!(certificate.message(CIRCLE, HEADER), wanted);
    }
}
