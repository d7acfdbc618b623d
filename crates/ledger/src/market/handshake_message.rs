//! A sealed message between the user and the enclave of a contract
//! (seed 000, procedures 100 and 200).

use wire::{
    Event, HandshakeMessage, HandshakeStep, Reject,
    limits::MAX_SEALED_BYTES,
    record::{Message, Stage},
    state_key,
};

use crate::{
    execution::{Execution, Sender},
    market::Live,
};

/// Errors: [`Reject::ContractNotFound`], [`Reject::ContractEnded`],
///         [`Reject::NotParty`], [`Reject::WrongOperation`],
///         [`Reject::WrongStage`], [`Reject::LimitExceeded`],
///         [`Reject::EnclaveSignature`].
pub(crate) fn handshake_message(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &HandshakeMessage,
) -> Result<(), Reject> {
    let mut live = Live::find(execution, action.contract)?;
    let from_user = action.step != HandshakeStep::ServerResponse;
    let party = if from_user {
        live.contract.user
    } else {
        live.contract.provider
    };
    if sender.account != party {
        return Err(Reject::NotParty);
    }
    if action.operation != live.contract.operation {
        return Err(Reject::WrongOperation);
    }
    let (turn, next) = match action.step {
        HandshakeStep::ClientChallenge => (Stage::AwaitingChallenge, Stage::AwaitingServerResponse),
        HandshakeStep::ServerResponse => {
            (Stage::AwaitingServerResponse, Stage::AwaitingClientResponse)
        }
        HandshakeStep::ClientResponse => (Stage::AwaitingClientResponse, Stage::AwaitingOutcome),
    };
    if live.contract.stage != turn {
        return Err(Reject::WrongStage);
    }
    check_sealed(&action.sealed)?;
    check_signature(execution, &live, action, from_user)?;
    let message = Message {
        sealed: action.sealed.clone(),
        signature: action.signature,
        posted_at: execution.height,
    };
    execution.state.put(
        state_key::message(action.contract, action.operation, action.step),
        &message,
    );
    live.await_step(execution, next);
    live.store(execution);
    execution.emit(Event::MessagePosted {
        contract: action.contract,
        operation: action.operation,
        step: action.step,
    });
    Ok(())
}

/// Errors: [`Reject::LimitExceeded`] for a message that is empty or too large.
pub(super) fn check_sealed(sealed: &[u8]) -> Result<(), Reject> {
    if (1..=MAX_SEALED_BYTES).contains(&sealed.len()) {
        Ok(())
    } else {
        Err(Reject::LimitExceeded)
    }
}

/// The enclave's messages carry its signature; the user's carry none, since
/// the transaction is signed.
fn check_signature(
    execution: &Execution<'_>,
    live: &Live,
    action: &HandshakeMessage,
    from_user: bool,
) -> Result<(), Reject> {
    match &action.signature {
        None if from_user => Ok(()),
        Some(signature) if !from_user => {
            let bytes = HandshakeMessage::signed_bytes(
                action.contract,
                action.operation,
                action.step,
                &action.sealed,
            );
            live.enclave_key(execution)?
                .verify(HandshakeMessage::PURPOSE, &bytes, signature)
                .map_err(|_| Reject::EnclaveSignature)
        }
        _ => Err(Reject::EnclaveSignature),
    }
}
