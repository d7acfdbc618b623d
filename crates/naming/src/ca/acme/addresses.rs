//! Where is a name reached, as its owners' own records prove it?
//!
//! Aliases and wildcards are followed within the circle, each name by a proof,
//! as the ledger does when it is told at which address a challenge was answered.
//! Replicas are not asked: their host could answer in the enclave's place.

use std::net::IpAddr;

use wire::{
    DomainName, Height,
    record::{MAX_ALIASES, Name, NameStatus, OwnAnswer},
    state_key,
};

use crate::{
    ca::Authority,
    ledger::{self, Ledger, LedgerError},
};

const A: u16 = 1;
const AAAA: u16 = 28;

/// The addresses that owners set for `name`, at it or where its aliases lead.
///
/// Errors: the ledger cannot be read.
pub(super) async fn look_up(
    ledger: &impl Ledger,
    authority: &Authority,
    name: &DomainName,
) -> Result<Vec<IpAddr>, LedgerError> {
    let mut found = Vec::new();
    for rtype in [A, AAAA] {
        let mut name = name.clone();
        for _ in 0..=MAX_ALIASES {
            let Some(registered) = authority.registered_above(&name) else {
                break;
            };
            let key = state_key::name(&registered);
            let (record, _) = ledger::read_one::<Name>(ledger, key, Height(0)).await?;
            let Some(record) = record.filter(|record| record.status == NameStatus::Active) else {
                break;
            };
            match record.own_answer(&name, rtype) {
                OwnAnswer::Set(set) => {
                    found.extend(set.data.iter().filter_map(|data| address(rtype, data)));
                    break;
                }
                OwnAnswer::Alias(target) => name = target,
                OwnAnswer::Nothing => break,
            }
        }
    }
    Ok(found)
}

fn address(rtype: u16, data: &[u8]) -> Option<IpAddr> {
    match rtype {
        A => Some(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
        AAAA => Some(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
        _ => None,
    }
}
