//! The registered names of an apex in the order of the NSEC chain: which one
//! comes before a name that is none.
//!
//! Names lie in short sorted pieces, shared from image to image; each is held
//! with the first octets of its label, so that a search touches little else.

use std::{cmp::Ordering, sync::Arc};

use super::entry;

/// Names in a piece, at most; it is split in two beyond.
const MAX_PIECE: usize = 64;

/// Octets of a label that are compared without looking at its entry.
const PREFIX: usize = 16;

/// One name.
#[derive(Clone, Debug)]
struct Place {
    /// Its label's first octets, zeros behind a shorter one.
    prefix: u128,
    entry: Arc<[u8]>,
}

/// Names in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// None is empty; each with the prefix of its first name.
    pieces: Vec<(u128, Arc<[Place]>)>,
}

fn prefix(label: &[u8]) -> u128 {
    let mut octets = [0; PREFIX];
    let length = label.len().min(PREFIX);
    octets[..length].copy_from_slice(&label[..length]);
    u128::from_be_bytes(octets)
}

impl Place {
    fn label(&self) -> &[u8] {
        entry::name_of(&self.entry).map_or(&[], |(_, label)| label)
    }

    fn compare(&self, prefix: u128, label: &[u8]) -> Ordering {
        self.prefix
            .cmp(&prefix)
            .then_with(|| self.label().cmp(label))
    }
}

impl Order {
    /// The piece in which a label belongs; none if there is no piece.
    fn piece(&self, prefix: u128, label: &[u8]) -> Option<usize> {
        let before = self
            .pieces
            .partition_point(|(first, piece)| match first.cmp(&prefix) {
                Ordering::Equal => piece[0].compare(prefix, label) != Ordering::Greater,
                unequal => unequal == Ordering::Less,
            });
        (!self.pieces.is_empty()).then(|| before.saturating_sub(1))
    }

    /// The entry of the last name before `label`.
    pub fn before(&self, label: &[u8]) -> Option<&[u8]> {
        let prefix = prefix(label);
        // It begins at or before the label, unless it is the first piece; the
        // piece before it ends before the label.
        let at = self.piece(prefix, label)?;
        let last = |piece: &'_ [Place]| {
            piece.partition_point(|place| place.compare(prefix, label) == Ordering::Less)
        };
        let piece = &self.pieces[at].1;
        match last(piece).checked_sub(1) {
            Some(place) => Some(&piece[place].entry),
            None => self.pieces[..at]
                .last()?
                .1
                .last()
                .map(|place| &*place.entry),
        }
    }

    /// Puts a name, or another entry of it, in its place.
    pub fn insert(&mut self, entry: &Arc<[u8]>) {
        let Some((_, label)) = entry::name_of(entry) else {
            return;
        };
        let place = Place {
            prefix: prefix(label),
            entry: Arc::clone(entry),
        };
        let Some(at) = self.piece(place.prefix, label) else {
            self.pieces.push((place.prefix, Arc::new([place])));
            return;
        };
        let mut piece = self.pieces[at].1.to_vec();
        match piece.binary_search_by(|other| other.compare(place.prefix, label)) {
            Ok(here) => piece[here] = place,
            Err(here) => piece.insert(here, place),
        }
        if piece.len() > MAX_PIECE {
            let second = piece.split_off(MAX_PIECE / 2);
            self.pieces
                .insert(at + 1, (second[0].prefix, second.into()));
        }
        self.pieces[at] = (piece[0].prefix, piece.into());
    }

    /// Takes a name out.
    pub fn remove(&mut self, label: &[u8]) {
        let prefix = prefix(label);
        let Some(at) = self.piece(prefix, label) else {
            return;
        };
        let mut piece = self.pieces[at].1.to_vec();
        piece.retain(|place| place.compare(prefix, label) != Ordering::Equal);
        match piece.first() {
            Some(first) => self.pieces[at] = (first.prefix, piece.into()),
            None => {
                self.pieces.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::names::zone::Domain;

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_set(
            steps in prop::collection::vec(
                (prop::collection::vec(prop::sample::select(&b"\x00ab"[..]), 14..20), any::<bool>()),
                0..300,
            )
        ) {
            let (mut order, mut set) = (Order::default(), BTreeSet::new());
            for (label, is_removal) in &steps {
                if *is_removal && set.len() > 100 {
                    order.remove(label);
                    set.remove(label);
                } else {
                    order.insert(&entry::encode(0, label, &Domain::with_apex()).into());
                    set.insert(label.clone());
                }
            }
            for (label, _) in &steps {
                let found = order.before(label).and_then(entry::name_of);
                let wanted = set.range(..label.clone()).next_back();
                prop_assert_eq!(found.map(|(_, label)| label), wanted.map(Vec::as_slice));
            }
        }
    }
}
