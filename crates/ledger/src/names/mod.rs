//! Names: commit, reveal, records, server keys, rent, notice, suspension and
//! release, sales and bids, rotation and recovery of keys (seed 002).
//!
//! A name's record holds all that a resolver needs. Records are the owner's;
//! endpoints are the market's: it adds one when a replica of the request that
//! the name serves begins to run, and removes it when the replica stops.
//!
//! Source: docs/spec/names.md.

mod address;
mod bid;
mod cancel;
mod commit;
mod confusable;
mod endpoints;
mod handover;
mod label;
mod notice;
mod record_set;
mod recover;
mod renew;
mod rent;
mod reserved;
mod reveal;
mod rotate;
mod sale;
mod secure;
mod set;
mod transfer;
mod update;

use wire::{DomainName, Event, PublicKey, Reject, record::Name, record::NameStatus, state_key};

use crate::{certificates, execution::Execution};
pub(crate) use address::addresses;
pub(crate) use bid::{accept_bid, bid, return_expired_bids, withdraw_bid};
pub(crate) use cancel::cancel;
pub(crate) use commit::{commit, forget_commitments};
pub(crate) use confusable::looks;
pub(crate) use endpoints::{
    add_endpoint, assign, check_assignable, detach, release_assignment, remove_endpoint, serves,
};
pub use label::UNICODE_VERSION;
pub(crate) use notice::give_notices;
pub(crate) use recover::{recover, settle_recoveries, veto};
pub(crate) use renew::renew;
pub(crate) use rent::draw_rent;
pub(crate) use reserved::is_name_server;
pub(crate) use reveal::reveal;
pub(crate) use rotate::rotate;
pub(crate) use sale::{buy, sell};
pub(crate) use secure::secure;
pub(crate) use set::set;
pub(crate) use transfer::transfer;
pub(crate) use update::update;

/// The registered name.
pub(crate) fn find(execution: &Execution<'_>, name: &DomainName) -> Result<Name, Reject> {
    execution
        .state
        .get(&state_key::name(name))
        .ok_or(Reject::NameNotFound)
}

/// The registered name, if `key` owns it.
fn owned(execution: &Execution<'_>, name: &DomainName, key: PublicKey) -> Result<Name, Reject> {
    let record = find(execution, name)?;
    if record.owner == key {
        Ok(record)
    } else {
        Err(Reject::NotOwner)
    }
}

/// Refuses a suspended name.
fn active(record: &Name) -> Result<(), Reject> {
    match record.status {
        NameStatus::Active => Ok(()),
        NameStatus::Suspended { .. } => Err(Reject::NameSuspended),
    }
}

/// The name that an entry of an index ends with.
fn parse(text: &[u8]) -> Option<DomainName> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Stores a name whose owner, records, server keys, endpoints or status changed.
fn store_changed(execution: &mut Execution<'_>, mut record: Name) {
    record.changed_at = execution.height;
    let former: Option<Name> = execution.state.get(&state_key::name(&record.name));
    if let Some(former) = &former
        && former.owner != record.owner
    {
        certificates::owner_changed(execution, &record.name);
    }
    address::update(execution, former.as_ref(), Some(&record));
    execution.emit(Event::NameChanged {
        name: record.name.clone(),
    });
    execution.state.put(state_key::name(&record.name), &record);
}
