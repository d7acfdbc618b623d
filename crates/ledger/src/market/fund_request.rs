//! Adds to a request's escrow.

use wire::{Amount, FundRequest, Reject};

use crate::{
    accounts::debit,
    execution::{Execution, Sender},
    market::{request, search},
};

/// Anyone may pay.
///
/// Errors: [`Reject::RequestNotFound`], [`Reject::RequestClosed`],
///         [`Reject::AmountOutOfRange`], [`Reject::InsufficientBalance`].
pub(crate) fn fund_request(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &FundRequest,
) -> Result<(), Reject> {
    let mut open = request::open(execution, action.request)?;
    if action.amount == Amount::ZERO {
        return Err(Reject::AmountOutOfRange);
    }
    debit(execution, sender.account, action.amount)?;
    open.escrow = open
        .escrow
        .checked_add(action.amount)
        .expect("the sum of all balances is below 2^63");
    request::store(execution, action.request, &open);
    // Offers that the escrow could not pay before may fit now.
    search::renew(execution, action.request);
    Ok(())
}
