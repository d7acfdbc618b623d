//! Changes a name's primary key and nothing else.

use wire::{NameRotate, Reject};

use crate::{
    execution::{Execution, Sender},
    names::{owned, store_changed},
};

/// The name keeps what it serves: who rotates a key is the same owner. Who
/// parts with a name transfers or sells it.
///
/// Errors: [`Reject::NameNotFound`], [`Reject::NotOwner`],
///         [`Reject::ConsentInvalid`].
pub(crate) fn rotate(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameRotate,
) -> Result<(), Reject> {
    let mut record = owned(execution, &action.name, sender.key)?;
    let message = NameRotate::message(
        execution.rules.circle,
        &record.name,
        record.registered_at,
        &record.owner,
    );
    let consents = action
        .consent
        .verify(&action.to, NameRotate::PURPOSE, &message)
        .is_ok();
    if !consents || action.to == record.owner {
        return Err(Reject::ConsentInvalid);
    }
    record.owner = action.to;
    store_changed(execution, record);
    Ok(())
}
