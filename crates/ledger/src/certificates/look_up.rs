//! What a resolver would be told of a name, as far as owners' own records go.
//!
//! Aliases and wildcards are followed within this circle, so that a challenge
//! can be answered elsewhere (`_acme-challenge` as a CNAME, or a name at a
//! proxy's) as anywhere else. What follows from replicas is left out: no check
//! of a certificate rests on it.

use wire::{
    DomainName,
    record::{MAX_ALIASES, OwnAnswer},
};

use super::registered_above;
use crate::execution::Execution;

/// The data of the RRset of type `rtype` at `name`; none if there is no such
/// set, an alias leads out of the circle or in a circle, or another server
/// speaks for the name.
pub(super) fn look_up(execution: &Execution<'_>, name: &DomainName, rtype: u16) -> Vec<Vec<u8>> {
    let mut name = name.clone();
    for _ in 0..=MAX_ALIASES {
        let Some(record) = registered_above(execution, &name) else {
            return Vec::new();
        };
        match record.own_answer(&name, rtype) {
            OwnAnswer::Set(set) => return set.data.clone(),
            OwnAnswer::Alias(target) => name = target,
            OwnAnswer::Nothing => return Vec::new(),
        }
    }
    Vec::new()
}
