//! Spends a lock, whole.

use wire::{Event, Reject, UnlockFunds, record::Lock, state_key};

use crate::{accounts::credit, execution::Execution, locks::condition};

/// Anyone may send it; the witness alone decides, and names the receiver.
///
/// Errors: [`Reject::LockNotFound`] and those of [`condition::satisfy`].
pub(crate) fn unlock_funds(
    execution: &mut Execution<'_>,
    action: &UnlockFunds,
) -> Result<(), Reject> {
    let key = state_key::lock(action.lock);
    let lock: Lock = execution.state.get(&key).ok_or(Reject::LockNotFound)?;
    condition::satisfy(
        &lock.condition,
        &action.witness,
        action.lock,
        action.to,
        execution.height,
    )?;
    execution.state.delete(key);
    credit(execution, action.to, lock.amount);
    execution.emit(Event::Unlocked {
        lock: action.lock,
        to: action.to,
        amount: lock.amount,
    });
    Ok(())
}
