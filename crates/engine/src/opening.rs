//! How is a block certified before its circle runs?
//!
//! A circle that takes over another's state begins with a block at that
//! state's height, not with a genesis at height 0. Its validators sign that one
//! block by hand, as they would finalize it: in the first view of its epoch, of
//! which consensus knows then that it is over. Every signer must have checked
//! the block; this file only signs and puts together.

use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::{
    simplex::types::{Finalization, Finalize, Proposal},
    types::{Epoch, Round, View},
};
use commonware_cryptography::sha256::Digest as EngineDigest;
use commonware_parallel::Sequential;
use commonware_utils::non_empty;
use rand::{SeedableRng as _, rngs::StdRng};
use wire::{CircleId, Digest};

use crate::{
    Certificate,
    certificate::{Scheme, namespace},
    keys::{self, KeyError},
    resharing,
};

/// A signature over a block is a vote's index, proposal and partial signature.
pub const MAX_PARTIAL_BYTES: usize = 256;

/// Why no signature or certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// The sharing or the share is not sound.
    #[error("the validators' sharing or the share cannot be used")]
    Key(#[from] KeyError),
    /// The share's holder is not in the committee.
    #[error("the share is of another sharing")]
    OtherSharing,
    /// A signature that is none over this block.
    #[error("signature {0} is not of this block and these validators")]
    Signature(usize),
    /// Fewer signatures than a quorum, or one twice.
    #[error("{0} signatures are too few")]
    TooFew(usize),
}

/// The block that is signed.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The circle that begins with it.
    pub circle: CircleId,
    /// The digest of its header.
    pub header: Digest,
    /// The epoch of its height.
    pub epoch: u64,
    /// The public side of the validators' shares.
    pub sharing: &'a [u8],
}

impl Opening<'_> {
    fn proposal(&self) -> Proposal<EngineDigest> {
        let round = Round::new(Epoch::new(self.epoch), View::new(1));
        Proposal::new(round, View::zero(), EngineDigest(self.header.0))
    }

    /// Signs with one validator's share.
    ///
    /// Errors: [`OpeningError`].
    pub fn sign(&self, share: &[u8]) -> Result<Vec<u8>, OpeningError> {
        let sharing = resharing::decode_sharing(self.sharing)?;
        let share = keys::decode_share(share)?;
        let participants = sharing.players().clone();
        let polynomial = sharing.public().clone();
        let scheme = Scheme::signer(&namespace(self.circle), participants, polynomial, share)
            .ok_or(OpeningError::OtherSharing)?;
        let vote = Finalize::sign(&scheme, self.proposal()).ok_or(OpeningError::OtherSharing)?;
        Ok(vote.encode().to_vec())
    }

    /// Puts a quorum's signatures together.
    ///
    /// Errors: [`OpeningError::Signature`] names the first that is wrong;
    ///         [`OpeningError::TooFew`].
    pub fn combine(&self, signatures: &[Vec<u8>]) -> Result<Certificate, OpeningError> {
        let sharing = resharing::decode_sharing(self.sharing)?;
        let participants = sharing.players().clone();
        let polynomial = sharing.public().clone();
        let scheme = Scheme::verifier(&namespace(self.circle), participants, polynomial);
        // Weights of a batch: each vote is checked alone, so they decide nothing.
        let mut rng = StdRng::seed_from_u64(0);
        let mut votes: Vec<Finalize<Scheme, EngineDigest>> = Vec::new();
        for (index, bytes) in signatures.iter().enumerate() {
            let wrong = OpeningError::Signature(index);
            if bytes.len() > MAX_PARTIAL_BYTES {
                return Err(wrong);
            }
            let vote = Finalize::<Scheme, EngineDigest>::decode(bytes.clone());
            let vote = vote.ok().filter(|vote| {
                vote.proposal == self.proposal() && vote.verify(&mut rng, &scheme, &Sequential)
            });
            let vote = vote.ok_or(wrong)?;
            if !votes.contains(&vote) {
                votes.push(vote);
            }
        }
        let too_few = OpeningError::TooFew(votes.len());
        if votes.is_empty() {
            return Err(too_few);
        }
        let finalization =
            Finalization::from_finalizes(&scheme, non_empty![@votes.iter()], &Sequential)
                .map_err(|_| too_few)?;
        Ok(Certificate::from_finalization(&finalization))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Dealing, development_dealer, public_key};

    const CIRCLE: CircleId = CircleId([0xc1; 32]);

    fn dealt(seed: u8) -> Dealing {
        let validators: Vec<_> = (0..4u8).map(|i| public_key(&[i + 1; 32])).collect();
        development_dealer(&validators, [seed; 32]).unwrap()
    }

    fn opening(dealing: &Dealing, header: u8) -> Opening<'_> {
        Opening {
            circle: CIRCLE,
            header: Digest([header; 32]),
            epoch: 7,
            sharing: &dealing.polynomial,
        }
    }

    #[test]
    fn a_quorum_of_signatures_is_a_certificate_that_anybody_verifies() {
        let dealing = dealt(7);
        let opening = opening(&dealing, 0xd1);
        let signatures: Vec<_> = dealing.shares[..3]
            .iter()
            .map(|share| opening.sign(share).unwrap())
            .collect();
        let certificate = opening.combine(&signatures).unwrap();
        assert_eq!((certificate.epoch, certificate.view), (7, 1));
        let message = certificate.message(CIRCLE, opening.header);
        let key = blst::min_sig::PublicKey::key_validate(&dealing.group_key).unwrap();
        let signature = blst::min_sig::Signature::sig_validate(&certificate.signature, true);
        let tag = crate::certificate::DOMAIN_SEPARATION_TAG;
        let verified = signature
            .unwrap()
            .verify(false, &message, tag, &[], &key, false);
        assert_eq!(verified, blst::BLST_ERROR::BLST_SUCCESS);
    }

    #[test]
    fn refuses_too_few_one_twice_and_signatures_of_others() {
        let dealing = dealt(7);
        let opened = opening(&dealing, 0xd1);
        let sign = |share: usize| opened.sign(&dealing.shares[share]).unwrap();
        let few = opened.combine(&[sign(0), sign(1)]);
        assert!(matches!(few, Err(OpeningError::TooFew(2))));
        let twice = opened.combine(&[sign(0), sign(1), sign(1)]);
        assert!(matches!(twice, Err(OpeningError::TooFew(2))));
        assert!(matches!(opened.combine(&[]), Err(OpeningError::TooFew(0))));
        let other_block = opening(&dealing, 0xd2).sign(&dealing.shares[2]).unwrap();
        let wrong = opened.combine(&[sign(0), sign(1), other_block]);
        assert!(matches!(wrong, Err(OpeningError::Signature(2))));
        let stranger = dealt(8);
        let others = opening(&stranger, 0xd1).sign(&stranger.shares[2]).unwrap();
        let wrong = opened.combine(&[others, sign(0), sign(1)]);
        assert!(matches!(wrong, Err(OpeningError::Signature(0))));
        for garbage in [Vec::new(), vec![7; 40], vec![0; MAX_PARTIAL_BYTES + 1]] {
            let wrong = opened.combine(&[sign(0), garbage]);
            assert!(matches!(wrong, Err(OpeningError::Signature(1))));
        }
        // A share of another sharing signs nothing that counts.
        let foreign = opened.sign(&stranger.shares[2]);
        let taken = foreign.and_then(|vote| opened.combine(&[sign(0), sign(1), vote]));
        assert!(taken.is_err());
    }
}
