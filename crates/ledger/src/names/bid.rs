//! Bids for names, whose amounts are in escrow until they are accepted,
//! withdrawn or expired.

use wire::{
    AccountId, Amount, DomainName, Event, NameAcceptBid, NameBid, NameWithdrawBid, Reject,
    record::Bid, state_key,
};

use crate::{
    accounts::{credit, debit},
    execution::{Execution, Sender},
    names::{active, confusable, find, handover, owned},
};

/// Bids that one block returns at most; the rest follow in the next.
const RETURNED_PER_BLOCK: usize = 256;

/// The sender's former bid for the name comes back first.
///
/// Errors: [`Reject::NameNotFound`], [`Reject::AmountOutOfRange`],
///         [`Reject::TermsOutOfRange`], [`Reject::InsufficientBalance`].
pub(crate) fn bid(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameBid,
) -> Result<(), Reject> {
    let record = find(execution, &action.name)?;
    if action.amount == Amount::ZERO {
        return Err(Reject::AmountOutOfRange);
    }
    let last = execution
        .height
        .plus(execution.rules.parameters.max_bid_life);
    let in_range = (execution.height..=last).contains(&action.expires_at);
    if !in_range || record.owner.account() == sender.account {
        return Err(Reject::TermsOutOfRange);
    }
    if let Some(former) = standing(execution, &action.name, sender.account) {
        give_back(execution, &action.name, sender.account, &former);
    }
    debit(execution, sender.account, action.amount)?;
    let bid = Bid {
        bidder: sender.key,
        amount: action.amount,
        bid_at: execution.height,
        expires_at: action.expires_at,
    };
    execution.state.mark(state_key::bid_due(
        bid.expires_at,
        &action.name,
        sender.account,
    ));
    execution
        .state
        .put(state_key::bid(&action.name, sender.account), &bid);
    execution.emit(Event::BidPlaced {
        name: action.name.clone(),
        bidder: sender.account,
        amount: action.amount,
    });
    Ok(())
}

/// Errors: [`Reject::BidNotFound`].
pub(crate) fn withdraw_bid(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameWithdrawBid,
) -> Result<(), Reject> {
    let bid = standing(execution, &action.name, sender.account).ok_or(Reject::BidNotFound)?;
    give_back(execution, &action.name, sender.account, &bid);
    Ok(())
}

/// The amount goes to the sender; the name, with its deposit and without its
/// records, to the bidder's key.
///
/// Errors: [`Reject::NameNotFound`], [`Reject::NotOwner`],
///         [`Reject::NameSuspended`], [`Reject::BidNotFound`],
///         [`Reject::PriceChanged`], [`Reject::NameConfusable`].
pub(crate) fn accept_bid(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameAcceptBid,
) -> Result<(), Reject> {
    let record = owned(execution, &action.name, sender.key)?;
    active(&record)?;
    // The owner's own bid may be from before the name was the owner's.
    let bid = standing(execution, &action.name, action.bidder)
        .filter(|bid| bid.expires_at >= execution.height)
        .filter(|_| action.bidder != sender.account)
        .ok_or(Reject::BidNotFound)?;
    if bid.amount != action.amount {
        return Err(Reject::PriceChanged);
    }
    confusable::check_alone(execution, &record.name)?;
    strike(execution, &action.name, action.bidder, &bid);
    credit(execution, sender.account, bid.amount);
    handover::sold(execution, record, bid.bidder, bid.amount);
    Ok(())
}

/// Gives back the amounts of bids whose last height was this one or earlier.
pub(crate) fn return_expired_bids(execution: &mut Execution<'_>) {
    for (due, rest) in execution.due(state_key::BIDS_DUE, RETURNED_PER_BLOCK) {
        let Some((name, bidder)) = parse(&rest) else {
            continue;
        };
        execution
            .state
            .delete(state_key::bid_due(due, &name, bidder));
        if let Some(bid) = standing(execution, &name, bidder) {
            give_back(execution, &name, bidder, &bid);
        }
    }
}

/// Name and bidder from what follows the height in a key of the index.
fn parse(rest: &[u8]) -> Option<(DomainName, AccountId)> {
    let (text, account) = rest.split_last_chunk::<32>()?;
    let name = super::parse(text.strip_suffix(&[0])?)?;
    Some((name, AccountId(*account)))
}

fn standing(execution: &Execution<'_>, name: &DomainName, bidder: AccountId) -> Option<Bid> {
    execution.state.get(&state_key::bid(name, bidder))
}

fn strike(execution: &mut Execution<'_>, name: &DomainName, bidder: AccountId, bid: &Bid) {
    execution.state.delete(state_key::bid(name, bidder));
    execution
        .state
        .delete(state_key::bid_due(bid.expires_at, name, bidder));
}

fn give_back(execution: &mut Execution<'_>, name: &DomainName, bidder: AccountId, bid: &Bid) {
    strike(execution, name, bidder, bid);
    credit(execution, bidder, bid.amount);
    execution.emit(Event::BidReturned {
        name: name.clone(),
        bidder,
        amount: bid.amount,
    });
}
