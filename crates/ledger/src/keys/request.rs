//! A request for a label's key, with evidence and a one-time key.

use wire::{
    ContractId, Event, HolderPolicy, KeyRequestId, PayloadHolder, Reject, RequestKey,
    limits::{KEY_REQUEST_BLOCKS, MAX_KEYKEEPERS},
    record::{Contract, ContractStatus, KeyRequest, Label, Request},
    state_key,
};

use super::evidence;
use crate::{
    execution::{Execution, Sender},
    recent,
};

/// Requests that one block forgets at most; the rest follow in the next.
const FORGOTTEN_PER_BLOCK: usize = 64;

/// Records a request for keykeepers to answer.
///
/// Errors: [`Reject::NoMasterKey`], [`Reject::LabelNotFound`],
///         [`Reject::KeyEpochPast`], [`Reject::HolderNotAdmitted`],
///         [`Reject::KeyRequestStale`]; those of the contract and the evidence.
/// Source: docs/spec/keys.md §9.
pub(crate) fn request(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &RequestKey,
) -> Result<(), Reject> {
    if !execution.state.contains(&state_key::key_committee()) {
        return Err(Reject::NoMasterKey);
    }
    let label: Label = execution
        .state
        .get(&state_key::label(&action.label))
        .ok_or(Reject::LabelNotFound)?;
    let before = label.epoch.saturating_sub(1).max(1);
    if !(before..=label.epoch).contains(&action.epoch) {
        return Err(Reject::KeyEpochPast);
    }
    let policy = &label.policy;
    if !policy.askers.is_empty() && !policy.askers.contains(&sender.account) {
        return Err(Reject::HolderNotAdmitted);
    }
    if recent::digest(execution, action.height) != Some(action.block) {
        return Err(Reject::KeyRequestStale);
    }
    let payload = action
        .contract
        .map(|contract| payload(execution, sender, policy, contract));
    let report_data = RequestKey::report_data(
        execution.rules.circle,
        &action.label,
        action.epoch,
        &action.one_time_key,
        action.block,
        payload.transpose()?.as_ref(),
    );
    let result = evidence::appraise(
        execution,
        &action.evidence,
        report_data,
        Some(&policy.codes),
        &policy.evidence,
    )?;
    let id = KeyRequestId::made_by(sender.transaction, sender.index);
    let until = execution.height.plus(KEY_REQUEST_BLOCKS);
    let request = KeyRequest {
        label: action.label.clone(),
        epoch: action.epoch,
        one_time_key: action.one_time_key,
        contract: action.contract,
        block: action.block,
        evidence: action.evidence.clone(),
        result,
        asker: sender.account,
        until,
    };
    execution.state.put(state_key::key_request(id), &request);
    execution.state.mark(state_key::key_request_due(until, id));
    execution.emit(Event::KeyRequested { request: id });
    Ok(())
}

/// The payload of a live contract, if its provider asks and the policy admits it.
///
/// Errors: [`Reject::ContractNotFound`], [`Reject::ContractEnded`],
///         [`Reject::NotParty`], [`Reject::HolderNotAdmitted`].
fn payload(
    execution: &Execution<'_>,
    sender: &Sender,
    policy: &HolderPolicy,
    id: ContractId,
) -> Result<PayloadHolder, Reject> {
    let contract: Contract = execution
        .state
        .get(&state_key::contract(id))
        .ok_or(Reject::ContractNotFound)?;
    if matches!(contract.status, ContractStatus::Ended(_)) {
        return Err(Reject::ContractEnded);
    }
    if contract.provider != sender.account {
        return Err(Reject::NotParty);
    }
    let request: Request = execution
        .state
        .get(&state_key::request(contract.request))
        .ok_or(Reject::ContractNotFound)?;
    let payload_sha256 = request.terms.payload.sha256;
    if !policy.admits_payload(request.user, payload_sha256) {
        return Err(Reject::HolderNotAdmitted);
    }
    Ok(PayloadHolder {
        contract: id,
        user_agreement: request.terms.agreement_key,
        payload_sha256,
    })
}

/// Forgets requests whose time has passed, and their answers.
pub(crate) fn forget_requests(execution: &mut Execution<'_>) {
    for (height, id) in execution.due_ids(state_key::KEY_REQUESTS_DUE, FORGOTTEN_PER_BLOCK) {
        let id = KeyRequestId(id);
        // Committees may change in between, so more may have answered than one
        // committee has.
        loop {
            let prefix = state_key::key_answers(id);
            let answers = execution.state.scan(&prefix, None, MAX_KEYKEEPERS);
            if answers.is_empty() {
                break;
            }
            for (key, _) in answers {
                execution.state.delete(key);
            }
        }
        execution.state.delete(state_key::key_request(id));
        execution
            .state
            .delete(state_key::key_request_due(height, id));
    }
}
