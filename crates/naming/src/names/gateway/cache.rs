//! Which proven entries are kept, and which go when there is no more room.
//!
//! It knows names and records and nothing of time's passing, nodes or
//! messages. What was used last goes last.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use wire::{DomainName, Height};

use crate::names::subjects::{Kept, Subject};

/// Octets that an entry takes beside its name and record: the map's room, and
/// that of the strings.
const ENTRY_OCTETS: usize = 192;

/// One name as it was proven.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Its record; none where it was proven that there is none.
    pub kept: Option<Kept>,
    /// The height of the proof.
    pub proven: Height,
    /// The time in that height's header, Unix milliseconds.
    pub time_ms: u64,
    /// When a node was asked.
    pub asked: Instant,
    /// For how long none need be asked again.
    pub lifetime: Duration,
}

impl Known {
    /// Since which height it is what it is. Absence does not say since when.
    pub fn since(&self) -> Height {
        self.kept.as_ref().map_or(self.proven, Kept::changed_at)
    }

    /// Whether a node is to be asked again.
    pub fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) >= self.lifetime
    }

    fn octets(&self, name: &DomainName) -> usize {
        ENTRY_OCTETS + name.as_str().len() + self.kept.as_ref().map_or(0, Kept::octets)
    }
}

/// Proven entries, no more than there is room for.
#[derive(Debug)]
pub(super) struct Cache {
    max_names: usize,
    max_octets: usize,
    /// Each with when it was used last, counted in uses.
    names: HashMap<DomainName, (Known, u64)>,
    octets: usize,
    uses: u64,
}

impl Cache {
    pub fn new(max_names: usize, max_octets: usize) -> Self {
        Self {
            max_names,
            max_octets,
            names: HashMap::new(),
            octets: 0,
            uses: 0,
        }
    }

    /// What is known of a name, which counts as a use of it.
    pub fn get(&mut self, name: &DomainName) -> Option<&Known> {
        self.uses += 1;
        let (known, used) = self.names.get_mut(name)?;
        *used = self.uses;
        Some(known)
    }

    /// Keeps an entry, unless a later proof of it is kept; others go for it.
    pub fn put(&mut self, name: DomainName, known: Known) {
        let present = self.names.get(&name);
        if present.is_some_and(|(present, _)| present.proven > known.proven) {
            return;
        }
        if let Some((former, _)) = self.names.remove(&name) {
            self.octets -= former.octets(&name);
        }
        let octets = known.octets(&name);
        if octets > self.max_octets || self.max_names == 0 {
            return;
        }
        while self.names.len() >= self.max_names || self.octets + octets > self.max_octets {
            // A search through all is cheaper than the question that led here.
            let oldest = self.names.iter().min_by_key(|(_, (_, used))| *used);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                break;
            };
            if let Some((gone, _)) = self.names.remove(&oldest) {
                self.octets -= gone.octets(&oldest);
            }
        }
        self.uses += 1;
        self.octets += octets;
        self.names.insert(name, (known, self.uses));
    }

    /// Names kept, and octets that they take.
    pub fn size(&self) -> (usize, usize) {
        (self.names.len(), self.octets)
    }

    /// The time of the oldest proof kept, Unix milliseconds.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.names.values().map(|(known, _)| known.time_ms).min()
    }
}

/// What a proven value is kept as.
pub(super) fn keep(name: &DomainName, value: Option<&[u8]>) -> Option<Kept> {
    Subject::Name(name.clone()).keep(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(height: u64) -> Known {
        Known {
            kept: None,
            proven: Height(height),
            time_ms: height,
            asked: Instant::now(),
            lifetime: Duration::from_secs(1),
        }
    }

    fn name(index: usize) -> DomainName {
        format!("n{index:04}.internal").parse().unwrap()
    }

    #[test]
    fn what_was_used_last_goes_last_and_the_limits_hold() {
        let mut cache = Cache::new(3, usize::MAX);
        for index in 0..3 {
            cache.put(name(index), known(1));
        }
        assert!(cache.get(&name(0)).is_some());
        cache.put(name(3), known(1));
        assert!(cache.get(&name(1)).is_none());
        assert!(cache.get(&name(0)).is_some());
        assert_eq!(cache.size().0, 3);

        let each = known(1).octets(&name(0));
        let mut cache = Cache::new(usize::MAX, 10 * each);
        for index in 0..1000 {
            cache.put(name(index), known(1));
            assert!(cache.size().1 <= 10 * each);
        }
        assert_eq!(cache.size(), (10, 10 * each));
        assert!(cache.get(&name(999)).is_some());
    }

    #[test]
    fn an_older_proof_does_not_replace_a_later_one() {
        let mut cache = Cache::new(3, usize::MAX);
        cache.put(name(0), known(7));
        cache.put(name(0), known(6));
        assert_eq!(cache.get(&name(0)).unwrap().proven, Height(7));
        cache.put(name(0), known(8));
        assert_eq!(cache.get(&name(0)).unwrap().proven, Height(8));
        assert_eq!(cache.size().0, 1);
        assert_eq!(cache.oldest_ms(), Some(8));
    }

    #[test]
    fn what_fits_nowhere_is_not_kept() {
        let mut cache = Cache::new(3, 10);
        cache.put(name(0), known(1));
        assert_eq!(cache.size(), (0, 0));
    }
}
