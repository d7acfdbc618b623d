//! The registered names of an image: a hash table that shares with the one
//! before it all that did not change.
//!
//! A name is found by way of three places in memory: a group, which is in the
//! processor's cache for being few, the slots of its hash, and the name's
//! entry. To change one copies its slots, its group and the list of groups.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use super::entry;

/// Names for which there is a list of slots, on average: two lines of cache.
const NAMES_PER_LIST: usize = 4;

/// Lists of a group.
const LISTS_PER_GROUP: usize = 64;

/// One name.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    hash: u64,
    /// See `entry`.
    entry: Arc<[u8]>,
}

type List = Arc<[Slot]>;

/// Registered names and their entries.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// A power of two of them.
    groups: Vec<Arc<[List]>>,
    names: usize,
    /// Random, so that nobody can register names that meet in one list.
    hasher: RandomState,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            groups: empty_groups(1),
            names: 0,
            hasher: RandomState::new(),
        }
    }
}

fn empty_groups(count: usize) -> Vec<Arc<[List]>> {
    let list: List = Arc::new([]);
    let group: Arc<[List]> = std::iter::repeat_n(list, LISTS_PER_GROUP).collect();
    vec![group; count]
}

impl Table {
    /// The hash of a label beneath apex `number`.
    pub fn hash(&self, number: u8, label: &[u8]) -> u64 {
        self.hasher.hash_one((number, label))
    }

    fn place(&self, hash: u64) -> (usize, usize) {
        let list = hash as usize % LISTS_PER_GROUP;
        let group = (hash as usize / LISTS_PER_GROUP) & (self.groups.len() - 1);
        (group, list)
    }

    /// The slots among which a name of this hash is.
    pub fn slots(&self, hash: u64) -> &[Slot] {
        let (group, list) = self.place(hash);
        &self.groups[group][list]
    }

    /// The entry of a label beneath apex `number`.
    #[cfg(test)]
    pub fn get(&self, number: u8, label: &[u8]) -> Option<&[u8]> {
        let hash = self.hash(number, label);
        find(self.slots(hash), hash, number, label)
    }

    /// Puts an entry in the place of that of its name, if there is one.
    pub fn insert(&mut self, entry: Arc<[u8]>) {
        let Some((number, label)) = entry::name_of(&entry) else {
            return;
        };
        let hash = self.hash(number, label);
        let (group, list) = self.place(hash);
        let present = &self.groups[group][list];
        let mut slots: Vec<Slot> = Vec::with_capacity(present.len() + 1);
        slots.extend(
            present
                .iter()
                .filter(|slot| !slot.is_of(hash, number, label))
                .cloned(),
        );
        self.names += slots.len() + 1 - present.len();
        slots.push(Slot { hash, entry });
        Arc::make_mut(&mut self.groups[group])[list] = slots.into();
        if self.names > self.groups.len() * LISTS_PER_GROUP * NAMES_PER_LIST {
            self.grow();
        }
    }

    /// Takes the entry of a label beneath apex `number` out.
    pub fn remove(&mut self, number: u8, label: &[u8]) {
        let hash = self.hash(number, label);
        let (group, list) = self.place(hash);
        let present = &self.groups[group][list];
        let slots: Vec<Slot> = present
            .iter()
            .filter(|slot| !slot.is_of(hash, number, label))
            .cloned()
            .collect();
        if slots.len() < present.len() {
            self.names -= 1;
            Arc::make_mut(&mut self.groups[group])[list] = slots.into();
        }
    }

    /// Twice as many lists.
    fn grow(&mut self) {
        let former = std::mem::take(&mut self.groups);
        self.groups = empty_groups(former.len() * 2);
        let mut lists: Vec<Vec<Slot>> = vec![Vec::new(); self.groups.len() * LISTS_PER_GROUP];
        for slot in former
            .iter()
            .flat_map(|group| group.iter())
            .flat_map(|list| list.iter())
        {
            let (group, list) = self.place(slot.hash);
            lists[group * LISTS_PER_GROUP + list].push(slot.clone());
        }
        let mut lists = lists.into_iter().map(List::from);
        for group in &mut self.groups {
            *group = lists.by_ref().take(LISTS_PER_GROUP).collect();
        }
    }
}

impl Slot {
    fn is_of(&self, hash: u64, number: u8, label: &[u8]) -> bool {
        self.hash == hash && entry::name_of(&self.entry) == Some((number, label))
    }
}

/// The entry of that name among `slots`.
pub(super) fn find<'t>(slots: &'t [Slot], hash: u64, number: u8, label: &[u8]) -> Option<&'t [u8]> {
    let slot = slots.iter().find(|slot| slot.is_of(hash, number, label))?;
    Some(&slot.entry)
}

/// The entry of that hash among `slots`, if it is any name's at all: to have
/// it at hand when it is looked at.
pub(super) fn likely(slots: &[Slot], hash: u64) -> Option<&[u8]> {
    let slot = slots.iter().find(|slot| slot.hash == hash)?;
    Some(&slot.entry)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::names::zone::Domain;

    #[test]
    fn a_table_holds_what_was_put_into_it_last_and_its_former_self_stays() {
        let mut table = Table::default();
        let labels: Vec<Vec<u8>> = (0..3000).map(|at| format!("n{at}").into_bytes()).collect();
        for label in &labels {
            table.insert(entry::encode(1, label, &Domain::with_apex()).into());
        }
        let former = table.clone();
        for label in labels.iter().step_by(2) {
            table.remove(1, label);
        }
        table.remove(1, b"none");
        for (at, label) in labels.iter().enumerate() {
            assert!(former.get(1, label).is_some());
            assert!(former.get(2, label).is_none());
            assert_eq!(table.get(1, label).is_some(), at % 2 == 1);
        }
        assert_eq!((former.names, table.names), (3000, 1500));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(
            steps in prop::collection::vec((0u8..2, 0u8..40, any::<bool>()), 0..200)
        ) {
            let mut table = Table::default();
            let mut map = BTreeMap::new();
            for (number, label, is_insert) in steps {
                let octets = [b'a', label];
                if is_insert {
                    table.insert(entry::encode(number, &octets, &Domain::with_apex()).into());
                    map.insert((number, label), ());
                } else {
                    table.remove(number, &octets);
                    map.remove(&(number, label));
                }
                prop_assert_eq!(table.names, map.len());
            }
            for number in 0..2 {
                for label in 0..40 {
                    let found = table.get(number, &[b'a', label]).is_some();
                    prop_assert_eq!(found, map.contains_key(&(number, label)));
                }
            }
        }
    }
}
