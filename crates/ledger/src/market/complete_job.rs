//! A job's end, with where its encrypted output is.

use wire::{
    CompleteJob, EndReason, Event, PayloadKind, Reject,
    record::{Completion, ContractStatus},
    state_key,
};

use crate::{
    execution::{Execution, Sender},
    market::{Live, handshake_message::check_sealed, post_request::check_reference_limits},
};

/// The provider is paid up to this block, and the replica is finished.
///
/// Errors: [`Reject::ContractNotFound`], [`Reject::ContractEnded`],
///         [`Reject::NotParty`], [`Reject::NotAJob`], [`Reject::NotRunning`],
///         [`Reject::LimitExceeded`], [`Reject::EnclaveSignature`].
pub(crate) fn complete_job(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &CompleteJob,
) -> Result<(), Reject> {
    let mut live = Live::find(execution, action.contract)?;
    if live.contract.provider != sender.account {
        return Err(Reject::NotParty);
    }
    if live.request.terms.payload_kind != PayloadKind::Job {
        return Err(Reject::NotAJob);
    }
    if live.contract.status != ContractStatus::Running {
        return Err(Reject::NotRunning);
    }
    check_sealed(&action.sealed)?;
    check_reference_limits(&action.output)?;
    let bytes = CompleteJob::signed_bytes(
        action.contract,
        &action.sealed,
        action.output.sha256,
        action.output.bytes,
    );
    live.enclave_key(execution)?
        .verify(CompleteJob::PURPOSE, &bytes, &action.signature)
        .map_err(|_| Reject::EnclaveSignature)?;
    let completion = Completion {
        sealed: action.sealed.clone(),
        output: action.output.clone(),
        signature: action.signature,
        completed_at: execution.height,
    };
    execution
        .state
        .put(state_key::completion(action.contract), &completion);
    execution.emit(Event::JobCompleted {
        contract: action.contract,
    });
    live.settle(execution, execution.height);
    live.end(execution, EndReason::Completed);
    Ok(())
}
