//! The image that is being served, and how old it may grow.
//!
//! Readers take the newest image without a lock; the follower swaps it.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};

use super::{
    answer::{self, Arrival, Freshness, Response, View},
    designation::Designation,
    zone::Zone,
};

/// How far behind the ledger answers may be, by the time in its headers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tolerance {
    /// Milliseconds after which answers say that they are stale.
    pub stale_after_ms: u64,
    /// Milliseconds after which there are no answers any more.
    pub expire_after_ms: u64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            stale_after_ms: 10_000,
            expire_after_ms: 24 * 60 * 60 * 1000,
        }
    }
}

impl Tolerance {
    /// How far behind answers are that were proven at `time_ms`, at `now_ms`.
    pub(super) fn judge(&self, time_ms: u64, now_ms: u64) -> Freshness {
        let behind = now_ms.saturating_sub(time_ms);
        if behind > self.expire_after_ms {
            Freshness::Expired
        } else if behind > self.stale_after_ms {
            Freshness::Stale
        } else {
            Freshness::Fresh
        }
    }
}

/// The image being served.
#[derive(Debug, Default)]
pub struct Published {
    zone: ArcSwapOption<Zone>,
    designation: ArcSwapOption<Designation>,
    tolerance: Tolerance,
}

impl Published {
    /// Nothing yet.
    pub fn new(tolerance: Tolerance) -> Self {
        Self {
            zone: ArcSwapOption::empty(),
            designation: ArcSwapOption::empty(),
            tolerance,
        }
    }

    /// Serves `zone` from the next query on, whose answers are made ready.
    pub fn publish(&self, zone: &mut Zone) {
        zone.render();
        self.zone.store(Some(Arc::new(zone.clone())));
    }

    /// Points clients to the encrypted transports from the next query on.
    pub fn designate(&self, designation: Option<Designation>) {
        self.designation.store(designation.map(Arc::new));
    }

    /// The newest image.
    pub fn zone(&self) -> Option<Arc<Zone>> {
        self.zone.load_full()
    }

    /// How far behind `zone` is at `now_ms`.
    pub fn freshness(&self, zone: &Zone, now_ms: u64) -> Freshness {
        self.tolerance.judge(zone.time_ms(), now_ms)
    }

    /// Pointers to this server's encrypted transports.
    pub(super) fn designation(&self) -> arc_swap::Guard<Option<Arc<Designation>>> {
        self.designation.load()
    }

    /// The newest image, held for as long as a few answers take.
    pub(super) fn held(&self) -> arc_swap::Guard<Option<Arc<Zone>>> {
        self.zone.load()
    }

    /// Answers a query from the newest image.
    ///
    /// Units: `now_ms` is Unix time in milliseconds.
    pub fn answer(&self, query: &[u8], arrival: Arrival<'_>, now_ms: u64) -> Option<Response> {
        let zone = self.zone.load();
        let designation = self.designation.load();
        let view = View {
            designation: designation.as_deref(),
            zone: zone.as_deref(),
            freshness: zone
                .as_deref()
                .map_or(Freshness::Fresh, |zone| self.freshness(zone, now_ms)),
        };
        answer::answer(query, arrival, view)
    }
}

/// The wall clock, Unix milliseconds: it judges how old a header is, and
/// nothing else.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
