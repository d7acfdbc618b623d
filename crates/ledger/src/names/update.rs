//! Applies a DNS update that the name's owner signed (RFC 2136, RFC 2931).
//!
//! The sender pays and says nothing: the message alone shows what the owner
//! wants. It is good once, and only for the minutes that its signature holds.
//!
//! Source: docs/spec/update.md.

use update::{Update, UpdateError};
use wire::{NameUpdate, Reject, limits::MAX_UPDATES_PER_SECOND, record::NameUpdates, state_key};

use crate::{
    execution::Execution,
    names::{
        active, find,
        set::{check_limits, replaced},
        store_changed,
    },
};

/// Errors: [`Reject::UpdateMalformed`], [`Reject::UpdateSignature`],
///         [`Reject::UpdateTime`], [`Reject::UpdatePrerequisite`],
///         [`Reject::NameNotFound`], [`Reject::NameSuspended`], and those of
///         records.
pub(crate) fn update(execution: &mut Execution<'_>, action: &NameUpdate) -> Result<(), Reject> {
    let update = Update::read(&action.message).map_err(|error| match error {
        UpdateError::Signature(_) => Reject::UpdateSignature,
        _ => Reject::UpdateMalformed,
    })?;
    if !execution.rules.apexes.contains(&update.zone) {
        return Err(Reject::UpdateMalformed);
    }
    let mut record = find(execution, &update.name)?;
    active(&record)?;
    update
        .verify(&record.owner)
        .map_err(|_| Reject::UpdateSignature)?;
    remember(execution, &update)?;
    let replacements = update
        .replacements(&record.records)
        .map_err(|_| Reject::UpdatePrerequisite)?;
    if replacements.is_empty() {
        return Ok(());
    }
    check_limits(&replacements)?;
    record.records = replaced(&update.name, record.records, &replacements)?;
    store_changed(execution, record);
    Ok(())
}

/// Refuses a message whose time is not now, and one that was applied, by what
/// is remembered of the newest ones.
fn remember(execution: &mut Execution<'_>, update: &Update) -> Result<(), Reject> {
    if !update.is_timely(execution.time_ms / 1000) {
        return Err(Reject::UpdateTime);
    }
    let inception = update.signed.inception;
    let key = state_key::name_updates(&update.name);
    let newest: Option<NameUpdates> = execution.state.get(&key);
    let mut updates = newest
        .filter(|newest| newest.inception >= inception)
        .unwrap_or(NameUpdates {
            inception,
            digests: Vec::new(),
        });
    let digest = update.digest();
    let again = updates.inception > inception || updates.digests.contains(&digest);
    if again || updates.digests.len() >= MAX_UPDATES_PER_SECOND {
        return Err(Reject::UpdateTime);
    }
    updates.digests.push(digest);
    execution.state.put(key, &updates);
    Ok(())
}
