//! Who deals what to whom in a round, and is a message what the round asks for?
//!
//! The protocol is Joint-Feldman key generation and Desmedt's redistribution as
//! the library has them. Two things are different here from how it is usually
//! driven:
//!
//! - Shares travel on the ledger, sealed to one-time keys, so that a bad share
//!   is shown to be bad by showing the key that it was sealed to. No dealer ever
//!   publishes a share, and a result in which one was published is not taken.
//! - Nobody posts the library's dealer log: everybody puts it together from the
//!   dealer's commitment and the players' signatures, all of them public.
//!
//! It trusts the library for the protocol's mathematics.

use commonware_codec::{Copying, DecodeExt as _, Encode as _, ReadExt as _, modes};
use commonware_cryptography::{
    Verifier as _,
    bls12381::{
        dkg::feldman_desmedt::{
            self as protocol, DealerLog, DealerPrivMsg, DealerPubMsg, Info, Logs, Reveal,
        },
        primitives::{
            group::{Private, Share},
            sharing::{Mode, ModeVersion, Sharing},
            variant::MinSig,
        },
    },
    ed25519,
    transcript::{Summary, Transcript, Version},
};
use commonware_parallel::Sequential;
use commonware_utils::{
    Participant, TryCollect as _,
    ordered::{Map, Set},
    sequence::FixedBytes,
};
use rand::{SeedableRng as _, rngs::StdRng};
use wire::{CircleId, Digest};

use crate::{
    committee::{
        Committee, CommitteeError, Identity, KeeperKey, MAX_PARTICIPANTS, Minority, decode,
        identity, key_of, quorum, set,
    },
    sealed,
};

pub(crate) type RoundInfo = Info<MinSig, Identity>;
pub(crate) type RoundLogs = Logs<MinSig, Identity, Minority>;
pub(crate) type Commitment = DealerPubMsg<MinSig>;
/// A dealing with the signatures of all players, in the library's form.
pub(crate) type Log = DealerLog<MinSig, Identity>;

/// Where shares are made, so that no signature or share of a round means
/// anything elsewhere.
const NAMESPACE: &[u8] = b"ringfort/keys/1";

/// The library's names for its transcripts, which [`Round::signed`] follows; a
/// test compares the two.
const LIBRARY_NAMESPACE: &[u8] = b"_COMMONWARE_CRYPTOGRAPHY_BLS12381_DKG";
const LIBRARY_ACKNOWLEDGEMENT: &[u8] = b"ack";

/// A round: a first key, or the same key's shares for another committee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The circle.
    pub circle: CircleId,
    /// The round's number; never used twice, not even after a failure.
    pub round: u64,
    /// The committee in office, whose holders deal; none to make a first key.
    pub previous: Option<Committee>,
    /// Who is asked to hold shares; to make a first key, they deal as well.
    pub invited: Vec<KeeperKey>,
    /// How many must take part for the round to come to anything: the quorum of
    /// those that were first invited, also when a later round leaves some out.
    pub least: usize,
}

impl Task {
    /// Who may deal, in the order of [`crate::Join::keys`].
    pub fn dealers(&self) -> Vec<KeeperKey> {
        match &self.previous {
            Some(previous) => previous.keepers(),
            None => self.invited.clone(),
        }
    }

    /// The first round of a change: a first key, or new shares of the same.
    pub fn first(
        circle: CircleId,
        round: u64,
        previous: Option<Committee>,
        invited: Vec<KeeperKey>,
    ) -> Self {
        let least = quorum(invited.len().max(1));
        Self {
            circle,
            round,
            previous,
            invited,
            least,
        }
    }

    /// The next attempt at the same change, without some.
    pub fn without(&self, round: u64, silent: &[KeeperKey], joined: &[KeeperKey]) -> Self {
        let stays = |key: &&KeeperKey| joined.contains(key) && !silent.contains(key);
        Self {
            round,
            invited: self.invited.iter().filter(stays).copied().collect(),
            ..self.clone()
        }
    }
}

/// What enough good dealings make; the same for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// Who holds shares now, and of what.
    pub committee: Committee,
}

/// A task whose players are known, and so what the library calls a round.
pub(crate) struct Round {
    pub(crate) task: Task,
    pub(crate) info: RoundInfo,
    pub(crate) players: Vec<KeeperKey>,
    dealers: Set<Identity>,
    /// What the library calls the round's summary.
    summary: Summary,
}

impl Round {
    /// Errors: [`CommitteeError`], for lists that make no round.
    pub(crate) fn new(task: &Task, joined: &[KeeperKey]) -> Result<Self, CommitteeError> {
        let players = set(joined)?;
        let dealers = match &task.previous {
            Some(previous) => previous.output().players().clone(),
            None => players.clone(),
        };
        let mut namespace = NAMESPACE.to_vec();
        namespace.extend_from_slice(&task.circle.0);
        let info = Info::new::<Minority>(
            &namespace,
            task.round,
            task.previous
                .as_ref()
                .map(|previous| previous.output().clone()),
            Mode::NonZeroCounter,
            Reveal::V1,
            dealers.clone(),
            players.clone(),
        )
        .map_err(|_| CommitteeError::Round)?;
        let summary = summary(task, &namespace, &dealers, &players);
        Ok(Self {
            task: task.clone(),
            info,
            players: players.iter().map(key_of).collect(),
            dealers,
            summary,
        })
    }

    pub(crate) fn is_dealer(&self, key: &KeeperKey) -> bool {
        self.dealers.iter().any(|dealer| key_of(dealer) == *key)
    }

    pub(crate) fn player_index(&self, key: &KeeperKey) -> Option<usize> {
        self.players.iter().position(|player| player == key)
    }

    /// The place at which a share opens and nowhere else.
    pub(crate) fn share_place(&self, dealer: &KeeperKey, player: &KeeperKey) -> Vec<u8> {
        let mut info = b"ringfort/keys/share/1".to_vec();
        info.extend_from_slice(&self.task.circle.0);
        info.extend_from_slice(&self.task.round.to_le_bytes());
        info.extend_from_slice(dealer);
        info.extend_from_slice(player);
        info
    }

    /// A commitment, read as the polynomial that it commits to.
    fn polynomial(&self, commitment: &Commitment) -> Option<Sharing<MinSig>> {
        let mut bytes = vec![Mode::NonZeroCounter as u8];
        bytes.extend_from_slice(&(self.players.len() as u32).encode());
        bytes.extend_from_slice(&commitment.encode());
        decode(&bytes, &(MAX_PARTICIPANTS, ModeVersion::v0()))
    }

    /// Reads a dealer's commitment; none if the round cannot use it: another
    /// degree than the quorum's, or of another share than the dealer's.
    pub(crate) fn commitment(&self, dealer: &KeeperKey, bytes: &[u8]) -> Option<Commitment> {
        let commitment: Commitment = decode(bytes, &MAX_PARTICIPANTS)?;
        // One form only: signatures are over the bytes.
        if commitment.encode().as_ref() != bytes {
            return None;
        }
        let polynomial = self.polynomial(&commitment)?;
        if polynomial.required() as usize != quorum(self.players.len()) {
            return None;
        }
        if let Some(previous) = &self.task.previous {
            let index = previous.index(dealer)?;
            let public = previous.sharing().partial_public(index).ok()?;
            if *polynomial.public() != public {
                return None;
            }
        }
        Some(commitment)
    }

    /// Whether a one-time secret shows that a sealed share is bad: that it does
    /// not open, is no share, or does not fit the commitment.
    pub(crate) fn is_bad(
        &self,
        dealer: &KeeperKey,
        commitment: &Commitment,
        player: &KeeperKey,
        share: &[u8],
        secret: &[u8; 32],
    ) -> bool {
        let fits = || {
            let index = Participant::from_usize(self.player_index(player)?);
            let opened = sealed::open(secret, &self.share_place(dealer, player), share)?;
            DealerPrivMsg::decode(Copying(&opened[..])).ok()?;
            let private = Private::decode(Copying(&opened[..])).ok()?;
            let public = self.polynomial(commitment)?.partial_public(index).ok()?;
            Some(Share::new(index, private).public::<MinSig>() == public)
        };
        fits() != Some(true)
    }

    /// Whether `signature` is the library's acknowledgement by `player` of
    /// `dealer`'s commitment. The library checks it again when it judges; here
    /// it is known whose it is.
    ///
    /// Shape: `commitment` is encoded as [`Round::commitment`] read it.
    pub(crate) fn signed(
        &self,
        dealer: &KeeperKey,
        commitment: &[u8],
        player: &KeeperKey,
        signature: &[u8; 64],
    ) -> bool {
        let checked = || {
            let dealer = identity(dealer)?;
            let player = identity(player)?;
            let signature = ed25519::Signature::read(&mut Copying(&signature[..])).ok()?;
            let round = Transcript::resume(self.summary, Version::V0);
            let mut signed = round.fork(LIBRARY_ACKNOWLEDGEMENT);
            signed.commit(dealer.encode());
            signed.commit(commitment);
            Some(player.verify(b"", signed.summarize().as_ref(), &signature))
        };
        checked() == Some(true)
    }

    /// The library's log of a dealing that every player acknowledged.
    ///
    /// Shape: `signatures` has one for each player, in the players' order.
    pub(crate) fn log(&self, commitment: &[u8], signatures: &[[u8; 64]]) -> Option<Log> {
        // The library's form of a list of acknowledgements: a tag before each.
        let acknowledged: Map<Identity, FixedBytes<65>> = self
            .players
            .iter()
            .zip(signatures)
            .map(|(player, signature)| {
                let mut tagged = [0; 65];
                tagged[1..].copy_from_slice(signature);
                Some((identity(player)?, FixedBytes::new(tagged)))
            })
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .try_collect()
            .ok()?;
        let mut bytes = commitment.to_vec();
        bytes.push(0);
        bytes.extend_from_slice(&acknowledged.encode());
        decode(&bytes, &MAX_PARTICIPANTS)
    }

    /// The weights by which the library checks signatures together: they hang
    /// on everything that is checked, so that no dealer can choose against them.
    pub(crate) fn weights(&self, logs: &[(KeeperKey, Log)]) -> StdRng {
        let mut parts: Vec<Vec<u8>> = vec![
            self.task.circle.0.to_vec(),
            self.task.round.to_le_bytes().to_vec(),
        ];
        parts.extend(self.task.previous.as_ref().map(Committee::encode));
        for (dealer, log) in logs {
            parts.push(dealer.to_vec());
            parts.push(log.encode().to_vec());
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        StdRng::from_seed(Digest::tagged("ringfort/keys/weights/1", &parts).0)
    }

    pub(crate) fn logs(&self, logs: &[(KeeperKey, Log)]) -> RoundLogs {
        let mut all = RoundLogs::new(self.info.clone());
        for (dealer, log) in logs {
            if let Some(dealer) = identity(dealer) {
                all.record(dealer, log.clone());
            }
        }
        all
    }

    /// What the logs come to; none if they are too few.
    pub(crate) fn conclude(&self, logs: &[(KeeperKey, Log)]) -> Option<Conclusion> {
        let mut weights = self.weights(logs);
        let output =
            protocol::observe::<MinSig, _, Minority>(&mut weights, self.logs(logs), &Sequential)
                .ok()?;
        Some(Conclusion {
            committee: Committee::new(output),
        })
    }
}

/// The summary by which the library binds signatures to a round.
fn summary(
    task: &Task,
    namespace: &[u8],
    dealers: &Set<Identity>,
    players: &Set<Identity>,
) -> Summary {
    let previous = task
        .previous
        .as_ref()
        .map(|previous| previous.output().clone());
    let mut round = Transcript::new(LIBRARY_NAMESPACE, Version::V0);
    round
        .commit(namespace)
        .commit(task.round.encode())
        .commit(previous.encode())
        .commit(dealers.encode())
        .commit(players.encode());
    if let Some(modes) = modes![Mode::NonZeroCounter, Reveal::V1] {
        round.commit(modes.encode());
    }
    round.summarize()
}
