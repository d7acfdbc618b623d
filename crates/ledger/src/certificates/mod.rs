//! Certificates: the log of everything issued, the orders of ACME, and
//! revocation (seed 002; RFC 8555).
//!
//! An authority's word is taken for one thing only: that it fetched a
//! challenge's answer from an address. Who owns a name, whether an address is
//! the name's, whether a TXT record stands, and that a key was granted before
//! it was certified, the ledger checks itself.
//!
//! Source: docs/spec/acme.md, docs/spec/certificates.md.

mod account;
mod caa;
mod finish;
mod log;
mod look_up;
mod order;
mod prune;
mod publish;
mod revoke;
mod validate;

use wire::{DomainName, PublicKey, Reject, record::Name, record::NameStatus, state_key};

pub(crate) use account::{change_account, open_account};
pub(crate) use finish::{finalize, issue};
pub(crate) use log::{Entry, log};
pub(crate) use order::open_order;
pub(crate) use prune::forget;
pub(crate) use publish::{publish_authority, publish_intermediate};
pub(crate) use revoke::{owner_changed, revoke, revoke_all};
pub(crate) use validate::validate;

use crate::execution::{Execution, Sender};

/// Refuses whoever is no authority of the circle.
fn authority(execution: &Execution<'_>, sender: &Sender) -> Result<(), Reject> {
    if execution
        .rules
        .certificate_authorities
        .contains(&sender.account)
    {
        Ok(())
    } else {
        Err(Reject::NotAuthority)
    }
}

/// The registered, active name at or above `name`.
fn registered_above(execution: &Execution<'_>, name: &DomainName) -> Option<Name> {
    let mut candidate = Some(name.clone());
    while let Some(name) = candidate {
        let record: Option<Name> = execution.state.get(&state_key::name(&name));
        if let Some(record) = record {
            return (record.status == NameStatus::Active).then_some(record);
        }
        candidate = name.parent();
    }
    None
}

/// The name of an order, if it is still what it was when the order was opened.
fn standing(
    execution: &Execution<'_>,
    domain: &DomainName,
    owner: PublicKey,
    registered_at: wire::Height,
) -> Result<Name, Reject> {
    let record: Name = execution
        .state
        .get(&state_key::name(domain))
        .ok_or(Reject::NameNotFound)?;
    if record.owner != owner || record.registered_at != registered_at {
        return Err(Reject::NotOwner);
    }
    match record.status {
        NameStatus::Active => Ok(record),
        NameStatus::Suspended { .. } => Err(Reject::NameSuspended),
    }
}
