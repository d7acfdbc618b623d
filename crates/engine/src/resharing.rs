//! How does a circle's key get its shares, and how do they pass to another
//! committee, without anybody ever holding the key?
//!
//! The same protocol makes the first shares (a distributed key generation
//! among the founders, [`Task::previous`] is empty) and every later ones (a
//! resharing: the key stays the same). It is Joint-Feldman and Desmedt's
//! redistribution, as the consensus library has it; this file gives it bytes
//! for messages and no opinion on how they travel.
//!
//! 1. Every dealer sends each player a secret message ([`Dealer::start`]).
//! 2. A player checks it and answers with an acknowledgement ([`Player::take`]).
//! 3. A dealer that has waited long enough publishes its *dealing*: the
//!    commitment, the acknowledgements, and in the open the shares of those
//!    that did not answer ([`Dealer::finish`]).
//! 4. Everybody judges the same list of dealings ([`conclude`]) and comes to the
//!    same public result; a player also to its share ([`Player::finish`]).
//!
//! It trusts its caller that secret messages travel encrypted and from whom
//! they claim to be, that all judge one list of dealings, and that a player
//! stores a message durably before it answers it.

use std::num::NonZeroU32;

use commonware_codec::{Copying, Encode, Error as CodecError, Read, ReadExt as _};
use commonware_cryptography::{
    bls12381::{
        dkg::feldman_desmedt::{
            self as protocol, DealerPrivMsg, DealerPubMsg, Info, Logs, Output, PlayerAck, Reveal,
            SignedDealerLog,
        },
        primitives::{
            sharing::{Mode, ModeVersion},
            variant::MinSig,
        },
    },
    ed25519,
};
use commonware_parallel::Sequential;
use commonware_utils::{N3f1, NZU32};
use rand::{SeedableRng as _, rngs::StdRng};
use wire::{CircleId, Digest};
use zeroize::Zeroizing;

use crate::{
    certificate::namespace,
    keys::{self, GroupKey, KeyError, MAX_VALIDATORS, PeerKey},
};

const MAX_PARTICIPANTS: NonZeroU32 = NZU32!(MAX_VALIDATORS);

pub(crate) type Sharing = Output<MinSig, ed25519::PublicKey>;
type RoundInfo = Info<MinSig, ed25519::PublicKey>;
type RoundLogs = Logs<MinSig, ed25519::PublicKey, N3f1>;

/// Why a key generation or resharing, or a message of one, was refused.
#[derive(Debug, thiserror::Error)]
pub enum ResharingError {
    /// Keys or sharing that do not decode or do not fit.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Dealers and players that make no round, or a caller that is not among them.
    #[error("no such round: {0}")]
    Round(String),
    /// A peer's message does not decode.
    #[error("the message does not decode")]
    Malformed,
    /// A peer's message is not what the round asks for.
    #[error("the message was refused: {0}")]
    Refused(String),
    /// Fewer good dealings than the round needs.
    #[error("too few good dealings: {0}")]
    TooFewDealings(String),
    /// This player lacks a message that it has acknowledged.
    #[error("a message that was acknowledged is lost: {0}")]
    Lost(String),
}

/// A round: who deals what to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The circle; of founders, one that only these founders agreed on.
    pub circle: CircleId,
    /// The round's number; never used twice, not even after a failure.
    pub round: u64,
    /// The sharing in office, whose players deal; none to make a first key.
    pub previous: Option<Vec<u8>>,
    /// Who is to hold shares; of a first key they are also the dealers.
    pub players: Vec<PeerKey>,
}

impl Task {
    fn info(&self) -> Result<RoundInfo, ResharingError> {
        let (_, players) = keys::participant_set(&self.players)?;
        let previous = self.previous.as_deref().map(decode_sharing).transpose()?;
        let dealers = match &previous {
            Some(previous) => previous.players().clone(),
            None => players.clone(),
        };
        let mut name = namespace(self.circle);
        name.extend_from_slice(b"_RESHARE");
        Info::new::<N3f1>(
            &name,
            self.round,
            previous,
            Mode::NonZeroCounter,
            Reveal::V1,
            dealers,
            players,
        )
        .map_err(|error| ResharingError::Round(error.to_string()))
    }
}

/// What enough good dealings make; the same for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// The public side of the shares.
    pub sharing: Vec<u8>,
    /// The circle's key; after a resharing, the same as before.
    pub group_key: GroupKey,
    /// Players whose share anyone may have put together from the dealings.
    pub revealed: Vec<PeerKey>,
}

impl Conclusion {
    fn of(output: &Sharing) -> Self {
        Self {
            sharing: output.encode().to_vec(),
            group_key: keys::group_key(output.public()),
            revealed: output.revealed().iter().map(keys::peer_key).collect(),
        }
    }
}

/// Judges the dealings of a round. Pure: the same for every caller.
///
/// Shape:  `dealings` has dealers and what they published; one that does not
///         decode or is another dealer's is left out, and only counts as missing.
/// Errors: [`ResharingError::TooFewDealings`]; [`ResharingError::Key`] and
///         [`ResharingError::Round`] for a task that makes no round.
pub fn conclude(
    task: &Task,
    dealings: &[(PeerKey, Vec<u8>)],
) -> Result<Conclusion, ResharingError> {
    let info = task.info()?;
    let mut entropy = batch_entropy(task, dealings);
    let logs = read_dealings(info, dealings);
    let output = protocol::observe::<MinSig, _, N3f1>(&mut entropy, logs, &Sequential)
        .map_err(|failure| ResharingError::TooFewDealings(format!("{failure:?}")))?;
    Ok(Conclusion::of(&output))
}

/// The weights by which signatures and shares are checked together: they hang
/// on everything that is checked, so that no dealer can choose against them.
fn batch_entropy(task: &Task, dealings: &[(PeerKey, Vec<u8>)]) -> StdRng {
    let round = task.round.to_le_bytes();
    let mut parts: Vec<&[u8]> = vec![&task.circle.0, &round];
    parts.extend(task.previous.as_deref());
    parts.extend(dealings.iter().map(|(_, dealing)| dealing.as_slice()));
    StdRng::from_seed(Digest::tagged("ringfort/reshare/1", &parts).0)
}

fn read_dealings(info: RoundInfo, dealings: &[(PeerKey, Vec<u8>)]) -> RoundLogs {
    let mut logs = RoundLogs::new(info.clone());
    for (dealer, bytes) in dealings {
        let signed: Option<SignedDealerLog<MinSig, ed25519::PublicKey>> =
            decode(bytes, &MAX_PARTICIPANTS);
        let checked = signed.and_then(|signed| signed.check(&info));
        if let Some((signer, log)) = checked
            && keys::peer_key(&signer) == *dealer
        {
            logs.record(signer, log);
        }
    }
    logs
}

/// A dealer's message with the one player that it is for.
pub type SecretMessage = (PeerKey, Zeroizing<Vec<u8>>);

/// A dealer of one round.
pub struct Dealer(protocol::Dealer<MinSig, ed25519::PrivateKey>);

impl Dealer {
    /// Deals. The same `entropy` deals the same again, which is how a dealer
    /// goes on after a restart: dealing anew would contradict its messages.
    ///
    /// Shape:  one message for each player, this one among them if it is one;
    ///         each is for its player alone.
    /// Errors: [`ResharingError::Round`], [`ResharingError::Key`]; a
    ///         resharing needs the dealer's `share`.
    pub fn start(
        task: &Task,
        identity_seed: &[u8; 32],
        share: Option<&[u8]>,
        entropy: [u8; 32],
    ) -> Result<(Self, Vec<SecretMessage>), ResharingError> {
        let share = share.map(keys::decode_share).transpose()?;
        let (dealer, public, secret) = protocol::Dealer::start::<N3f1>(
            StdRng::from_seed(entropy),
            task.info()?,
            keys::private_key(identity_seed),
            share,
        )
        .map_err(|error| ResharingError::Round(error.to_string()))?;
        let messages = secret
            .into_iter()
            .map(|(player, secret)| {
                let mut message = Zeroizing::new(public.encode().to_vec());
                message.extend_from_slice(&secret.encode());
                (keys::peer_key(&player), message)
            })
            .collect();
        Ok((Self(dealer), messages))
    }

    /// Takes a player's acknowledgement.
    ///
    /// Errors: [`ResharingError::Malformed`], [`ResharingError::Refused`].
    pub fn acknowledged(&mut self, player: &PeerKey, ack: &[u8]) -> Result<(), ResharingError> {
        let player = keys::decode_peer_key(player).ok_or(ResharingError::Malformed)?;
        let ack: PlayerAck<ed25519::PublicKey> =
            decode(ack, &()).ok_or(ResharingError::Malformed)?;
        self.0
            .receive_player_ack(player, ack)
            .map_err(|error| ResharingError::Refused(error.to_string()))
    }

    /// The dealing, to be published: it shows the share of whoever did not
    /// acknowledge, unless so many did not that the dealing is void.
    pub fn finish(self) -> Vec<u8> {
        self.0.finalize::<N3f1>().encode().to_vec()
    }
}

/// A player of one round.
pub struct Player {
    player: protocol::Player<MinSig, ed25519::PrivateKey>,
    info: RoundInfo,
    task: Task,
}

impl Player {
    /// Errors: [`ResharingError::Round`], [`ResharingError::Key`].
    pub fn new(task: &Task, identity_seed: &[u8; 32]) -> Result<Self, ResharingError> {
        let info = task.info()?;
        let player = protocol::Player::new(info.clone(), keys::private_key(identity_seed))
            .map_err(|error| ResharingError::Round(error.to_string()))?;
        Ok(Self {
            player,
            info,
            task: task.clone(),
        })
    }

    /// Takes a dealer's message and gives the acknowledgement; none for a
    /// dealer that was heard before. The message must be stored durably before
    /// the acknowledgement leaves.
    ///
    /// Errors: [`ResharingError::Malformed`]; [`ResharingError::Refused`] for
    ///         a share that does not fit its commitment, or a commitment that
    ///         does not fit the round.
    pub fn take(
        &mut self,
        dealer: &PeerKey,
        message: &[u8],
    ) -> Result<Option<Vec<u8>>, ResharingError> {
        let dealer = keys::decode_peer_key(dealer).ok_or(ResharingError::Malformed)?;
        let mut reader = Copying(message);
        let malformed = |_: CodecError| ResharingError::Malformed;
        let public =
            DealerPubMsg::<MinSig>::read_cfg(&mut reader, &MAX_PARTICIPANTS).map_err(malformed)?;
        let secret = DealerPrivMsg::read(&mut reader).map_err(malformed)?;
        if !reader.0.is_empty() {
            return Err(ResharingError::Malformed);
        }
        self.player
            .dealer_message::<N3f1>(dealer, public, secret)
            .map(|ack| ack.map(|ack| ack.encode().to_vec()))
            .map_err(|error| ResharingError::Refused(error.to_string()))
    }

    /// What [`conclude`] says, and this player's share.
    ///
    /// Errors: those of [`conclude`]; [`ResharingError::Lost`] if a message
    ///         that was acknowledged was not taken again after a restart.
    pub fn finish(
        self,
        dealings: &[(PeerKey, Vec<u8>)],
    ) -> Result<(Conclusion, Zeroizing<Vec<u8>>), ResharingError> {
        let mut entropy = batch_entropy(&self.task, dealings);
        let logs = read_dealings(self.info, dealings);
        let finished = self
            .player
            .finalize::<N3f1>(&mut entropy, logs, &Sequential);
        let (output, share) = finished.map_err(|error| match error {
            protocol::FinalizeError::Failure(failure) => {
                ResharingError::TooFewDealings(format!("{failure:?}"))
            }
            protocol::FinalizeError::Error(error) => ResharingError::Lost(error.to_string()),
        })?;
        let share = Zeroizing::new(share.encode().to_vec());
        Ok((Conclusion::of(&output), share))
    }
}

/// Errors: [`KeyError::Polynomial`] for bytes that are no sharing.
pub(crate) fn decode_sharing(bytes: &[u8]) -> Result<Sharing, KeyError> {
    decode(bytes, &(MAX_PARTICIPANTS, ModeVersion::v0())).ok_or(KeyError::Polynomial)
}

/// Reads a value and refuses what follows it.
fn decode<T: Read>(bytes: &[u8], configuration: &T::Cfg) -> Option<T> {
    let mut reader = Copying(bytes);
    let value = T::read_cfg(&mut reader, configuration).ok()?;
    reader.0.is_empty().then_some(value)
}

#[cfg(test)]
mod tests;
