//! Forgets what is over: closed requests with their contracts, and messages of
//! operations long past. The chain of blocks keeps them all.
//!
//! A request may have made thousands of contracts, so that it is forgotten
//! bit by bit; what is left of it is consistent after every block.

use wire::{
    ContractId, HandshakeStep, RequestId,
    record::{Contract, Request},
    state_key,
};

use crate::execution::Execution;

/// Contracts that one block looks for at most. Bounds the work at the end of a block.
const LOOKED_AT_PER_BLOCK: usize = 256;

/// Forgets requests whose time to be read is over.
pub(crate) fn forget_closed_requests(execution: &mut Execution<'_>) {
    let mut budget = LOOKED_AT_PER_BLOCK;
    for (height, id) in execution.due_ids(state_key::FORGET_DUE, LOOKED_AT_PER_BLOCK) {
        let id = RequestId(id);
        let key = state_key::request(id);
        if let Some(mut request) = execution.state.get::<Request>(&key) {
            contracts(execution, id, &mut request, &mut budget);
            if request.attempts > 0 {
                execution.state.put(key, &request);
                return;
            }
            let listed = state_key::user_request(request.user, id);
            execution.state.delete(listed);
            execution.state.delete(key);
        }
        execution.state.delete(state_key::forget_due(height, id));
    }
}

/// Forgets a request's contracts, the last first, while `budget` lasts.
fn contracts(
    execution: &mut Execution<'_>,
    id: RequestId,
    request: &mut Request,
    budget: &mut usize,
) {
    let replicas = request.terms.replicas;
    while request.attempts > 0 && *budget >= usize::from(replicas) {
        *budget -= usize::from(replicas);
        request.attempts -= 1;
        // Attempts are counted over all replicas: each made one contract.
        for replica in 0..replicas {
            let contract_id = ContractId::of(id, replica, request.attempts);
            let key = state_key::contract(contract_id);
            let Some(contract) = execution.state.get::<Contract>(&key) else {
                continue;
            };
            request.paid.0 -= contract.paid.0;
            for earlier in [contract.operation.saturating_sub(1), contract.operation] {
                operation(execution, contract_id, earlier);
            }
            let state = &mut execution.state;
            state.delete(key);
            for key in [
                state_key::enclave(contract_id),
                state_key::completion(contract_id),
                state_key::certificate(contract_id),
            ] {
                if state.contains(&key) {
                    state.delete(key);
                }
            }
        }
    }
}

/// Forgets the messages and the outcome of an operation.
pub(super) fn operation(execution: &mut Execution<'_>, contract: ContractId, operation: u32) {
    let steps = [
        HandshakeStep::ClientChallenge,
        HandshakeStep::ServerResponse,
        HandshakeStep::ClientResponse,
    ];
    let messages = steps.map(|step| state_key::message(contract, operation, step));
    let outcome = state_key::outcome(contract, operation);
    for key in messages.into_iter().chain([outcome]) {
        if execution.state.contains(&key) {
            execution.state.delete(key);
        }
    }
}
