//! How does an admitted asker come to a label's key, and nobody else?
//!
//! The key of a label is the BLS signature (MinSig: in G1) of the master secret
//! on the label's bytes, under a namespace of its own. Each keykeeper answers
//! with a signature share, sealed to the asker's one-time key and bound to the
//! request; the asker checks each share against the public sharing, combines a
//! quorum of them and checks the whole under the master public key. A label's
//! bytes name circle, owner, service, version and epoch (`wire::KeyLabel`).

use std::{collections::BTreeMap, fmt};

use commonware_codec::{Encode as _, FixedSize as _};
use commonware_cryptography::bls12381::primitives::{
    group::G1,
    ops::{self, threshold},
    variant::{MinSig, PartialSignature},
};
use commonware_parallel::Sequential;
use rand_core::CryptoRng;
use wire::Digest;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    committee::{Committee, KeeperKey, decode},
    keeper::Keeper,
    sealed,
};

/// Under which the master secret signs labels and nothing else.
pub(crate) const NAMESPACE: &[u8] = b"ringfort/label/1";

/// A signature share, sealed: a compressed G1 point, an index of one to five
/// bytes, and what sealing adds.
pub const PARTIAL_BYTES: usize = 48 + 5 + sealed::SEAL_OVERHEAD;

/// Why an answer, or a set of them, is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// This keeper holds no share of that committee.
    #[error("the keykeeper holds no share of this committee")]
    NoShare,
    /// The asker's key is of low order.
    #[error("nothing can be sealed to the asker's key")]
    BadKey,
    /// Not from a keykeeper of the committee.
    #[error("the answer is from none of the keykeepers")]
    Stranger,
    /// Not sealed to this asker, label and request.
    #[error("the answer does not open")]
    NotAuthentic,
    /// A share that does not fit the public sharing.
    #[error("the keykeeper answered with a bad share")]
    BadShare,
    /// Fewer good answers than a quorum.
    #[error("{have} good answers; it takes {need}")]
    TooFew {
        /// How many.
        have: usize,
        /// How many it takes.
        need: usize,
    },
}

/// Where an answer opens and nowhere else.
fn place(keeper: &KeeperKey, request: &Digest, label: &[u8]) -> Vec<u8> {
    let mut info = b"ringfort/keys/answer/1".to_vec();
    info.extend_from_slice(keeper);
    info.extend_from_slice(&request.0);
    info.extend_from_slice(label);
    info
}

/// A keykeeper's answer to a request that it has found in order.
///
/// Errors: [`AnswerError::NoShare`], [`AnswerError::BadKey`].
pub fn answer(
    keeper: &Keeper,
    committee: &Committee,
    label: &[u8],
    request: &Digest,
    asker: &[u8; 32],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, AnswerError> {
    let share = keeper.share_in(committee).ok_or(AnswerError::NoShare)?;
    let partial = threshold::sign_message::<MinSig>(&share, NAMESPACE, label);
    let plain = Zeroizing::new(partial.encode().to_vec());
    sealed::seal(asker, &place(&keeper.key(), request, label), &plain, rng)
        .ok_or(AnswerError::BadKey)
}

/// An asker's one-time key, for one request.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct OneTimeKey([u8; 32]);

impl OneTimeKey {
    /// A fresh one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = Self([0; 32]);
        rng.fill_bytes(&mut key.0);
        key
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        sealed::public_of(&self.0)
    }
}

/// One who asks for a label's key and gathers the answers.
pub struct Asker {
    committee: Committee,
    label: Vec<u8>,
    request: Digest,
    key: OneTimeKey,
    partials: BTreeMap<KeeperKey, PartialSignature<MinSig>>,
}

impl Asker {
    /// One with no answers yet.
    pub fn new(committee: &Committee, label: &[u8], request: Digest, key: OneTimeKey) -> Self {
        Self {
            committee: committee.clone(),
            label: label.to_vec(),
            request,
            key,
            partials: BTreeMap::new(),
        }
    }

    /// Takes a keykeeper's answer, if it is good; says whether there are enough.
    ///
    /// Errors: [`AnswerError::Stranger`], [`AnswerError::NotAuthentic`],
    ///         [`AnswerError::BadShare`]; nothing changes.
    pub fn take(&mut self, keeper: KeeperKey, sealed: &[u8]) -> Result<bool, AnswerError> {
        let index = self.committee.index(&keeper).ok_or(AnswerError::Stranger)?;
        if sealed.len() > PARTIAL_BYTES {
            return Err(AnswerError::NotAuthentic);
        }
        let place = place(&keeper, &self.request, &self.label);
        let opened = sealed::open(&self.key.0, &place, sealed).ok_or(AnswerError::NotAuthentic)?;
        let partial: PartialSignature<MinSig> =
            decode(&opened, &()).ok_or(AnswerError::BadShare)?;
        let sharing = self.committee.sharing();
        let fits = partial.index == index
            && threshold::verify_message::<MinSig>(sharing, NAMESPACE, &self.label, &partial)
                .is_ok();
        if !fits {
            return Err(AnswerError::BadShare);
        }
        self.partials.insert(keeper, partial);
        Ok(self.partials.len() >= self.committee.quorum())
    }

    /// The label's key.
    ///
    /// Errors: [`AnswerError::TooFew`].
    pub fn combine(&self) -> Result<LabelKey, AnswerError> {
        let sharing = self.committee.sharing();
        let too_few = AnswerError::TooFew {
            have: self.partials.len(),
            need: self.committee.quorum(),
        };
        let signature =
            threshold::recover::<MinSig, _>(sharing, self.partials.values(), &Sequential)
                .map_err(|_| too_few)?;
        ops::verify_message::<MinSig>(sharing.public(), NAMESPACE, &self.label, &signature)
            .map_err(|_| AnswerError::BadShare)?;
        Ok(LabelKey::new(&self.label, &signature))
    }
}

/// The key of a label: from it come keys that can be used, and with it opens
/// what was encrypted to the label.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct LabelKey {
    pub(crate) signature: [u8; 48],
    pub(crate) label: Vec<u8>,
}

impl fmt::Debug for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LabelKey(..)")
    }
}

impl LabelKey {
    fn new(label: &[u8], signature: &G1) -> Self {
        const { assert!(G1::SIZE == 48) };
        let mut bytes = [0; 48];
        bytes.copy_from_slice(&signature.encode());
        Self {
            signature: bytes,
            label: label.to_vec(),
        }
    }

    /// Its bytes, for a place that is as secret as the key: the signature (48),
    /// then the label.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.signature.as_slice(), &self.label].concat())
    }

    /// What [`LabelKey::encode`] gave; none if it is shorter than any. The
    /// bytes are believed: they were checked when the key was combined.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (signature, label) = bytes.split_first_chunk()?;
        Some(Self {
            signature: *signature,
            label: label.to_vec(),
        })
    }

    /// Whether two are the same key of the same label.
    pub fn is_same(&self, other: &Self) -> bool {
        let equal =
            aws_lc_rs::constant_time::verify_slices_are_equal(&self.signature, &other.signature);
        equal.is_ok() && self.label == other.label
    }
}

#[cfg(test)]
mod tests;
