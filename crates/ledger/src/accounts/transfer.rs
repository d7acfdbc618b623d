//! Moves funds between accounts.

use wire::{Amount, Event, Reject, Transfer};

use crate::{
    accounts::{credit, debit},
    execution::{Execution, Sender},
};

/// Errors: [`Reject::AmountOutOfRange`], [`Reject::InsufficientBalance`].
pub(crate) fn transfer(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &Transfer,
) -> Result<(), Reject> {
    if action.amount == Amount::ZERO {
        return Err(Reject::AmountOutOfRange);
    }
    debit(execution, sender.account, action.amount)?;
    credit(execution, action.to, action.amount);
    execution.emit(Event::Transferred {
        from: sender.account,
        to: action.to,
        amount: action.amount,
    });
    Ok(())
}
