//! What does a keykeeper do when the ledger has changed?

use std::collections::{BTreeMap, BTreeSet};

use rand::{SeedableRng as _, rngs::StdRng};
use threshold::{
    Answer, Board, Committee, Dealing, EscrowTerms, Join, Keeper, KeeperError, KeeperKey, Phase,
    Post, Task,
};
use tracing::{info, warn};
use wire::{
    Action, AnswerKey, Digest, KeyPhase, KeyRequestId, PostEscrow, PostKeyRound, PublicKey,
    record::{
        self, EscrowHolders, KeyCommittee, KeyEscrow, KeyMessage, KeyOutcome, KeyRequest, KeyRound,
        Label, Rules,
    },
    state_key,
};

use crate::{
    check::check,
    circle::{Circle, CircleError, Reading, decode},
    fresh,
    peers::check_peer,
    store::{Store, StoreError},
};

/// Keys of one proven reading; the API's limit.
const KEYS_AT_ONCE: usize = 64;

/// How many requests' ids are remembered as dealt with; older ones are gone from
/// the ledger.
const REMEMBERED_REQUESTS: usize = 4096;

/// Why a keykeeper cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum KeykeeperError {
    /// The circle.
    #[error(transparent)]
    Circle(#[from] CircleError),
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its state.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// Nothing was stored: it has no identity.
    #[error("the keykeeper has no identity yet")]
    NoIdentity,
    /// The record of a round does not make one.
    #[error("the round on the ledger makes no sense: this build is too old")]
    Round,
}

/// What a keykeeper did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It posted a message of a round.
    Posted(u64, KeyPhase),
    /// A round ended; whether it holds a share now.
    Settled(u64, bool),
    /// It answered a request.
    Answered(KeyRequestId),
    /// It refused a request.
    Refused(KeyRequestId),
    /// It put its share of that round in escrow among the members.
    Escrowed(u64),
}

/// What came of a look at a request.
enum Attempt {
    /// The proof does not show the request.
    NotThere,
    /// It has this keykeeper's answer, or its time has passed.
    Over,
    /// It was answered or refused.
    Took(Step),
}

/// Which round's messages.
#[derive(Clone, Copy)]
enum Messages {
    /// Of the round that is under way, or the last one.
    Last,
    /// Of the one that made the sharing in office.
    Kept,
}

impl Messages {
    fn round(self) -> Vec<u8> {
        match self {
            Self::Last => state_key::key_round(),
            Self::Kept => state_key::key_made(),
        }
    }

    fn key(self, phase: KeyPhase, sender: &PublicKey) -> Vec<u8> {
        match self {
            Self::Last => state_key::key_message(phase, sender),
            Self::Kept => state_key::key_made_message(phase, sender),
        }
    }
}

/// A keykeeper. Its secret is in its store and decoded for the time of an act.
pub struct Keykeeper<C, S> {
    circle: C,
    store: S,
    key: PublicKey,
    holds: Option<u64>,
    /// The round whose seed its state has.
    takes_part_in: Option<u64>,
    /// The last round in office that it has opened its share of.
    caught_up: u64,
    settled: u64,
    done: BTreeSet<KeyRequestId>,
}

impl<C: Circle, S: Store> Keykeeper<C, S> {
    /// One that goes on where its store left off.
    ///
    /// Errors: [`KeykeeperError::NoIdentity`], [`KeykeeperError::Keeper`].
    pub fn open(circle: C, store: S) -> Result<Self, KeykeeperError> {
        let keeper = decode_keeper(&store)?;
        Ok(Self {
            circle,
            key: PublicKey::Ed25519(keeper.key()),
            holds: keeper.holds(),
            takes_part_in: keeper.takes_part_in(),
            store,
            caught_up: 0,
            settled: 0,
            done: BTreeSet::new(),
        })
    }

    /// The round whose share it holds.
    pub fn holds(&self) -> Option<u64> {
        self.holds
    }

    /// Acts on every change of the ledger, for ever. Failures of the circle are
    /// logged and tried again.
    ///
    /// Errors: its store fails, after which it must not act.
    pub async fn run(mut self) -> Result<std::convert::Infallible, KeykeeperError> {
        loop {
            match self.act().await {
                Ok(steps) if steps.is_empty() => self.circle.changed().await,
                Ok(steps) => {
                    for step in steps {
                        info!(?step, "took a step");
                    }
                }
                Err(error @ (KeykeeperError::Circle(_) | KeykeeperError::Round)) => {
                    warn!(%error, "the keykeeper waits");
                    self.circle.changed().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Does everything that the ledger waits for from this keykeeper now.
    ///
    /// Errors: [`KeykeeperError`]; what it did before stands.
    pub async fn act(&mut self) -> Result<Vec<Step>, KeykeeperError> {
        let mut steps = Vec::new();
        steps.extend(self.take_part().await?);
        self.answer_requests(&mut steps).await?;
        if steps.is_empty() {
            // Whoever waits for an answer does not wait for this.
            steps.extend(self.put_in_escrow().await?);
        }
        Ok(steps)
    }

    fn save(&mut self, keeper: &Keeper) -> Result<(), KeykeeperError> {
        self.store.put(&keeper.encode())?;
        self.holds = keeper.holds();
        self.takes_part_in = keeper.takes_part_in();
        Ok(())
    }

    /// Whether it has still to open its share of the sharing in office, or to
    /// forget the one that it has handed on. It does so before it takes part in
    /// any later round: that would put another seed in the place of the one that
    /// opens the share.
    fn is_behind(&self, made: &KeyRound) -> bool {
        let has_gone_on = self.takes_part_in.is_some_and(|round| round > made.round);
        let has_share = self.holds.is_some_and(|round| round >= made.round);
        let is_concerned = self.holds.is_some() || self.takes_part_in.is_some();
        is_concerned && !has_gone_on && !has_share && self.caught_up < made.round
    }

    /// Erases the seed of a round that came to nothing for this keykeeper: it
    /// was left out of the next attempt, and what was sealed to it stays public.
    fn forget_passed_round(&mut self, now: u64) -> Result<(), KeykeeperError> {
        if self.takes_part_in.is_some_and(|round| round < now) {
            let mut keeper = decode_keeper(&self.store)?;
            keeper.forget_round();
            self.save(&keeper)?;
        }
        Ok(())
    }

    async fn take_part(&mut self) -> Result<Option<Step>, KeykeeperError> {
        let keys = vec![state_key::key_round(), state_key::key_made()];
        let reading = self.circle.read(keys).await?;
        let Some(record) = decode::<KeyRound>(&reading, 0)? else {
            return Ok(None);
        };
        if let Some(made) = decode::<KeyRound>(&reading, 1)?
            && self.is_behind(&made)
        {
            let board = self.board(&made, Messages::Kept).await?;
            return board.map(|board| self.settle(&made, &board)).transpose();
        }
        self.forget_passed_round(record.round)?;
        let concerned = record.invited.contains(&self.key)
            || self.holds.is_some()
            || record.round == self.settled;
        if !concerned || self.settled == record.round {
            return Ok(None);
        }
        let Some(board) = self.board(&record, Messages::Last).await? else {
            return Ok(None);
        };
        if record.outcome.is_some() {
            return self.settle(&record, &board).map(Some);
        }
        if board.phase() == Phase::Dealing
            && let Some(stranger) = self.stranger(&board).await?
        {
            // Nothing is dealt by this one; the round ends without it or fails.
            warn!(%stranger, round = record.round, "a keykeeper is not what it should be");
            self.settled = record.round;
            return Ok(None);
        }
        let mut keeper = decode_keeper(&self.store)?;
        let post = match keeper.act(&board, *fresh()) {
            Ok(post) => post,
            Err(error) => {
                // It cannot take part in this round; the next one may do.
                warn!(%error, round = record.round, "cannot take part");
                self.settled = record.round;
                return Ok(None);
            }
        };
        let Some(post) = post else { return Ok(None) };
        // On disk before anybody sees it: a restart then posts the same.
        self.save(&keeper)?;
        drop(keeper);
        let (phase, message) = match post {
            Post::Join(join) => (KeyPhase::Join, join.encode()),
            Post::Deal(dealing) => (KeyPhase::Deal, dealing.encode()),
            Post::Answer(answer) => (KeyPhase::Answer, answer.encode()),
        };
        let action = PostKeyRound {
            round: record.round,
            phase,
            message,
        };
        match self.circle.send(Action::PostKeyRound(action)).await {
            Ok(_) => Ok(Some(Step::Posted(record.round, phase))),
            // The round went on in between, or it was posted before a restart.
            Err(CircleError::Rejected(reject)) => {
                info!(%reject, "a message came too late");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn settle(&mut self, record: &KeyRound, board: &Board) -> Result<Step, KeykeeperError> {
        let mut keeper = decode_keeper(&self.store)?;
        if let Err(error) = keeper.settle(board) {
            // It took part and cannot read its share: a restart without its file.
            warn!(%error, round = record.round, "has no share of this round");
        }
        self.save(&keeper)?;
        self.settled = record.round;
        if record.outcome == Some(KeyOutcome::Done) {
            self.caught_up = record.round;
        }
        let holds = record.outcome == Some(KeyOutcome::Done) && self.holds == Some(record.round);
        Ok(Step::Settled(record.round, holds))
    }

    /// The first of those that joined whose evidence does not show admitted code.
    async fn stranger(&self, board: &Board) -> Result<Option<PublicKey>, KeykeeperError> {
        for page in board.joined().chunks(KEYS_AT_ONCE - 1) {
            let peers: Vec<PublicKey> = page.iter().map(|key| PublicKey::Ed25519(*key)).collect();
            let mut keys = vec![state_key::rules()];
            keys.extend(peers.iter().map(state_key::keykeeper));
            let reading = self.circle.read(keys).await?;
            let Some(rules) = decode::<Rules>(&reading, 0)? else {
                return Ok(peers.first().copied());
            };
            for (at, peer) in peers.iter().enumerate() {
                let record: Option<record::Keykeeper> = decode(&reading, at + 1)?;
                let (height, time_ms) = (reading.height, reading.time_ms);
                if let Err(refused) = check_peer(&rules, peer, record.as_ref(), height, time_ms) {
                    warn!(%peer, %refused, "refused a keykeeper");
                    return Ok(Some(*peer));
                }
            }
        }
        Ok(None)
    }

    /// Shares its share among the members, once for each round and list of them.
    async fn put_in_escrow(&mut self) -> Result<Option<Step>, KeykeeperError> {
        let Some(round) = self.holds else {
            return Ok(None);
        };
        let keys = vec![
            state_key::key_committee(),
            state_key::escrow_holders(),
            state_key::key_escrow(&self.key),
        ];
        let reading = self.circle.read(keys).await?;
        let committee = decode::<KeyCommittee>(&reading, 0)?.filter(|now| now.round == round);
        let holders = decode::<EscrowHolders>(&reading, 1)?.filter(EscrowHolders::suffice);
        let (Some(committee), Some(holders)) = (committee, holders) else {
            return Ok(None);
        };
        let posted: Option<KeyEscrow> = decode(&reading, 2)?;
        if posted.is_some_and(|posted| posted.round == round && posted.holders == holders) {
            return Ok(None);
        }
        let committee = Committee::decode(&committee.sharing).map_err(|_| KeykeeperError::Round)?;
        let keeper = decode_keeper(&self.store)?;
        let terms = EscrowTerms {
            circle: self.circle.id(),
            keeper: keeper.key(),
            round,
            holders: holders.keys(),
            least: usize::from(holders.least),
        };
        let mut entropy = StdRng::from_seed(*fresh());
        let escrow = match threshold::escrow(&keeper, &committee, &terms, &mut entropy) {
            Ok(escrow) => escrow,
            Err(error) => {
                warn!(%error, round, "cannot put its share in escrow");
                return Ok(None);
            }
        };
        drop(keeper);
        let action = PostEscrow {
            round,
            holders: holders.digest(),
            escrow: escrow.encode(),
        };
        match self.circle.send(Action::PostEscrow(action)).await {
            Ok(_) => Ok(Some(Step::Escrowed(round))),
            // Members or the round changed in between: the next look sees it.
            Err(CircleError::Rejected(reject)) => {
                warn!(%reject, round, "an escrow was refused");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, CircleError> {
        let mut values = Vec::with_capacity(keys.len());
        for page in keys.chunks(KEYS_AT_ONCE) {
            values.extend(self.circle.read(page.to_vec()).await?.values);
        }
        Ok(values)
    }

    /// The board of a round, out of proven records; none if the round went on
    /// while it was read.
    async fn board(
        &self,
        record: &KeyRound,
        of: Messages,
    ) -> Result<Option<Board>, KeykeeperError> {
        let previous = (!record.previous.is_empty())
            .then(|| Committee::decode(&record.previous))
            .transpose()
            .map_err(|_| KeykeeperError::Round)?;
        let key = |key: &PublicKey| match key {
            PublicKey::Ed25519(key) => Some(*key),
            PublicKey::P256(_) => None,
        };
        let invited: Vec<KeeperKey> = record.invited.iter().filter_map(key).collect();
        let task = Task {
            circle: self.circle.id(),
            round: record.round,
            previous,
            invited,
            least: usize::from(record.least),
        };
        let phase = match (record.outcome, record.phase) {
            (Some(_), _) => Phase::Closed,
            (None, KeyPhase::Join) => Phase::Joining,
            (None, KeyPhase::Deal) => Phase::Dealing,
            (None, KeyPhase::Answer) => Phase::Answering,
        };
        let joins = self
            .messages(of, KeyPhase::Join, &task.invited, Join::decode)
            .await?;
        let dealings = self
            .messages(of, KeyPhase::Deal, &task.dealers(), Dealing::decode)
            .await?;
        let answers = self
            .messages(of, KeyPhase::Answer, &task.invited, Answer::decode)
            .await?;
        let again = self.circle.read(vec![of.round()]).await?;
        let again: Option<KeyRound> = decode(&again, 0)?;
        let same = again.is_some_and(|again| {
            (again.round, again.phase, again.outcome)
                == (record.round, record.phase, record.outcome)
        });
        Ok(same.then(|| Board::restore(task, phase, joins, dealings, answers)))
    }

    async fn messages<T>(
        &self,
        of: Messages,
        phase: KeyPhase,
        senders: &[KeeperKey],
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<BTreeMap<KeeperKey, T>, KeykeeperError> {
        let key = |sender: &KeeperKey| of.key(phase, &PublicKey::Ed25519(*sender));
        let keys: Vec<Vec<u8>> = senders.iter().map(key).collect();
        let mut messages = BTreeMap::new();
        for (sender, value) in senders.iter().zip(self.read_all(&keys).await?) {
            let Some(bytes) = value else { continue };
            let record: KeyMessage = wire::record::decode(&bytes).map_err(CircleError::from)?;
            let message = read(&record.message).ok_or(KeykeeperError::Round)?;
            messages.insert(*sender, message);
        }
        Ok(messages)
    }

    async fn answer_requests(&mut self, steps: &mut Vec<Step>) -> Result<(), KeykeeperError> {
        let Some(holds) = self.holds else {
            return Ok(());
        };
        let open = self.circle.requests().await?;
        let new: Vec<KeyRequestId> = open
            .into_iter()
            .filter(|id| !self.done.contains(id))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let reading = self.circle.read(vec![state_key::key_committee()]).await?;
        let Some(record) = decode::<KeyCommittee>(&reading, 0)?.filter(|c| c.round == holds) else {
            return Ok(());
        };
        let committee = Committee::decode(&record.sharing).map_err(|_| KeykeeperError::Round)?;
        for id in new {
            match self.answer_request(&committee, id).await? {
                // The list is of the node's newest block, the proof perhaps of the one
                // before: what is not there yet is looked for again.
                Attempt::NotThere => continue,
                Attempt::Over => {}
                Attempt::Took(step) => steps.push(step),
            }
            if self.done.len() >= REMEMBERED_REQUESTS {
                self.done.pop_first();
            }
            self.done.insert(id);
        }
        Ok(())
    }

    async fn answer_request(
        &mut self,
        committee: &Committee,
        id: KeyRequestId,
    ) -> Result<Attempt, KeykeeperError> {
        let own = state_key::key_answer(id, &self.key);
        let reading = self
            .circle
            .read(vec![state_key::key_request(id), own])
            .await?;
        let Some(request) = decode::<KeyRequest>(&reading, 0)? else {
            return Ok(Attempt::NotThere);
        };
        if reading.values.get(1).is_some_and(Option::is_some) {
            return Ok(Attempt::Over);
        }
        if let Err(refusal) = self.judge(&request).await? {
            warn!(request = %id, refusal = %refusal, "refused a request for a key");
            return Ok(Attempt::Took(Step::Refused(id)));
        }
        let bytes = request.label.bytes(self.circle.id(), request.epoch);
        let mut entropy = StdRng::from_seed(*fresh());
        let keeper = decode_keeper(&self.store)?;
        let sealed = threshold::answer(
            &keeper,
            committee,
            &bytes,
            &Digest(id.0),
            &request.one_time_key,
            &mut entropy,
        );
        drop(keeper);
        let Ok(sealed) = sealed else {
            return Ok(Attempt::Took(Step::Refused(id)));
        };
        let action = AnswerKey {
            request: id,
            sealed,
        };
        match self.circle.send(Action::AnswerKey(action)).await {
            Ok(_) => Ok(Attempt::Took(Step::Answered(id))),
            Err(CircleError::Rejected(reject)) => {
                info!(%reject, "an answer came too late");
                Ok(Attempt::Over)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The keykeeper's own judgement of a request, under rules and a label of one
    /// height.
    async fn judge(
        &self,
        request: &KeyRequest,
    ) -> Result<Result<(), crate::RequestRefused>, KeykeeperError> {
        let mut keys = vec![state_key::rules(), state_key::label(&request.label)];
        if let Some(id) = request.contract {
            let reading = self.circle.read(vec![state_key::contract(id)]).await?;
            let Some(contract) = decode::<record::Contract>(&reading, 0)? else {
                return Ok(Err(crate::RequestRefused::Payload));
            };
            // Which request a contract serves never changes.
            keys.extend([
                state_key::contract(id),
                state_key::request(contract.request),
            ]);
        }
        let reading: Reading = self.circle.read(keys).await?;
        let rules: Option<Rules> = decode(&reading, 0)?;
        let label: Option<Label> = decode(&reading, 1)?;
        let (Some(rules), Some(label)) = (rules, label) else {
            return Ok(Err(crate::RequestRefused::Label));
        };
        let contract: Option<record::Contract> = decode(&reading, 2)?;
        let tenant: Option<record::Request> = decode(&reading, 3)?;
        Ok(check(
            &rules,
            &label,
            request,
            contract.as_ref().zip(tenant.as_ref()),
            reading.height,
            reading.time_ms,
        ))
    }
}

fn decode_keeper(store: &impl Store) -> Result<Keeper, KeykeeperError> {
    let stored = store.load().ok_or(KeykeeperError::NoIdentity)?;
    Ok(Keeper::decode(&stored)?)
}
