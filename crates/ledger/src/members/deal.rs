//! Validators' dealings in the resharing that is under way.

use wire::{
    Action, Deal, Reject, Transaction,
    limits::MAX_DEALING_BYTES,
    record::{Dealing, Epoch},
    state_key,
};

use super::epoch;
use crate::{
    execution::{Execution, Sender},
    overlay::Overlay,
};

/// Keeps a dealing until the epoch's end. Whether it is good is judged then,
/// with all others.
///
/// Errors: [`Reject::NotInCommittee`], [`Reject::NoResharing`],
///         [`Reject::LimitExceeded`], [`Reject::AlreadyDealt`].
pub(crate) fn deal(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &Deal,
) -> Result<(), Reject> {
    let epoch = epoch::current(&execution.state);
    if !epoch.committee.iter().any(|seat| seat.key == sender.key) {
        return Err(Reject::NotInCommittee);
    }
    if epoch.resharing.map(|resharing| resharing.round) != Some(action.round) {
        return Err(Reject::NoResharing);
    }
    if !(1..=MAX_DEALING_BYTES).contains(&action.dealing.len()) {
        return Err(Reject::LimitExceeded);
    }
    let key = state_key::dealing(action.round, &sender.key);
    if execution.state.contains(&key) {
        return Err(Reject::AlreadyDealt);
    }
    let dealing = Dealing {
        dealing: action.dealing.clone(),
    };
    execution.state.put(key, &dealing);
    Ok(())
}

/// Whether a transaction is a dealing that is due from its sender: it is free
/// of charge, so that a validator without funds can do its duty.
pub(crate) fn is_duty(state: &Overlay<'_>, transaction: &Transaction) -> bool {
    let [Action::Deal(action)] = transaction.actions.as_slice() else {
        return false;
    };
    let epoch: Epoch = epoch::current(state);
    let round = epoch.resharing.map(|resharing| resharing.round);
    round == Some(action.round)
        && (1..=MAX_DEALING_BYTES).contains(&action.dealing.len())
        && epoch
            .committee
            .iter()
            .any(|seat| seat.key == transaction.sender)
        && !state.contains(&state_key::dealing(action.round, &transaction.sender))
}
