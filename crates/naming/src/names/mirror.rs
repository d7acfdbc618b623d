//! Keeping signed zones level with the ledger, through a zone signer's feed.
//!
//! The signer says which entries changed, with proofs, and how the zones are
//! signed; neither is believed. Every proof is verified under the circle's
//! key and every signature under the keys that the circle proved, and an image
//! is published only when every RRset of it is signed. What the signer could
//! do at worst is to keep quiet: events and a sweep of our own notice, and
//! then the image ages in the open (docs/spec/dns.md §7).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::pin,
    time::{Duration, Instant},
};

use domain::base::{Rtype, Serial};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::timeout};
use tracing::{debug, info, warn};
use wire::{DomainName, Height};

use super::{
    dnssec::{self, LabelSignatures, SetSignatures, SignatureError},
    feed::{FeedError, Reader, Received, SignatureFrame},
    follow::{endpoint_ttl, names_beneath},
    published::Published,
    subjects::{self, Entry, Kept, Subject, keys},
    zone::{Apex, Label, Zone, ZoneSettings, serial},
};
use crate::ledger::{self, BlockEvents, Ledger, LedgerError, MAX_KEYS, Reading, chain};

/// How often entries are read again without cause.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait before the next signer is tried.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a signer may take to answer a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a signer may be silent: it says every second how far it has come.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Versions that wait while entries are first read.
const MAX_BACKLOG: usize = 65_536;

/// Names that are put together at a time, and then packed.
const NAMES_AT_ONCE: usize = 1024;

/// Headers whose times are remembered: a minute of sweeps.
const MAX_HEADERS: usize = 64;

/// Versions after which a zone that does not come together is begun anew.
const MAX_ATTEMPTS: usize = 60;

/// Why a signer's feed is given up.
#[derive(Debug, thiserror::Error)]
enum MirrorError {
    #[error("the ledger could not be followed")]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error("the zone signer's version {height} does not hold")]
    Signatures {
        height: Height,
        source: SignatureError,
    },
    #[error("the zone signer's version {height} is not what its height allows: {what}")]
    Version { height: Height, what: &'static str },
    #[error("the zone signer did not answer")]
    Silent,
}

/// Follows `ledger` through the feeds of `signers`, one at a time, and
/// publishes signed images. It ends with its caller.
///
/// Shape: zones are those of `apexes`, or the genesis' if there are none.
pub(super) async fn mirror(
    ledger: &impl Ledger,
    signers: &[String],
    apexes: &[DomainName],
    settings: &ZoneSettings,
    published: &Published,
) -> std::convert::Infallible {
    for signer in signers.iter().cycle() {
        match mirror_from(ledger, signer, apexes, settings, published).await {
            Ok(never) => match never {},
            Err(error) => {
                warn!(%signer, error = %chain(&error), "zones are mirrored from scratch");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
    // Only an empty list ends.
    std::future::pending().await
}

async fn mirror_from(
    ledger: &impl Ledger,
    signer: &str,
    apexes: &[DomainName],
    settings: &ZoneSettings,
    published: &Published,
) -> Result<std::convert::Infallible, MirrorError> {
    let (_reading, mut versions) = connect(signer).await?;
    let (founded, reading) = ledger::apexes(ledger).await?;
    let apexes = if apexes.is_empty() { &founded } else { apexes };
    let start = reading.height;
    let mut events = pin!(ledger.events(start.plus(1)));
    let mut mirror = Mirror::new(published, apexes, settings, start);
    let all = subjects::list(ledger, apexes, start).await?;
    let mut readings = pin!(subjects::read_all(ledger, all, start));
    while let Some((batch, reading)) = readings.next().await {
        let reading = reading?;
        for (at, subject) in batch.iter().enumerate() {
            let value = reading.values.get(at).and_then(Option::as_deref);
            if let Some(entry) = subject.keep(value) {
                mirror.entries.insert(subject.clone(), entry);
            }
        }
        mirror.see(&reading);
    }
    mirror.assemble(ledger, &mut versions).await?;
    info!(names = mirror.zone.names(), height = %mirror.zone.height(), %signer, "zones are whole");
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut own = FuturesUnordered::new();
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            version = versions.recv() => {
                heard = Instant::now();
                mirror.apply(ledger, &version.ok_or(MirrorError::Silent)??)?;
            }
            block = events.next() => {
                mirror.hear(&block.ok_or(LedgerError::Missing("further events"))??)?;
            }
            _ = sweep.tick() => {
                if heard.elapsed() > SILENCE_TIMEOUT {
                    return Err(MirrorError::Silent);
                }
                mirror.sweep();
            }
            Some((batch, reading)) = own.next() => mirror.compare(batch, reading),
        }
        // One reading of our own at a time; it holds nothing else up.
        if own.is_empty() && !mirror.pending.is_empty() {
            let batch: Vec<Subject> = mirror.pending.iter().take(MAX_KEYS).cloned().collect();
            mirror.pending.retain(|subject| !batch.contains(subject));
            let since = mirror.told;
            own.push(async move {
                let reading = ledger.read(keys(&batch), since).await;
                (batch, reading)
            });
        }
    }
}

type Versions = mpsc::Receiver<Result<Received, FeedError>>;

/// Connects to a signer and reads its versions in a task, so that it is
/// heard while entries are first read.
async fn connect(signer: &str) -> Result<(JoinSet<()>, Versions), MirrorError> {
    let connecting = async {
        let stream = TcpStream::connect(signer).await?;
        stream.set_nodelay(true)?;
        Reader::begin(stream).await
    };
    let mut reader = timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| MirrorError::Silent)??;
    let (sender, versions) = mpsc::channel(MAX_BACKLOG);
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let version = reader.version().await;
            let ended = version.is_err();
            if sender.send(version).await.is_err() || ended {
                return;
            }
        }
    });
    Ok((task, versions))
}

async fn next(versions: &mut Versions) -> Result<Received, MirrorError> {
    match timeout(SILENCE_TIMEOUT, versions.recv()).await {
        Ok(Some(version)) => Ok(version?),
        Ok(None) | Err(_) => Err(MirrorError::Silent),
    }
}

/// Signatures by zone and label, before there is a zone: of each owner and
/// type those that came last, encoded, for there are nine to a common name.
type Staged = BTreeMap<DomainName, BTreeMap<Label, Box<[u8]>>>;

struct Mirror<'a> {
    published: &'a Published,
    apexes: Vec<DomainName>,
    settings: ZoneSettings,
    /// Everything there is, as last proven.
    entries: BTreeMap<Subject, Kept>,
    /// The image last published.
    zone: Zone,
    /// Events are known up to this height.
    told: Height,
    /// What changed by our own account, at which height, and the signer has
    /// not brought yet.
    awaited: BTreeMap<Subject, Height>,
    /// Heights and times of headers that proved our own readings, ascending.
    headers: VecDeque<(Height, u64)>,
    /// What to read ourselves.
    pending: BTreeSet<Subject>,
    /// What the sweep read last.
    swept: Option<Subject>,
}

impl<'a> Mirror<'a> {
    fn new(
        published: &'a Published,
        apexes: &[DomainName],
        settings: &ZoneSettings,
        start: Height,
    ) -> Self {
        Self {
            published,
            apexes: apexes.to_vec(),
            settings: settings.clone(),
            entries: BTreeMap::new(),
            zone: Zone::new(apexes, settings.clone()),
            told: start,
            awaited: BTreeMap::new(),
            headers: VecDeque::new(),
            pending: BTreeSet::new(),
            swept: None,
        }
    }

    /// Puts the first image together: what we read ourselves, what changed
    /// since by the signer's proofs, and the signatures of both.
    async fn assemble(
        &mut self,
        ledger: &impl Ledger,
        versions: &mut Versions,
    ) -> Result<(), MirrorError> {
        let mut staged = Staged::new();
        let mut serials = BTreeMap::new();
        let mut height = Height(0);
        for attempt in 0.. {
            let mut version = next(versions).await?;
            loop {
                for Shown { subject, entry, .. } in prove(ledger, &version)? {
                    match entry {
                        Some(entry) => self.entries.insert(subject, entry),
                        None => self.entries.remove(&subject),
                    };
                }
                height = height.max(version.commit.height);
                serials.extend(version.commit.serials.iter().cloned());
                stage(&mut staged, version.signatures);
                // Not before all that is there was taken: what we read may be
                // newer than what the signer said first.
                match versions.try_recv() {
                    Ok(more) => version = more?,
                    Err(_) => break,
                }
            }
            match self.put_together(height, &staged, &serials) {
                Ok(Some(zone)) => {
                    self.zone = zone;
                    self.publish();
                    return Ok(());
                }
                Ok(None) if attempt < MAX_ATTEMPTS => {}
                Err(error) if attempt < MAX_ATTEMPTS => {
                    debug!(%error, "the zones do not fit together yet");
                }
                Err(source) => return Err(MirrorError::Signatures { height, source }),
                Ok(None) => return Err(MirrorError::Silent),
            }
        }
        Ok(())
    }

    /// The image at `height`; none while what we read is ahead of it.
    fn put_together(
        &self,
        height: Height,
        staged: &Staged,
        serials: &BTreeMap<DomainName, u32>,
    ) -> Result<Option<Zone>, SignatureError> {
        if self
            .entries
            .values()
            .any(|entry| entry.changed_at() > height)
        {
            return Ok(None);
        }
        let empty = Zone::new(&self.apexes, self.settings.clone());
        let is_name = |subject: &Subject| matches!(subject, Subject::Name(_));
        let others = self.entries.iter().filter(|(subject, _)| !is_name(subject));
        let others: Vec<_> = others
            .map(|(subject, kept)| (subject, kept.open(subject)))
            .collect();
        let others = others.iter();
        let others = others.map(|(subject, entry)| subject.change(entry.as_ref()));
        let (mut zone, _) = empty.advance(height, self.fresh_ms(), others);
        for apex in zone.apexes_mut() {
            if apex.keys().is_none() {
                continue;
            }
            let Some(number) = serials.get(apex.text()) else {
                return Ok(None);
            };
            apex.set_serial(Serial(*number));
        }
        let own: Vec<Vec<Label>> = zone
            .apexes()
            .iter()
            .map(|apex| apex.labels_with_own().collect())
            .collect();
        // From the last to the first, so that each NSEC record leads to a name
        // that is there, and some at a time, for they are packed only at last.
        let mut names: Vec<(&Subject, &Kept)> = self.entries.iter().collect();
        names.retain(|(subject, _)| is_name(subject));
        names.sort_by_cached_key(|(subject, _)| std::cmp::Reverse(place(subject)));
        for some in names.chunks(NAMES_AT_ONCE) {
            let opened: Vec<_> = some
                .iter()
                .map(|(subject, kept)| kept.open(subject))
                .collect();
            let changes = some.iter().zip(&opened);
            let changes = changes.map(|((subject, _), entry)| subject.change(entry.as_ref()));
            zone = zone.advance(height, self.fresh_ms(), changes).0;
            for apex in zone.apexes_mut() {
                let labels = some.iter().filter_map(|(subject, _)| match subject {
                    Subject::Name(name) => name.prefix_under(apex.text()),
                    Subject::Zone(_) | Subject::Server(_) => None,
                });
                let labels: Vec<Label> = labels.map(|label| label.as_bytes().into()).collect();
                attach_staged(apex, &labels, staged)?;
            }
            zone.render();
        }
        for (apex, labels) in zone.apexes_mut().iter_mut().zip(&own) {
            attach_staged(apex, labels, staged)?;
        }
        Ok(Some(zone))
    }

    /// Takes a version over, whole or not at all.
    fn apply(&mut self, ledger: &impl Ledger, version: &Received) -> Result<(), MirrorError> {
        let height = version.commit.height;
        let failed = |what| MirrorError::Version { height, what };
        if version.commit.whole || height < self.zone.height() {
            return Err(failed("it goes back"));
        }
        let mut changed: BTreeMap<Subject, Option<Kept>> = BTreeMap::new();
        for Shown {
            subject,
            entry,
            since,
        } in prove(ledger, version)?
        {
            let known = self.entries.get(&subject);
            if since < known.map_or(Height(0), Kept::changed_at) {
                return Err(failed("an entry is older than what is known"));
            }
            if let Subject::Zone(apex) = &subject
                && endpoint_ttl(&subject, known) != endpoint_ttl(&subject, entry.as_ref())
            {
                for name in names_beneath(&self.entries, apex) {
                    let entry = self.entries.get(&name).cloned();
                    changed.entry(name).or_insert(entry);
                }
            }
            changed.insert(subject, entry);
        }
        let opened = changed
            .iter()
            .map(|(subject, kept)| (subject, opened(subject, kept)));
        let opened: Vec<(&Subject, Option<Entry>)> = opened.collect();
        let changes = opened
            .iter()
            .map(|(subject, entry)| subject.change(entry.as_ref()));
        let (mut zone, mut touched) = self.zone.advance(height, self.fresh_ms(), changes);
        for (index, apex) in zone.apexes_mut().iter_mut().enumerate() {
            let text = apex.text().clone();
            let mut labels = touched.remove(&index).unwrap_or_default();
            if let Some((_, number)) = version.commit.serials.iter().find(|(of, _)| *of == text) {
                if Serial(*number) != serial(height) {
                    return Err(failed("a serial is not its height's"));
                }
                apex.set_serial(Serial(*number));
                labels.insert(Label::default());
            }
            let frames = version.signatures.iter().filter_map(SignatureFrame::open);
            for (_, signatures) in frames.filter(|(of, _)| *of == text) {
                labels.extend(
                    signatures
                        .iter()
                        .map(|one| Label::from(one.label.as_slice())),
                );
                dnssec::attach(apex, &signatures)
                    .map_err(|source| MirrorError::Signatures { height, source })?;
            }
            dnssec::check_whole(apex, &labels)
                .map_err(|source| MirrorError::Signatures { height, source })?;
        }
        self.zone = zone;
        for (subject, entry) in changed {
            if self.awaited.get(&subject).is_some_and(|at| *at <= height) {
                self.awaited.remove(&subject);
            }
            match entry {
                Some(entry) => self.entries.insert(subject, entry),
                None => self.entries.remove(&subject),
            };
        }
        // What should have come by now is looked at.
        let overdue = self.awaited.iter().filter(|(_, at)| **at <= height);
        self.pending
            .extend(overdue.map(|(subject, _)| subject.clone()));
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let (zone, _) = self.zone.advance(self.zone.height(), self.fresh_ms(), []);
        self.zone = zone;
        self.published.publish(&mut self.zone);
    }

    /// The time of the newest header of our own by which nothing is awaited.
    fn fresh_ms(&self) -> u64 {
        let bound = self.awaited.values().min();
        let fresh =
            self.headers.iter().rev().find(|(height, _)| {
                *height <= self.told && bound.is_none_or(|bound| height < bound)
            });
        fresh
            .map_or(0, |(_, time_ms)| *time_ms)
            .max(self.zone.time_ms())
    }

    fn see(&mut self, reading: &Reading) {
        if self
            .headers
            .back()
            .is_none_or(|(height, _)| *height < reading.height)
        {
            self.headers.push_back((reading.height, reading.time_ms));
        }
        if self.headers.len() > MAX_HEADERS {
            self.headers.pop_front();
        }
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
        for subject in block.events.iter().filter_map(Subject::of_event) {
            let known = self.entries.get(&subject);
            if known.is_some_and(|entry| entry.changed_at() >= block.height) {
                continue;
            }
            if block.height > self.zone.height() {
                self.awaited.insert(subject, block.height);
            } else {
                // The signer was quicker than the event, or left it out.
                self.pending.insert(subject);
            }
        }
        Ok(())
    }

    /// Puts the next of everything there is among what we read ourselves.
    fn sweep(&mut self) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = self.swept.take().map_or(Unbounded, Excluded);
        let batch: Vec<Subject> = self
            .entries
            .range((from, Unbounded))
            .map(|(subject, _)| subject.clone())
            .take(MAX_KEYS)
            .collect();
        self.swept = batch.last().cloned();
        self.pending.extend(batch);
        if self.pending.is_empty() {
            self.pending
                .extend(self.apexes.first().cloned().map(Subject::Zone));
        }
    }

    /// Compares a reading of our own with what the signer brought.
    fn compare(&mut self, batch: Vec<Subject>, reading: Result<Reading, LedgerError>) {
        let reading = match reading {
            Ok(reading) => reading,
            Err(error) => {
                debug!(error = %chain(&error), "names could not be read");
                return;
            }
        };
        for (at, subject) in batch.into_iter().enumerate() {
            let value = reading.values.get(at).and_then(Option::as_deref);
            let entry = subject.keep(value);
            if self.entries.get(&subject) == entry.as_ref() {
                if self
                    .awaited
                    .get(&subject)
                    .is_some_and(|at| *at <= reading.height)
                {
                    self.awaited.remove(&subject);
                }
                continue;
            }
            let changed_at = entry.as_ref().map_or(reading.height, Kept::changed_at);
            if changed_at <= self.zone.height() && self.awaited.get(&subject) != Some(&changed_at) {
                warn!(?subject, %changed_at, "the zone signer left a change out; zones age until it comes");
            }
            self.awaited.insert(subject, changed_at);
        }
        self.see(&reading);
        self.publish();
    }
}

/// Where a name stands: its parent, then its label.
fn place(subject: &Subject) -> (String, String) {
    let text = match subject {
        Subject::Name(name) => name.as_str(),
        Subject::Zone(_) | Subject::Server(_) => "",
    };
    let (label, parent) = text.split_once('.').unwrap_or((text, ""));
    (parent.to_owned(), label.to_owned())
}

/// Puts the signatures that were brought on what stands at and beneath `labels`.
///
/// Errors: one that does not hold, or an RRset without.
fn attach_staged(apex: &mut Apex, labels: &[Label], staged: &Staged) -> Result<(), SignatureError> {
    if apex.keys().is_none() {
        return Ok(());
    }
    let mut all = Vec::with_capacity(labels.len());
    for label in labels {
        // Signatures of what has gone since were brought too.
        let of_label = staged.get(apex.text()).and_then(|staged| staged.get(label));
        let sets = of_label.map(|octets| unpacked(octets)).unwrap_or_default();
        let domain = apex.domain(label);
        let is_here = |set: &SetSignatures| {
            let node = match &domain {
                Some(domain) => domain.node(&set.owner),
                None if label.is_empty() && set.owner.is_empty() => Some(apex.node()),
                None => None,
            };
            node.is_some_and(|node| node.get(Rtype::from_int(set.rtype)).is_some())
        };
        all.push(LabelSignatures {
            label: label.to_vec(),
            sets: sets.into_iter().filter(is_here).collect(),
        });
    }
    dnssec::attach(apex, &all)?;
    dnssec::check_whole(apex, labels)
}

fn stage(staged: &mut Staged, frames: Vec<SignatureFrame>) {
    for (apex, labels) in frames.into_iter().filter_map(|frame| frame.open()) {
        let of_zone = staged.entry(apex).or_default();
        for label in labels {
            let present = of_zone.entry(label.label.into()).or_default();
            let former = unpacked(present).into_iter();
            let sets: BTreeMap<_, _> = former
                .chain(label.sets)
                .map(|set| ((set.owner.clone(), set.rtype), set))
                .collect();
            let sets: Vec<SetSignatures> = sets.into_values().collect();
            // Encoding into memory does not fail.
            *present = borsh::to_vec(&sets).unwrap_or_default().into();
        }
    }
}

/// What [`stage`] encoded; nothing, if it was nothing.
fn unpacked(octets: &[u8]) -> Vec<SetSignatures> {
    borsh::from_slice(octets).unwrap_or_default()
}

fn opened(subject: &Subject, kept: &Option<Kept>) -> Option<Entry> {
    kept.as_ref()?.open(subject)
}

/// What one proof shows.
struct Shown {
    subject: Subject,
    entry: Option<Kept>,
    /// When the entry last changed; for one that is gone, when that was proven.
    since: Height,
}

/// The entries that a version's proofs show.
///
/// Errors: a proof that does not hold, or is of something else or later than
///         the version says it is.
fn prove(ledger: &impl Ledger, version: &Received) -> Result<Vec<Shown>, MirrorError> {
    let height = version.commit.height;
    let failed = |what| MirrorError::Version { height, what };
    let mut proven = Vec::with_capacity(version.proofs.len());
    for proof in &version.proofs {
        let checked = ledger.check(proof)?;
        let subject = Subject::of_key(&checked.key).ok_or_else(|| failed("a proof of no name"))?;
        let entry = subject.keep(checked.value.as_deref());
        let since = entry.as_ref().map_or(checked.height, Kept::changed_at);
        if since > height {
            return Err(failed("an entry is newer than its height"));
        }
        proven.push(Shown {
            subject,
            entry,
            since,
        });
    }
    Ok(proven)
}
