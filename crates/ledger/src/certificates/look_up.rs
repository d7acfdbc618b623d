//! What a resolver would be told of a name, as far as owners' own records go.
//!
//! Aliases and wildcards are followed within this circle, so that a challenge
//! can be delegated (`_acme-challenge` as a CNAME) as anywhere else. What
//! follows from replicas is left out: no check of a certificate rests on it.

use wire::{DomainName, RecordSet, RelativeName, record::Name};

use super::registered_above;
use crate::execution::Execution;

const CNAME: u16 = 5;

/// Aliases followed from one name: as many as resolvers commonly take.
const MAX_ALIASES: usize = 8;

/// The data of the RRset of type `rtype` at `name`; none if there is no such
/// set, or an alias leads out of the circle or in a circle.
pub(super) fn look_up(execution: &Execution<'_>, name: &DomainName, rtype: u16) -> Vec<Vec<u8>> {
    let mut name = name.clone();
    for _ in 0..=MAX_ALIASES {
        let Some(record) = registered_above(execution, &name) else {
            return Vec::new();
        };
        match at(&record, name.prefix_under(&record.name), rtype) {
            Some(set) if set.rtype == rtype => return set.data.clone(),
            Some(alias) => match alias.data.first().and_then(|data| target(data)) {
                Some(target) => name = target,
                None => return Vec::new(),
            },
            None => return Vec::new(),
        }
    }
    Vec::new()
}

/// The set of `rtype` at `owner`, or the alias there; a wildcard's if nothing
/// exists at or beneath `owner` (RFC 4592 §3.3.1).
fn at<'a>(record: &'a Name, owner: Option<&str>, rtype: u16) -> Option<&'a RecordSet> {
    let sought = |node: Option<&str>| {
        record.records.iter().find(|set| {
            set.owner.as_ref().map(RelativeName::as_str) == node
                && (set.rtype == rtype || set.rtype == CNAME)
        })
    };
    let exists = |node: &str| {
        record
            .records
            .iter()
            .filter_map(|set| set.owner.as_ref())
            .any(|owner| {
                let rest = owner.as_str().strip_suffix(node);
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
    };
    let Some(mut node) = owner.filter(|owner| !exists(owner)) else {
        return sought(owner);
    };
    // The closest encloser: the longest name above that exists.
    loop {
        match node.split_once('.') {
            Some((_, above)) if exists(above) => return sought(Some(&format!("*.{above}"))),
            Some((_, above)) => node = above,
            None => return sought(Some("*")),
        }
    }
}

/// The name in a CNAME's data: labels, without compression; none for a name
/// that nobody could register.
fn target(mut data: &[u8]) -> Option<DomainName> {
    let mut labels = Vec::new();
    while let Some((&length, rest)) = data.split_first() {
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        if !label.is_empty() {
            labels.push(std::str::from_utf8(label).ok()?.to_ascii_lowercase());
        }
        data = rest;
    }
    labels.join(".").parse().ok()
}
