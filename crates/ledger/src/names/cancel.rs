//! Gives a name up, and releases a name whoever gives it up.

use wire::{Event, NameCancel, Reject, record::Name, state_key};

use crate::{
    accounts::credit,
    execution::{Execution, Sender},
    names::{detach, owned},
};

/// A suspended name may be given up too.
///
/// Errors: [`Reject::NameNotFound`], [`Reject::NotOwner`].
pub(crate) fn cancel(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameCancel,
) -> Result<(), Reject> {
    let record = owned(execution, &action.name, sender.key)?;
    release(execution, &record);
    Ok(())
}

/// Deletes the name and returns what is left of its deposit to its owner; a
/// request that it served goes on without it.
pub(super) fn release(execution: &mut Execution<'_>, record: &Name) {
    detach(execution, &record.name);
    execution.state.delete(state_key::name(&record.name));
    execution
        .state
        .delete(state_key::rent_due(record.rent_due, &record.name));
    credit(execution, record.owner.account(), record.deposit);
    execution.emit(Event::NameReleased {
        name: record.name.clone(),
        refund: record.deposit,
    });
}
