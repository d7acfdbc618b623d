//! The NSEC chain of a signed zone, repaired where it was cut.
//!
//! A change of one name touches that name and the one before it; the work is
//! theirs, however many names the zone has.

use std::{borrow::Cow, collections::BTreeSet, ops::Bound};

use bytes::Bytes;
use domain::{
    base::iana::Rtype,
    rdata::{Nsec, dnssec::RtypeBitmap},
};

use super::{
    Apex, Label, OwnerName, RrSet,
    domain::{Node, Standing},
};

impl Apex {
    /// Repairs the chain after the domains of `changed` labels changed, came
    /// or went.
    ///
    /// Shape: gives the labels whose RRsets may lack signatures now: those of
    ///        `changed` that exist and those before them; the empty label is
    ///        the apex' own.
    pub(super) fn rechain(&mut self, changed: &BTreeSet<Label>) -> BTreeSet<Label> {
        let mut touched: BTreeSet<Label> = BTreeSet::new();
        for label in changed {
            if label.is_empty() || self.domains.contains_key(label) {
                touched.insert(label.clone());
            }
            if !label.is_empty() {
                touched.insert(self.own_or_before(label));
            }
        }
        if self.keys.is_some() {
            for label in &touched {
                self.chain_domain(label);
            }
        }
        touched
    }

    /// Takes every NSEC record and signature out of the zone.
    pub(super) fn unchain(&mut self) {
        self.node.retain(|set| set.rtype != Rtype::NSEC);
        for set in self.node.sets_mut() {
            set.signatures.clear();
        }
        self.dirty.add(&[]);
        for label in self.labels_after(&[]) {
            self.dirty.add(&label);
            let Some(held) = self.domains.get_mut(&label) else {
                continue;
            };
            for node in held.open().nodes_mut() {
                node.retain(|set| set.rtype != Rtype::NSEC);
                for set in node.sets_mut() {
                    set.signatures.clear();
                }
            }
        }
    }

    /// Every label beneath the apex after `label`, ascending.
    fn labels_after(&self, label: &[u8]) -> Vec<Label> {
        self.domains
            .range::<[u8], _>((Bound::Excluded(label), Bound::Unbounded))
            .map(|(label, _)| label.clone())
            .collect()
    }

    /// The label before `label`; the empty one if it is the first.
    fn own_or_before(&self, label: &[u8]) -> Label {
        self.label_before(label).cloned().unwrap_or_default()
    }

    /// The first chained owner after everything beneath `label`.
    fn owner_after(&self, label: &[u8]) -> OwnerName {
        self.domains
            .range::<[u8], _>((Bound::Excluded(label), Bound::Unbounded))
            .find_map(|(label, held)| self.owner_of(label, held.get().first_chained()?))
            .unwrap_or_else(|| self.name.clone())
    }

    fn chain_domain(&mut self, label: &[u8]) {
        self.dirty.add(label);
        let after = self.owner_after(label);
        let ttl = self.denial.ttl;
        if label.is_empty() {
            let nsec = nsec(&self.node, Standing::Authoritative, after, ttl);
            self.node.put(nsec);
            return;
        }
        let Some(held) = self.domains.get_mut(label) else {
            return;
        };
        let owners = held.open().chained();
        let nexts: Vec<OwnerName> = owners
            .iter()
            .skip(1)
            .filter_map(|owner| self.owner_of(label, owner))
            .chain([after])
            .collect();
        let Some(held) = self.domains.get_mut(label) else {
            return;
        };
        let domain = held.open();
        let standings = domain.standings();
        let mut chained = owners.iter().zip(nexts).peekable();
        // Owners and nodes are in the same order.
        let all: Vec<Box<[u8]>> = domain.nodes().map(|(owner, _)| owner.into()).collect();
        for ((owner, node), standing) in all.iter().zip(domain.nodes_mut()).zip(standings) {
            match chained.next_if(|(next, _)| *next == owner) {
                Some((_, next)) => {
                    let nsec = nsec(node, standing, next, ttl);
                    node.put(nsec);
                }
                None => node.retain(|set| set.rtype != Rtype::NSEC),
            }
        }
        domain.shrink();
    }

    /// The NSEC record at or before `owner` beneath `label`, with its owner:
    /// it denies a name that it does not stand at.
    pub fn covering(&self, label: &[u8], owner: &[u8]) -> Option<(OwnerName, Cow<'_, RrSet>)> {
        if let Some(held) = self.domains.get(label)
            && let Some((owner, set)) = held.get().covering(owner)
        {
            return Some((self.owner_of(label, owner)?, Cow::Owned(set.clone())));
        }
        let before = self
            .domains
            .range::<[u8], _>((Bound::Unbounded, Bound::Excluded(label)))
            .rev()
            .find_map(|(label, held)| {
                let domain = held.get();
                let (owner, set) = domain.last_nsec()?;
                Some((self.owner_of(label, owner)?, Cow::Owned(set.clone())))
            });
        before.or_else(|| {
            let own = self.node.get(Rtype::NSEC)?;
            Some((self.name.clone(), Cow::Borrowed(own)))
        })
    }
}

/// The NSEC record of a node: which types it has, and who comes next.
fn nsec(node: &Node, standing: Standing, next: OwnerName, ttl: domain::base::Ttl) -> RrSet {
    let mut types = RtypeBitmap::<Vec<u8>>::builder();
    let present = node.sets().iter().map(|set| set.rtype);
    // RFC 4034 §4.1.2: at a cut, only what the parent's side holds.
    let here = present.filter(|rtype| match standing {
        Standing::Cut => matches!(*rtype, Rtype::NS | Rtype::DS),
        Standing::Authoritative | Standing::Beneath => true,
    });
    for rtype in here.chain([Rtype::NSEC, Rtype::RRSIG]) {
        // Appending to a vector does not fail.
        let _ = types.add(rtype);
    }
    let types = RtypeBitmap::from_octets(Bytes::from(types.finalize().as_slice().to_vec()));
    let data = types.map(|types| Nsec::new(next, types).into());
    RrSet::new(Rtype::NSEC, ttl, data.into_iter().collect())
}
