//! Asks for a payload to be run.

use wire::{
    AccountId, Amount, Event, Height, PayloadKind, PayloadReference, PostRequest, PublicKey,
    Reject, RequestId, RequestTerms,
    limits::{MAX_LIST, MAX_LOCATIONS, MAX_PAYLOAD_BYTES, MAX_REPLICAS, MAX_TEXT_BYTES},
    record::{Fault, Request, RequestStatus},
    state_key,
};

use crate::{
    accounts::debit,
    execution::{Execution, Sender},
    market::{
        post_offer::{is_set, is_something},
        region, request, search,
    },
    names,
};

/// Errors: those of [`check`], and [`Reject::InsufficientBalance`] for the escrow.
pub(crate) fn post_request(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &PostRequest,
) -> Result<(), Reject> {
    let terms = &action.terms;
    check(execution, terms, sender.account)?;
    debit(execution, sender.account, terms.escrow)?;
    let id = RequestId::made_by(sender.transaction, sender.index);
    if let Some(name) = &terms.name {
        names::assign(execution, name, id);
    }
    let posted = new(terms, sender.account, sender.key, execution.height);
    request::store(execution, id, &posted);
    search::begin(execution, id, terms.match_until);
    execution
        .state
        .mark(state_key::user_request(sender.account, id));
    execution.emit(Event::RequestPosted {
        request: id,
        user: sender.account,
    });
    Ok(())
}

/// A request that was just posted.
pub(super) fn new(
    terms: &RequestTerms,
    user: AccountId,
    user_key: PublicKey,
    height: Height,
) -> Request {
    let replicas = usize::from(terms.replicas);
    Request {
        user,
        user_key,
        terms: terms.clone(),
        status: RequestStatus::Started,
        escrow: terms.escrow,
        paid: Amount::ZERO,
        replicas: vec![None; replicas],
        served: vec![0; replicas],
        replacements: 0,
        excluded: Vec::new(),
        finished: vec![false; replicas],
        attempts: 0,
        fault: Fault::None,
        posted_at: height,
        forget_at: None,
    }
}

/// Whether `user` may post a request with these terms in this block.
///
/// Errors: [`Reject::LimitExceeded`], [`Reject::AmountOutOfRange`],
///         [`Reject::RequestMalformed`], [`Reject::EscrowTooSmall`],
///         [`Reject::NameNotOwned`], [`Reject::NameSuspended`], [`Reject::NameInUse`].
pub(super) fn check(
    execution: &Execution<'_>,
    terms: &RequestTerms,
    user: AccountId,
) -> Result<(), Reject> {
    check_limits(terms)?;
    check_reference_limits(&terms.payload)?;
    if terms.max_price == Amount::ZERO {
        return Err(Reject::AmountOutOfRange);
    }
    check_terms(execution, terms)?;
    let least = terms.max_price.checked_mul(u64::from(terms.replicas));
    if least.is_none_or(|least| terms.escrow < least) {
        return Err(Reject::EscrowTooSmall);
    }
    match &terms.name {
        Some(name) => names::check_assignable(execution, name, user),
        None => Ok(()),
    }
}

fn check_limits(terms: &RequestTerms) -> Result<(), Reject> {
    let lists = [
        terms.encryption.len(),
        terms.evidence.len(),
        terms.technologies.len(),
    ];
    let over = lists.into_iter().any(|length| length > MAX_LIST)
        || terms.replicas > MAX_REPLICAS
        || terms.location.len() > MAX_TEXT_BYTES
        || terms
            .technologies
            .iter()
            .any(|text| text.len() > MAX_TEXT_BYTES);
    if over {
        Err(Reject::LimitExceeded)
    } else {
        Ok(())
    }
}

/// Checks the sizes of where ciphertext is.
///
/// Errors: [`Reject::LimitExceeded`].
pub(super) fn check_reference_limits(reference: &PayloadReference) -> Result<(), Reject> {
    let over = reference.locations.len() > MAX_LOCATIONS
        || reference.bytes > MAX_PAYLOAD_BYTES
        || reference
            .locations
            .iter()
            .any(|location| location.is_empty() || location.len() > MAX_TEXT_BYTES);
    if over {
        Err(Reject::LimitExceeded)
    } else {
        Ok(())
    }
}

fn check_terms(execution: &Execution<'_>, terms: &RequestTerms) -> Result<(), Reject> {
    let latest = execution
        .height
        .plus(execution.rules.parameters.max_match_wait);
    // Names lead to services; a job has nothing to be reached at.
    let name_fits = terms.name.is_none() || terms.payload_kind == PayloadKind::Service;
    let optional_sets = (terms.encryption.is_empty() || is_set(&terms.encryption))
        && (terms.technologies.is_empty() || is_set(&terms.technologies));
    let good = is_something(&terms.resources)
        && terms.replicas > 0
        && terms.duration > 0
        && (terms.location.is_empty() || region::is_region(&terms.location))
        && optional_sets
        && is_set(&terms.evidence)
        && terms.evidence_policy.is_well_formed()
        && is_set(&terms.payload.locations)
        && terms.payload.bytes > 0
        && terms.agreement_key != [0; 32]
        && name_fits
        && (execution.height..=latest).contains(&terms.match_until);
    if good {
        Ok(())
    } else {
        Err(Reject::RequestMalformed)
    }
}
