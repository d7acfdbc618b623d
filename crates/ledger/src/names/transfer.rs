//! Hands a name, with its deposit and records, to another key.

use wire::{NameTransfer, Reject};

use crate::{
    execution::{Execution, Sender},
    names::{active, detach, owned, store_changed},
};

/// Endpoints do not go along: they lead to the former owner's replicas, and
/// that owner's certificates. The request that the name served goes on without it.
///
/// Errors: [`Reject::NameNotFound`], [`Reject::NotOwner`], [`Reject::NameSuspended`].
pub(crate) fn transfer(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameTransfer,
) -> Result<(), Reject> {
    let mut record = owned(execution, &action.name, sender.key)?;
    active(&record)?;
    detach(execution, &action.name);
    record.owner = action.to;
    record.endpoints.clear();
    store_changed(execution, record);
    Ok(())
}
