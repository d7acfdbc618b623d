//! Replaces RRsets of a name.

use std::collections::BTreeMap;

use wire::{
    DomainName, NameSet, RecordSet, Reject,
    limits::{MAX_RECORD_DATA_BYTES, MAX_RECORD_SETS, MAX_RECORDS_PER_SET},
};

use crate::{
    execution::{Execution, Sender},
    names::{active, owned, record_set, store_changed},
};

/// Errors: [`Reject::NameNotFound`], [`Reject::NotOwner`],
///         [`Reject::NameSuspended`], [`Reject::LimitExceeded`],
///         [`Reject::RecordMalformed`].
pub(crate) fn set(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameSet,
) -> Result<(), Reject> {
    let mut record = owned(execution, &action.name, sender.key)?;
    active(&record)?;
    check_limits(&action.records)?;
    record.records = replaced(&action.name, record.records, &action.records)?;
    store_changed(execution, record);
    Ok(())
}

pub(super) fn check_limits(sets: &[RecordSet]) -> Result<(), Reject> {
    let within = !sets.is_empty()
        && sets.len() <= MAX_RECORD_SETS
        && sets.iter().all(|set| {
            set.data.len() <= MAX_RECORDS_PER_SET
                && set
                    .data
                    .iter()
                    .all(|data| data.len() <= MAX_RECORD_DATA_BYTES)
        });
    if within {
        Ok(())
    } else {
        Err(Reject::LimitExceeded)
    }
}

/// The name's sets once `replacements` took their places: ascending by owner
/// (the name itself first) and type.
pub(super) fn replaced(
    name: &DomainName,
    sets: Vec<RecordSet>,
    replacements: &[RecordSet],
) -> Result<Vec<RecordSet>, Reject> {
    let position = |set: &RecordSet| (set.owner.clone(), set.rtype);
    let mut seen: BTreeMap<_, ()> = BTreeMap::new();
    let mut all: BTreeMap<_, _> = sets.into_iter().map(|set| (position(&set), set)).collect();
    for set in replacements {
        if seen.insert(position(set), ()).is_some() {
            return Err(Reject::RecordMalformed);
        }
        if set.data.is_empty() {
            all.remove(&position(set));
        } else {
            record_set::check(name, set)?;
            all.insert(position(set), set.clone());
        }
    }
    if all.len() > MAX_RECORD_SETS {
        return Err(Reject::LimitExceeded);
    }
    let sets: Vec<RecordSet> = all.into_values().collect();
    record_set::check_together(&sets)?;
    Ok(sets)
}
