//! A state with a block's writes on top of it, and a savepoint within.
//!
//! Reads see the newest write first. [`Overlay::keep`] makes the writes since
//! the last savepoint part of the block, [`Overlay::restore`] forgets them.

use std::collections::BTreeMap;
use std::ops::Bound;

use borsh::{BorshDeserialize, BorshSerialize};
use wire::record;

use crate::state::{Changes, StateRead, scan_start};

pub(crate) struct Overlay<'a> {
    base: &'a dyn StateRead,
    kept: Changes,
    open: Changes,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(base: &'a dyn StateRead) -> Self {
        Self {
            base,
            kept: Changes::new(),
            open: Changes::new(),
        }
    }

    /// Makes the writes since the last savepoint part of the block.
    pub(crate) fn keep(&mut self) {
        // Not `append`, which rebuilds the larger map: a block has thousands of
        // savepoints, each of a few writes.
        self.kept.extend(std::mem::take(&mut self.open));
    }

    /// Forgets the writes since the last savepoint.
    pub(crate) fn restore(&mut self) {
        self.open.clear();
    }

    /// The block's writes; those since the last savepoint are forgotten.
    pub(crate) fn into_changes(self) -> Changes {
        self.kept
    }

    fn written(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.open.get(key).or_else(|| self.kept.get(key))
    }

    pub(crate) fn get_bytes(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.written(key) {
            Some(value) => value.clone(),
            None => self.base.get(key),
        }
    }

    /// The record under `key`.
    ///
    /// Panics: if it does not decode; see the crate's documentation.
    pub(crate) fn get<T: BorshDeserialize>(&self, key: &[u8]) -> Option<T> {
        self.get_bytes(key).map(|bytes| decode(key, &bytes))
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.get_bytes(key).is_some()
    }

    pub(crate) fn put<T: BorshSerialize>(&mut self, key: Vec<u8>, record: &T) {
        self.open.insert(key, Some(record::encode(record)));
    }

    /// Puts an entry of an index that has no value of its own.
    pub(crate) fn mark(&mut self, key: Vec<u8>) {
        self.open.insert(key, Some(Vec::new()));
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.open.insert(key, None);
    }

    /// As [`StateRead::scan`], with the writes applied.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let mut cursor = after.map(<[u8]>::to_vec);
        // Pages grow, so that entries which the block deleted cost few reads.
        let mut page_least = 1;
        while found.len() < limit {
            let wanted = (limit - found.len()).max(page_least);
            page_least *= 2;
            let page = self.base.scan(prefix, cursor.as_deref(), wanted);
            // Beyond a full page the base may hold entries that come before
            // later writes, so the merge stops at its last key.
            let end = (page.len() == wanted)
                .then(|| page.last().map(|(key, _)| key.clone()))
                .flatten();
            let mut merged: BTreeMap<Vec<u8>, Option<Vec<u8>>> = page
                .into_iter()
                .map(|(key, value)| (key, Some(value)))
                .collect();
            for layer in [&self.kept, &self.open] {
                overlay_onto(
                    &mut merged,
                    layer,
                    prefix,
                    cursor.as_deref(),
                    end.as_deref(),
                );
            }
            let live = merged
                .into_iter()
                .filter_map(|(key, value)| value.map(|value| (key, value)));
            let room = limit - found.len();
            found.extend(live.take(room));
            match end {
                Some(end) => cursor = Some(end),
                None => break,
            }
        }
        found
    }
}

/// Lays the writes of `layer` within the scan's bounds over `merged`.
fn overlay_onto(
    merged: &mut BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    layer: &Changes,
    prefix: &[u8],
    after: Option<&[u8]>,
    end: Option<&[u8]>,
) {
    let range = layer
        .range::<[u8], _>((scan_start(prefix, after), Bound::Unbounded))
        .take_while(|(key, _)| {
            key.starts_with(prefix) && end.is_none_or(|end| key.as_slice() <= end)
        });
    for (key, value) in range {
        merged.insert(key.clone(), value.clone());
    }
}

/// Decodes a record that this crate wrote.
pub(crate) fn decode<T: BorshDeserialize>(key: &[u8], bytes: &[u8]) -> T {
    record::decode(bytes).unwrap_or_else(|error| {
        panic!("the store is damaged at key {key:02x?}: {error}");
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::Height;

    type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

    fn with(overlay: &mut Overlay<'_>, key: &[u8], value: u64) {
        overlay.put(key.to_vec(), &Height(value));
    }

    #[test]
    fn a_restored_savepoint_leaves_what_was_kept() {
        let base = Entries::new();
        let mut overlay = Overlay::new(&base);
        with(&mut overlay, b"a", 1);
        overlay.keep();
        with(&mut overlay, b"a", 2);
        with(&mut overlay, b"b", 3);
        assert_eq!(overlay.get(b"a"), Some(Height(2)));
        overlay.restore();
        assert_eq!(overlay.get(b"a"), Some(Height(1)));
        assert!(!overlay.contains(b"b"));
        let changes = overlay.into_changes();
        assert_eq!(changes.into_keys().collect::<Vec<_>>(), [b"a".to_vec()]);
    }

    #[test]
    #[should_panic(expected = "the store is damaged")]
    fn a_record_that_does_not_decode_stops_the_node() {
        let base = Entries::from([(b"a".to_vec(), vec![1, 2, 3])]);
        let _: Option<Height> = Overlay::new(&base).get(b"a");
    }

    /// A write: its key's last byte, and whether it deletes.
    fn writes() -> impl Strategy<Value = Vec<(u8, bool)>> {
        proptest::collection::vec((0..24u8, any::<bool>()), 0..24)
    }

    proptest! {
        #[test]
        fn a_scan_sees_what_a_merged_state_holds(
            base in proptest::collection::btree_set(0..24u8, 0..24),
            kept in writes(),
            open in writes(),
            after in proptest::option::of(0..26u8),
            limit in 0..30usize,
        ) {
            let key = |last: u8| vec![b'p', last];
            let mut merged: Entries = base.iter().map(|last| (key(*last), vec![0])).collect();
            // Keys beside the prefix are never seen.
            merged.insert(b"o".to_vec(), vec![0]);
            merged.insert(b"q".to_vec(), vec![0]);
            let base = merged.clone();
            let mut overlay = Overlay::new(&base);
            for (layer, writes) in [kept, open].into_iter().enumerate() {
                if layer == 1 {
                    overlay.keep();
                }
                for (last, deletes) in writes {
                    if deletes {
                        overlay.delete(key(last));
                        merged.remove(&key(last));
                    } else {
                        overlay.mark(key(last));
                        merged.insert(key(last), Vec::new());
                    }
                }
            }
            let after = after.map(key);
            prop_assert_eq!(
                overlay.scan(b"p", after.as_deref(), limit),
                merged.scan(b"p", after.as_deref(), limit)
            );
        }
    }
}
