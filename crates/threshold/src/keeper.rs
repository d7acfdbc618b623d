//! What does a keykeeper keep, and what does it post next?
//!
//! A [`Keeper`] holds its identity, its share, and while a round runs one fresh
//! seed from which everything secret of that round comes: its one-time keys and
//! its dealing. A keeper that restarts therefore posts what it would have posted
//! before, out of the board and its seed. The seed is erased when the round
//! ends: what was sealed to one-time keys stays on a public ledger for ever, and
//! must not open for who takes the keeper's memory later.
//!
//! It trusts its caller to store [`Keeper::encode`] durably *before* a post is
//! sent, where nobody else reads it, and to show it the true board.

use aws_lc_rs::hkdf;
use borsh::{BorshDeserialize, BorshSerialize};
use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_cryptography::{
    bls12381::{
        dkg::feldman_desmedt::{self as protocol, DealerPrivMsg},
        primitives::{group::Share, variant::MinSig},
    },
    ed25519,
};
use commonware_parallel::Sequential;
use rand::{SeedableRng as _, rngs::StdRng};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    board::{Board, Phase, Verdict},
    committee::{
        Committee, KeeperKey, Minority, decode, identity, keeper_key, key_of, private_identity,
    },
    message::{Answer, Dealing, Join, Verdicts},
    round::{Conclusion, Round},
    sealed,
};

/// A keeper's stored form: three seeds, numbers and a share.
const MAX_KEEPER_BYTES: usize = 512;

/// Why a keeper cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeeperError {
    /// Stored bytes that are no keeper.
    #[error("the stored keeper does not decode")]
    Stored,
    /// The round is not this keeper's, or it lacks what the round needs: the
    /// share in office, or the seed with which it joined.
    #[error("this keeper lacks what the round needs")]
    Lost,
    /// The round is not over, or came to nothing.
    #[error("the round came to no share")]
    NoShare,
}

#[derive(Clone, BorshSerialize, BorshDeserialize, Zeroize, ZeroizeOnDrop)]
struct Holding {
    /// The round that dealt the share.
    round: u64,
    /// The share, as the library encodes it.
    share: Vec<u8>,
}

#[derive(Clone, BorshSerialize, BorshDeserialize, Zeroize, ZeroizeOnDrop)]
struct Pending {
    round: u64,
    seed: [u8; 32],
}

#[derive(Clone, BorshSerialize, BorshDeserialize, Zeroize, ZeroizeOnDrop)]
struct Secrets {
    identity: [u8; 32],
    holding: Option<Holding>,
    pending: Option<Pending>,
}

/// What a keeper has to post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Post {
    /// For [`Board::join`].
    Join(Join),
    /// For [`Board::deal`].
    Deal(Dealing),
    /// For [`Board::answer`].
    Answer(Answer),
}

/// A keykeeper's secret side.
pub struct Keeper {
    secrets: Secrets,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keeper(..)")
    }
}

impl Keeper {
    /// One without a share.
    pub fn new(identity: [u8; 32]) -> Self {
        Self {
            secrets: Secrets {
                identity,
                holding: None,
                pending: None,
            },
        }
    }

    /// One that was lost and comes back with its share.
    pub(crate) fn restored(identity: &[u8; 32], round: u64, share: &Share) -> Self {
        Self {
            secrets: Secrets {
                identity: *identity,
                holding: Some(Holding {
                    round,
                    share: share.encode().to_vec(),
                }),
                pending: None,
            },
        }
    }

    /// Everything that it must keep, secret as a whole.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(borsh::to_vec(&self.secrets).expect("secrets always encode"))
    }

    /// Reads [`Keeper::encode`]'s form.
    ///
    /// Errors: [`KeeperError::Stored`].
    pub fn decode(bytes: &[u8]) -> Result<Self, KeeperError> {
        if bytes.len() > MAX_KEEPER_BYTES {
            return Err(KeeperError::Stored);
        }
        let secrets = Secrets::try_from_slice(bytes).map_err(|_| KeeperError::Stored)?;
        Ok(Self { secrets })
    }

    /// The seed of its identity, which signs its transactions.
    pub fn identity(&self) -> &[u8; 32] {
        &self.secrets.identity
    }

    /// Its public key.
    pub fn key(&self) -> KeeperKey {
        keeper_key(&self.secrets.identity)
    }

    /// The round that dealt its share, if it has one.
    pub fn holds(&self) -> Option<u64> {
        self.secrets.holding.as_ref().map(|holding| holding.round)
    }

    /// The round whose seed it keeps, if any: it takes part in it, or has not
    /// seen its end yet.
    pub fn takes_part_in(&self) -> Option<u64> {
        self.secrets.pending.as_ref().map(|pending| pending.round)
    }

    /// Erases that seed: the round is over, and came to nothing for this keeper.
    pub fn forget_round(&mut self) {
        self.secrets.pending = None;
    }

    /// The share, for the answers of [`crate::answer`].
    pub(crate) fn share(&self) -> Option<Share> {
        let holding = self.secrets.holding.as_ref()?;
        Share::decode(Copying(&holding.share[..])).ok()
    }

    /// What the board waits for from this keeper; none if nothing.
    ///
    /// Shape:  `fresh` is a seed of true entropy, used only when a round begins.
    ///         The keeper must be stored again before the post is sent.
    /// Errors: [`KeeperError::Lost`].
    pub fn act(&mut self, board: &Board, fresh: [u8; 32]) -> Result<Option<Post>, KeeperError> {
        let fresh = Zeroizing::new(fresh);
        if board.has_posted(&self.key()) {
            return Ok(None);
        }
        match board.phase() {
            Phase::Joining => Ok(Some(Post::Join(self.join(board, &fresh)))),
            Phase::Dealing => self.deal(board, &fresh).map(|post| Some(Post::Deal(post))),
            Phase::Answering => self.answer(board).map(|post| Some(Post::Answer(post))),
            Phase::Closed => Ok(None),
        }
    }

    fn join(&mut self, board: &Board, fresh: &[u8; 32]) -> Join {
        let task = board.task();
        let seed = self.seed(task.round, Some(fresh)).expect("a seed is made");
        let keys = task
            .dealers()
            .iter()
            .map(|dealer| sealed::public_of(&one_time_secret(&seed, dealer)))
            .collect();
        Join { keys }
    }

    /// The seed of a round; a fresh one if it is a new round.
    fn seed(
        &mut self,
        round: u64,
        fresh: Option<&[u8; 32]>,
    ) -> Result<Zeroizing<[u8; 32]>, KeeperError> {
        match (&self.secrets.pending, fresh) {
            (Some(pending), _) if pending.round == round => Ok(Zeroizing::new(pending.seed)),
            (_, Some(fresh)) => {
                self.secrets.pending = Some(Pending {
                    round,
                    seed: *fresh,
                });
                Ok(Zeroizing::new(*fresh))
            }
            _ => Err(KeeperError::Lost),
        }
    }

    fn deal(&mut self, board: &Board, fresh: &[u8; 32]) -> Result<Dealing, KeeperError> {
        let round = board.round();
        // A dealer that does not join (it only hands on) begins here.
        let seed = self.seed(round.task.round, Some(fresh))?;
        let share = match &round.task.previous {
            Some(previous) => Some(self.share_in(previous).ok_or(KeeperError::Lost)?),
            None => None,
        };
        let (_, commitment, shares) = protocol::Dealer::start::<Minority>(
            StdRng::from_seed(*expand(&seed, b"dealing", &[])),
            round.info.clone(),
            private_identity(&self.secrets.identity),
            share,
        )
        .map_err(|_| KeeperError::Lost)?;
        let dealer = self.key();
        let shares = shares
            .into_iter()
            .map(|(player, share)| {
                let player = key_of(&player);
                let receiver = board.one_time_key(&player, &dealer)?;
                let plain = Zeroizing::new(share.encode().to_vec());
                let mut entropy = StdRng::from_seed(*expand(&seed, b"sealing", &player));
                let place = round.share_place(&dealer, &player);
                // A key of low order is its owner's loss, who can only complain
                // about itself: it gets noise, and is known to lie or is silent.
                Some(
                    sealed::seal(&receiver, &place, &plain, &mut entropy)
                        .unwrap_or_else(|| vec![0; crate::message::SEALED_SHARE_BYTES]),
                )
            })
            .collect::<Option<Vec<_>>>()
            .ok_or(KeeperError::Lost)?;
        Ok(Dealing {
            commitment: commitment.encode().to_vec(),
            shares,
        })
    }

    /// The share, if it fits the committee in office.
    pub(crate) fn share_in(&self, committee: &Committee) -> Option<Share> {
        let share = self.share()?;
        let index = committee.index(&self.key())?;
        let public = committee.sharing().partial_public(index).ok()?;
        (share.index == index && share.public::<MinSig>() == public).then_some(share)
    }

    /// Reads every dealing; also what a share is made of at the end.
    fn read(
        &mut self,
        board: &Board,
        round: &Round,
    ) -> Result<(protocol::Player<MinSig, ed25519::PrivateKey>, Vec<Verdicts>), KeeperError> {
        let seed = self.seed(round.task.round, None)?;
        let own = self.key();
        let mut player =
            protocol::Player::new(round.info.clone(), private_identity(&self.secrets.identity))
                .map_err(|_| KeeperError::Lost)?;
        let mut verdicts = Vec::new();
        for dealer in board.dealt() {
            let (commitment, share) = board
                .share_for(round, &dealer, &own)
                .ok_or(KeeperError::Lost)?;
            let secret = one_time_secret(&seed, &dealer);
            let good = || {
                let opened = sealed::open(&secret, &round.share_place(&dealer, &own), share)?;
                let message: DealerPrivMsg = decode(&opened, &())?;
                let signature = player
                    .dealer_message::<Minority>(identity(&dealer)?, commitment, message)
                    .ok()??;
                let bytes = signature.encode();
                <[u8; 64]>::try_from(bytes.as_ref()).ok()
            };
            verdicts.push(match good() {
                Some(signature) => Verdicts::Good(signature),
                None => Verdicts::Bad(*secret),
            });
        }
        Ok((player, verdicts))
    }

    fn answer(&mut self, board: &Board) -> Result<Answer, KeeperError> {
        let round = board.round();
        let (_, verdicts) = self.read(board, &round)?;
        Ok(Answer { verdicts })
    }

    /// Ends a round: takes its share, or forgets the one that was handed on, and
    /// erases the round's seed. A round that came to nothing erases the seed and
    /// leaves the share.
    ///
    /// Errors: [`KeeperError::NoShare`] while the round runs;
    ///         [`KeeperError::Lost`] if the keeper should have a share and lacks
    ///         the seed, after which it holds none.
    pub fn settle(&mut self, board: &Board) -> Result<Option<Conclusion>, KeeperError> {
        let verdict = board.verdict().ok_or(KeeperError::NoShare)?;
        let Verdict::Done(conclusion) = verdict else {
            self.secrets.pending = None;
            return Ok(None);
        };
        let is_player = board.joined().contains(&self.key());
        if self.holds() == Some(board.task().round) {
            return Ok(Some(*conclusion));
        }
        let share = if is_player {
            Some(self.take_share(board))
        } else {
            None
        };
        self.secrets.holding = None;
        self.secrets.pending = None;
        if let Some(share) = share {
            self.secrets.holding = Some(Holding {
                round: board.task().round,
                share: share?.to_vec(),
            });
        }
        Ok(Some(*conclusion))
    }

    /// The one-time secret with which it complains of a dealer.
    #[cfg(test)]
    pub(crate) fn one_time_secret_of(&self, board: &Board, dealer: &KeeperKey) -> [u8; 32] {
        let pending = self.secrets.pending.as_ref().expect("it has joined");
        assert_eq!(pending.round, board.task().round);
        *one_time_secret(&pending.seed, dealer)
    }

    fn take_share(&mut self, board: &Board) -> Result<Zeroizing<Vec<u8>>, KeeperError> {
        let round = board.round();
        let (player, _) = self.read(board, &round)?;
        let logs = board.logs(&round);
        let mut weights = round.weights(&logs);
        let (_, share) = player
            .finalize::<Minority>(&mut weights, round.logs(&logs), &Sequential)
            .map_err(|_| KeeperError::Lost)?;
        Ok(Zeroizing::new(share.encode().to_vec()))
    }
}

/// One secret of a round, out of its seed.
fn expand(seed: &[u8; 32], what: &[u8], of: &[u8]) -> Zeroizing<[u8; 32]> {
    let key = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, seed);
    let mut secret = Zeroizing::new([0; 32]);
    key.expand(
        &[b"ringfort/keys/round/1/", what, b"/", of],
        hkdf::HKDF_SHA256,
    )
    .and_then(|expanded| expanded.fill(&mut secret[..]))
    .expect("HKDF-SHA256 gives 32 bytes");
    secret
}

fn one_time_secret(seed: &[u8; 32], dealer: &KeeperKey) -> Zeroizing<[u8; 32]> {
    expand(seed, b"one-time", dealer)
}
