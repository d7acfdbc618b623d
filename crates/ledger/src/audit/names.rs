//! What must hold of names, bids, recoveries and addresses, recomputed from the
//! records.

use std::collections::{BTreeMap, BTreeSet};

use borsh::BorshDeserialize;
use wire::{
    AccountId, DomainName,
    record::{AddressOwners, Bid, ContractStatus, NameStatus},
    state_key,
};

use super::{AuditError, Auditor, contradiction, decode, read_all, readable};
use crate::{
    names::{addresses, looks},
    state::StateRead,
};

/// Every entry from an address to a name, by its state key.
pub(super) type AddressEntries = BTreeMap<Vec<u8>, AddressOwners>;

fn malformed(key: &[u8], reason: &str) -> AuditError {
    AuditError::Record {
        key: readable(key),
        reason: reason.to_owned(),
    }
}

fn name_of(key: &[u8], text: &[u8]) -> Result<DomainName, AuditError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed(key, "its id is no name"))
}

/// Records under `prefix` by the names that their keys end with.
pub(super) fn by_name<T: BorshDeserialize>(
    state: &dyn StateRead,
    prefix: &[u8],
) -> Result<BTreeMap<DomainName, T>, AuditError> {
    read_all(state, prefix)
        .into_iter()
        .map(|(key, value)| Ok((name_of(&key, &key[prefix.len()..])?, decode(&key, &value)?)))
        .collect()
}

pub(super) fn read_bids(
    state: &dyn StateRead,
) -> Result<BTreeMap<(DomainName, AccountId), Bid>, AuditError> {
    read_all(state, state_key::BIDS)
        .into_iter()
        .map(|(key, value)| {
            let (text, account) = key[state_key::BIDS.len()..]
                .split_last_chunk::<32>()
                .and_then(|(text, account)| Some((text.strip_suffix(&[0])?, *account)))
                .ok_or_else(|| malformed(&key, "its id is no name and account"))?;
            let id = (name_of(&key, text)?, AccountId(account));
            Ok((id, decode(&key, &value)?))
        })
        .collect()
}

pub(super) fn read_addresses(state: &dyn StateRead) -> Result<AddressEntries, AuditError> {
    read_all(state, state_key::ADDRESSES)
        .into_iter()
        .map(|(key, value)| {
            let owners = decode(&key, &value)?;
            Ok((key, owners))
        })
        .collect()
}

impl Auditor {
    pub(super) fn check_names(&self) -> Result<(), AuditError> {
        for name in &self.names {
            let bad = |reason| Err(contradiction("name", &name.name, reason));
            let ascending = name
                .endpoints
                .windows(2)
                .all(|pair| pair[0].contract < pair[1].contract);
            let keys = name
                .keys
                .windows(2)
                .all(|pair| pair[0].owner < pair[1].owner);
            let records = name
                .records
                .windows(2)
                .all(|pair| (&pair[0].owner, pair[0].rtype) < (&pair[1].owner, pair[1].rtype));
            if !ascending || !keys || !records {
                return bad("its endpoints, server keys or records are out of order");
            }
            for endpoint in &name.endpoints {
                let running = self
                    .contracts
                    .get(&endpoint.contract)
                    .filter(|contract| contract.status == ContractStatus::Running);
                let serves = running
                    .is_some_and(|contract| self.serves.get(&name.name) == Some(&contract.request));
                if !serves {
                    return bad("an endpoint is not a running replica of the request it serves");
                }
            }
            if name.status != NameStatus::Active && name.notice_due.is_some() {
                return bad("it is suspended and notice of that is still due");
            }
        }
        self.check_bids()?;
        self.check_recoveries()?;
        self.check_addresses()
    }

    fn check_bids(&self) -> Result<(), AuditError> {
        for ((name, bidder), bid) in &self.bids {
            if bid.bidder.account() != *bidder || bid.amount.0 == 0 {
                let reason = "its bidder is another one, or it is empty";
                return Err(contradiction("bid for", name, reason));
            }
        }
        Ok(())
    }

    fn check_recoveries(&self) -> Result<(), AuditError> {
        for (name, recovery) in &self.recoveries {
            let bad = |reason| Err(contradiction("recovery of", name, reason));
            let ascending = recovery
                .votes
                .windows(2)
                .all(|pair| pair[0].member < pair[1].member);
            if !ascending || recovery.votes.is_empty() {
                return bad("its votes are out of order or missing");
            }
            if !self.names.iter().any(|record| record.name == *name) {
                return bad("the name is not registered");
            }
        }
        Ok(())
    }

    /// The entries from addresses to names are those that the records give.
    fn check_addresses(&self) -> Result<(), AuditError> {
        let mut wanted = AddressEntries::new();
        for name in &self.names {
            for (address, owners) in addresses(name) {
                let key = state_key::address_name(address, &name.name);
                let owners = owners.into_iter().collect();
                wanted.insert(key, AddressOwners { owners });
            }
        }
        for (key, owners) in &wanted {
            if self.addresses.get(key) != Some(owners) {
                return Err(AuditError::IndexLacks { key: readable(key) });
            }
        }
        let extra = self.addresses.keys().find(|key| !wanted.contains_key(*key));
        match extra {
            Some(key) => Err(AuditError::IndexExtra { key: readable(key) }),
            None => Ok(()),
        }
    }

    /// Entries of indexes that names, bids and recoveries call for.
    pub(super) fn want_names(&self, wanted: &mut BTreeSet<Vec<u8>>) {
        for name in &self.names {
            wanted.insert(state_key::rent_due(name.rent_due, &name.name));
            wanted.insert(state_key::confusable(looks(&name.name), &name.name));
            let notice = name.notice_due;
            wanted.extend(notice.map(|due| state_key::notice_due(due, &name.name)));
        }
        for ((name, bidder), bid) in &self.bids {
            wanted.insert(state_key::bid_due(bid.expires_at, name, *bidder));
        }
        for (name, recovery) in &self.recoveries {
            wanted.insert(state_key::recovery_due(recovery.due, name));
        }
    }
}
