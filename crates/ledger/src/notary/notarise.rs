//! Records the digest of a data item under the sender's key.

use wire::{
    Event, Notarise, Reject,
    limits::{MAX_MEDIA_BYTES, MAX_TEXT_BYTES},
    record::Notarisation,
    state_key,
};

use crate::execution::{Execution, Sender};

/// The first record stands: a later one could only claim less.
///
/// Errors: [`Reject::LimitExceeded`], [`Reject::AlreadyNotarised`].
pub(crate) fn notarise(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &Notarise,
) -> Result<(), Reject> {
    if action.media.len() > MAX_MEDIA_BYTES || action.note.len() > MAX_TEXT_BYTES {
        return Err(Reject::LimitExceeded);
    }
    let key = state_key::notarisation(action.digest, sender.account);
    if execution.state.contains(&key) {
        return Err(Reject::AlreadyNotarised);
    }
    let record = Notarisation {
        signer: sender.key,
        size: action.size,
        encrypted: action.encrypted,
        media: action.media.clone(),
        note: action.note.clone(),
        notarised_at: execution.height,
        time_ms: execution.time_ms,
    };
    execution.state.put(key, &record);
    execution.emit(Event::Notarised {
        digest: action.digest,
        signer: sender.account,
    });
    Ok(())
}
