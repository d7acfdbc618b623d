//! What is served: an immutable image of the circle's zones at one height.
//!
//! A [`Zone`] is built once, never changed once it is published, and swapped
//! whole, so that every answer comes from one committed height. The next image
//! shares with the last one every registered name that did not change: a block
//! that touches three names costs three names, however many the circle has.
//!
//! It trusts the records it is given; that they were proven is for the
//! follower to see to.

mod apex;
mod chain;
mod domain;
mod file;
mod held;
mod keys;
mod order;
mod resolvers;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ::domain::{
    base::{Name, Serial, iana::Rtype},
    rdata::{A, Aaaa, ZoneRecordData},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::{AccountId, DomainName, Height, NameServerTerms};

pub(crate) use self::keys::ds_of;
pub use self::{
    apex::Apex,
    domain::{Domain, Node, RrSet, Standing},
    keys::{TaggedKey, ds, key_tag},
};
use super::{
    rendered::{self, Rendered},
    synthesis,
};

/// The label under which the name server's own addresses stand; the server's
/// configuration, not the ledger, says what is there.
const NS_LABEL: &str = "ns";

/// A label beneath an apex, lower case, without its length; the empty one
/// stands for the apex itself.
pub type Label = Box<[u8]>;

/// The labels of each zone whose RRsets may lack signatures, by the zone's place.
pub type Touched = BTreeMap<usize, BTreeSet<Label>>;

/// A name as it is kept here: absolute, uncompressed, shared.
pub type OwnerName = Name<Bytes>;

/// A record's data as it is kept here.
pub type Data = ZoneRecordData<Bytes, OwnerName>;

/// What the operator says of the zones, beside what the ledger says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZoneSettings {
    /// Addresses of this name server as clients reach it: `ns.APEX`.
    pub ns_addresses: Vec<IpAddr>,
    /// Seconds for which records that follow from live replicas may be cached.
    pub endpoint_ttl: u32,
    /// Seconds for which a denial may be cached (RFC 2308 §5), and thus how
    /// long a new name may go unseen by someone who asked too early.
    pub negative_ttl: u32,
    /// Seconds for which SOA, NS and the name server's addresses may be cached.
    pub apex_ttl: u32,
}

impl Default for ZoneSettings {
    fn default() -> Self {
        Self {
            ns_addresses: Vec::new(),
            endpoint_ttl: 5,
            negative_ttl: 5,
            apex_ttl: 300,
        }
    }
}

/// One thing that the ledger changed; none took it away.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A registered name.
    Name(&'a DomainName, Option<&'a wire::record::Name>),
    /// What one of the circle's name servers says of itself.
    Server(AccountId, Option<&'a NameServerTerms>),
    /// What a zone signer says of an apex.
    Zone(&'a DomainName, Option<&'a wire::record::Zone>),
}

/// The zones at one height.
#[derive(Clone, Debug)]
pub struct Zone {
    height: Height,
    time_ms: u64,
    names: usize,
    /// Longest first, so that the first match is the closest.
    apexes: Vec<Apex>,
    /// Answers that are ready, as of the last [`Zone::render`].
    rendered: Option<Arc<Rendered>>,
}

impl Zone {
    /// Empty zones at height 0.
    pub fn new(apexes: &[DomainName], settings: ZoneSettings) -> Self {
        let mut apexes: Vec<&DomainName> = apexes.iter().collect();
        apexes.sort_by_key(|apex| std::cmp::Reverse((apex.as_str().len(), *apex)));
        apexes.dedup();
        let settings = Arc::new(settings);
        let apexes = apexes
            .into_iter()
            .map(|apex| Apex::new(apex, &settings))
            .collect();
        Self {
            height: Height(0),
            time_ms: 0,
            names: 0,
            apexes,
            rendered: None,
        }
    }

    /// Makes answers ready for whatever changed since the last time: before
    /// an image is served, and not for one that is only signed.
    pub(super) fn render(&mut self) {
        let rendered = self.rendered.get_or_insert_default();
        rendered::render(rendered, &mut self.apexes);
    }

    /// Answers that are ready; none if anything changed since.
    pub(super) fn rendered(&self) -> Option<&Rendered> {
        let is_level = self.apexes.iter().all(Apex::is_rendered);
        self.rendered.as_deref().filter(|_| is_level)
    }

    /// The height whose names this is.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Time of the newest header under which these names were proven, Unix
    /// milliseconds.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Registered names that resolve.
    pub fn names(&self) -> usize {
        self.names
    }

    /// The zones, longest apex first.
    pub fn apexes(&self) -> &[Apex] {
        &self.apexes
    }

    /// The zones, to be signed.
    pub(super) fn apexes_mut(&mut self) -> &mut [Apex] {
        &mut self.apexes
    }

    /// The apexes as the ledger writes them, longest first.
    pub fn apex_texts(&self) -> impl Iterator<Item = &DomainName> {
        self.apexes.iter().map(Apex::text)
    }

    /// The image at `height` with `changes` of names made.
    ///
    /// Shape: each change is a name and its record; none removes it. Names
    ///        that lie beneath no apex of ours are passed over.
    #[must_use]
    pub fn next<'a>(
        &self,
        height: Height,
        time_ms: u64,
        changes: impl IntoIterator<Item = (&'a DomainName, Option<&'a wire::record::Name>)>,
    ) -> Self {
        let changes = changes
            .into_iter()
            .map(|(name, record)| Change::Name(name, record));
        self.advance(height, time_ms, changes).0
    }

    /// The image at `height` with `changes` made, and what of it may lack
    /// signatures. The serial of a signed zone is its signer's to move.
    #[must_use]
    pub fn advance<'a>(
        &self,
        height: Height,
        time_ms: u64,
        changes: impl IntoIterator<Item = Change<'a>>,
    ) -> (Self, Touched) {
        let mut next = self.clone();
        next.height = height;
        next.time_ms = time_ms;
        let mut changed = Touched::new();
        for change in changes {
            match change {
                Change::Name(name, record) => next.change_name(name, record, &mut changed),
                Change::Server(server, terms) => {
                    for (index, apex) in next.apexes.iter_mut().enumerate() {
                        if let Some(label) = apex.set_resolver(server, terms) {
                            changed.entry(index).or_default().insert(label);
                        }
                    }
                }
                Change::Zone(apex, record) => next.change_zone(apex, record, &mut changed),
            }
        }
        let serial = serial(height);
        let mut touched = Touched::new();
        for (index, apex) in next.apexes.iter_mut().enumerate() {
            if let Some(labels) = changed.get(&index) {
                touched.insert(index, apex.rechain(labels));
            }
            if apex.keys().is_none() {
                apex.set_serial(serial);
            }
        }
        (next, touched)
    }

    fn change_name(
        &mut self,
        name: &DomainName,
        record: Option<&wire::record::Name>,
        changed: &mut Touched,
    ) {
        let Some((index, label)) = self.place(name) else {
            return;
        };
        let domain = record.and_then(|record| {
            let apex = &self.apexes[index];
            synthesis::domain(record, apex.text(), apex.settings())
        });
        let before = self.apexes[index].has(&label);
        self.names = self.names + usize::from(domain.is_some()) - usize::from(before);
        if self.apexes[index].replace(&label, domain) {
            changed.entry(index).or_default().insert(label);
        }
    }

    fn change_zone(
        &mut self,
        apex: &DomainName,
        record: Option<&wire::record::Zone>,
        changed: &mut Touched,
    ) {
        let found = self.apexes.iter().position(|known| known.text() == apex);
        if let Some(index) = found {
            let labels = self.apexes[index].set_zone(record);
            changed.entry(index).or_default().extend(labels);
        }
    }

    /// The zone in which `name` is registered, and its label there.
    fn place(&self, name: &DomainName) -> Option<(usize, Label)> {
        let (index, label) = self.apexes.iter().enumerate().find_map(|(index, apex)| {
            let label = name.prefix_under(apex.text())?;
            Some((index, label))
        })?;
        // The ledger registers one label beneath an apex; the name servers'
        // labels are the zone's own.
        let own = self.apexes[index].is_server(label);
        (!label.contains('.') && !own).then(|| (index, label.as_bytes().into()))
    }

    /// For how long anything of `name` may be cached at least, or that there
    /// is no such name; none beneath no apex.
    ///
    /// Units: seconds.
    pub(super) fn shortest_ttl(&self, name: &DomainName) -> Option<u32> {
        let (index, label) = self.place(name)?;
        let apex = &self.apexes[index];
        let domain = apex.domain(&label);
        let sets = domain.iter().flat_map(|domain| domain.nodes());
        let ttls = sets.flat_map(|(_, node)| node.sets().iter().map(|set| set.ttl.as_secs()));
        Some(ttls.min().unwrap_or(apex.settings().negative_ttl))
    }

    /// Puts or removes what is registered as `name`, in a zone that is being
    /// made by hand.
    pub(super) fn set(&mut self, name: &DomainName, domain: Option<Domain>) {
        let Some((index, label)) = self.place(name) else {
            return;
        };
        let before = self.apexes[index].has(&label);
        self.names = self.names + usize::from(domain.is_some()) - usize::from(before);
        if self.apexes[index].replace(&label, domain) {
            self.apexes[index].rechain(&BTreeSet::from([label]));
        }
    }
}

/// The SOA serial of a height: its low 32 bits, which RFC 1982 orders as long
/// as a secondary is less than 2^31 blocks behind.
pub(super) fn serial(height: Height) -> Serial {
    Serial((height.0 & u64::from(u32::MAX)) as u32)
}

/// `text` as an absolute name.
pub fn absolute(text: &str) -> Option<OwnerName> {
    Name::bytes_from_str(text).ok()
}

/// `label` beneath `apex`; none if it is too long to be a name.
fn beneath(label: &str, apex: &DomainName) -> Option<OwnerName> {
    absolute(&format!("{label}.{apex}"))
}

/// An address as A or AAAA data.
pub(super) fn address_data(address: IpAddr) -> (Rtype, Data) {
    match address.to_canonical() {
        IpAddr::V4(address) => (Rtype::A, A::new(address).into()),
        IpAddr::V6(address) => (Rtype::AAAA, Aaaa::new(address).into()),
    }
}
