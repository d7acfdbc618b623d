//! What has been posted in a round, is the next post good, and what do all of
//! them come to?
//!
//! A round has three phases. Who is asked **joins** with one-time keys; dealers
//! **deal** to those that joined; players **answer** what they think of every
//! dealing. A post is good when it is posted or it is refused: a wrong complaint
//! and a false signature are no posts, and who posts nothing else is silent.
//! Whoever stores a board (the ledger) also says when a phase has lasted long
//! enough; a phase in which all have posted need not last.
//!
//! No share of anybody is ever published, so a keykeeper that was only slow or
//! crashed has lost its place in the round and nothing else.

use std::collections::BTreeMap;

use crate::{
    committee::{CommitteeError, KeeperKey},
    message::{Answer, Dealing, Join, SEALED_SHARE_BYTES, Verdicts},
    round::{Commitment, Conclusion, Round, Task},
    sealed,
};

/// What a round waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Those invited, to join.
    Joining,
    /// Dealers, to deal.
    Dealing,
    /// Players, to answer.
    Answering,
    /// Nothing: [`Board::verdict`] is final.
    Closed,
}

/// Why a post was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sender has no such part in this round.
    #[error("the sender has no such part in this round")]
    NotAsked,
    /// The round waits for something else.
    #[error("the round waits for something else")]
    WrongPhase,
    /// The sender has posted that before.
    #[error("the sender has posted that before")]
    Again,
    /// Too many or too few of something, or a commitment that does not fit.
    #[error("the message does not fit the round")]
    Malformed,
    /// A signature that does not verify, or a complaint about a good share.
    #[error("the answer is not true")]
    Untrue,
}

/// What a round comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Shares are dealt.
    Done(Box<Conclusion>),
    /// Some said nothing; another round without them is needed.
    Without(Vec<KeeperKey>),
    /// Too few took part, or too few dealt well.
    Failed,
}

/// The public messages of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    task: Task,
    phase: Phase,
    joins: BTreeMap<KeeperKey, Join>,
    dealings: BTreeMap<KeeperKey, Dealing>,
    answers: BTreeMap<KeeperKey, Answer>,
}

impl Board {
    /// An empty one.
    ///
    /// Errors: [`CommitteeError`] for a task that makes no round.
    pub fn new(task: Task) -> Result<Self, CommitteeError> {
        Round::new(&task, &task.invited)?;
        Ok(Self {
            task,
            phase: Phase::Joining,
            joins: BTreeMap::new(),
            dealings: BTreeMap::new(),
            answers: BTreeMap::new(),
        })
    }

    /// One whose posts were found good before; they are not checked again.
    pub fn restore(
        task: Task,
        phase: Phase,
        joins: BTreeMap<KeeperKey, Join>,
        dealings: BTreeMap<KeeperKey, Dealing>,
        answers: BTreeMap<KeeperKey, Answer>,
    ) -> Self {
        Self {
            task,
            phase,
            joins,
            dealings,
            answers,
        }
    }

    /// The round.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// What it waits for.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Who joined, ascending by key: the players, once the round has any.
    pub fn joined(&self) -> Vec<KeeperKey> {
        self.joins.keys().copied().collect()
    }

    /// Who dealt, ascending by key: the order of [`Answer::verdicts`].
    pub fn dealt(&self) -> Vec<KeeperKey> {
        self.dealings.keys().copied().collect()
    }

    /// Whether `keeper` has posted what the present phase asks of it, or is
    /// asked nothing.
    pub fn has_posted(&self, keeper: &KeeperKey) -> bool {
        match self.phase {
            Phase::Joining => {
                !self.task.invited.contains(keeper) || self.joins.contains_key(keeper)
            }
            Phase::Dealing => !self.may_deal(keeper) || self.dealings.contains_key(keeper),
            Phase::Answering => {
                !self.joins.contains_key(keeper) || self.answers.contains_key(keeper)
            }
            Phase::Closed => true,
        }
    }

    /// Whether everybody has posted what the phase asks for.
    pub fn is_complete(&self) -> bool {
        match self.phase {
            Phase::Joining => self.joins.len() == self.task.invited.len(),
            Phase::Dealing => self.task.dealers().iter().all(|key| self.has_posted(key)),
            Phase::Answering => self.answers.len() == self.joins.len(),
            Phase::Closed => true,
        }
    }

    fn may_deal(&self, keeper: &KeeperKey) -> bool {
        match &self.task.previous {
            Some(previous) => previous.keepers().contains(keeper),
            None => self.joins.contains_key(keeper),
        }
    }

    /// Panics: before anybody can have joined; the callers' phases see to it.
    pub(crate) fn round(&self) -> Round {
        Round::new(&self.task, &self.joined()).expect("players that joined make a round")
    }

    fn expect(&self, phase: Phase) -> Result<(), Refusal> {
        if self.phase == phase {
            Ok(())
        } else {
            Err(Refusal::WrongPhase)
        }
    }

    /// Takes a player's one-time keys.
    ///
    /// Errors: [`Refusal`]; nothing changes.
    pub fn join(&mut self, keeper: KeeperKey, join: Join) -> Result<(), Refusal> {
        self.expect(Phase::Joining)?;
        if !self.task.invited.contains(&keeper) {
            return Err(Refusal::NotAsked);
        }
        if self.joins.contains_key(&keeper) {
            return Err(Refusal::Again);
        }
        if join.keys.len() != self.task.dealers().len() {
            return Err(Refusal::Malformed);
        }
        self.joins.insert(keeper, join);
        Ok(())
    }

    /// Takes a dealer's dealing. A second one is refused, whatever it says.
    ///
    /// Errors: [`Refusal`]; nothing changes.
    pub fn deal(&mut self, keeper: KeeperKey, dealing: Dealing) -> Result<(), Refusal> {
        self.expect(Phase::Dealing)?;
        let round = self.round();
        if !round.is_dealer(&keeper) {
            return Err(Refusal::NotAsked);
        }
        if self.dealings.contains_key(&keeper) {
            return Err(Refusal::Again);
        }
        let sized = dealing
            .shares
            .iter()
            .all(|share| share.len() == SEALED_SHARE_BYTES);
        if !sized
            || dealing.shares.len() != round.players.len()
            || round.commitment(&keeper, &dealing.commitment).is_none()
        {
            return Err(Refusal::Malformed);
        }
        self.dealings.insert(keeper, dealing);
        Ok(())
    }

    /// Takes a player's answer, if everything in it is true.
    ///
    /// Errors: [`Refusal`]; nothing changes.
    pub fn answer(&mut self, keeper: KeeperKey, answer: Answer) -> Result<(), Refusal> {
        self.expect(Phase::Answering)?;
        let join = self.joins.get(&keeper).ok_or(Refusal::NotAsked)?;
        if self.answers.contains_key(&keeper) {
            return Err(Refusal::Again);
        }
        if answer.verdicts.len() != self.dealings.len() {
            return Err(Refusal::Malformed);
        }
        let round = self.round();
        let dealers = self.task.dealers();
        for ((dealer, dealing), verdict) in self.dealings.iter().zip(&answer.verdicts) {
            let (Some(place), Some(player)) = (
                dealers.iter().position(|key| key == dealer),
                round.player_index(&keeper),
            ) else {
                return Err(Refusal::Malformed);
            };
            let is_true = match verdict {
                Verdicts::Good(signature) => {
                    round.signed(dealer, &dealing.commitment, &keeper, signature)
                }
                Verdicts::Bad(secret) => {
                    let commitment = round
                        .commitment(dealer, &dealing.commitment)
                        .ok_or(Refusal::Malformed)?;
                    let share = &dealing.shares[player];
                    sealed::public_of(secret) == join.keys[place]
                        && round.is_bad(dealer, &commitment, &keeper, share, secret)
                }
            };
            if !is_true {
                return Err(Refusal::Untrue);
            }
        }
        self.answers.insert(keeper, answer);
        Ok(())
    }

    /// Ends the phase, because all have posted or it has lasted long enough.
    pub fn close_phase(&mut self) {
        self.phase = match self.phase {
            Phase::Joining if self.joins.len() < self.task.least => Phase::Closed,
            Phase::Joining => Phase::Dealing,
            Phase::Dealing if self.dealings.is_empty() => Phase::Closed,
            Phase::Dealing => Phase::Answering,
            Phase::Answering | Phase::Closed => Phase::Closed,
        };
    }

    /// What the round came to; none before it is closed. The same for everybody.
    pub fn verdict(&self) -> Option<Verdict> {
        if self.phase != Phase::Closed {
            return None;
        }
        if self.joins.len() < self.task.least || self.dealings.is_empty() {
            return Some(Verdict::Failed);
        }
        let silent: Vec<KeeperKey> = self
            .joins
            .keys()
            .filter(|key| !self.answers.contains_key(*key))
            .copied()
            .collect();
        if !silent.is_empty() {
            return Some(Verdict::Without(silent));
        }
        let round = self.round();
        let concluded = round.conclude(&self.logs(&round));
        Some(match concluded {
            Some(conclusion) => Verdict::Done(Box::new(conclusion)),
            None => Verdict::Failed,
        })
    }

    /// The dealings that every player found good, in the library's form.
    pub(crate) fn logs(&self, round: &Round) -> Vec<(KeeperKey, crate::round::Log)> {
        let mut logs = Vec::new();
        for (index, (dealer, dealing)) in self.dealings.iter().enumerate() {
            let signatures: Option<Vec<[u8; 64]>> = round
                .players
                .iter()
                .map(
                    |player| match self.answers.get(player)?.verdicts.get(index)? {
                        Verdicts::Good(signature) => Some(*signature),
                        Verdicts::Bad(_) => None,
                    },
                )
                .collect();
            if let Some(signatures) = signatures
                && let Some(log) = round.log(&dealing.commitment, &signatures)
            {
                logs.push((*dealer, log));
            }
        }
        logs
    }

    /// What a dealer posted for a player, with the commitment.
    pub(crate) fn share_for<'a>(
        &'a self,
        round: &Round,
        dealer: &KeeperKey,
        player: &KeeperKey,
    ) -> Option<(Commitment, &'a [u8])> {
        let dealing = self.dealings.get(dealer)?;
        let commitment = round.commitment(dealer, &dealing.commitment)?;
        let share = dealing.shares.get(round.player_index(player)?)?;
        Some((commitment, share))
    }

    /// The one-time key under which `player` takes `dealer`'s share.
    pub(crate) fn one_time_key(&self, player: &KeeperKey, dealer: &KeeperKey) -> Option<[u8; 32]> {
        let place = self.task.dealers().iter().position(|key| key == dealer)?;
        self.joins.get(player)?.keys.get(place).copied()
    }
}
