//! Enclaves' signs of life, and the payment that each brings its provider.
//!
//! Beats of one action stand for themselves: a beat that does not count, for
//! instance since its contract ended in the meantime, is passed over, so that
//! one contract's end does not make a provider's others look silent. Only an
//! action of which no beat counts is rejected, for its first beat's reason.

use wire::{
    Beat, Heartbeat, Reject, limits::MAX_HEARTBEATS, record::ContractStatus, record::Stage,
};

use crate::{
    execution::{Execution, Sender},
    market::Live,
    recent,
};

/// Errors: [`Reject::LimitExceeded`] for none or too many beats; else those of
///         the first beat, if no beat counts: [`Reject::ContractNotFound`],
///         [`Reject::ContractEnded`], [`Reject::NotParty`],
///         [`Reject::NotRunning`], [`Reject::HeartbeatStale`],
///         [`Reject::HeartbeatBlock`], [`Reject::EnclaveSignature`].
pub(crate) fn heartbeat(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &Heartbeat,
) -> Result<(), Reject> {
    if action.beats.is_empty() || action.beats.len() > MAX_HEARTBEATS {
        return Err(Reject::LimitExceeded);
    }
    let mut first = None;
    let mut counted = false;
    for beat in &action.beats {
        match count(execution, sender, beat) {
            Ok(()) => counted = true,
            Err(reject) => first = first.or(Some(reject)),
        }
    }
    match first.filter(|_| !counted) {
        Some(reject) => Err(reject),
        None => Ok(()),
    }
}

/// Checks one beat and pays for it; changes nothing on an error.
fn count(execution: &mut Execution<'_>, sender: &Sender, beat: &Beat) -> Result<(), Reject> {
    let mut live = Live::find(execution, beat.contract)?;
    if live.contract.provider != sender.account {
        return Err(Reject::NotParty);
    }
    if live.contract.status != ContractStatus::Running {
        return Err(Reject::NotRunning);
    }
    if beat.height <= live.contract.settled_at || beat.height >= execution.height {
        return Err(Reject::HeartbeatStale);
    }
    let block = recent::digest(execution, beat.height).ok_or(Reject::HeartbeatStale)?;
    if block != beat.block {
        return Err(Reject::HeartbeatBlock);
    }
    let bytes = Beat::signed_bytes(beat.contract, beat.height, beat.block);
    live.enclave_key(execution)?
        .verify(Beat::PURPOSE, &bytes, &beat.signature)
        .map_err(|_| Reject::EnclaveSignature)?;
    live.settle(execution, beat.height);
    // A beat proves life at the height that it names, not at this one. While
    // an operation is in progress its next step sets the deadline.
    if live.contract.stage == Stage::Done {
        let limit = execution.rules.parameters.heartbeat_limit;
        live.set_deadline(execution, Some(beat.height.plus(limit)));
    }
    live.go_on(execution);
    Ok(())
}
