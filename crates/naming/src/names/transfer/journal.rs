//! The last images that were served, and what one has that another has not:
//! where increments of a zone (IXFR, RFC 1995) come from.
//!
//! Images share what did not change, so that many of them cost little, and
//! comparing two passes over what they share.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use domain::base::{
    Record, Serial,
    iana::{Class, Rtype},
};

use crate::names::zone::{Apex, Data, Domain, Node, OwnerName, RrSet, Zone};

/// Images kept: a secondary that missed more changes gets the whole zone.
const MAX_IMAGES: usize = 64;

/// Records in an increment: beyond them the whole zone is hardly larger.
const MAX_INCREMENT: usize = 100_000;

/// A record as it is transferred.
pub(super) type ZoneRecord = Record<OwnerName, Data>;

/// Images, oldest first, no two with the same records.
#[derive(Debug, Default)]
pub(super) struct Journal {
    images: VecDeque<Image>,
    /// For each zone, how often its records changed.
    versions: Vec<u64>,
}

#[derive(Debug)]
struct Image {
    zone: Arc<Zone>,
    /// The last serial of each zone with these records: that of an unsigned
    /// zone moves with the ledger, whether anything changed or not.
    last: Vec<Serial>,
}

impl Journal {
    /// Takes the newest image in.
    pub fn catch_up(&mut self, zone: &Arc<Zone>) {
        let serials: Vec<Serial> = zone.apexes().iter().map(Apex::serial).collect();
        self.versions.resize(serials.len(), 0);
        let Some(newest) = self.images.back_mut() else {
            self.versions.fill(1);
            self.push(zone, serials);
            return;
        };
        if Arc::ptr_eq(&newest.zone, zone) {
            return;
        }
        let pairs = newest.zone.apexes().iter().zip(zone.apexes());
        let changed: Vec<bool> = pairs.map(|(old, new)| differ(old, new)).collect();
        if newest.zone.apexes().len() != zone.apexes().len() {
            // Another set of zones: nothing is an increment of anything.
            self.images.clear();
            self.versions.iter_mut().for_each(|version| *version += 1);
            self.push(zone, serials);
        } else if changed.contains(&true) {
            for (version, changed) in self.versions.iter_mut().zip(changed) {
                *version += u64::from(changed);
            }
            self.push(zone, serials);
        } else {
            newest.last = serials;
        }
    }

    /// For each zone, how often its records changed.
    pub fn versions(&self) -> &[u64] {
        &self.versions
    }

    fn push(&mut self, zone: &Arc<Zone>, last: Vec<Serial>) {
        if self.images.len() == MAX_IMAGES {
            self.images.pop_front();
        }
        self.images.push_back(Image {
            zone: Arc::clone(zone),
            last,
        });
    }

    /// What brings a secondary with `serial` of zone `index` to `zone`.
    ///
    /// Shape: as RFC 1995 §4 has it, in one step; the SOA alone for a
    ///        secondary that is up to date; none if the whole zone is to be sent.
    pub fn since(&self, zone: &Zone, index: usize, serial: Serial) -> Option<Vec<ZoneRecord>> {
        let new = &zone.apexes()[index];
        let soa = soa(new)?;
        let behind = serial
            .into_int()
            .wrapping_sub(new.serial().into_int())
            .cast_signed();
        if behind >= 0 {
            return Some(vec![soa]);
        }
        let image = self.images.iter().rev().find(|image| {
            let first = image.zone.apexes()[index].serial().into_int();
            let last = image.last[index].into_int();
            serial.into_int().wrapping_sub(first) <= last.wrapping_sub(first)
        })?;
        let old = &image.zone.apexes()[index];
        let mut former_soa = soa_of(old)?;
        if let domain::rdata::ZoneRecordData::Soa(data) = former_soa.data() {
            let data = domain::rdata::Soa::new(
                data.mname().clone(),
                data.rname().clone(),
                serial,
                data.refresh(),
                data.retry(),
                data.expire(),
                data.minimum(),
            );
            former_soa = Record::new(
                former_soa.owner().clone(),
                Class::IN,
                former_soa.ttl(),
                data.into(),
            );
        }
        let (gone, come) = difference(old, new)?;
        let mut records = vec![soa.clone(), former_soa];
        records.extend(gone);
        records.push(soa.clone());
        records.extend(come);
        records.push(soa);
        Some(records)
    }
}

/// The zone's SOA.
pub(super) fn soa(apex: &Apex) -> Option<ZoneRecord> {
    soa_of(apex)
}

fn soa_of(apex: &Apex) -> Option<ZoneRecord> {
    let set = apex.node().get(Rtype::SOA)?;
    let data = set.data.first()?.clone();
    Some(Record::new(apex.name().clone(), Class::IN, set.ttl, data))
}

/// The records of a set, signatures included.
pub(super) fn records_of(owner: &OwnerName, set: &RrSet) -> impl Iterator<Item = ZoneRecord> {
    set.data
        .iter()
        .chain(&set.signatures)
        .map(move |data| Record::new(owner.clone(), Class::IN, set.ttl, data.clone()))
}

/// The records at and beneath one label of the zone.
pub(super) fn records_beneath(
    apex: &Apex,
    label: &[u8],
    domain: &Domain,
    records: &mut Vec<ZoneRecord>,
) {
    for (owner, node) in domain.nodes() {
        let Some(owner) = apex.owner_of(label, owner) else {
            continue;
        };
        for set in node.sets() {
            records.extend(records_of(&owner, set));
        }
    }
}

/// The apex' own records but for the SOA itself; its signatures are among them.
pub(super) fn records_at_apex(apex: &Apex) -> Vec<ZoneRecord> {
    let sets = apex.node().sets().iter();
    sets.flat_map(|set| {
        let of_set = records_of(apex.name(), set);
        of_set.filter(|record| record.rtype() != Rtype::SOA)
    })
    .collect()
}

/// Whether two images of a zone differ in more than the serial.
fn differ(old: &Apex, new: &Apex) -> bool {
    let without_soa = |node: &Node| -> Vec<RrSet> {
        let sets = node.sets().iter();
        sets.filter(|set| set.rtype != Rtype::SOA)
            .cloned()
            .collect()
    };
    // A signed SOA is of one serial alone.
    let signed = |apex: &Apex| {
        apex.node()
            .get(Rtype::SOA)
            .map(|set| set.signatures.clone())
    };
    if without_soa(old.node()) != without_soa(new.node()) || signed(old) != signed(new) {
        return true;
    }
    old.labels_unlike(new)
        .any(|label| old.domain(label) != new.domain(label))
}

/// The records that `old` has and `new` has not, and the other way round;
/// none if they are too many.
fn difference(old: &Apex, new: &Apex) -> Option<(Vec<ZoneRecord>, Vec<ZoneRecord>)> {
    let (mut before, mut after) = (records_at_apex(old), records_at_apex(new));
    for label in old.labels_unlike(new) {
        if let Some(domain) = old.domain(label) {
            records_beneath(old, label, &domain, &mut before);
        }
        if let Some(domain) = new.domain(label) {
            records_beneath(new, label, &domain, &mut after);
        }
        if before.len() + after.len() > MAX_INCREMENT {
            return None;
        }
    }
    let (had, has): (HashSet<&ZoneRecord>, HashSet<&ZoneRecord>) =
        (before.iter().collect(), after.iter().collect());
    // Two records are equal whatever their time to live.
    let same_ttl = |set: &HashSet<&ZoneRecord>, record: &ZoneRecord| {
        set.get(record)
            .is_some_and(|other| other.ttl() == record.ttl())
    };
    let gone = before
        .iter()
        .filter(|record| !same_ttl(&has, record))
        .cloned()
        .collect();
    let come = after
        .iter()
        .filter(|record| !same_ttl(&had, record))
        .cloned()
        .collect();
    Some((gone, come))
}
