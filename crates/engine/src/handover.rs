//! What does one validator do in one resharing, and what does it say?
//!
//! A [`Round`] is the validator's part without clock, network or disk: what it
//! deals and who has answered, what it was dealt and what it answered. It
//! trusts its caller to tell senders truly, to store a message before its
//! acknowledgement leaves, and to keep messages secret on their way.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::{
    keys::PeerKey,
    resharing::{Dealer, Player, ResharingError, Task},
};

/// First byte of a dealer's secret message; the round (eight bytes,
/// little-endian) and the message follow.
const TAG_SECRET: u8 = 0;
/// First byte of an acknowledgement; round and acknowledgement follow.
const TAG_ACKNOWLEDGEMENT: u8 = 1;
/// The largest body: for 128 validators a commitment has 86 points of 96 bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// The largest payload on the channel of dealings.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 1 + size_of::<u64>() + MAX_BODY_BYTES;

/// A payload of the channel of dealings.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Payload<'a> {
    /// From a dealer to one player.
    Secret { round: u64, message: &'a [u8] },
    /// From that player to the dealer.
    Acknowledgement { round: u64, ack: &'a [u8] },
}

impl<'a> Payload<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (tag, round, body) = match self {
            Self::Secret { round, message } => (TAG_SECRET, round, message),
            Self::Acknowledgement { round, ack } => (TAG_ACKNOWLEDGEMENT, round, ack),
        };
        [&[tag][..], &round.to_le_bytes(), body].concat()
    }

    /// `None` for what no validator sends.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&tag, rest) = bytes.split_first()?;
        let (round, body) = rest.split_first_chunk()?;
        let round = u64::from_le_bytes(*round);
        match tag {
            _ if body.len() > MAX_BODY_BYTES => None,
            TAG_SECRET => Some(Self::Secret {
                round,
                message: body,
            }),
            TAG_ACKNOWLEDGEMENT => Some(Self::Acknowledgement { round, ack: body }),
            _ => None,
        }
    }
}

enum Dealing {
    Open {
        dealer: Box<Dealer>,
        /// The messages that were not acknowledged yet.
        unanswered: BTreeMap<PeerKey, Zeroizing<Vec<u8>>>,
    },
    Published(Vec<u8>),
}

struct Playing {
    player: Player,
    /// What was answered, by dealer: the same is answered again.
    acks: BTreeMap<PeerKey, Vec<u8>>,
}

/// What became of a dealer's message.
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub(crate) enum Taken {
    /// It is good and new: to be stored before this answer leaves.
    New(Vec<u8>),
    /// The dealer was answered before.
    Again(Vec<u8>),
}

/// A resharing under way, as one validator takes part in it.
pub(crate) struct Round {
    pub number: u64,
    dealing: Option<Dealing>,
    playing: Option<Playing>,
}

impl Round {
    /// Enters a round as dealer if there is a `share`, and as player if `own`
    /// is among the task's players.
    ///
    /// Shape:  `stored` has the messages that were taken before a restart.
    /// Errors: those of [`Dealer::start`] and [`Player::new`].
    pub(crate) fn enter(
        task: &Task,
        own: &PeerKey,
        seed: &[u8; 32],
        share: Option<&[u8]>,
        entropy: [u8; 32],
        stored: &[(PeerKey, Vec<u8>)],
    ) -> Result<Self, ResharingError> {
        let mut dealing = None;
        if share.is_some() {
            let (dealer, messages) = Dealer::start(task, seed, share, entropy)?;
            dealing = Some(Dealing::Open {
                dealer: Box::new(dealer),
                unanswered: messages.into_iter().collect(),
            });
        }
        let mut playing = None;
        if task.players.contains(own) {
            playing = Some(Playing {
                player: Player::new(task, seed)?,
                acks: BTreeMap::new(),
            });
        }
        let mut round = Self {
            number: task.round,
            dealing,
            playing,
        };
        for (dealer, message) in stored {
            round.take(dealer, message)?;
        }
        Ok(round)
    }

    /// Takes a dealer's message; `None` if this validator is no player.
    ///
    /// Errors: those of [`Player::take`]; nothing is remembered then.
    pub(crate) fn take(
        &mut self,
        dealer: &PeerKey,
        message: &[u8],
    ) -> Result<Option<Taken>, ResharingError> {
        let Some(playing) = &mut self.playing else {
            return Ok(None);
        };
        if let Some(ack) = playing.acks.get(dealer) {
            return Ok(Some(Taken::Again(ack.clone())));
        }
        let ack = playing.player.take(dealer, message)?;
        Ok(ack.map(|ack| {
            playing.acks.insert(*dealer, ack.clone());
            Taken::New(ack)
        }))
    }

    /// Takes a player's acknowledgement of what this validator dealt.
    ///
    /// Errors: those of [`Dealer::acknowledged`].
    pub(crate) fn acknowledged(
        &mut self,
        player: &PeerKey,
        ack: &[u8],
    ) -> Result<(), ResharingError> {
        if let Some(Dealing::Open { dealer, unanswered }) = &mut self.dealing
            && unanswered.contains_key(player)
        {
            dealer.acknowledged(player, ack)?;
            unanswered.remove(player);
        }
        Ok(())
    }

    /// The messages that wait for an answer, each for its player alone.
    pub(crate) fn unanswered(&self) -> Vec<(PeerKey, Zeroizing<Vec<u8>>)> {
        match &self.dealing {
            Some(Dealing::Open { unanswered, .. }) => unanswered
                .iter()
                .map(|(player, message)| (*player, message.clone()))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// What is to be published: once all have answered, or `late` enough that
    /// the shares of those that have not must be shown.
    pub(crate) fn publish(&mut self, late: bool) -> Option<Vec<u8>> {
        let ready = match self.dealing.as_ref()? {
            Dealing::Open { unanswered, .. } => late || unanswered.is_empty(),
            Dealing::Published(_) => true,
        };
        if !ready {
            return None;
        }
        let dealing = match self.dealing.take()? {
            Dealing::Open { dealer, .. } => dealer.finish(),
            Dealing::Published(dealing) => dealing,
        };
        self.dealing = Some(Dealing::Published(dealing.clone()));
        Some(dealing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{development_dealer, public_key};

    fn seed(number: u8) -> [u8; 32] {
        [number; 32]
    }

    fn peer(number: u8) -> PeerKey {
        public_key(&seed(number))
    }

    /// Validators 1 to 4 hand their key to 1 to 5; each has its round.
    fn rounds() -> (Task, BTreeMap<u8, Round>) {
        let dealers: Vec<_> = (1..=4).map(peer).collect();
        let dealt = development_dealer(&dealers, [9; 32]).unwrap();
        let task = Task {
            circle: wire::CircleId([5; 32]),
            round: 1,
            previous: Some(dealt.polynomial),
            players: (1..=5).map(peer).collect(),
        };
        let rounds = (1..=5u8)
            .map(|number| {
                let share = dealt.shares.get(usize::from(number) - 1);
                let share = share.map(|share| share.as_slice());
                let entropy = [40 + number; 32];
                let round = Round::enter(&task, &peer(number), &seed(number), share, entropy, &[]);
                (number, round.unwrap())
            })
            .collect();
        (task, rounds)
    }

    #[test]
    fn publishes_once_all_have_answered_or_it_is_late() {
        let (_, mut rounds) = rounds();
        let messages = rounds[&1].unanswered();
        assert_eq!(messages.len(), 5);
        for number in 1..=4 {
            let (_, message) = messages.iter().find(|(to, _)| *to == peer(number)).unwrap();
            let taken = rounds.get_mut(&number).unwrap().take(&peer(1), message);
            let Some(Taken::New(ack)) = taken.unwrap() else {
                panic!("the message is new");
            };
            let dealer = rounds.get_mut(&1).unwrap();
            dealer.acknowledged(&peer(number), &ack).unwrap();
            assert_eq!(dealer.publish(false), None);
        }
        let dealer = rounds.get_mut(&1).unwrap();
        assert_eq!(dealer.unanswered().len(), 1);
        let dealing = dealer.publish(true).expect("it is late");
        assert_eq!(dealer.publish(false), Some(dealing), "it stays the same");
        assert!(dealer.unanswered().is_empty());
    }

    #[test]
    fn a_message_that_comes_again_gets_the_same_answer_also_after_a_restart() {
        let (task, mut rounds) = rounds();
        let messages = rounds[&2].unanswered();
        let (_, message) = messages.iter().find(|(to, _)| *to == peer(5)).unwrap();
        let joiner = rounds.get_mut(&5).unwrap();
        let Some(Taken::New(ack)) = joiner.take(&peer(2), message).unwrap() else {
            panic!("the message is new");
        };
        let again = Some(Taken::Again(ack));
        assert_eq!(joiner.take(&peer(2), message).unwrap(), again);
        assert_eq!(joiner.publish(true), None, "a joiner deals nothing");
        let stored = [(peer(2), message.to_vec())];
        let mut restarted =
            Round::enter(&task, &peer(5), &seed(5), None, [0; 32], &stored).unwrap();
        assert_eq!(restarted.take(&peer(2), message).unwrap(), again);
    }

    #[test]
    fn a_bad_message_is_refused_and_a_good_one_after_it_taken() {
        let (_, mut rounds) = rounds();
        let messages = rounds[&3].unanswered();
        let for_player = |number| {
            let found = messages.iter().find(|(to, _)| *to == peer(number));
            found.unwrap().1.clone()
        };
        let joiner = rounds.get_mut(&5).unwrap();
        assert!(joiner.take(&peer(3), &for_player(4)).is_err());
        assert!(joiner.take(&peer(9), &for_player(5)).is_err());
        let taken = joiner.take(&peer(3), &for_player(5)).unwrap();
        assert!(matches!(taken, Some(Taken::New(_))));
    }

    #[test]
    fn refuses_payloads_that_no_validator_sends() {
        for wrong in [&[][..], &[0, 1, 2], &[2; 40]] {
            assert_eq!(Payload::decode(wrong), None);
        }
        assert_eq!(Payload::decode(&vec![0; MAX_PAYLOAD_BYTES + 1]), None);
        assert!(Payload::decode(&vec![0; MAX_PAYLOAD_BYTES]).is_some());
    }

    proptest::proptest! {
        #[test]
        fn decoding_arbitrary_bytes_never_panics_and_is_canonical(bytes: Vec<u8>) {
            if let Some(payload) = Payload::decode(&bytes) {
                proptest::prop_assert_eq!(payload.encode(), bytes);
            }
        }
    }
}
