//! What of the ledger makes a zone: registered names, what zone signers say of
//! the apexes, and what name servers say of themselves. All are listed, read
//! and told of alike.

use std::collections::BTreeSet;

use futures_util::{Stream, StreamExt as _};
use tracing::warn;
use wire::{AccountId, DomainName, Event, Height, record, state_key};

use super::zone::Change;
use crate::ledger::{Ledger, LedgerError, MAX_KEYS, Reading};

/// Proven reads under way at once while everything is first read.
const CONCURRENT_READS: usize = 4;

/// How long to wait before asking a node again that is behind.
const BEHIND_INTERVAL: std::time::Duration = std::time::Duration::from_millis(250);

/// One entry of the ledger that makes a zone. Zones come before names, so
/// that how a zone is signed is known before what it holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// What a zone signer says of an apex.
    Zone(DomainName),
    /// A registered name.
    Name(DomainName),
    /// What a name server says of itself.
    Server(AccountId),
}

/// The entry's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Of [`Subject::Zone`].
    Zone(Box<record::Zone>),
    /// Of [`Subject::Name`].
    Name(Box<record::Name>),
    /// Of [`Subject::Server`], without the certificate: no zone holds it, and
    /// it changes more often than the rest.
    Server(Box<record::NameServer>),
}

impl Entry {
    /// When it last changed.
    pub fn changed_at(&self) -> Height {
        match self {
            Self::Zone(zone) => zone.changed_at,
            Self::Name(name) => name.changed_at,
            Self::Server(server) => server.changed_at,
        }
    }
}

/// An entry's record as it is kept: encoded, which takes a third of the
/// memory that it takes to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    changed_at: Height,
    octets: Box<[u8]>,
}

impl Kept {
    /// When the entry last changed.
    pub fn changed_at(&self) -> Height {
        self.changed_at
    }

    /// Octets that it takes.
    pub fn octets(&self) -> usize {
        self.octets.len()
    }

    /// The entry of `subject`, which it was kept of.
    pub fn open(&self, subject: &Subject) -> Option<Entry> {
        subject.decode(Some(&self.octets))
    }
}

impl Subject {
    /// Its record out of a proven value, to be kept; none if there is none
    /// that this build can read.
    pub fn keep(&self, value: Option<&[u8]>) -> Option<Kept> {
        let entry = self.decode(value)?;
        let octets = match &entry {
            Entry::Zone(zone) => record::encode(&**zone),
            Entry::Name(name) => record::encode(&**name),
            Entry::Server(server) => record::encode(&**server),
        };
        Some(Kept {
            changed_at: entry.changed_at(),
            octets: octets.into(),
        })
    }

    /// Its key in the ledger's state.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Zone(apex) => state_key::zone(apex),
            Self::Name(name) => state_key::name(name),
            Self::Server(server) => state_key::name_server(*server),
        }
    }

    /// The subject whose key this is.
    pub fn of_key(key: &[u8]) -> Option<Self> {
        let parse = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
        if let Some(text) = key.strip_prefix(state_key::NAMES) {
            return Some(Self::Name(parse(text)?));
        }
        if let Some(account) = key.strip_prefix(state_key::NAME_SERVERS) {
            return Some(Self::Server(AccountId(account.try_into().ok()?)));
        }
        Some(Self::Zone(parse(key.strip_prefix(state_key::ZONES)?)?))
    }

    /// The subject that an event says changed.
    pub fn of_event(event: &Event) -> Option<Self> {
        match event {
            Event::NameChanged { name } | Event::NameReleased { name, .. } => {
                Some(Self::Name(name.clone()))
            }
            Event::NameServerChanged { server, .. } => Some(Self::Server(*server)),
            Event::ZoneChanged { apex } => Some(Self::Zone(apex.clone())),
            _ => None,
        }
    }

    /// Its record out of a proven value; none if there is none that this
    /// build can read.
    pub fn decode(&self, value: Option<&[u8]>) -> Option<Entry> {
        let value = value?;
        let decoded = match self {
            Self::Zone(_) => record::decode(value).map(Box::new).map(Entry::Zone),
            Self::Name(_) => record::decode(value).map(Box::new).map(Entry::Name),
            Self::Server(_) => record::decode::<record::NameServer>(value).map(|server| {
                Entry::Server(Box::new(record::NameServer {
                    certificate: None,
                    ..server
                }))
            }),
        };
        // A newer ledger's record: not to be served is better than wrong.
        decoded
            .inspect_err(|error| warn!(subject = ?self, %error, "a record does not decode; it is not served"))
            .ok()
    }

    /// It and its record as a change of zones.
    pub fn change<'a>(&'a self, entry: Option<&'a Entry>) -> Change<'a> {
        match (self, entry) {
            (Self::Zone(apex), Some(Entry::Zone(zone))) => Change::Zone(apex, Some(zone)),
            (Self::Zone(apex), _) => Change::Zone(apex, None),
            (Self::Name(name), Some(Entry::Name(record))) => Change::Name(name, Some(record)),
            (Self::Name(name), _) => Change::Name(name, None),
            (Self::Server(server), Some(Entry::Server(record))) => {
                Change::Server(*server, Some(&record.terms))
            }
            (Self::Server(server), _) => Change::Server(*server, None),
        }
    }
}

/// The keys of `subjects`, in their order.
pub(super) fn keys(subjects: &[Subject]) -> Vec<Vec<u8>> {
    subjects.iter().map(Subject::key).collect()
}

/// Lists the names and name servers there are, and adds the zones of `apexes`.
///
/// Errors: [`LedgerError`], if no node lists.
pub(super) async fn list(
    ledger: &impl Ledger,
    apexes: &[DomainName],
    start: Height,
) -> Result<BTreeSet<Subject>, LedgerError> {
    let mut found: BTreeSet<Subject> = apexes.iter().cloned().map(Subject::Zone).collect();
    for prefix in [state_key::NAMES, state_key::NAME_SERVERS] {
        list_beneath(ledger, prefix, start, &mut found).await?;
    }
    Ok(found)
}

async fn list_beneath(
    ledger: &impl Ledger,
    prefix: &[u8],
    start: Height,
    found: &mut BTreeSet<Subject>,
) -> Result<(), LedgerError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = ledger.list(prefix, after.as_deref()).await?;
        if page.height < start {
            // A node that is behind would hide names that we will hear no event of.
            tokio::time::sleep(BEHIND_INTERVAL).await;
            continue;
        }
        found.extend(page.keys.iter().filter_map(|key| Subject::of_key(key)));
        match page.keys.last() {
            Some(last) if page.more && Some(last) > after.as_ref() => {
                after = Some(last.clone());
            }
            _ => return Ok(()),
        }
    }
}

/// Reads every one of `subjects`, several batches at a time.
///
/// Shape: each batch with its reading, or why there is none, in no order.
pub(super) fn read_all(
    ledger: &impl Ledger,
    subjects: BTreeSet<Subject>,
    since: Height,
) -> impl Stream<Item = (Vec<Subject>, Result<Reading, LedgerError>)> {
    let subjects: Vec<Subject> = subjects.into_iter().collect();
    let batches: Vec<Vec<Subject>> = subjects.chunks(MAX_KEYS).map(<[_]>::to_vec).collect();
    futures_util::stream::iter(batches)
        .map(move |batch| async move {
            let reading = ledger.read(keys(&batch), since).await;
            (batch, reading)
        })
        .buffer_unordered(CONCURRENT_READS)
}
