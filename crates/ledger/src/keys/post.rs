//! A keykeeper's message in the round that is under way.

use threshold::{Answer, Dealing, Join, Refusal};
use wire::{
    KeyPhase, PostKeyRound, Reject, limits::MAX_KEY_POST_BYTES, record::KeyMessage, state_key,
};

use super::round;
use crate::execution::{Execution, Sender};

/// Keeps a message that is good; nothing else changes the round.
///
/// Errors: [`Reject::KeyRoundClosed`], [`Reject::NotKeykeeper`],
///         [`Reject::LimitExceeded`], [`Reject::KeyMessageAgain`],
///         [`Reject::KeyMessageRefused`].
/// Source: docs/spec/keys.md §7.
pub(crate) fn post(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &PostKeyRound,
) -> Result<(), Reject> {
    let waiting = round::last(execution).filter(|round| {
        round.outcome.is_none() && round.round == action.round && round.phase == action.phase
    });
    let mut waiting = waiting.ok_or(Reject::KeyRoundClosed)?;
    let keeper = round::keeper_key(&sender.key).ok_or(Reject::NotKeykeeper)?;
    // Founding keykeepers are invited before they have registered.
    if !execution.state.contains(&state_key::keykeeper(&sender.key)) {
        return Err(Reject::NotKeykeeper);
    }
    if action.message.len() > MAX_KEY_POST_BYTES {
        return Err(Reject::LimitExceeded);
    }
    let mut board = round::board(execution, &waiting);
    let refused = Reject::KeyMessageRefused;
    let taken = match action.phase {
        KeyPhase::Join => board.join(keeper, Join::decode(&action.message).ok_or(refused)?),
        KeyPhase::Deal => board.deal(keeper, Dealing::decode(&action.message).ok_or(refused)?),
        KeyPhase::Answer => board.answer(keeper, Answer::decode(&action.message).ok_or(refused)?),
    };
    taken.map_err(|refusal| match refusal {
        Refusal::NotAsked => Reject::NotKeykeeper,
        Refusal::WrongPhase => Reject::KeyRoundClosed,
        Refusal::Again => Reject::KeyMessageAgain,
        Refusal::Malformed | Refusal::Untrue => refused,
    })?;
    let message = KeyMessage {
        message: action.message.clone(),
    };
    execution
        .state
        .put(state_key::key_message(action.phase, &sender.key), &message);
    waiting.awaited = waiting.awaited.saturating_sub(1);
    execution.state.put(state_key::key_round(), &waiting);
    Ok(())
}
