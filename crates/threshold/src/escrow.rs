//! How do the members keep what restores keykeepers that are all lost?
//!
//! Each keykeeper shares its own share of the master secret among *holders*
//! (Shamir's sharing with Feldman's commitment, both from the library of the
//! protocols) and seals a piece to each holder's X25519 key. The commitment's
//! constant is the keykeeper's share in public, so anybody sees that the right
//! thing was shared, and every holder sees that its piece fits. The seed of the
//! keykeeper's identity is encrypted under its share: both come back together.
//!
//! To restore, `least` holders open their pieces of *one* keykeeper and seal them
//! to the key of *one* protected process, which puts that keykeeper's share
//! together and nothing else. The master secret is never put together, and fewer
//! than `least` holders learn nothing of any share.
//!
//! It trusts its caller for who the holders are (the ledger's record), and that a
//! holder looks at the evidence of a process before it hands a piece over.
//!
//! Source: docs/spec/keys.md §12.

use std::collections::BTreeMap;

use aws_lc_rs::{aead, hkdf};
use borsh::{BorshDeserialize, BorshSerialize};
use commonware_codec::{Encode as _, RangeCfg};
use commonware_cryptography::bls12381::primitives::{
    group::{G2, Private, Scalar, Share},
    variant::MinSig,
};
use commonware_math::{
    algebra::CryptoGroup as _,
    poly::{Interpolator, Poly},
};
use commonware_parallel::Sequential;
use commonware_utils::{NZU32, TryCollect as _, ordered::Map};
use rand_core::CryptoRng;
use wire::{CircleId, Digest, limits::MAX_MEMBERS};
use zeroize::Zeroizing;

use crate::{
    committee::{Committee, KeeperKey, decode, keeper_key},
    keeper::Keeper,
    message::{SEALED_SHARE_BYTES, SHARE_BYTES},
    sealed,
};

/// The encrypted identity: a seed and a tag.
const IDENTITY_BYTES: usize = 32 + 16;

/// A [`KeyEscrow`] for the most members: a commitment of 86 points of 96 bytes,
/// 128 pieces of 80 bytes, the identity, and counts.
pub const MAX_ESCROW_BYTES: usize =
    16 + 96 * MAX_MEMBERS + SEALED_SHARE_BYTES * MAX_MEMBERS + IDENTITY_BYTES;

/// How many of `members` it takes to restore a keykeeper: more than two thirds, as
/// many as could already do everything else in a circle.
pub fn escrow_quorum(members: usize) -> usize {
    members - members.saturating_sub(1) / 3
}

/// Why an escrow, a piece or a restoration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscrowError {
    /// Too few or too many holders, one twice, or a quorum that is none.
    #[error("these holders make no escrow")]
    Terms,
    /// The keykeeper holds no share of that committee.
    #[error("the keykeeper holds no share of this committee")]
    NoShare,
    /// It does not share what the keykeeper holds, or among others.
    #[error("the escrow is not of the keykeeper's share, or not for these holders")]
    Escrow,
    /// The key is none of the holders'.
    #[error("the key is none of the escrow's holders'")]
    NotHolder,
    /// It does not open, or does not fit the commitment.
    #[error("the keykeeper sealed a bad piece to this holder")]
    BadPiece,
    /// The process's key is of low order.
    #[error("nothing can be sealed to the process's key")]
    BadKey,
    /// Not enough good pieces.
    #[error("{have} good pieces of {given}; it takes {need}")]
    TooFew {
        /// Good ones, of different holders.
        have: usize,
        /// All that were given.
        given: usize,
        /// How many it takes.
        need: usize,
    },
    /// What comes of the pieces is not that keykeeper.
    #[error("the pieces give another keykeeper than the ledger's")]
    NotTheKeeper,
}

/// What is escrowed, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EscrowTerms {
    /// The circle.
    pub circle: CircleId,
    /// The keykeeper.
    pub keeper: KeeperKey,
    /// The round that dealt its share.
    pub round: u64,
    /// X25519 keys, each once; a holder's place in it is the place of its piece.
    pub holders: Vec<[u8; 32]>,
    /// How many of them restore the keykeeper; at least two.
    pub least: usize,
}

/// A keykeeper's share and identity in escrow; public as a whole.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyEscrow {
    /// The polynomial's commitment, as the library encodes it.
    pub commitment: Vec<u8>,
    /// A piece for each holder, sealed.
    pub pieces: Vec<[u8; SEALED_SHARE_BYTES]>,
    /// The seed of the identity, encrypted under the share.
    pub identity: [u8; IDENTITY_BYTES],
}

/// A holder's opened piece, found good.
pub struct Piece {
    holder: u16,
    value: Zeroizing<[u8; SHARE_BYTES]>,
}

/// A piece, sealed to the process that restores the keykeeper; public.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HandedOver {
    /// The holder's place.
    pub holder: u16,
    /// The piece.
    pub sealed: [u8; SEALED_SHARE_BYTES],
}

impl KeyEscrow {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("an escrow always encodes")
    }

    /// Reads [`Self::encode`]'s form; none for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_ESCROW_BYTES {
            return None;
        }
        Self::try_from_slice(bytes).ok()
    }

    /// Whether it shares what the committee's keykeeper holds among the terms'
    /// holders. Anybody can tell; whether a *piece* is good, its holder alone.
    ///
    /// Errors: [`EscrowError::Terms`], [`EscrowError::NoShare`], [`EscrowError::Escrow`].
    pub fn check(&self, committee: &Committee, terms: &EscrowTerms) -> Result<(), EscrowError> {
        self.polynomial(committee, terms).map(drop)
    }

    fn polynomial(
        &self,
        committee: &Committee,
        terms: &EscrowTerms,
    ) -> Result<Poly<G2>, EscrowError> {
        terms.check()?;
        let public = public_share(committee, terms)?;
        let most = NZU32!(MAX_MEMBERS as u32);
        let range = RangeCfg::new(NZU32!(2)..=most);
        let polynomial: Poly<G2> =
            decode(&self.commitment, &(range, ())).ok_or(EscrowError::Escrow)?;
        let fits = polynomial.required().get() as usize == terms.least
            && polynomial.encode().as_ref() == self.commitment
            && *polynomial.constant() == public
            && self.pieces.len() == terms.holders.len();
        if fits {
            Ok(polynomial)
        } else {
            Err(EscrowError::Escrow)
        }
    }
}

fn public_share(committee: &Committee, terms: &EscrowTerms) -> Result<G2, EscrowError> {
    let index = committee.index(&terms.keeper).ok_or(EscrowError::NoShare)?;
    committee
        .sharing()
        .partial_public(index)
        .map_err(|_| EscrowError::NoShare)
}

impl EscrowTerms {
    fn check(&self) -> Result<(), EscrowError> {
        let count = self.holders.len();
        let mut sorted = self.holders.clone();
        sorted.sort_unstable();
        let each_once = sorted.windows(2).all(|pair| pair[0] != pair[1]);
        let sound = (2..=MAX_MEMBERS).contains(&count) && (2..=count).contains(&self.least);
        (each_once && sound).then_some(()).ok_or(EscrowError::Terms)
    }

    /// What seals and keys of this escrow are bound to, apart from `commitment`.
    fn place(&self, what: &str, commitment: &[u8]) -> Digest {
        let holders = self.holders.concat();
        Digest::tagged(
            what,
            &[
                &self.circle.0,
                &self.keeper,
                &self.round.to_le_bytes(),
                &(self.least as u64).to_le_bytes(),
                &holders,
                commitment,
            ],
        )
    }

    fn piece_place(&self, commitment: &[u8], holder: u16) -> Vec<u8> {
        let place = self.place("ringfort/keys/escrow-piece/1", commitment);
        [&place.0[..], &holder.to_le_bytes()].concat()
    }

    fn handover_place(&self, commitment: &[u8], holder: u16) -> Vec<u8> {
        let place = self.place("ringfort/keys/escrow-handover/1", commitment);
        [&place.0[..], &holder.to_le_bytes()].concat()
    }
}

/// The key that the identity is encrypted under; used once, as it hangs on the
/// commitment, which is fresh.
fn identity_key(share: &Scalar, terms: &EscrowTerms, commitment: &[u8]) -> aead::LessSafeKey {
    let secret = Zeroizing::new(share.encode().to_vec());
    let place = terms.place("ringfort/keys/escrow-identity/1", commitment);
    let mut key = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"ringfort/keys/escrow-identity/1")
        .extract(&secret)
        .expand(&[&place.0], hkdf::HKDF_SHA256)
        .and_then(|expanded| expanded.fill(&mut key[..]))
        .expect("HKDF-SHA256 gives 32 bytes");
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, &key[..]).expect("AES-256 has 32 bytes");
    aead::LessSafeKey::new(key)
}

fn nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; 12])
}

fn point(holder: u16) -> Scalar {
    Scalar::from_u64(u64::from(holder) + 1)
}

/// Puts a keykeeper's share and identity in escrow.
///
/// A holder whose key is of low order gets a piece that does not open: its own loss.
///
/// Errors: [`EscrowError::Terms`]; [`EscrowError::NoShare`], also for another
///         keykeeper's terms or another round's.
pub fn escrow(
    keeper: &Keeper,
    committee: &Committee,
    terms: &EscrowTerms,
    rng: &mut impl CryptoRng,
) -> Result<KeyEscrow, EscrowError> {
    terms.check()?;
    let share = keeper.share_in(committee).ok_or(EscrowError::NoShare)?;
    if keeper.key() != terms.keeper || keeper.holds() != Some(terms.round) {
        return Err(EscrowError::NoShare);
    }
    share.private.expose(|share| {
        let degree = terms.least as u32 - 1;
        let polynomial = Poly::new_with_constant(&mut *rng, degree, share.clone());
        let commitment = Poly::<G2>::commit(polynomial.clone()).encode().to_vec();
        let mut pieces = Vec::with_capacity(terms.holders.len());
        for (holder, key) in (0u16..).zip(&terms.holders) {
            let value = Zeroizing::new(polynomial.eval(&point(holder)).encode().to_vec());
            let place = terms.piece_place(&commitment, holder);
            let piece = sealed::seal(key, &place, &value, rng)
                .and_then(|sealed| sealed.try_into().ok())
                .unwrap_or([0; SEALED_SHARE_BYTES]);
            pieces.push(piece);
        }
        let mut identity = [0; IDENTITY_BYTES];
        let (seed, tag) = identity.split_at_mut(32);
        seed.copy_from_slice(keeper.identity());
        let sealed = identity_key(share, terms, &commitment)
            .seal_in_place_separate_tag(nonce(), aead::Aad::empty(), seed)
            .expect("AES-GCM seals what is short");
        tag.copy_from_slice(sealed.as_ref());
        Ok(KeyEscrow {
            commitment,
            pieces,
            identity,
        })
    })
}

fn good(polynomial: &Poly<G2>, holder: u16, value: &[u8]) -> Option<Private> {
    let private: Private = decode(value, &())?;
    let public = private.expose(|scalar| G2::generator() * scalar);
    (polynomial.eval(&point(holder)) == public).then_some(private)
}

/// A holder opens its own piece and sees whether it is good.
///
/// Errors: those of [`KeyEscrow::check`]; [`EscrowError::NotHolder`],
///         [`EscrowError::BadPiece`].
pub fn open_piece(
    secret: &[u8; 32],
    committee: &Committee,
    terms: &EscrowTerms,
    escrow: &KeyEscrow,
) -> Result<Piece, EscrowError> {
    let polynomial = escrow.polynomial(committee, terms)?;
    let own = sealed::public_of(secret);
    let place = terms.holders.iter().position(|key| *key == own);
    let place = place.ok_or(EscrowError::NotHolder)?;
    let holder = place as u16;
    let info = terms.piece_place(&escrow.commitment, holder);
    let opened = sealed::open(secret, &info, &escrow.pieces[place]).ok_or(EscrowError::BadPiece)?;
    good(&polynomial, holder, &opened).ok_or(EscrowError::BadPiece)?;
    let mut value = Zeroizing::new([0; SHARE_BYTES]);
    value.copy_from_slice(&opened);
    Ok(Piece { holder, value })
}

impl Piece {
    /// Seals the piece to the process that restores the keykeeper.
    ///
    /// Errors: [`EscrowError::BadKey`].
    pub fn hand_over(
        &self,
        terms: &EscrowTerms,
        escrow: &KeyEscrow,
        process: &[u8; 32],
        rng: &mut impl CryptoRng,
    ) -> Result<HandedOver, EscrowError> {
        let place = terms.handover_place(&escrow.commitment, self.holder);
        let sealed = sealed::seal(process, &place, &self.value[..], rng)
            .and_then(|sealed| sealed.try_into().ok())
            .ok_or(EscrowError::BadKey)?;
        Ok(HandedOver {
            holder: self.holder,
            sealed,
        })
    }
}

/// A holder's X25519 secret, out of the seed of a key file that it keeps.
pub fn escrow_secret(seed: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut secret = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"ringfort/keys/escrow-holder/1")
        .extract(seed)
        .expand(&[b"x25519"], hkdf::HKDF_SHA256)
        .and_then(|expanded| expanded.fill(&mut secret[..]))
        .expect("HKDF-SHA256 gives 32 bytes");
    secret
}

/// The public half of a holder's key, or of the key of a process that restores.
pub fn escrow_public(secret: &[u8; 32]) -> [u8; 32] {
    sealed::public_of(secret)
}

/// Restores a keykeeper from pieces that were handed over to `process`, the secret
/// half. Bad ones and second ones of a holder are left out.
///
/// Errors: those of [`KeyEscrow::check`]; [`EscrowError::TooFew`],
///         [`EscrowError::NotTheKeeper`].
pub fn restore(
    process: &[u8; 32],
    committee: &Committee,
    terms: &EscrowTerms,
    escrow: &KeyEscrow,
    pieces: &[HandedOver],
) -> Result<Keeper, EscrowError> {
    let polynomial = escrow.polynomial(committee, terms)?;
    let mut opened: BTreeMap<u16, Private> = BTreeMap::new();
    for piece in pieces {
        if usize::from(piece.holder) >= terms.holders.len() {
            continue;
        }
        let place = terms.handover_place(&escrow.commitment, piece.holder);
        let value = sealed::open(process, &place, &piece.sealed);
        if let Some(value) = value.and_then(|value| good(&polynomial, piece.holder, &value)) {
            opened.insert(piece.holder, value);
        }
    }
    if opened.len() < terms.least {
        return Err(EscrowError::TooFew {
            have: opened.len(),
            given: pieces.len(),
            need: terms.least,
        });
    }
    let refused = EscrowError::NotTheKeeper;
    let used: Vec<(u16, Private)> = opened.into_iter().take(terms.least).collect();
    let weights = Interpolator::new(used.iter().map(|(holder, _)| (*holder, point(*holder))));
    let values: Map<u16, Scalar> = used
        .iter()
        .map(|(holder, value)| (*holder, value.expose(Clone::clone)))
        .try_collect()
        .map_err(|_| refused.clone())?;
    let share = weights
        .interpolate(&values, &Sequential)
        .ok_or_else(|| refused.clone())?;
    let mut identity = Zeroizing::new(escrow.identity);
    identity_key(&share, terms, &escrow.commitment)
        .open_in_place(nonce(), aead::Aad::empty(), &mut identity[..])
        .map_err(|_| refused.clone())?;
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&identity[..32]);
    let index = committee.index(&terms.keeper).ok_or(EscrowError::NoShare)?;
    let share = Share::new(index, Private::new(share));
    let is_the_keeper = keeper_key(&seed) == terms.keeper
        && share.public::<MinSig>() == public_share(committee, terms)?;
    if !is_the_keeper {
        return Err(refused);
    }
    Ok(Keeper::restored(&seed, terms.round, &share))
}

#[cfg(test)]
mod tests;
