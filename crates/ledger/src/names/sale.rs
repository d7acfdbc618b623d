//! Sells names at a fixed price: name against payment, in one action.

use wire::{Amount, Event, NameBuy, NameSell, Reject, state_key};

use crate::{
    accounts::{credit, debit},
    execution::{Execution, Sender},
    names::{active, confusable, find, handover, owned},
};

/// Puts a name up for sale, changes its price, or takes it back.
///
/// Errors: [`Reject::NameNotFound`], [`Reject::NotOwner`],
///         [`Reject::NameSuspended`], [`Reject::AmountOutOfRange`],
///         [`Reject::TermsOutOfRange`].
pub(crate) fn sell(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameSell,
) -> Result<(), Reject> {
    let mut record = owned(execution, &action.name, sender.key)?;
    active(&record)?;
    if let Some(sale) = &action.sale {
        if sale.price == Amount::ZERO {
            return Err(Reject::AmountOutOfRange);
        }
        if sale.expires_at < execution.height || sale.buyer == Some(sender.account) {
            return Err(Reject::TermsOutOfRange);
        }
    }
    record.sale = action.sale;
    execution.emit(Event::NameSaleChanged {
        name: record.name.clone(),
        price: record.sale.map(|sale| sale.price),
    });
    // What resolvers see is as it was: `changed_at` stays.
    execution.state.put(state_key::name(&record.name), &record);
    Ok(())
}

/// The price goes to the owner; the name, with its deposit and without its
/// records, to the sender's key.
///
/// Errors: [`Reject::NameNotFound`], [`Reject::NameSuspended`],
///         [`Reject::NameNotForSale`], [`Reject::PriceChanged`],
///         [`Reject::NameConfusable`], [`Reject::InsufficientBalance`].
pub(crate) fn buy(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameBuy,
) -> Result<(), Reject> {
    let record = find(execution, &action.name)?;
    active(&record)?;
    let seller = record.owner.account();
    let sale = record
        .sale
        .filter(|sale| sale.expires_at >= execution.height)
        .filter(|sale| sale.buyer.is_none_or(|buyer| buyer == sender.account))
        .filter(|_| seller != sender.account)
        .ok_or(Reject::NameNotForSale)?;
    if sale.price != action.price {
        return Err(Reject::PriceChanged);
    }
    confusable::check_alone(execution, &record.name)?;
    debit(execution, sender.account, sale.price)?;
    credit(execution, seller, sale.price);
    handover::sold(execution, record, sender.key, sale.price);
    Ok(())
}
