//! Keeping the zones level with the ledger.
//!
//! Nodes are asked what changed (events) and what there is (listings), and
//! neither is believed: every name is read with a proof. What a node could do
//! at worst is to keep quiet about a change; a sweep that reads every name
//! again in turn bounds how long that goes unseen.
//!
//! **One height.** Proofs are made at whatever height the node has reached,
//! not at one we choose. A record that was proven at height H and last changed
//! at C holds at every height from C to H. So an image at height T is exact
//! once every record in it changed at or before T and every event up to T has
//! been looked into; until then, nothing is published.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tracing::{debug, info, warn};
use wire::{DomainName, Event, Height, record, state_key};

use super::{
    published::Published,
    zone::{Zone, ZoneSettings},
};
use crate::ledger::{self, BlockEvents, Ledger, LedgerError, MAX_KEYS, chain};

/// How often names are read again without cause. It also is how often a quiet
/// ledger's newest header is proven, and so must be well below the time after
/// which answers count as stale.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait before asking nodes again that all failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Proven reads under way at once while the names are first read.
const CONCURRENT_READS: usize = 4;

/// Follows `ledger` and publishes an image whenever names changed or a newer
/// header was proven. It ends with its caller.
///
/// Shape: zones are those of `apexes`, or the genesis' if there are none.
pub async fn follow(
    ledger: &impl Ledger,
    apexes: &[DomainName],
    settings: ZoneSettings,
    published: &Published,
) -> std::convert::Infallible {
    loop {
        match follow_from_scratch(ledger, apexes, &settings, published).await {
            Ok(never) => match never {},
            Err(error) => {
                warn!(error = %chain(&error), "names are read from scratch");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

async fn follow_from_scratch(
    ledger: &impl Ledger,
    apexes: &[DomainName],
    settings: &ZoneSettings,
    published: &Published,
) -> Result<std::convert::Infallible, LedgerError> {
    let (founded, reading) = ledger::apexes(ledger).await?;
    let apexes = if apexes.is_empty() { &founded } else { apexes };
    let start = reading.height;
    let mut follower = Follower {
        ledger,
        published,
        zone: Zone::new(apexes, settings.clone()),
        names: BTreeMap::new(),
        pending: BTreeSet::new(),
        changed: BTreeSet::new(),
        told: start,
        needed: start,
        proven: start,
        time_ms: reading.time_ms,
        swept: None,
    };
    // Events are followed from before the listing, so that no change falls
    // between the two.
    let mut events = pin!(ledger.events(start.plus(1)));
    follower.list(start).await?;
    info!(names = follower.pending.len(), height = %start, "reading names");
    follower.read_first().await?;
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        follower.settle().await;
        tokio::select! {
            block = events.next() => follower.hear_all(block, &mut events)?,
            _ = sweep.tick() => follower.sweep(),
        }
    }
}

struct Follower<'a, L> {
    ledger: &'a L,
    published: &'a Published,
    /// The image last published, or the empty one.
    zone: Zone,
    /// Every name with its record as last proven.
    names: BTreeMap<DomainName, record::Name>,
    /// Names to read again.
    pending: BTreeSet<DomainName>,
    /// Names whose records differ from those in `zone`.
    changed: BTreeSet<DomainName>,
    /// Events are known up to this height.
    told: Height,
    /// Events must be known up to this height before the next image.
    needed: Height,
    /// The newest proof's height.
    proven: Height,
    /// The newest proof's time.
    time_ms: u64,
    /// The name that the sweep read last.
    swept: Option<DomainName>,
}

impl<L: Ledger> Follower<'_, L> {
    /// Lists the names there are; each waits to be read.
    async fn list(&mut self, start: Height) -> Result<(), LedgerError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.ledger.list(state_key::NAMES, after.as_deref()).await?;
            if page.height < start {
                // A node that is behind would hide names that we will hear no event of.
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            }
            self.pending.extend(page.keys.iter().filter_map(|key| {
                let text = key.strip_prefix(state_key::NAMES)?;
                std::str::from_utf8(text).ok()?.parse().ok()
            }));
            match page.keys.last() {
                Some(last) if page.more && Some(last) > after.as_ref() => {
                    after = Some(last.clone());
                }
                _ => return Ok(()),
            }
        }
    }

    /// Reads every pending name, several batches at a time.
    async fn read_first(&mut self) -> Result<(), LedgerError> {
        let names: Vec<DomainName> = std::mem::take(&mut self.pending).into_iter().collect();
        let (ledger, since) = (self.ledger, self.told);
        let batches: Vec<Vec<DomainName>> = names.chunks(MAX_KEYS).map(<[_]>::to_vec).collect();
        let mut readings = futures_util::stream::iter(batches)
            .map(|batch| async move {
                let reading = ledger.read(keys(&batch), since).await;
                (batch, reading)
            })
            .buffer_unordered(CONCURRENT_READS);
        let mut done = Vec::new();
        while let Some((batch, reading)) = readings.next().await {
            done.push((batch, reading?));
        }
        drop(readings);
        for (batch, reading) in done {
            self.take(&batch, &reading);
        }
        Ok(())
    }

    /// Takes the block that arrived and all that are ready behind it.
    fn hear_all(
        &mut self,
        first: Option<Result<BlockEvents, LedgerError>>,
        events: &mut (impl Stream<Item = Result<BlockEvents, LedgerError>> + Unpin),
    ) -> Result<(), LedgerError> {
        let mut next = Some(first);
        while let Some(block) = next {
            self.hear(&block.ok_or(LedgerError::Missing("further events"))??)?;
            next = events.next().now_or_never();
        }
        Ok(())
    }

    fn hear(&mut self, block: &BlockEvents) -> Result<(), LedgerError> {
        if block.height <= self.told {
            return Ok(());
        }
        if block.height != self.told.plus(1) {
            // A gap may hide a change: only reading everything closes it.
            return Err(LedgerError::Missing("events between two blocks"));
        }
        self.told = block.height;
        for event in &block.events {
            match event {
                Event::NameChanged { name } | Event::NameReleased { name, .. } => {
                    self.pending.insert(name.clone());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts the next names of the sweep among those to be read.
    fn sweep(&mut self) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = self.swept.take().map_or(Unbounded, Excluded);
        let batch: Vec<DomainName> = self
            .names
            .range((from, Unbounded))
            .map(|(name, _)| name.clone())
            .take(MAX_KEYS)
            .collect();
        // After the last name comes the first.
        self.swept = batch.last().cloned();
        self.pending.extend(batch);
        if self.pending.is_empty() {
            // A circle without names still has a newest header: the read of
            // any name, here of an apex, proves it.
            self.pending.extend(self.zone.apex_texts().next().cloned());
        }
    }

    /// Reads what is pending and publishes if that makes an exact image.
    async fn settle(&mut self) {
        while !self.pending.is_empty() {
            let batch: Vec<DomainName> = self.pending.iter().take(MAX_KEYS).cloned().collect();
            match self.ledger.read(keys(&batch), self.told).await {
                Ok(reading) => {
                    self.take(&batch, &reading);
                    for name in &batch {
                        self.pending.remove(name);
                    }
                }
                Err(error) => {
                    debug!(error = %chain(&error), "names could not be read");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    return;
                }
            }
        }
        self.publish();
    }

    /// Takes proven records over.
    fn take(&mut self, batch: &[DomainName], reading: &ledger::Reading) {
        if reading.height >= self.proven {
            self.proven = reading.height;
            self.time_ms = self.time_ms.max(reading.time_ms);
        }
        for (name, value) in batch.iter().zip(&reading.values) {
            let record = value.as_deref().and_then(|value| decode(name, value));
            let known = self.names.get(name);
            if known == record.as_ref() {
                continue;
            }
            // Absence does not say since when: only events up to the proof do.
            let since = record.as_ref().map_or(reading.height, |new| new.changed_at);
            self.needed = self.needed.max(since);
            self.changed.insert(name.clone());
            match record {
                Some(record) => self.names.insert(name.clone(), record),
                None => self.names.remove(name),
            };
        }
    }

    /// Publishes the image at the greatest height for which it is exact.
    fn publish(&mut self) {
        if self.told < self.needed {
            return;
        }
        // A proof is only as fresh as what has been heard up to its height: a
        // stream of events that stands still must not look alive.
        let time_ms = if self.told >= self.proven {
            self.time_ms
        } else {
            self.zone.time_ms()
        };
        if self.changed.is_empty() && time_ms == self.zone.time_ms() {
            return;
        }
        let height = self.told.min(self.proven).max(self.zone.height());
        let changes = self.changed.iter().map(|name| (name, self.names.get(name)));
        self.zone = self.zone.next(height, time_ms, changes);
        self.changed.clear();
        self.published.publish(Arc::new(self.zone.clone()));
    }
}

fn keys(names: &[DomainName]) -> Vec<Vec<u8>> {
    names.iter().map(state_key::name).collect()
}

fn decode(name: &DomainName, value: &[u8]) -> Option<record::Name> {
    match record::decode::<record::Name>(value) {
        Ok(record) => Some(record),
        Err(error) => {
            // A newer ledger's record: not to be served is better than wrong.
            warn!(%name, %error, "a name's record does not decode; it is not served");
            None
        }
    }
}
