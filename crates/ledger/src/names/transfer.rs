//! Hands a name, with its deposit, records and server keys, to another key.

use wire::{NameTransfer, Reject};

use crate::{
    execution::{Execution, Sender},
    names::{active, confusable, handover::hand_over, owned},
};

/// Errors: [`Reject::NameNotFound`], [`Reject::NotOwner`],
///         [`Reject::NameSuspended`], [`Reject::NameConfusable`].
pub(crate) fn transfer(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameTransfer,
) -> Result<(), Reject> {
    let record = owned(execution, &action.name, sender.key)?;
    active(&record)?;
    confusable::check_alone(execution, &record.name)?;
    hand_over(execution, record, action.to);
    Ok(())
}
