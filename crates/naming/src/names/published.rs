//! The image that is being served, how old it may grow, and what was answered.
//!
//! Readers take the newest image without a lock; the follower swaps it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};

use super::{
    answer::{self, Freshness, Response, Transport, View},
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

/// Outcomes that are counted one by one; the last counts all others.
const COUNTED_RCODES: usize = 24;

/// Answers by outcome. Each front's worker has one of its own, so that
/// counting contends for no cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters([AtomicU64; COUNTED_RCODES]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; COUNTED_RCODES])
    }
}

impl Counters {
    fn count(&self, rcode: u16) {
        let at = usize::from(rcode).min(COUNTED_RCODES - 1);
        self.0[at].fetch_add(1, Ordering::Relaxed);
    }

    /// Adds each outcome's count to `sums`, which is indexed by outcome.
    pub fn add_to(&self, sums: &mut [u64; COUNTED_RCODES]) {
        for (sum, count) in sums.iter_mut().zip(&self.0) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
}

/// The image being served.
#[derive(Debug, Default)]
pub struct Published {
    zone: ArcSwapOption<Zone>,
    tolerance: Tolerance,
}

impl Published {
    /// Nothing yet.
    pub fn new(tolerance: Tolerance) -> Self {
        Self {
            zone: ArcSwapOption::empty(),
            tolerance,
        }
    }

    /// Serves `zone` from the next query on.
    pub fn publish(&self, zone: Arc<Zone>) {
        self.zone.store(Some(zone));
    }

    /// The newest image.
    pub fn zone(&self) -> Option<Arc<Zone>> {
        self.zone.load_full()
    }

    /// How far behind `zone` is at `now_ms`.
    pub fn freshness(&self, zone: &Zone, now_ms: u64) -> Freshness {
        let behind = now_ms.saturating_sub(zone.time_ms());
        if behind > self.tolerance.expire_after_ms {
            Freshness::Expired
        } else if behind > self.tolerance.stale_after_ms {
            Freshness::Stale
        } else {
            Freshness::Fresh
        }
    }

    /// Answers a query from the newest image and counts the outcome.
    pub fn answer(
        &self,
        query: &[u8],
        transport: Transport,
        counters: &Counters,
    ) -> Option<Response> {
        let zone = self.zone.load();
        let view = View {
            zone: zone.as_deref(),
            freshness: zone
                .as_deref()
                .map_or(Freshness::Fresh, |zone| self.freshness(zone, now_ms())),
        };
        let response = answer::answer(query, transport, view)?;
        counters.count(response.rcode);
        Some(response)
    }
}

/// The wall clock, Unix milliseconds: it judges how old a header is, and
/// nothing else.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
