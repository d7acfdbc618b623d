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
