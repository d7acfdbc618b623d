//! What falls due in the market at the end of a block.

use wire::{
    ContractId, EndReason, OfferId, RequestId,
    record::{ContractStatus, Stage},
    state_key,
};

use crate::{
    execution::Execution,
    market::{Live, find_offer, request, search, withdraw_offer::close_offer},
};

/// Contracts, offers and searches that one block ends at most, of each; the
/// rest follow in the next. Bounds the work at the end of a block.
const ENDED_PER_BLOCK: usize = 256;

/// Ends contracts whose next step or heartbeat has not come by its deadline.
pub(crate) fn end_overdue_contracts(execution: &mut Execution<'_>) {
    for (height, id) in execution.due_ids(state_key::CONTRACTS_DUE, ENDED_PER_BLOCK) {
        let id = ContractId(id);
        match Live::find(execution, id) {
            Ok(mut live) => {
                let between_operations = live.contract.stage == Stage::Done;
                let parameters = &execution.rules.parameters;
                let since = execution
                    .time_ms
                    .saturating_sub(live.contract.awaited_since_ms);
                if !between_operations && since < parameters.handshake_limit_ms {
                    // The blocks were quicker than the step can be.
                    let next = execution.height.plus(parameters.handshake_limit);
                    live.set_deadline(execution, Some(next));
                    live.store(execution);
                    continue;
                }
                let reason = match live.contract.status {
                    ContractStatus::Running if between_operations => EndReason::ProviderSilent,
                    _ => EndReason::HandshakeTimeout,
                };
                live.end(execution, reason);
            }
            Err(_) => execution.state.delete(state_key::contract_due(height, id)),
        }
    }
}

/// Closes offers whose last height was before this one.
pub(crate) fn close_expired_offers(execution: &mut Execution<'_>) {
    for (height, id) in execution.due_ids(state_key::OFFERS_DUE, ENDED_PER_BLOCK) {
        let id = OfferId(id);
        if height >= execution.height {
            continue;
        }
        match find_offer(execution, id) {
            Ok(offer) => close_offer(execution, id, offer),
            Err(_) => execution.state.delete(state_key::offer_due(height, id)),
        }
    }
}

/// Ends searches whose last height was this one: what was not matched in it
/// is not matched. A request without a live contract closes.
pub(crate) fn end_overdue_searches(execution: &mut Execution<'_>) {
    for (height, id) in execution.due_ids(state_key::SEARCHES_DUE, ENDED_PER_BLOCK) {
        let id = RequestId(id);
        search::stop(execution, id);
        execution.state.delete(state_key::search_due(height, id));
        if let Ok(open) = request::open(execution, id) {
            let reason = request::payload_fault(&open).unwrap_or(EndReason::NoOffer);
            request::go_on(execution, id, open, reason);
        }
    }
}
