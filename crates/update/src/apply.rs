//! What an update makes of the records that a name's owner set (RFC 2136
//! §3.2, §3.4).

use std::collections::BTreeMap;

use wire::RecordSet;

use crate::message::{Change, Owner, Prerequisite, Update};

const CNAME: u16 = 5;

/// A prerequisite that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// NXDOMAIN.
    #[error("a name that should exist does not")]
    NameMissing,
    /// YXDOMAIN.
    #[error("a name that should not exist does")]
    NameExists,
    /// NXRRSET.
    #[error("a record set that should exist does not, or holds other records")]
    SetMissing,
    /// YXRRSET.
    #[error("a record set that should not exist does")]
    SetExists,
}

type Place = (Owner, u16);

impl Update {
    /// The sets that replace those of `records`: whole, and empty where a set
    /// goes. Nothing for a message that changes nothing.
    ///
    /// Errors: [`Unmet`], the first prerequisite that does not hold.
    pub fn replacements(&self, records: &[RecordSet]) -> Result<Vec<RecordSet>, Unmet> {
        self.check(records)?;
        let place = |set: &RecordSet| (set.owner.clone(), set.rtype);
        let before: BTreeMap<Place, RecordSet> = records
            .iter()
            .map(|set| (place(set), set.clone()))
            .collect();
        let mut after = before.clone();
        for change in &self.changes {
            apply(&mut after, change);
        }
        let gone = before
            .iter()
            .filter(|(place, _)| !after.contains_key(*place))
            .map(|(_, set)| RecordSet {
                data: Vec::new(),
                ..set.clone()
            });
        let changed = after
            .iter()
            .filter(|(place, set)| before.get(*place) != Some(*set))
            .map(|(_, set)| set.clone());
        Ok(gone.chain(changed).collect())
    }

    fn check(&self, records: &[RecordSet]) -> Result<(), Unmet> {
        let find = |owner: &Owner, rtype: u16| {
            records
                .iter()
                .find(|set| set.owner == *owner && set.rtype == rtype)
        };
        let exists = |owner: &Owner| records.iter().any(|set| set.owner == *owner);
        let mut expected: BTreeMap<Place, Vec<&Vec<u8>>> = BTreeMap::new();
        for prerequisite in &self.prerequisites {
            match prerequisite {
                Prerequisite::NameExists(owner) if !exists(owner) => {
                    return Err(Unmet::NameMissing);
                }
                Prerequisite::NameMissing(owner) if exists(owner) => {
                    return Err(Unmet::NameExists);
                }
                Prerequisite::SetExists(owner, rtype) if find(owner, *rtype).is_none() => {
                    return Err(Unmet::SetMissing);
                }
                Prerequisite::SetMissing(owner, rtype) if find(owner, *rtype).is_some() => {
                    return Err(Unmet::SetExists);
                }
                Prerequisite::SetHolds(owner, rtype, data) => {
                    let place = (owner.clone(), *rtype);
                    expected.entry(place).or_default().push(data);
                }
                _ => {}
            }
        }
        // Values are compared once all are known, as sets.
        let holds = expected.iter_mut().all(|((owner, rtype), data)| {
            data.sort();
            data.dedup();
            find(owner, *rtype).is_some_and(|set| {
                let mut there: Vec<&Vec<u8>> = set.data.iter().collect();
                there.sort();
                there == *data
            })
        });
        if holds {
            Ok(())
        } else {
            Err(Unmet::SetMissing)
        }
    }
}

fn apply(sets: &mut BTreeMap<Place, RecordSet>, change: &Change) {
    match change {
        Change::Add {
            owner,
            rtype,
            ttl,
            data,
        } => add(sets, owner, *rtype, *ttl, data),
        Change::RemoveRecord { owner, rtype, data } => {
            let place = (owner.clone(), *rtype);
            if let Some(set) = sets.get_mut(&place) {
                set.data.retain(|one| one != data);
                if set.data.is_empty() {
                    sets.remove(&place);
                }
            }
        }
        Change::RemoveSet(owner, rtype) => {
            sets.remove(&(owner.clone(), *rtype));
        }
        Change::RemoveName(owner) => sets.retain(|(place, _), _| place != owner),
    }
}

/// RFC 2136 §3.4.2.2: an alias and other records do not come to stand beside
/// each other, and a newer alias takes the place of the older.
fn add(sets: &mut BTreeMap<Place, RecordSet>, owner: &Owner, rtype: u16, ttl: u32, data: &[u8]) {
    let conflicts = sets
        .keys()
        .any(|(place, other)| place == owner && (*other == CNAME) != (rtype == CNAME));
    if conflicts {
        return;
    }
    let set = sets
        .entry((owner.clone(), rtype))
        .or_insert_with(|| RecordSet {
            owner: owner.clone(),
            rtype,
            ttl,
            data: Vec::new(),
        });
    set.ttl = ttl;
    if rtype == CNAME {
        set.data.clear();
    }
    if !set.data.iter().any(|one| one == data) {
        set.data.push(data.to_vec());
    }
}
