//! Names at the service of requests: which request a name serves, and the
//! endpoints of its running replicas.
//!
//! The index `i/serves/` is the one authority: an endpoint is added, and a
//! certificate recorded, only while the entry of the request's name is the
//! request's own. A name that is transferred, cancelled or released loses it.

use wire::{
    AccountId, ContractId, DomainName, Reject, RequestId,
    record::{Name, NameEndpoint, Request},
    state_key,
};

use crate::{
    execution::Execution,
    names::{active, store_changed},
};

/// Checks that `user` may have `name` serve a new request.
///
/// Errors: [`Reject::NameNotOwned`], [`Reject::NameSuspended`], [`Reject::NameInUse`].
pub(crate) fn check_assignable(
    execution: &Execution<'_>,
    name: &DomainName,
    user: AccountId,
) -> Result<(), Reject> {
    let record: Name = execution
        .state
        .get(&state_key::name(name))
        .ok_or(Reject::NameNotOwned)?;
    if record.owner.account() != user {
        return Err(Reject::NameNotOwned);
    }
    active(&record)?;
    if execution.state.contains(&state_key::serves(name)) {
        return Err(Reject::NameInUse);
    }
    Ok(())
}

/// Has `name` serve `request`.
pub(crate) fn assign(execution: &mut Execution<'_>, name: &DomainName, request: RequestId) {
    execution.state.put(state_key::serves(name), &request);
}

/// The name that `request` still has at its service.
pub(crate) fn serves<'r>(
    execution: &Execution<'_>,
    id: RequestId,
    request: &'r Request,
) -> Option<&'r DomainName> {
    let name = request.terms.name.as_ref()?;
    let served: RequestId = execution.state.get(&state_key::serves(name))?;
    (served == id).then_some(name)
}

/// Frees the name of a request that closes.
pub(crate) fn release_assignment(execution: &mut Execution<'_>, id: RequestId, request: &Request) {
    if let Some(name) = serves(execution, id, request) {
        let key = state_key::serves(name);
        execution.state.delete(key);
    }
}

/// Takes `name` from the request that it serves, with the request's wish for
/// certificates; its endpoints go with the record or are cleared by the caller.
pub(crate) fn detach(execution: &mut Execution<'_>, name: &DomainName) {
    let key = state_key::serves(name);
    let Some(id) = execution.state.get::<RequestId>(&key) else {
        return;
    };
    execution.state.delete(key);
    let request: Option<Request> = execution.state.get(&state_key::request(id));
    for contract in request
        .iter()
        .flat_map(|request| request.replicas.iter().flatten())
    {
        execution
            .state
            .delete(state_key::certificate_wanted(*contract));
        execution.state.delete(state_key::grant(&contract.0));
    }
}

/// Adds a running replica to the name that its request serves; replaces what
/// was there of the same contract.
pub(crate) fn add_endpoint(
    execution: &mut Execution<'_>,
    name: &DomainName,
    endpoint: NameEndpoint,
) {
    let Some(mut record) = execution.state.get::<Name>(&state_key::name(name)) else {
        return;
    };
    match record
        .endpoints
        .binary_search_by_key(&endpoint.contract, |entry| entry.contract)
    {
        Ok(at) => record.endpoints[at] = endpoint,
        Err(at) => record.endpoints.insert(at, endpoint),
    }
    store_changed(execution, record);
}

/// Removes a replica that no longer runs, if it is there.
pub(crate) fn remove_endpoint(
    execution: &mut Execution<'_>,
    name: &DomainName,
    contract: ContractId,
) {
    let Some(mut record) = execution.state.get::<Name>(&state_key::name(name)) else {
        return;
    };
    if let Ok(at) = record
        .endpoints
        .binary_search_by_key(&contract, |entry| entry.contract)
    {
        record.endpoints.remove(at);
        store_changed(execution, record);
    }
}
