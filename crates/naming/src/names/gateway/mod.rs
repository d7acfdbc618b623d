//! A name server for small devices: it follows nothing, reads with a proof
//! what it is asked for, keeps that for a while and says how old it is.
//!
//! Answers are made by the one function that answers for whole zones, from a
//! zone that holds only the names that the question needs. It trusts the
//! circle's key alone. Signatures of the zones are not on the ledger, so that
//! it has none to give: docs/spec/dns.md §11 says what it leaves to others.

mod cache;
mod fetch;

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use wire::{DomainName, Height};

use self::{
    cache::Cache,
    fetch::{Base, Fetch},
};
use super::{
    answer::{self, Arrival, Freshness, Response, View},
    published::{Published, Tolerance},
    subjects::{Kept, Subject},
    zone::{OwnerName, Zone, ZoneSettings},
};
use crate::ledger::Ledger;

/// Questions that wait for the ledger; the next is answered from what there is.
const QUEUE: usize = 256;

/// Aliases from one registered name to another that are followed; as many as
/// the lookup follows in all.
const MAX_NAMES: usize = 16;

/// How long a question waits for a proof of what is not known at all: less
/// than stock clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long it waits where an older proof would do (RFC 8767 §5).
const PATIENCE_WITH_PROOF: Duration = Duration::from_millis(500);

/// How long no node is asked after all have failed, so that what is known is
/// answered at once meanwhile.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The shortest time for which a proof is not asked for again.
const MIN_LIFETIME: Duration = Duration::from_secs(1);

/// How much a gateway keeps.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// Names, those proven not to exist among them.
    pub names: usize,
    /// Octets of names and records.
    pub octets: usize,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            names: 4096,
            octets: 4 << 20,
        }
    }
}

/// What a gateway says of itself in `GET /v1/status`.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayStatus {
    /// Names kept.
    pub names: usize,
    /// Octets that they take.
    pub octets: usize,
    /// Age of the newest proof, milliseconds; none before the first.
    pub age_ms: Option<u64>,
    /// Age of the oldest proof that may still be answered from, milliseconds.
    pub oldest_ms: Option<u64>,
    /// Entries read since the start.
    pub fetched: u64,
    /// Readings for which no node gave a proof.
    pub failed: u64,
}

/// The fronts' end of a gateway; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    fetches: mpsc::Sender<Fetch>,
    tolerance: Tolerance,
    fetched: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug)]
struct State {
    base: Option<Base>,
    cache: Cache,
    /// Until when no node is asked.
    away_until: Option<Instant>,
}

/// What there is for one question.
struct Found {
    /// The zones, with the names that the question needs.
    zone: Zone,
    /// Those names.
    names: Vec<DomainName>,
    /// Whether every one of them is known, all at one height.
    is_whole: bool,
    /// Whether a node is to be asked.
    is_due: bool,
}

/// A gateway, and what its [`run`] takes.
pub(super) fn gateway(settings: GatewaySettings, tolerance: Tolerance) -> (Gateway, Waiting) {
    let (fetches, waiting) = mpsc::channel(QUEUE);
    let state = State {
        base: None,
        cache: Cache::new(settings.names, settings.octets),
        away_until: None,
    };
    let inner = Inner {
        state: Mutex::new(state),
        fetches,
        tolerance,
        fetched: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    };
    let inner = Arc::new(inner);
    (Gateway { inner }, Waiting(waiting))
}

/// What questions need of the ledger.
pub(super) struct Waiting(mpsc::Receiver<Fetch>);

/// Reads what the gateway's questions need, until the future is dropped.
pub(super) async fn run(
    ledger: &impl Ledger,
    apexes: &[DomainName],
    settings: &ZoneSettings,
    gateway: &Gateway,
    waiting: Waiting,
) -> Infallible {
    fetch::serve(ledger, apexes, settings, gateway, waiting.0).await
}

impl Gateway {
    fn state(&self) -> MutexGuard<'_, State> {
        let lock = self.inner.state.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `query` can be answered as well now as after [`Gateway::prepare`].
    pub fn is_prepared(&self, query: &[u8]) -> bool {
        self.due(query).is_none()
    }

    /// What there is for `query`, if a node is to be asked for more and one may
    /// answer.
    fn due(&self, query: &[u8]) -> Option<Found> {
        let mut state = self.state();
        let is_away = state.away_until.is_some_and(|until| Instant::now() < until);
        if is_away {
            return None;
        }
        state.find(query).filter(|found| found.is_due)
    }

    /// Has the ledger asked for what `query` needs and is not known, or not
    /// lately; comes back when it is there, or will not be.
    pub async fn prepare(&self, query: &[u8]) {
        for _ in 0..MAX_NAMES {
            let Some(found) = self.due(query) else {
                return;
            };
            let (done, answered) = oneshot::channel();
            let names = found.names;
            if self.inner.fetches.try_send(Fetch { names, done }).is_err() {
                return;
            }
            let patience = if found.is_whole {
                PATIENCE_WITH_PROOF
            } else {
                PATIENCE
            };
            // What one name says may lead to the next.
            if !matches!(timeout(patience, answered).await, Ok(Ok(true))) {
                return;
            }
        }
    }

    /// Answers from what is known.
    ///
    /// Units: `now_ms` is Unix time in milliseconds.
    pub fn answer(
        &self,
        query: &[u8],
        arrival: Arrival<'_>,
        published: &Published,
        now_ms: u64,
    ) -> Option<Response> {
        let designation = published.designation();
        let found = self.state().find(query);
        let view = View {
            designation: designation.as_deref(),
            zone: found.as_ref().map(|found| &found.zone),
            freshness: found
                .as_ref()
                .map_or(Freshness::Fresh, |found| match found.is_whole {
                    true => self.inner.tolerance.judge(found.zone.time_ms(), now_ms),
                    false => Freshness::Unproven,
                }),
        };
        answer::answer(query, arrival, view)
    }

    /// How much it knows, and how old that is.
    pub fn status(&self, now_ms: u64) -> GatewayStatus {
        let state = self.state();
        let age = |time_ms: u64| now_ms.saturating_sub(time_ms);
        let (names, octets) = state.cache.size();
        GatewayStatus {
            names,
            octets,
            age_ms: state.base.as_ref().map(|base| age(base.time_ms)),
            oldest_ms: state.cache.oldest_ms().map(age),
            fetched: self.inner.fetched.load(Ordering::Relaxed),
            failed: self.inner.failed.load(Ordering::Relaxed),
        }
    }

    /// The newest proof's height and time, the zones, and how old that is.
    pub fn newest(&self, now_ms: u64) -> Option<(Height, u64, Vec<String>, Freshness)> {
        let state = self.state();
        let base = state.base.as_ref()?;
        let apexes = base.apexes.iter().map(ToString::to_string).collect();
        let freshness = self.inner.tolerance.judge(base.time_ms, now_ms);
        Some((base.proven, base.time_ms, apexes, freshness))
    }

    fn are_there(&self, names: &[DomainName]) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        !names.is_empty()
            && names.iter().all(|name| {
                let known = state.cache.get(name);
                known.is_some_and(|known| !known.is_due(now))
            })
            && state.of_one_height(names)
    }

    fn failed(&self) {
        self.inner.failed.fetch_add(1, Ordering::Relaxed);
        self.state().away_until = Some(Instant::now() + PAUSE_AFTER_FAILURE);
    }

    fn fetched(&self, names: usize) {
        self.inner
            .fetched
            .fetch_add(names as u64, Ordering::Relaxed);
        self.state().away_until = None;
    }

    /// For how long a proof of `name` is not asked for again: as long as its
    /// shortest-lived record, or its denial, may be cached, and never so long
    /// that its answers would have to say that they are stale.
    fn lifetime(&self, zone: &Zone, name: &DomainName, kept: Option<&Kept>) -> Duration {
        let subject = Subject::Name(name.clone());
        let entry = kept.and_then(|kept| kept.open(&subject));
        let change = subject.change(entry.as_ref());
        let zone = zone.advance(zone.height(), zone.time_ms(), [change]).0;
        let longest = Duration::from_millis(self.inner.tolerance.stale_after_ms / 2);
        let shortest = zone.shortest_ttl(name);
        let ttl = Duration::from_secs(shortest.map_or(0, u64::from));
        ttl.min(longest).max(MIN_LIFETIME)
    }
}

impl State {
    /// What is known for `query`; none before the zones are.
    fn find(&mut self, query: &[u8]) -> Option<Found> {
        let now = Instant::now();
        let base = self.base.as_ref()?;
        let mut found = Found {
            zone: base.zone.advance(base.proven, base.time_ms, []).0,
            names: Vec::new(),
            is_whole: true,
            is_due: now.saturating_duration_since(base.asked) >= MIN_LIFETIME,
        };
        let Some((qname, qtype)) = answer::question(query) else {
            // It is answered without any of it.
            found.is_due = false;
            return Some(found);
        };
        let mut next = base.registered(&qname);
        if next.is_none() && !base.is_within(&qname) {
            found.is_due = false;
            return Some(found);
        }
        if next.is_some() {
            found.is_due = false;
        }
        while let Some(name) = next.take() {
            if found.names.contains(&name) || found.names.len() == MAX_NAMES {
                break;
            }
            let known = self.cache.get(&name);
            found.is_due |= known.is_none_or(|known| known.is_due(now));
            let is_known = known.is_some();
            found.names.push(name);
            if !is_known {
                found.is_whole = false;
                return Some(found);
            }
            found.zone = self.zone_of(&found.names)?;
            let base = self.base.as_ref()?;
            let target = answer::dangling(&found.zone, &qname, qtype);
            next = target.and_then(|target| base.registered(&target));
        }
        if !self.of_one_height(&found.names) {
            (found.is_whole, found.is_due) = (false, true);
        }
        Some(found)
    }

    /// The zones with `names`, as old as the oldest of their proofs.
    fn zone_of(&mut self, names: &[DomainName]) -> Option<Zone> {
        let base = self.base.as_ref()?;
        let (mut height, mut time_ms) = (base.proven, base.time_ms);
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            let known = self.cache.get(name)?;
            height = height.min(known.proven);
            time_ms = time_ms.min(known.time_ms);
            let subject = Subject::Name(name.clone());
            let entry = known.kept.as_ref().and_then(|kept| kept.open(&subject));
            all.push((subject, entry));
        }
        let changes = all
            .iter()
            .map(|(subject, entry)| subject.change(entry.as_ref()));
        Some(base.zone.advance(height, time_ms, changes).0)
    }

    /// Whether there is a height at which all that is known of `names`, and
    /// of the zones, was so: what was proven at H and last changed at C was
    /// so from C to H.
    fn of_one_height(&mut self, names: &[DomainName]) -> bool {
        let Some(base) = &self.base else {
            return false;
        };
        let (mut since, mut proven) = (base.since(), base.proven);
        for name in names {
            let Some(known) = self.cache.get(name) else {
                return false;
            };
            since = since.max(known.since());
            proven = proven.min(known.proven);
        }
        since <= proven
    }
}

impl Base {
    /// The name at or beneath which `qname` lies, if it is one that can be
    /// registered.
    fn registered(&self, qname: &OwnerName) -> Option<DomainName> {
        let text = qname.to_string().to_ascii_lowercase();
        let text = text.strip_suffix('.').unwrap_or(&text);
        let (apex, above) = self.apexes.iter().find_map(|apex| {
            let above = text.strip_suffix(apex.as_str())?;
            Some((apex, above.strip_suffix('.')?))
        })?;
        let label = above.rsplit('.').next()?;
        let zone = self.zone.apexes().iter();
        let own = zone.filter(|zone| zone.text() == apex);
        if own.into_iter().any(|zone| zone.is_own(label)) {
            return None;
        }
        // What is no name by the ledger's rules is registered nowhere.
        format!("{label}.{apex}").parse().ok()
    }

    fn is_within(&self, qname: &OwnerName) -> bool {
        let zone = self.zone.apexes().iter();
        zone.into_iter().any(|apex| qname.ends_with(apex.name()))
    }
}
