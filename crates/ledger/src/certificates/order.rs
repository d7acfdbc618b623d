//! Opens an order for a certificate; names of the account's own owner, and those
//! in a subdomain that was delegated to it, need no challenge.

use wire::{
    AcmeOrderOpen, CertifiedName, Event, PublicKey, Reject, Validation,
    limits::{MAX_ORDER_NAMES, MAX_ORDERS_PER_ACCOUNT, ORDER_LIFE_MS},
    record::{AcmeOrder, AcmeOrderStatus, Name},
    state_key,
};

use super::{account::live_account, authority, registered_above};
use crate::execution::{Execution, Sender};

/// Errors: [`Reject::NotAuthority`], [`Reject::AcmeAccountNotFound`],
///         [`Reject::LimitExceeded`], [`Reject::AcmeNamesRefused`],
///         [`Reject::AcmeOrderState`] if the id is taken.
pub(crate) fn open_order(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &AcmeOrderOpen,
) -> Result<(), Reject> {
    authority(execution, sender)?;
    let mut account = live_account(execution, action.account)?;
    if account.orders >= MAX_ORDERS_PER_ACCOUNT || action.names.len() > MAX_ORDER_NAMES {
        return Err(Reject::LimitExceeded);
    }
    let id = action.id();
    if execution.state.contains(&state_key::acme_order(id)) {
        return Err(Reject::AcmeOrderState);
    }
    let ascending = action.names.windows(2).all(|pair| pair[0] < pair[1]);
    let first = action.names.first().ok_or(Reject::AcmeNamesRefused)?;
    let domain = registered_above(execution, &first.name).ok_or(Reject::AcmeNamesRefused)?;
    let within = action
        .names
        .iter()
        .all(|name| name.name == domain.name || name.name.prefix_under(&domain.name).is_some());
    if !ascending || !within {
        return Err(Reject::AcmeNamesRefused);
    }
    let validations: Vec<_> = action
        .names
        .iter()
        .map(|name| by_key(&domain, account.owner, name))
        .collect();
    let status = if validations.iter().all(Option::is_some) {
        AcmeOrderStatus::Ready
    } else {
        AcmeOrderStatus::Pending
    };
    let order = AcmeOrder {
        account: action.account,
        owner: domain.owner,
        registered_at: domain.registered_at,
        validations,
        names: action.names.clone(),
        domain: domain.name,
        status,
        expires_ms: execution.time_ms.saturating_add(ORDER_LIFE_MS),
        opened_at: execution.height,
    };
    account.orders += 1;
    execution
        .state
        .put(state_key::acme_account(action.account), &account);
    execution
        .state
        .mark(state_key::order_due(order.expires_ms, id));
    store(execution, id, &order);
    Ok(())
}

/// What the key that an account is bound to shows of `name`, without a challenge.
pub(super) fn by_key(
    domain: &Name,
    key: Option<PublicKey>,
    name: &CertifiedName,
) -> Option<Validation> {
    let key = key?;
    if key == domain.owner {
        return Some(Validation::Owner);
    }
    (domain.delegate_of(&name.name) == Some(key)).then_some(Validation::Delegate)
}

/// Stores an order that moved.
pub(super) fn store(execution: &mut Execution<'_>, id: wire::Digest, order: &AcmeOrder) {
    execution.state.put(state_key::acme_order(id), order);
    execution.emit(Event::AcmeOrderChanged { order: id });
}

/// The order, unless its time is over.
pub(super) fn find(execution: &Execution<'_>, id: wire::Digest) -> Result<AcmeOrder, Reject> {
    execution
        .state
        .get::<AcmeOrder>(&state_key::acme_order(id))
        .filter(|order| execution.time_ms < order.expires_ms)
        .ok_or(Reject::AcmeOrderNotFound)
}
