//! Epochs: who is in office, and what prepares the next committee.
//!
//! Members decide who is to validate; the engine's shares make it so. A
//! resharing begins in the first half of an epoch, as soon as the wanted
//! validators differ from those in office, and ends with the epoch. If it
//! came to nothing, or exposed a share, the committee stays: the old shares
//! are as good as before.

use wire::{
    Event, Genesis, MemberRole, PublicKey,
    limits::MAX_MEMBERS,
    record::{Dealing, Epoch, Resharing, ResharingOutcome, Seat},
    state_key,
};

use super::{
    attest,
    ceremony::{Ceremony, ReshareTask},
    roster,
};
use crate::{
    execution::Execution,
    overlay::{Overlay, decode},
};

/// Epochs for which a validator that did not answer a resharing is not asked
/// again, so that the others' changes are not held up by it.
pub const REST_EPOCHS: u64 = 8;

/// Panics: on a damaged store only; see the crate's documentation.
pub(super) fn current(state: &Overlay<'_>) -> Epoch {
    state
        .get(&state_key::epoch())
        .expect("a state that a genesis founded holds an epoch")
}

/// Epoch 0, with the founders in office.
pub(crate) fn found(genesis: &Genesis) -> Epoch {
    let mut committee: Vec<Seat> = genesis
        .validators
        .iter()
        .map(|validator| Seat {
            key: validator.key,
            account: validator.key.account(),
            address: String::new(),
        })
        .collect();
    committee.sort_unstable_by_key(|seat| seat.key);
    Epoch {
        number: 0,
        committee,
        sharing: genesis.sharing.clone(),
        sharing_since: 0,
        reshared_from: None,
        next_round: 1,
        resharing: None,
        last_outcome: None,
        resting: Vec::new(),
        reshare_since: None,
    }
}

/// Ends the epoch if this block is its last, and begins a resharing if one is
/// wanted and there is time for it.
pub(crate) fn turn(execution: &mut Execution<'_>, ceremony: &dyn Ceremony) {
    let length = execution.rules.parameters.epoch_length;
    let place_of_next = execution.height.plus(1).0 % length;
    let before = current(&execution.state);
    let mut epoch = before.clone();
    if place_of_next == 0 {
        end(execution, ceremony, &mut epoch);
    }
    if place_of_next < length / 2 && epoch.resharing.is_none() {
        begin_resharing(execution, &mut epoch);
    }
    if epoch != before {
        execution.state.put(state_key::epoch(), &epoch);
    }
}

/// Who is to validate: members of that role that have shown what the rules ask
/// for and do not rest, ascending by key.
///
/// None if more of them lack evidence than there may be faults among all that
/// members want: then it has failed for a common cause (a vendor's service, code
/// that was voted out too early), and the circle's key is not handed to the few
/// that are left. The bound is that of the members' list and not of the committee
/// in office, which would shrink with every lapse, down to one.
fn wanted(execution: &Execution<'_>, epoch: &Epoch) -> Option<Vec<Seat>> {
    let mut seats = Vec::new();
    let (mut all, mut lapsed) = (0, 0);
    for (account, member) in roster::all(execution) {
        let Some(seat) = &member.terms.seat else {
            continue;
        };
        if member.terms.role != MemberRole::Validator {
            continue;
        }
        all += 1;
        if !attest::counts(execution, account, &member) {
            lapsed += 1;
        } else if !epoch.resting.iter().any(|(key, _)| *key == seat.key) {
            seats.push(Seat {
                key: seat.key,
                account,
                address: seat.address.clone(),
            });
        }
    }
    seats.sort_unstable_by_key(|seat| seat.key);
    (lapsed <= faults(all)).then_some(seats)
}

/// Faults that so many validators bear.
fn faults(validators: usize) -> usize {
    validators.saturating_sub(1) / 3
}

fn keys(seats: &[Seat]) -> Vec<PublicKey> {
    seats.iter().map(|seat| seat.key).collect()
}

/// Members want another sharing: the next epoch that begins a resharing does so even
/// to the committee in office, and again until one is adopted.
pub(super) fn want_resharing(execution: &mut Execution<'_>) {
    let mut epoch = current(&execution.state);
    epoch.reshare_since = Some(execution.height);
    execution.state.put(state_key::epoch(), &epoch);
}

/// Begins a resharing to other validators than those in office, or to the same if
/// members want it.
fn begin_resharing(execution: &mut Execution<'_>, epoch: &mut Epoch) {
    let Some(target) = wanted(execution, epoch) else {
        return;
    };
    let same = keys(&target) == keys(&epoch.committee);
    if target.is_empty() || same && epoch.reshare_since.is_none() {
        return;
    }
    let round = epoch.next_round;
    epoch.next_round += 1;
    let origin = epoch.reshared_from.as_ref().map(|(round, _)| *round);
    forget_dealings(execution, origin);
    epoch.resharing = Some(Resharing {
        round,
        target,
        began_at: execution.height,
    });
    execution.emit(Event::ResharingBegan { round });
}

fn end(execution: &mut Execution<'_>, ceremony: &dyn Ceremony, epoch: &mut Epoch) {
    if let Some(resharing) = epoch.resharing.take() {
        conclude(execution, ceremony, epoch, resharing);
    }
    epoch.number += 1;
    let number = epoch.number;
    epoch.resting.retain(|(_, until)| *until > number);
    // Addresses change without a resharing.
    let seats = roster::all(execution);
    for seat in &mut epoch.committee {
        let member = seats.iter().find_map(|(_, member)| {
            let known = member.terms.seat.as_ref()?;
            (known.key == seat.key).then_some(known)
        });
        if let Some(known) = member {
            seat.address.clone_from(&known.address);
        }
    }
}

/// Deletes all dealings but those that made the sharing in office: a validator
/// that was down puts its share together from them.
fn forget_dealings(execution: &mut Execution<'_>, origin: Option<u64>) {
    let kept = origin.map(dealings_prefix);
    let all = execution
        .state
        .scan(state_key::DEALINGS, None, 2 * MAX_MEMBERS);
    for (key, _) in all {
        if !kept.as_ref().is_some_and(|kept| key.starts_with(kept)) {
            execution.state.delete(key);
        }
    }
}

fn dealings_prefix(round: u64) -> Vec<u8> {
    [state_key::DEALINGS, &round.to_be_bytes()].concat()
}

/// A round's dealings, ascending by dealer.
fn dealings(execution: &Execution<'_>, round: u64) -> Vec<(PublicKey, Vec<u8>)> {
    let prefix = dealings_prefix(round);
    execution
        .state
        .scan(&prefix, None, MAX_MEMBERS)
        .into_iter()
        .filter_map(|(key, value)| {
            let dealer = key[prefix.len()..].try_into().ok()?;
            let record: Dealing = decode(&key, &value);
            Some((PublicKey::Ed25519(dealer), record.dealing))
        })
        .collect()
}

fn conclude(
    execution: &mut Execution<'_>,
    ceremony: &dyn Ceremony,
    epoch: &mut Epoch,
    resharing: Resharing,
) {
    let dealings = dealings(execution, resharing.round);
    let concluded = ceremony.conclude(&ReshareTask {
        circle: execution.rules.circle,
        round: resharing.round,
        previous: &epoch.sharing,
        players: &keys(&resharing.target),
        dealings: &dealings,
    });
    let outcome = match concluded {
        None => ResharingOutcome::TooFewDealings,
        // A share that is public adds to what dishonest members hold: the
        // next attempt leaves out whoever did not answer.
        Some(concluded) if !concluded.revealed.is_empty() => {
            let until = epoch.number + 1 + REST_EPOCHS;
            for key in concluded.revealed {
                epoch.resting.retain(|(resting, _)| *resting != key);
                epoch.resting.push((key, until));
            }
            epoch.resting.sort_unstable();
            ResharingOutcome::SharesRevealed
        }
        Some(concluded) => {
            forget_dealings(execution, Some(resharing.round));
            epoch.committee = resharing.target;
            let previous = std::mem::replace(&mut epoch.sharing, concluded.sharing);
            epoch.reshared_from = Some((resharing.round, previous));
            epoch.sharing_since = epoch.number + 1;
            // One that was under way before members asked is not what they asked for:
            // what made them ask may have met its dealings too.
            epoch.reshare_since = epoch
                .reshare_since
                .filter(|since| *since > resharing.began_at);
            let mut rules = execution.rules.clone();
            rules.validators = epoch.committee.iter().map(|seat| seat.account).collect();
            execution.set_rules(rules);
            execution.emit(Event::CommitteeChanged {
                epoch: epoch.number + 1,
            });
            ResharingOutcome::Adopted
        }
    };
    epoch.last_outcome = Some(outcome);
    execution.emit(Event::ResharingEnded {
        round: resharing.round,
        outcome,
    });
}
