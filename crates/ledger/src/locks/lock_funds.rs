//! Locks funds of the sender under a condition.

use wire::{Amount, Event, LockFunds, LockId, Reject, record::Lock, state_key};

use crate::{
    accounts::debit,
    execution::{Execution, Sender},
    locks::condition,
};

/// Errors: [`Reject::AmountOutOfRange`], [`Reject::ConditionMalformed`],
///         [`Reject::InsufficientBalance`].
pub(crate) fn lock_funds(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &LockFunds,
) -> Result<(), Reject> {
    if action.amount == Amount::ZERO {
        return Err(Reject::AmountOutOfRange);
    }
    condition::check(&action.condition)?;
    debit(execution, sender.account, action.amount)?;
    let id = LockId::made_by(sender.transaction, sender.index);
    let lock = Lock {
        amount: action.amount,
        condition: action.condition.clone(),
        locked_at: execution.height,
    };
    execution.state.put(state_key::lock(id), &lock);
    execution.emit(Event::Locked {
        lock: id,
        amount: action.amount,
    });
    Ok(())
}
