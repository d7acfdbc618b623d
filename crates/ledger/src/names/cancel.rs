//! Gives a name up, and releases a name whoever gives it up.

use wire::{
    Event, NameCancel, Reject,
    record::{Name, ReleaseReason, Released},
    state_key,
};

use crate::{
    accounts::credit,
    certificates,
    execution::{Execution, Sender},
    names::{address, confusable, detach, owned, recover},
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
    release(execution, &record, ReleaseReason::Cancelled);
    Ok(())
}

/// Deletes the name, returns what is left of its deposit to its owner, and
/// records that the registration ended; a request that it served goes on
/// without it. Bids for the name stand until they expire.
pub(super) fn release(execution: &mut Execution<'_>, record: &Name, reason: ReleaseReason) {
    detach(execution, &record.name);
    certificates::revoke_all(execution, &record.name);
    recover::strike(execution, &record.name);
    confusable::strike(execution, &record.name);
    address::update(execution, Some(record), None);
    if let Some(due) = record.notice_due {
        let key = state_key::notice_due(due, &record.name);
        execution.state.delete(key);
    }
    let released = Released {
        owner: record.owner,
        registered_at: record.registered_at,
        released_at: execution.height,
        reason,
        refund: record.deposit,
    };
    execution
        .state
        .put(state_key::released(&record.name), &released);
    execution.state.delete(state_key::name(&record.name));
    execution
        .state
        .delete(state_key::name_updates(&record.name));
    execution
        .state
        .delete(state_key::rent_due(record.rent_due, &record.name));
    credit(execution, record.owner.account(), record.deposit);
    execution.emit(Event::NameReleased {
        name: record.name.clone(),
        refund: record.deposit,
    });
}
