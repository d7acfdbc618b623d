//! From addresses to names: an entry for each address of a name, so that it can
//! be proven that the name's owner put the address there, or the market did.
//!
//! Entries follow from the record alone: from its A and AAAA sets and its live
//! endpoints. A name that does not resolve has none.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use wire::{
    RelativeName,
    record::{AddressOwners, Name, NameStatus},
    state_key,
};

use super::record_set::{A, AAAA};
use crate::execution::Execution;

/// Under which owners each address of a name stands.
pub(crate) type Addresses = BTreeMap<IpAddr, BTreeSet<Option<RelativeName>>>;

/// The addresses of `record`; those of wildcards belong to no one name.
pub(crate) fn addresses(record: &Name) -> Addresses {
    let mut addresses = Addresses::new();
    if record.status != NameStatus::Active {
        return addresses;
    }
    for set in &record.records {
        let wildcard = set.owner.as_ref().is_some_and(RelativeName::is_wildcard);
        if wildcard {
            continue;
        }
        for data in &set.data {
            if let Some(address) = address(set.rtype, data) {
                addresses
                    .entry(address)
                    .or_default()
                    .insert(set.owner.clone());
            }
        }
    }
    for endpoint in &record.endpoints {
        for address in &endpoint.endpoint.addresses {
            addresses.entry(*address).or_default().insert(None);
        }
    }
    addresses
}

fn address(rtype: u16, data: &[u8]) -> Option<IpAddr> {
    match rtype {
        A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        AAAA => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Writes what differs between a name's former record and its new one; either
/// may be missing.
pub(super) fn update(execution: &mut Execution<'_>, former: Option<&Name>, new: Option<&Name>) {
    let Some(name) = new.or(former).map(|record| &record.name) else {
        return;
    };
    let before = former.map(addresses).unwrap_or_default();
    let after = new.map(addresses).unwrap_or_default();
    for address in before.keys() {
        if !after.contains_key(address) {
            let key = state_key::address_name(*address, name);
            execution.state.delete(key);
        }
    }
    for (address, owners) in after {
        if before.get(&address) != Some(&owners) {
            let key = state_key::address_name(address, name);
            let owners = owners.into_iter().collect();
            execution.state.put(key, &AddressOwners { owners });
        }
    }
}
