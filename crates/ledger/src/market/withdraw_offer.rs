//! Takes an offer back; also what happens to one that expires.

use wire::{Amount, Event, OfferId, Reject, WithdrawOffer, record::Offer, state_key};

use crate::{
    accounts::credit,
    execution::{Execution, Sender},
    market::{find_offer, offer_index},
};

/// Live contracts go on; the deposit comes back with the last of them.
///
/// Errors: [`Reject::OfferNotFound`], [`Reject::NotOwner`],
///         [`Reject::NothingToDo`] if it is closed.
pub(crate) fn withdraw_offer(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &WithdrawOffer,
) -> Result<(), Reject> {
    let offer = find_offer(execution, action.offer)?;
    if offer.provider != sender.account {
        return Err(Reject::NotOwner);
    }
    if !offer.open {
        return Err(Reject::NothingToDo);
    }
    close_offer(execution, action.offer, offer);
    Ok(())
}

/// Closes an open offer.
pub(super) fn close_offer(execution: &mut Execution<'_>, id: OfferId, offer: Offer) {
    let mut closed = Offer {
        open: false,
        ..offer.clone()
    };
    if closed.live == 0 {
        let deposit = std::mem::replace(&mut closed.deposit, Amount::ZERO);
        credit(execution, closed.provider, deposit);
    }
    execution
        .state
        .delete(state_key::offer_due(offer.terms.expires_at, id));
    offer_index::store(execution, id, Some(&offer), &closed);
    execution.emit(Event::OfferChanged { offer: id });
}
