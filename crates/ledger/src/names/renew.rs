//! Adds to a name's deposit; brings a suspended name back.

use wire::{Amount, NameRenew, Reject, record::NameStatus, state_key};

use crate::{
    accounts::{credit_pool, debit},
    execution::{Execution, Sender},
    names::{find, notice, store_changed},
};

/// A suspended name whose deposit then covers a period pays it at once and
/// resolves again; otherwise its time of grace runs on.
///
/// Errors: [`Reject::NameNotFound`], [`Reject::AmountOutOfRange`],
///         [`Reject::InsufficientBalance`].
pub(crate) fn renew(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameRenew,
) -> Result<(), Reject> {
    let mut record = find(execution, &action.name)?;
    if action.amount == Amount::ZERO {
        return Err(Reject::AmountOutOfRange);
    }
    debit(execution, sender.account, action.amount)?;
    record.deposit = record
        .deposit
        .checked_add(action.amount)
        .expect("the sum of all balances is below 2^63");
    let rent = execution.rules.parameters.rent_per_period;
    let suspended = record.status != NameStatus::Active;
    match record.deposit.checked_sub(rent).filter(|_| suspended) {
        Some(rest) => {
            credit_pool(execution, rent);
            execution
                .state
                .delete(state_key::rent_due(record.rent_due, &record.name));
            record.deposit = rest;
            record.status = NameStatus::Active;
            record.rent_due = execution
                .height
                .plus(execution.rules.parameters.rent_period);
            execution
                .state
                .mark(state_key::rent_due(record.rent_due, &record.name));
            notice::schedule(execution, &mut record);
            store_changed(execution, record);
        }
        // The deposit is not what resolvers see: `changed_at` stays.
        None => {
            notice::schedule(execution, &mut record);
            execution.state.put(state_key::name(&record.name), &record);
        }
    }
    Ok(())
}
