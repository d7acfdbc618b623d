//! Who holds the shares, how many make a quorum, and what is public of it?
//!
//! A quorum is a majority: `n - f` of `n`, with `f = (n - 1) / 2`. Messages
//! travel over a ledger that everybody reads, so the protocols need an honest
//! majority, not two thirds; a majority is the most that keeps working with `f`
//! silent and the least that `f` cannot reach.

use std::num::NonZeroU32;

use commonware_codec::{Copying, DecodeExt as _, Encode as _, Read};
use commonware_cryptography::{
    Signer as _,
    bls12381::{
        dkg::feldman_desmedt::Output,
        primitives::{
            sharing::{ModeVersion, Sharing},
            variant::MinSig,
        },
    },
    ed25519,
};
use commonware_utils::{Faults, NZU32, Participant, TryCollect as _, ordered::Set};
use num_traits::ToPrimitive;
use wire::limits::MAX_KEYKEEPERS;

/// Length of the master public key: a compressed point of G2.
pub const MASTER_KEY_LENGTH: usize = 96;

/// An encoded [`Committee`]: for 64 keykeepers a polynomial of 33 points of 96
/// bytes and three lists of 64 keys of 32 bytes are below 10 KiB.
pub const MAX_SHARING_BYTES: usize = 10 * 1024;

/// A keykeeper's Ed25519 key (RFC 8032): its ledger key and its identity in a round.
pub type KeeperKey = [u8; 32];

/// The master public key: a compressed BLS12-381 G2 point.
pub type MasterKey = [u8; MASTER_KEY_LENGTH];

pub(crate) const MAX_PARTICIPANTS: NonZeroU32 = NZU32!(MAX_KEYKEEPERS as u32);

/// The identity of a keykeeper as the library has it.
pub(crate) type Identity = ed25519::PublicKey;

/// The library's public result of a round.
pub(crate) type Sharings = Output<MinSig, Identity>;

/// At most `(n - 1) / 2` of `n` are faulty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Minority;

impl Faults for Minority {
    fn max_faults(n: impl ToPrimitive) -> u32 {
        let n = n.to_u32().expect("a committee's size fits 32 bits");
        assert!(n > 0, "a committee is not empty");
        (n - 1) / 2
    }
}

/// How many of `keepers` may be faulty without harm.
///
/// Panics: for none or more than [`MAX_KEYKEEPERS`] squared; a count that was checked.
pub fn faults(keepers: usize) -> usize {
    Minority::max_faults(keepers) as usize
}

/// How many of `keepers` it takes to derive a key: `keepers - faults(keepers)`.
///
/// Panics: as [`faults`].
pub fn quorum(keepers: usize) -> usize {
    Minority::quorum(keepers) as usize
}

/// A list of keykeepers, or what is public of their shares, is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// Too few or too many.
    #[error("{0} keykeepers; a round has between 2 and {MAX_KEYKEEPERS}")]
    Count(usize),
    /// One is listed twice.
    #[error("a keykeeper is listed twice")]
    Duplicate,
    /// A key is no Ed25519 key.
    #[error("a keykeeper's key is no Ed25519 key")]
    Key,
    /// Bytes that are no sharing.
    #[error("the public sharing does not decode")]
    Sharing,
    /// The round's list, or the sharing that it starts from, makes no round.
    #[error("these keykeepers make no round")]
    Round,
}

/// Reads a value and refuses what follows it.
pub(crate) fn decode<T: Read>(bytes: &[u8], configuration: &T::Cfg) -> Option<T> {
    let mut reader = Copying(bytes);
    let value = T::read_cfg(&mut reader, configuration).ok()?;
    reader.0.is_empty().then_some(value)
}

pub(crate) fn identity(key: &KeeperKey) -> Option<Identity> {
    ed25519::PublicKey::decode(Copying(&key[..])).ok()
}

pub(crate) fn key_of(identity: &Identity) -> KeeperKey {
    identity
        .as_ref()
        .try_into()
        .expect("an Ed25519 key is 32 bytes")
}

pub(crate) fn private_identity(seed: &[u8; 32]) -> ed25519::PrivateKey {
    ed25519::PrivateKey::decode(Copying(&seed[..])).expect("every 32 bytes are an Ed25519 seed")
}

/// The key of the keykeeper whose identity has this seed.
pub fn keeper_key(seed: &[u8; 32]) -> KeeperKey {
    key_of(&private_identity(seed).public_key())
}

/// The library's ordered set of keykeepers.
///
/// Errors: [`CommitteeError::Count`], [`CommitteeError::Duplicate`],
///         [`CommitteeError::Key`].
pub(crate) fn set(keepers: &[KeeperKey]) -> Result<Set<Identity>, CommitteeError> {
    // One alone would hold the whole key.
    if !(2..=MAX_KEYKEEPERS).contains(&keepers.len()) {
        return Err(CommitteeError::Count(keepers.len()));
    }
    keepers
        .iter()
        .map(|key| identity(key).ok_or(CommitteeError::Key))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .try_collect()
        .map_err(|_| CommitteeError::Duplicate)
}

/// What is public of a set of shares: who holds one, the polynomial that every
/// share fits, and the master public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committee {
    output: Sharings,
}

impl Committee {
    pub(crate) fn new(output: Sharings) -> Self {
        Self { output }
    }

    /// Reads [`Committee::encode`]'s form.
    ///
    /// Errors: [`CommitteeError::Sharing`], also for one whose quorum is not a majority.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommitteeError> {
        let refused = CommitteeError::Sharing;
        if bytes.len() > MAX_SHARING_BYTES {
            return Err(refused);
        }
        let output: Sharings =
            decode(bytes, &(MAX_PARTICIPANTS, ModeVersion::v0())).ok_or(refused)?;
        let count = output.players().len();
        let sharing = output.public();
        let fits = count >= 2
            && sharing.total().get() as usize == count
            && sharing.required() as usize == quorum(count);
        if fits {
            Ok(Self { output })
        } else {
            Err(refused)
        }
    }

    /// Its bytes, at most [`MAX_SHARING_BYTES`].
    pub fn encode(&self) -> Vec<u8> {
        self.output.encode().to_vec()
    }

    /// Who holds a share, in the order of the shares.
    pub fn keepers(&self) -> Vec<KeeperKey> {
        self.output.players().iter().map(key_of).collect()
    }

    /// How many shares make a key.
    pub fn quorum(&self) -> usize {
        quorum(self.output.players().len())
    }

    /// The master public key.
    pub fn master_key(&self) -> MasterKey {
        let encoded = self.output.public().public().encode();
        encoded
            .as_ref()
            .try_into()
            .expect("a compressed G2 point is 96 bytes")
    }

    pub(crate) fn output(&self) -> &Sharings {
        &self.output
    }

    pub(crate) fn sharing(&self) -> &Sharing<MinSig> {
        self.output.public()
    }

    pub(crate) fn index(&self, keeper: &KeeperKey) -> Option<Participant> {
        let position = self.keepers().iter().position(|key| key == keeper)?;
        Some(Participant::from_usize(position))
    }
}
