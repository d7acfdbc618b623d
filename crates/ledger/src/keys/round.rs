//! When does a round begin, go on and end, and what becomes of it?

use std::collections::BTreeMap;

use threshold::{Answer, Board, Committee, Dealing, Join, KeeperKey, Phase, Task, Verdict};
use wire::{
    Event, Genesis, Height, KeyPhase, PublicKey, Reject,
    limits::{KEY_WINDOW_BLOCKS, MAX_KEYKEEPERS},
    record::{KeyCommittee, KeyMessage, KeyOutcome, KeyRound},
    state_key,
};

use super::escrow;
use crate::{execution::Execution, overlay::decode};

/// The Ed25519 key of a keykeeper; none for another kind of key.
pub(super) fn keeper_key(key: &PublicKey) -> Option<KeeperKey> {
    match key {
        PublicKey::Ed25519(key) => Some(*key),
        PublicKey::P256(_) => None,
    }
}

pub(super) fn last(execution: &Execution<'_>) -> Option<KeyRound> {
    execution.state.get(&state_key::key_round())
}

/// Whether a change of the keykeepers is possible now.
///
/// Errors: [`Reject::LimitExceeded`] for too few or many, an order that does not
///         ascend or a window out of range; [`Reject::NotKeykeeper`] for one that
///         is not registered; [`Reject::KeyRoundUnderWay`].
pub(crate) fn check(
    execution: &Execution<'_>,
    keepers: &[PublicKey],
    window: u32,
) -> Result<(), Reject> {
    let ascends = keepers.windows(2).all(|pair| pair[0] < pair[1]);
    if !(2..=MAX_KEYKEEPERS).contains(&keepers.len())
        || !ascends
        || !KEY_WINDOW_BLOCKS.contains(&window)
    {
        return Err(Reject::LimitExceeded);
    }
    let registered = |key: &PublicKey| execution.state.contains(&state_key::keykeeper(key));
    if !keepers.iter().all(registered) {
        return Err(Reject::NotKeykeeper);
    }
    // A key may sign transactions and be no identity of the library's.
    let invited: Option<Vec<KeeperKey>> = keepers.iter().map(keeper_key).collect();
    let task = Task::first(
        execution.rules.circle,
        0,
        None,
        invited.ok_or(Reject::NotKeykeeper)?,
    );
    Board::new(task).map_err(|_| Reject::NotKeykeeper)?;
    match last(execution) {
        Some(round) if round.outcome.is_none() => Err(Reject::KeyRoundUnderWay),
        _ => Ok(()),
    }
}

/// How many blocks each phase of the founding round lasts at most: keykeepers that
/// start with the circle need seconds, and members can begin another round.
const FOUNDING_WINDOW: u32 = 2000;

/// The round with which a circle that was founded with keykeepers begins; none if
/// one of their keys is no identity of the library's.
pub(crate) fn founding_round(genesis: &Genesis) -> Option<KeyRound> {
    let keepers = &genesis.keykeepers;
    let invited: Option<Vec<KeeperKey>> = keepers.iter().map(keeper_key).collect();
    Board::new(Task::first(genesis.circle(), 1, None, invited?)).ok()?;
    Some(first_phase(
        1,
        Vec::new(),
        keepers,
        FOUNDING_WINDOW,
        Height(0),
    ))
}

fn first_phase(
    round: u64,
    previous: Vec<u8>,
    keepers: &[PublicKey],
    window: u32,
    now: Height,
) -> KeyRound {
    KeyRound {
        round,
        previous,
        invited: keepers.to_vec(),
        least: threshold::quorum(keepers.len()) as u16,
        phase: KeyPhase::Join,
        awaited: keepers.len() as u16,
        window,
        ends_at: now.plus(u64::from(window)),
        outcome: None,
    }
}

/// Begins the first round of a change that [`check`] found possible.
pub(crate) fn begin(execution: &mut Execution<'_>, keepers: &[PublicKey], window: u32) {
    let committee: Option<KeyCommittee> = execution.state.get(&state_key::key_committee());
    let before = last(execution).map_or(0, |round| round.round);
    let previous = committee.map_or_else(Vec::new, |committee| committee.sharing);
    let round = first_phase(before + 1, previous, keepers, window, execution.height);
    open(execution, &round);
}

/// The phases that messages belong to.
const PHASES: [KeyPhase; 3] = [KeyPhase::Join, KeyPhase::Deal, KeyPhase::Answer];

/// Puts a round in the place of the last one, whose messages go.
fn open(execution: &mut Execution<'_>, round: &KeyRound) {
    for phase in PHASES {
        for (key, _) in messages(execution, phase) {
            execution.state.delete(key);
        }
    }
    store(execution, round);
}

fn store(execution: &mut Execution<'_>, round: &KeyRound) {
    execution.state.put(state_key::key_round(), round);
    execution.emit(Event::KeyRoundChanged { round: round.round });
}

fn messages(execution: &Execution<'_>, phase: KeyPhase) -> Vec<(Vec<u8>, Vec<u8>)> {
    let prefix = state_key::key_messages(phase);
    execution.state.scan(&prefix, None, MAX_KEYKEEPERS)
}

/// The messages of one phase.
///
/// Panics: on a damaged store; what is stored was found good.
fn read<T>(
    execution: &Execution<'_>,
    phase: KeyPhase,
    read: impl Fn(&[u8]) -> Option<T>,
) -> BTreeMap<KeeperKey, T> {
    let prefix = state_key::key_messages(phase).len();
    let entries = messages(execution, phase).into_iter();
    entries
        .map(|(key, value)| {
            let message: KeyMessage = decode(&key, &value);
            let sender = key[prefix..].try_into().expect("a keykeeper's key");
            (sender, read(&message.message).expect("a good message"))
        })
        .collect()
}

/// The board of a round that is under way.
///
/// Panics: on a damaged store.
pub(super) fn board(execution: &Execution<'_>, round: &KeyRound) -> Board {
    let previous = (!round.previous.is_empty())
        .then(|| Committee::decode(&round.previous).expect("the sharing in office"));
    let invited = round.invited.iter().filter_map(keeper_key).collect();
    let task = Task {
        circle: execution.rules.circle,
        round: round.round,
        previous,
        invited,
        least: usize::from(round.least),
    };
    let phase = match round.phase {
        KeyPhase::Join => Phase::Joining,
        KeyPhase::Deal => Phase::Dealing,
        KeyPhase::Answer => Phase::Answering,
    };
    Board::restore(
        task,
        phase,
        read(execution, KeyPhase::Join, Join::decode),
        read(execution, KeyPhase::Deal, Dealing::decode),
        read(execution, KeyPhase::Answer, Answer::decode),
    )
}

/// Ends a phase in which all have posted or whose time is over.
pub(crate) fn turn(execution: &mut Execution<'_>) {
    let Some(mut round) = last(execution) else {
        return;
    };
    let over = round.awaited == 0 || execution.height >= round.ends_at;
    if round.outcome.is_some() || !over {
        return;
    }
    let mut board = board(execution, &round);
    board.close_phase();
    let dealers = match &board.task().previous {
        Some(previous) => previous.keepers().len(),
        None => board.joined().len(),
    };
    let next = match board.phase() {
        Phase::Dealing => Some((KeyPhase::Deal, dealers)),
        Phase::Answering => Some((KeyPhase::Answer, board.joined().len())),
        Phase::Joining | Phase::Closed => None,
    };
    if let Some((phase, awaited)) = next {
        (round.phase, round.awaited) = (phase, awaited as u16);
        round.ends_at = execution.height.plus(u64::from(round.window));
        return store(execution, &round);
    }
    match board.verdict() {
        Some(Verdict::Done(conclusion)) => {
            round.outcome = Some(KeyOutcome::Done);
            adopt(execution, &round, &conclusion.committee);
            keep(execution, &round);
            store(execution, &round);
        }
        Some(Verdict::Without(silent)) => go_on_without(execution, round, &board, &silent),
        Some(Verdict::Failed) | None => {
            round.outcome = Some(KeyOutcome::Failed);
            store(execution, &round);
        }
    }
}

fn adopt(execution: &mut Execution<'_>, round: &KeyRound, committee: &Committee) {
    let keepers = committee.keepers();
    let record = KeyCommittee {
        round: round.round,
        master_key: committee.master_key().to_vec(),
        sharing: committee.encode(),
        quorum: committee.quorum() as u16,
        keepers: keepers.into_iter().map(PublicKey::Ed25519).collect(),
        since: execution.height,
    };
    execution.state.put(state_key::key_committee(), &record);
    escrow::forget(execution);
}

/// Keeps the round that made the sharing in office, with its messages, until
/// another is adopted. A keykeeper opens its share out of them, however late it
/// comes and whatever round has begun since: without them a change that begins
/// in the next block would take the shares from all that had not looked yet.
fn keep(execution: &mut Execution<'_>, round: &KeyRound) {
    for phase in PHASES {
        let kept = state_key::key_made_messages(phase);
        for (key, _) in execution.state.scan(&kept, None, MAX_KEYKEEPERS) {
            execution.state.delete(key);
        }
        let posted = state_key::key_messages(phase).len();
        for (key, value) in messages(execution, phase) {
            let message: KeyMessage = decode(&key, &value);
            let place = [kept.as_slice(), &key[posted..]].concat();
            execution.state.put(place, &message);
        }
    }
    execution.state.put(state_key::key_made(), round);
}

/// The next round of the same change; the change fails if too few are left.
fn go_on_without(
    execution: &mut Execution<'_>,
    mut round: KeyRound,
    board: &Board,
    silent: &[KeeperKey],
) {
    let task = board
        .task()
        .without(round.round + 1, silent, &board.joined());
    if task.invited.len() < task.least {
        round.outcome = Some(KeyOutcome::Failed);
        return store(execution, &round);
    }
    let next = KeyRound {
        round: task.round,
        awaited: task.invited.len() as u16,
        invited: task.invited.into_iter().map(PublicKey::Ed25519).collect(),
        phase: KeyPhase::Join,
        ends_at: execution.height.plus(u64::from(round.window)),
        ..round
    };
    open(execution, &next);
}
