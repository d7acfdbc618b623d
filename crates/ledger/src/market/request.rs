//! A request's life after it was posted: what follows from the end of one of
//! its contracts, and its own end.

use wire::{
    AccountId, Amount, EndReason, Event, Reject, RequestId,
    record::{Fault, Request, RequestStatus},
    state_key,
};

use crate::{accounts::credit, execution::Execution, market::search, names};

/// The request, whatever its status.
pub(super) fn find(execution: &Execution<'_>, id: RequestId) -> Result<Request, Reject> {
    execution
        .state
        .get(&state_key::request(id))
        .ok_or(Reject::RequestNotFound)
}

/// The request, if it is open.
pub(super) fn open(execution: &Execution<'_>, id: RequestId) -> Result<Request, Reject> {
    let request = find(execution, id)?;
    match request.status {
        RequestStatus::Closed(_) => Err(Reject::RequestClosed),
        RequestStatus::Started | RequestStatus::Stopped => Ok(request),
    }
}

/// The request, if it is open and `user` posted it.
pub(super) fn owned(
    execution: &Execution<'_>,
    id: RequestId,
    user: AccountId,
) -> Result<Request, Reject> {
    let request = open(execution, id)?;
    if request.user == user {
        Ok(request)
    } else {
        Err(Reject::NotOwner)
    }
}

pub(super) fn store(execution: &mut Execution<'_>, id: RequestId, request: &Request) {
    execution.state.put(state_key::request(id), request);
}

/// Whether a replica has no contract and still wants one.
pub(super) fn is_vacant(request: &Request, replica: usize) -> bool {
    let taken = request.replicas.get(replica).is_none_or(Option::is_some);
    let finished = request.finished.get(replica).copied().unwrap_or(true);
    !taken && !finished
}

pub(super) fn has_live(request: &Request) -> bool {
    request.replicas.iter().any(Option::is_some)
}

/// Notes a fault: it counts against the request's replacements.
pub(super) fn note_fault(request: &mut Request, reason: EndReason) {
    request.replacements = request.replacements.saturating_add(1);
    request.fault = match request.fault {
        Fault::None => Fault::Only(reason),
        Fault::Only(former) if former == reason => Fault::Only(reason),
        Fault::Only(_) | Fault::Mixed => Fault::Mixed,
    };
}

/// Whether another contract may be made after those that failed.
pub(super) fn may_be_replaced(execution: &Execution<'_>, request: &Request) -> bool {
    let each = u32::from(execution.rules.parameters.max_replacements);
    let allowed = each.saturating_mul(u32::from(request.terms.replicas));
    u32::from(request.replacements) <= allowed && request.attempts < u16::MAX
}

/// The payload's fault, if every provider that failed the request found the same.
pub(super) fn payload_fault(request: &Request) -> Option<EndReason> {
    match request.fault {
        Fault::Only(
            reason @ (EndReason::PayloadUnavailable
            | EndReason::PayloadCorrupt
            | EndReason::PayloadFailed),
        ) => Some(reason),
        _ => None,
    }
}

/// Stores a request after one of its contracts ended with `reason`, or closes
/// it: when every replica has finished, and when a started request has neither
/// a live contract nor a search that could bring one.
pub(super) fn go_on(
    execution: &mut Execution<'_>,
    id: RequestId,
    request: Request,
    reason: EndReason,
) {
    let finished = request.finished.iter().all(|finished| *finished);
    let forlorn = request.status == RequestStatus::Started
        && !has_live(&request)
        && search::find(execution, id).is_none();
    if finished || forlorn {
        close(execution, id, request, reason);
    } else {
        store(execution, id, &request);
    }
}

/// Closes a request that has no live contract; the escrow goes back.
pub(super) fn close(
    execution: &mut Execution<'_>,
    id: RequestId,
    mut request: Request,
    reason: EndReason,
) {
    search::stop(execution, id);
    names::release_assignment(execution, id, &request);
    let refund = std::mem::replace(&mut request.escrow, Amount::ZERO);
    credit(execution, request.user, refund);
    request.status = RequestStatus::Closed(reason);
    let forget_at = execution
        .height
        .plus(execution.rules.parameters.closed_kept);
    request.forget_at = Some(forget_at);
    execution.state.mark(state_key::forget_due(forget_at, id));
    store(execution, id, &request);
    execution.emit(Event::RequestClosed {
        request: id,
        reason,
        refund,
    });
}
