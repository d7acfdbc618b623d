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
    time::Duration,
};

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tracing::{debug, info, warn};
use wire::{DomainName, Height};

use super::{
    published::Published,
    subjects::{self, Entry, Kept, Subject, keys},
    zone::{Zone, ZoneSettings},
};
use crate::ledger::{self, BlockEvents, Ledger, LedgerError, MAX_KEYS, Reading, chain};

/// How often names are read again without cause. It also is how often a quiet
/// ledger's newest header is proven, and so must be well below the time after
/// which answers count as stale.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait before asking nodes again that all failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Changes that an image takes over at a time.
const CHANGES_AT_ONCE: usize = 1024;

/// What exact changes are handed to.
pub(super) trait Image: Send {
    /// Begins anew: what was taken over before counts no more.
    fn begin(&mut self, apexes: &[DomainName]);

    /// Takes over what changed since the last call, as it is at `height`.
    /// `time_ms` is the time of the newest header under which everything was
    /// proven; it may be all that is new.
    fn take(&mut self, height: Height, time_ms: u64, changes: Vec<ProvenChange<'_>>);

    /// Whether proofs are to come along.
    fn wants_proofs(&self) -> bool;
}

/// An entry that changed.
pub(super) struct ProvenChange<'a> {
    /// Which.
    pub subject: Subject,
    /// Its record; none if it is gone.
    pub kept: Option<&'a Kept>,
    /// The proof of it, if it was wanted.
    pub proof: Vec<u8>,
}

impl ProvenChange<'_> {
    /// The record, to be read.
    pub fn entry(&self) -> Option<Entry> {
        self.kept?.open(&self.subject)
    }
}

/// Follows `ledger` and publishes an image whenever names changed or a newer
/// header was proven. It ends with its caller.
///
/// Shape: zones are those of `apexes`, or the genesis' if there are none. A
///        zone that the ledger holds keys of is not published: only a signer
///        makes it whole.
pub async fn follow(
    ledger: &impl Ledger,
    apexes: &[DomainName],
    settings: ZoneSettings,
    published: &Published,
) -> std::convert::Infallible {
    let mut image = Unsigned {
        zone: Zone::new(&[], settings.clone()),
        settings,
        published,
        warned: false,
    };
    follow_into(ledger, apexes, &mut image).await
}

/// Follows `ledger` and hands every exact change to `image`.
pub(super) async fn follow_into(
    ledger: &impl Ledger,
    apexes: &[DomainName],
    image: &mut impl Image,
) -> std::convert::Infallible {
    loop {
        match follow_from_scratch(ledger, apexes, image).await {
            Ok(never) => match never {},
            Err(error) => {
                warn!(error = %chain(&error), "names are read from scratch");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

/// Publishes images that nobody signs.
struct Unsigned<'a> {
    zone: Zone,
    settings: ZoneSettings,
    published: &'a Published,
    warned: bool,
}

impl Image for Unsigned<'_> {
    fn begin(&mut self, apexes: &[DomainName]) {
        self.zone = Zone::new(apexes, self.settings.clone());
    }

    fn take(&mut self, height: Height, time_ms: u64, changes: Vec<ProvenChange<'_>>) {
        // Some at a time, for they are packed only when rendered.
        for some in changes.chunks(CHANGES_AT_ONCE) {
            let opened: Vec<Option<Entry>> = some.iter().map(ProvenChange::entry).collect();
            let pairs = some.iter().zip(&opened);
            let changes = pairs.map(|(change, entry)| change.subject.change(entry.as_ref()));
            self.zone = self.zone.advance(height, time_ms, changes).0;
            self.zone.render();
        }
        self.zone = self.zone.advance(height, time_ms, []).0;
        let signed = self.zone.apexes().iter().find(|apex| apex.keys().is_some());
        match signed {
            None => self.published.publish(&mut self.zone),
            Some(apex) if !self.warned => {
                warn!(apex = %apex.text(), "the zone has keys: name its `signers` in names.toml; until then it is not served");
                self.warned = true;
            }
            Some(_) => {}
        }
    }

    fn wants_proofs(&self) -> bool {
        false
    }
}

async fn follow_from_scratch(
    ledger: &impl Ledger,
    apexes: &[DomainName],
    image: &mut impl Image,
) -> Result<std::convert::Infallible, LedgerError> {
    let (founded, reading) = ledger::apexes(ledger).await?;
    let apexes = if apexes.is_empty() { &founded } else { apexes };
    let start = reading.height;
    image.begin(apexes);
    let mut follower = Follower {
        ledger,
        image,
        apex: apexes.first().cloned(),
        entries: BTreeMap::new(),
        pending: BTreeSet::new(),
        changed: BTreeMap::new(),
        told: start,
        needed: start,
        proven: start,
        time_ms: reading.time_ms,
        taken: None,
        swept: None,
    };
    // Events are followed from before the listing, so that no change falls
    // between the two.
    let mut events = pin!(ledger.events(start.plus(1)));
    let all = subjects::list(ledger, apexes, start).await?;
    info!(names = all.len(), height = %start, "reading names");
    let mut readings = pin!(subjects::read_all(ledger, all, start));
    while let Some((batch, reading)) = readings.next().await {
        follower.take(&batch, &reading?);
    }
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

struct Follower<'a, L, I> {
    ledger: &'a L,
    image: &'a mut I,
    /// Any zone: what is read where there is nothing else to read.
    apex: Option<DomainName>,
    /// Everything there is, as last proven.
    entries: BTreeMap<Subject, Kept>,
    /// What to read again.
    pending: BTreeSet<Subject>,
    /// What differs from what the image took over, with its proof if wanted.
    changed: BTreeMap<Subject, Vec<u8>>,
    /// Events are known up to this height.
    told: Height,
    /// Events must be known up to this height before the next image.
    needed: Height,
    /// The newest proof's height.
    proven: Height,
    /// The newest proof's time.
    time_ms: u64,
    /// Height and time that the image last took over.
    taken: Option<(Height, u64)>,
    /// What the sweep read last.
    swept: Option<Subject>,
}

impl<L: Ledger, I: Image> Follower<'_, L, I> {
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
        self.pending
            .extend(block.events.iter().filter_map(Subject::of_event));
        Ok(())
    }

    /// Puts the next of everything there is among what is to be read.
    fn sweep(&mut self) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = self.swept.take().map_or(Unbounded, Excluded);
        let batch: Vec<Subject> = self
            .entries
            .range((from, Unbounded))
            .map(|(subject, _)| subject.clone())
            .take(MAX_KEYS)
            .collect();
        // After the last comes the first.
        self.swept = batch.last().cloned();
        self.pending.extend(batch);
        if self.pending.is_empty() {
            // A circle without names still has a newest header: the read of
            // anything, here of a zone, proves it.
            self.pending.extend(self.apex.clone().map(Subject::Zone));
        }
    }

    /// Reads what is pending and hands it over if that makes an exact image.
    async fn settle(&mut self) {
        while !self.pending.is_empty() {
            let batch: Vec<Subject> = self.pending.iter().take(MAX_KEYS).cloned().collect();
            match self.ledger.read(keys(&batch), self.told).await {
                Ok(reading) => {
                    self.take(&batch, &reading);
                    for subject in &batch {
                        self.pending.remove(subject);
                    }
                }
                Err(error) => {
                    debug!(error = %chain(&error), "names could not be read");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    return;
                }
            }
        }
        self.hand_over();
    }

    /// Takes proven records over.
    fn take(&mut self, batch: &[Subject], reading: &Reading) {
        if reading.height >= self.proven {
            self.proven = reading.height;
            self.time_ms = self.time_ms.max(reading.time_ms);
        }
        let wants_proofs = self.image.wants_proofs();
        for (at, subject) in batch.iter().enumerate() {
            let value = reading.values.get(at).and_then(Option::as_deref);
            let entry = subject.keep(value);
            let known = self.entries.get(subject);
            if known == entry.as_ref() {
                continue;
            }
            // Absence does not say since when: only events up to the proof do.
            let since = entry.as_ref().map_or(reading.height, Kept::changed_at);
            self.needed = self.needed.max(since);
            if let (Subject::Zone(apex), true) = (subject, self.taken.is_some())
                && endpoint_ttl(subject, known) != endpoint_ttl(subject, entry.as_ref())
            {
                // What follows from replicas is made of it.
                let names = names_beneath(&self.entries, apex);
                for name in names {
                    self.changed.entry(name).or_default();
                }
            }
            let proof = reading.proofs.get(at).filter(|_| wants_proofs);
            self.changed
                .insert(subject.clone(), proof.cloned().unwrap_or_default());
            match entry {
                Some(entry) => self.entries.insert(subject.clone(), entry),
                None => self.entries.remove(subject),
            };
        }
    }

    /// Hands the image over at the greatest height for which it is exact.
    fn hand_over(&mut self) {
        if self.told < self.needed {
            return;
        }
        // A proof is only as fresh as what has been heard up to its height: a
        // stream of events that stands still must not look alive.
        let last_ms = self.taken.map_or(0, |(_, time_ms)| time_ms);
        let time_ms = if self.told >= self.proven {
            self.time_ms
        } else {
            last_ms
        };
        if self.taken.is_some() && self.changed.is_empty() && time_ms == last_ms {
            return;
        }
        let last = self.taken.map_or(Height(0), |(height, _)| height);
        let height = self.told.min(self.proven).max(last);
        let changes = std::mem::take(&mut self.changed)
            .into_iter()
            .map(|(subject, proof)| ProvenChange {
                kept: self.entries.get(&subject),
                subject,
                proof,
            })
            .collect();
        self.image.take(height, time_ms, changes);
        self.taken = Some((height, time_ms));
    }
}

/// For how long what follows from replicas may be cached, where a zone says so.
pub(super) fn endpoint_ttl(subject: &Subject, kept: Option<&Kept>) -> Option<u32> {
    match kept?.open(subject) {
        Some(Entry::Zone(record)) => Some(record.zone.endpoint_ttl),
        _ => None,
    }
}

/// Every name beneath `apex`.
pub(super) fn names_beneath(entries: &BTreeMap<Subject, Kept>, apex: &DomainName) -> Vec<Subject> {
    let is_beneath = |subject: &&Subject| match subject {
        Subject::Name(name) => name.prefix_under(apex).is_some(),
        Subject::Zone(_) | Subject::Server(_) => false,
    };
    entries.keys().filter(is_beneath).cloned().collect()
}
