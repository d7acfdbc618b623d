//! A keykeeper's answer to a request for a label's key.

use wire::{
    Action, AnswerKey, Event, PublicKey, Reject, Transaction,
    limits::MAX_KEY_ANSWER_BYTES,
    record::{KeyAnswer, KeyCommittee},
    state_key,
};

use crate::{
    execution::{Execution, Sender},
    overlay::Overlay,
};

const _: () = assert!(threshold::PARTIAL_BYTES <= MAX_KEY_ANSWER_BYTES);

/// Whether the answer may be kept; gives the round of the committee in office.
fn allowed(state: &Overlay<'_>, sender: &PublicKey, action: &AnswerKey) -> Result<u64, Reject> {
    if !state.contains(&state_key::key_request(action.request)) {
        return Err(Reject::KeyRequestNotFound);
    }
    let committee: KeyCommittee = state
        .get(&state_key::key_committee())
        .ok_or(Reject::NoMasterKey)?;
    if !committee.keepers.contains(sender) {
        return Err(Reject::NotKeykeeper);
    }
    if !(1..=MAX_KEY_ANSWER_BYTES).contains(&action.sealed.len()) {
        return Err(Reject::LimitExceeded);
    }
    if state.contains(&state_key::key_answer(action.request, sender)) {
        return Err(Reject::KeyMessageAgain);
    }
    Ok(committee.round)
}

/// Keeps an answer, sealed as it is: only who asked can tell whether it is good.
///
/// Errors: [`Reject::KeyRequestNotFound`], [`Reject::NoMasterKey`],
///         [`Reject::NotKeykeeper`], [`Reject::LimitExceeded`],
///         [`Reject::KeyMessageAgain`].
/// Source: docs/spec/keys.md §9.
pub(crate) fn answer(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &AnswerKey,
) -> Result<(), Reject> {
    let round = allowed(&execution.state, &sender.key, action)?;
    let record = KeyAnswer {
        round,
        sealed: action.sealed.clone(),
    };
    let key = state_key::key_answer(action.request, &sender.key);
    execution.state.put(key, &record);
    execution.emit(Event::KeyAnswered {
        request: action.request,
        keeper: sender.key,
    });
    Ok(())
}

/// Whether a transaction is an answer that is due from its sender: it is free
/// of charge, so that who asks pays for the request and not for its answers.
pub(crate) fn is_duty(state: &Overlay<'_>, transaction: &Transaction) -> bool {
    let [Action::AnswerKey(action)] = transaction.actions.as_slice() else {
        return false;
    };
    allowed(state, &transaction.sender, action).is_ok()
}
