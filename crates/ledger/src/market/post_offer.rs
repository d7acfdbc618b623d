//! Offers capacity.

use std::net::IpAddr;

use wire::{
    Amount, Event, Height, OfferId, OfferTerms, PostOffer, Reject, Resources, ServiceEndpoint,
    limits::{MAX_LIST, MAX_TEXT_BYTES},
    record::Offer,
    state_key,
};

use crate::{
    accounts::debit,
    execution::{Execution, Sender},
    market::{fit::admitted_evidence, offer_index, region},
};

/// Errors: [`Reject::LimitExceeded`], [`Reject::AmountOutOfRange`],
///         [`Reject::OfferMalformed`], [`Reject::EvidenceNotAdmitted`] if the
///         circle admits its code under no kind of evidence that it can give,
///         [`Reject::InsufficientBalance`] for the deposit.
pub(crate) fn post_offer(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &PostOffer,
) -> Result<(), Reject> {
    let terms = &action.terms;
    check_limits(terms)?;
    check_terms(terms, execution.height)?;
    if admitted_evidence(&execution.rules, terms).is_empty() {
        return Err(Reject::EvidenceNotAdmitted);
    }
    let deposit = execution.rules.parameters.offer_deposit;
    debit(execution, sender.account, deposit)?;
    let id = OfferId::made_by(sender.transaction, sender.index);
    let offer = Offer {
        provider: sender.account,
        terms: terms.clone(),
        free: terms.capacity,
        live: 0,
        deposit,
        open: true,
        posted_at: execution.height,
    };
    execution
        .state
        .mark(state_key::offer_due(terms.expires_at, id));
    offer_index::store(execution, id, None, &offer);
    offer_index::note_room(execution);
    execution.emit(Event::OfferChanged { offer: id });
    Ok(())
}

fn check_limits(terms: &OfferTerms) -> Result<(), Reject> {
    let lists = [
        terms.encryption.len(),
        terms.evidence.len(),
        terms.payload_kinds.len(),
        terms.technologies.len(),
        terms.endpoint.addresses.len(),
    ];
    let texts = terms
        .technologies
        .iter()
        .chain([&terms.location, &terms.endpoint.control]);
    let over = lists.into_iter().any(|length| length > MAX_LIST)
        || texts.into_iter().any(|text| text.len() > MAX_TEXT_BYTES);
    if over {
        Err(Reject::LimitExceeded)
    } else {
        Ok(())
    }
}

fn check_terms(terms: &OfferTerms, height: Height) -> Result<(), Reject> {
    if terms.min_price == Amount::ZERO {
        return Err(Reject::AmountOutOfRange);
    }
    let good = is_something(&terms.replica_limit)
        && terms.replica_limit.fits(&terms.capacity)
        && terms.concurrency > 0
        && terms.min_duration > 0
        && terms.min_duration <= terms.max_duration
        && region::is_region(&terms.location)
        && is_set(&terms.encryption)
        && is_set(&terms.evidence)
        && is_set(&terms.payload_kinds)
        && (terms.technologies.is_empty() || is_set(&terms.technologies))
        && terms.technologies.iter().all(|text| !text.is_empty())
        && is_reachable(&terms.endpoint)
        && terms.expires_at >= height;
    if good {
        Ok(())
    } else {
        Err(Reject::OfferMalformed)
    }
}

/// Whether a replica could run on it; storage may be none.
pub(super) fn is_something(resources: &Resources) -> bool {
    resources.cpu_milli > 0 && resources.memory_mib > 0
}

/// Whether a list is not empty and repeats nothing.
pub(super) fn is_set<T: PartialEq>(list: &[T]) -> bool {
    let repeats = list
        .iter()
        .enumerate()
        .any(|(index, item)| list[..index].contains(item));
    !list.is_empty() && !repeats
}

fn is_reachable(endpoint: &ServiceEndpoint) -> bool {
    let somewhere = |address: &IpAddr| !address.is_unspecified() && !address.is_multicast();
    is_set(&endpoint.addresses)
        && endpoint.addresses.iter().all(somewhere)
        && endpoint.port > 0
        && !endpoint.control.is_empty()
}
