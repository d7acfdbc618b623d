//! Sets the keys of a name's servers (seed 002: the domain security transaction).

use wire::{NameSecure, Reject, RelativeName, ServerKey, limits::MAX_NAME_KEYS};

use crate::{
    execution::{Execution, Sender},
    names::{active, owned, record_set::check_owner, store_changed},
};

/// Errors: [`Reject::NameNotFound`], [`Reject::NotOwner`],
///         [`Reject::NameSuspended`], [`Reject::RecordMalformed`],
///         [`Reject::LimitExceeded`].
pub(crate) fn secure(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameSecure,
) -> Result<(), Reject> {
    let mut record = owned(execution, &action.name, sender.key)?;
    active(&record)?;
    check_owner(&action.name, action.owner.as_ref())?;
    // A wildcard is no server.
    if action.owner.as_ref().is_some_and(RelativeName::is_wildcard) {
        return Err(Reject::RecordMalformed);
    }
    let at = record
        .keys
        .binary_search_by(|server| server.owner.cmp(&action.owner));
    match (at, action.server) {
        (Ok(at), None) => {
            record.keys.remove(at);
        }
        (Err(_), None) => {}
        (at, Some((key, certificate))) => {
            let server = ServerKey {
                owner: action.owner.clone(),
                key,
                certificate,
            };
            match at {
                Ok(at) => record.keys[at] = server,
                Err(at) => record.keys.insert(at, server),
            }
        }
    }
    if record.keys.len() > MAX_NAME_KEYS {
        return Err(Reject::LimitExceeded);
    }
    store_changed(execution, record);
    Ok(())
}
