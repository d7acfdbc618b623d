//! The gateway's one way to the ledger: reads the entries that questions
//! need, proven, and what the zones are beneath which they stand.
//!
//! Nodes are believed nothing: every value comes with a proof that
//! [`Ledger::read`] verified under the circle's key, and one at a lower height
//! than was seen already is refused there.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info};
use wire::{DomainName, Height, state_key};

use super::{
    Gateway,
    cache::{Known, keep},
};
use crate::{
    ledger::{self, Ledger, LedgerError, MAX_KEYS, Reading, chain},
    names::{
        subjects::{Entry, Kept, Subject, keys},
        zone::{Zone, ZoneSettings},
    },
};

/// Reads under way at once.
const CONCURRENT_READS: usize = 4;

/// How long to wait before nodes are asked again that gave nothing at first.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// How often the circle's name servers are listed anew.
const LIST_INTERVAL: Duration = Duration::from_secs(60);

/// Name servers of the circle that are read; a circle has a few.
const MAX_SERVERS: usize = 256;

/// Entries that a question needs, and where to say whether they are there.
pub(super) struct Fetch {
    pub names: Vec<DomainName>,
    pub done: oneshot::Sender<bool>,
}

/// The zones without what is registered beneath them.
#[derive(Debug)]
pub(super) struct Base {
    /// Nothing signs it: signatures are not on the ledger.
    pub zone: Zone,
    /// What zone signers and name servers said.
    entries: BTreeMap<Subject, Kept>,
    /// The zones' names, longest first.
    pub apexes: Vec<DomainName>,
    /// The height of the newest proof.
    pub proven: Height,
    /// The time in that height's header, Unix milliseconds.
    pub time_ms: u64,
    /// When a node was asked.
    pub asked: Instant,
}

impl Base {
    fn new(apexes: &[DomainName], settings: &ZoneSettings, reading: &Reading) -> Self {
        let zone = Zone::new(apexes, settings.clone());
        Self {
            apexes: zone.apex_texts().cloned().collect(),
            zone,
            entries: BTreeMap::new(),
            proven: reading.height,
            time_ms: reading.time_ms,
            asked: Instant::now(),
        }
    }

    /// Since which height the zones are what they are.
    pub fn since(&self) -> Height {
        let all = self.entries.values().map(Kept::changed_at);
        all.max().unwrap_or(Height(0))
    }

    /// Takes over what was read of zones and name servers.
    fn take(&mut self, subjects: &[Subject], reading: &Reading) {
        if reading.height < self.proven {
            return;
        }
        for (subject, value) in subjects.iter().zip(&reading.values) {
            let kept = subject.keep(value.as_deref());
            if self.entries.get(subject) == kept.as_ref() {
                continue;
            }
            let mut entry = kept.as_ref().and_then(|kept| kept.open(subject));
            if let Some(Entry::Zone(zone)) = &mut entry {
                zone.zone.keys.clear();
            }
            let change = subject.change(entry.as_ref());
            self.zone = self
                .zone
                .advance(reading.height, reading.time_ms, [change])
                .0;
            match kept {
                Some(kept) => self.entries.insert(subject.clone(), kept),
                None => self.entries.remove(subject),
            };
        }
        (self.proven, self.time_ms) = (reading.height, reading.time_ms);
        self.asked = Instant::now();
    }

    fn zones(&self) -> Vec<Subject> {
        self.apexes.iter().cloned().map(Subject::Zone).collect()
    }
}

/// Reads what `fetches` ask for, until the future is dropped.
///
/// Shape: zones are those of `apexes`, or the genesis' if there are none.
pub(super) async fn serve(
    ledger: &impl Ledger,
    apexes: &[DomainName],
    settings: &ZoneSettings,
    gateway: &Gateway,
    mut fetches: mpsc::Receiver<Fetch>,
) -> Infallible {
    loop {
        match begin(ledger, apexes, settings, gateway).await {
            Ok(()) => break,
            Err(error) => {
                debug!(error = %chain(&error), "the circle's zones could not be read");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
    let mut running = FuturesUnordered::new();
    let mut listing = tokio::time::interval(LIST_INTERVAL);
    listing.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(fetch) = fetches.recv(), if running.len() < CONCURRENT_READS => {
                running.push(fetch_one(ledger, gateway, fetch));
            }
            Some(()) = running.next() => {}
            _ = listing.tick() => {
                if let Err(error) = read_servers(ledger, gateway).await {
                    debug!(error = %chain(&error), "name servers could not be read");
                }
            }
        }
    }
}

async fn begin(
    ledger: &impl Ledger,
    apexes: &[DomainName],
    settings: &ZoneSettings,
    gateway: &Gateway,
) -> Result<(), LedgerError> {
    let (founded, reading) = ledger::apexes(ledger).await?;
    let apexes = if apexes.is_empty() { &founded } else { apexes };
    let mut base = Base::new(apexes, settings, &reading);
    let zones = base.zones();
    for some in zones.chunks(MAX_KEYS) {
        let reading = ledger.read(keys(some), base.proven).await?;
        base.take(some, &reading);
    }
    info!(?apexes, height = %base.proven, "answering one name at a time");
    gateway.state().base = Some(base);
    Ok(())
}

/// Reads what the circle's name servers say of themselves. Which there are is
/// a node's word; what they say is proven.
async fn read_servers(ledger: &impl Ledger, gateway: &Gateway) -> Result<(), LedgerError> {
    let page = ledger.list(state_key::NAME_SERVERS, None).await?;
    let listed = page.keys.iter().filter_map(|key| Subject::of_key(key));
    let mut subjects: Vec<Subject> = listed.take(MAX_SERVERS).collect();
    if let Some(base) = &gateway.state().base {
        // One that has gone is listed no more.
        let known = base.entries.keys();
        let servers = known.filter(|subject| matches!(subject, Subject::Server(_)));
        subjects.extend(servers.cloned());
    }
    subjects.sort_unstable();
    subjects.dedup();
    for some in subjects.chunks(MAX_KEYS) {
        let reading = ledger.read(keys(some), Height(0)).await?;
        if let Some(base) = &mut gateway.state().base {
            base.take(some, &reading);
        }
    }
    Ok(())
}

async fn fetch_one(ledger: &impl Ledger, gateway: &Gateway, fetch: Fetch) {
    let Fetch { names, done } = fetch;
    // Whoever asked for the same just before has it already.
    let is_there = gateway.are_there(&names) || read_names(ledger, gateway, &names).await;
    let _ = done.send(is_there);
}

/// Reads `names`, and their zones' own records, at one height.
async fn read_names(ledger: &impl Ledger, gateway: &Gateway, names: &[DomainName]) -> bool {
    let zones = gateway
        .state()
        .base
        .as_ref()
        .map_or_else(Vec::new, Base::zones);
    let room = MAX_KEYS.saturating_sub(names.len());
    let zones: Vec<Subject> = zones.into_iter().take(room).collect();
    let subjects: Vec<Subject> = zones
        .iter()
        .cloned()
        .chain(names.iter().cloned().map(Subject::Name))
        .collect();
    let asked = Instant::now();
    let reading = match ledger.read(keys(&subjects), Height(0)).await {
        Ok(reading) if reading.values.len() == subjects.len() => reading,
        Ok(_) => return false,
        Err(error) => {
            debug!(error = %chain(&error), ?names, "no node gave a proof");
            gateway.failed();
            return false;
        }
    };
    let mut state = gateway.state();
    let Some(base) = &mut state.base else {
        return false;
    };
    base.take(&zones, &reading);
    let zone = base.zone.clone();
    for (name, value) in names.iter().zip(&reading.values[zones.len()..]) {
        let kept = keep(name, value.as_deref());
        let lifetime = gateway.lifetime(&zone, name, kept.as_ref());
        let known = Known {
            kept,
            proven: reading.height,
            time_ms: reading.time_ms,
            asked,
            lifetime,
        };
        state.cache.put(name.clone(), known);
    }
    drop(state);
    gateway.fetched(names.len());
    true
}
