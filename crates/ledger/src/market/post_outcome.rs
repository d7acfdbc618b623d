//! The enclave's answer to an operation (seed 000 [0057], [0060], [0061]).

use wire::{
    EndReason, Event, Operation, Outcome, PostOutcome, Reject,
    record::{ContractStatus, OutcomeRecord, Stage},
    state_key,
};

use crate::{
    execution::{Execution, Sender},
    market::{Live, handshake_message::check_sealed},
};

/// A confirmed operation takes effect. One that failed leaves the contract as
/// it was before; a contract that has never run has nothing to go back to and ends.
///
/// Errors: [`Reject::ContractNotFound`], [`Reject::ContractEnded`],
///         [`Reject::NotParty`], [`Reject::WrongOperation`],
///         [`Reject::WrongStage`], [`Reject::LimitExceeded`],
///         [`Reject::EnclaveSignature`].
pub(crate) fn post_outcome(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &PostOutcome,
) -> Result<(), Reject> {
    let mut live = Live::find(execution, action.contract)?;
    if sender.account != live.contract.provider {
        return Err(Reject::NotParty);
    }
    if action.operation != live.contract.operation {
        return Err(Reject::WrongOperation);
    }
    if !may_answer(&live, action.outcome) {
        return Err(Reject::WrongStage);
    }
    check_sealed(&action.sealed)?;
    let bytes = PostOutcome::signed_bytes(
        action.contract,
        action.operation,
        action.outcome,
        &action.sealed,
    );
    live.enclave_key(execution)?
        .verify(PostOutcome::PURPOSE, &bytes, &action.signature)
        .map_err(|_| Reject::EnclaveSignature)?;
    record(execution, action);
    live.contract.stage = Stage::Done;
    match (action.outcome, live.contract.operation_kind) {
        (Outcome::Confirmed, Operation::Start) => live.run(execution)?,
        (Outcome::Confirmed, Operation::Stop) => {
            live.leave_name(execution);
            live.contract.status = ContractStatus::Stopped;
        }
        (Outcome::Rejected | Outcome::Error, _) => {}
    }
    settle_down(execution, live, action.outcome);
    Ok(())
}

/// An outcome follows the client response; a rejection may also follow the
/// challenge, if the enclave finds it no message of the user's.
fn may_answer(live: &Live, outcome: Outcome) -> bool {
    match live.contract.stage {
        Stage::AwaitingOutcome => true,
        Stage::AwaitingServerResponse => outcome == Outcome::Rejected,
        _ => false,
    }
}

fn record(execution: &mut Execution<'_>, action: &PostOutcome) {
    let record = OutcomeRecord {
        outcome: action.outcome,
        sealed: action.sealed.clone(),
        signature: action.signature,
        posted_at: execution.height,
    };
    execution.state.put(
        state_key::outcome(action.contract, action.operation),
        &record,
    );
    execution.emit(Event::OutcomePosted {
        contract: action.contract,
        operation: action.operation,
        outcome: action.outcome,
    });
}

/// Awaits what the contract's status calls for after its operation is over.
fn settle_down(execution: &mut Execution<'_>, mut live: Live, outcome: Outcome) {
    match live.contract.status {
        ContractStatus::Running => {
            let limit = execution.rules.parameters.heartbeat_limit;
            let deadline = execution.height.plus(limit);
            live.set_deadline(execution, Some(deadline));
            live.store(execution);
        }
        ContractStatus::Stopped => {
            live.set_deadline(execution, None);
            live.store(execution);
        }
        ContractStatus::Starting | ContractStatus::Ended(_) => {
            let reason = match outcome {
                Outcome::Rejected => EndReason::ResponseRejected,
                Outcome::Confirmed | Outcome::Error => EndReason::PayloadFailed,
            };
            live.end(execution, reason);
        }
    }
}
