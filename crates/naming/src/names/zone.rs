//! What is served: an immutable image of the circle's zones at one height.
//!
//! A [`Zone`] is built once, never changed, and swapped whole, so that every
//! answer comes from one committed height. The next image shares with the last
//! one every registered name that did not change: a block that touches three
//! names costs three names, however many the circle has.
//!
//! It trusts the records it is given; that they were proven is for the
//! follower to see to.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use bytes::Bytes;
use domain::{
    base::{Name, Serial, Ttl, iana::Rtype},
    rdata::{A, Aaaa, Ns, Soa, ZoneRecordData},
};
use rpds::HashTrieMapSync;
use serde::{Deserialize, Serialize};
use wire::{DomainName, Height};

use super::synthesis;

/// The label under which the name server's own addresses stand; the server's
/// configuration, not the ledger, says what is there.
const NS_LABEL: &str = "ns";

/// The local part of the SOA's RNAME (RFC 2142 §7).
const HOSTMASTER_LABEL: &str = "hostmaster";

/// How often a secondary asks whether the serial moved: a minute, because
/// endpoints move within blocks.
const REFRESH_SECONDS: u32 = 60;

/// How soon a secondary asks again after a failure.
const RETRY_SECONDS: u32 = 10;

/// How long a secondary may answer without hearing from us: a day.
const EXPIRE_SECONDS: u32 = 86_400;

/// A name as it is kept here: absolute, uncompressed, shared.
pub type OwnerName = Name<Bytes>;

/// A record's data as it is kept here.
pub type Data = ZoneRecordData<Bytes, OwnerName>;

/// The records of one owner and type (RFC 9499).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrSet {
    /// Their type.
    pub rtype: Rtype,
    /// Their one time to live (RFC 2181 §5.2).
    pub ttl: Ttl,
    /// Their data; never empty, no two equal.
    pub data: Vec<Data>,
}

/// A name that exists: its RRsets, ascending by type; none for an empty
/// non-terminal (RFC 8499).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    sets: Vec<RrSet>,
}

impl Node {
    /// The RRset of `rtype`.
    pub fn get(&self, rtype: Rtype) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// Every RRset, ascending by type.
    pub fn sets(&self) -> &[RrSet] {
        &self.sets
    }

    /// Adds records; an RRset that exists takes the union and the smaller
    /// time to live.
    pub(super) fn add(&mut self, rtype: Rtype, ttl: Ttl, data: impl IntoIterator<Item = Data>) {
        let at = match self.sets.binary_search_by_key(&rtype, |set| set.rtype) {
            Ok(at) => at,
            Err(at) => {
                self.sets.insert(
                    at,
                    RrSet {
                        rtype,
                        ttl,
                        data: Vec::new(),
                    },
                );
                at
            }
        };
        let set = &mut self.sets[at];
        set.ttl = set.ttl.min(ttl);
        for item in data {
            if !set.data.contains(&item) {
                set.data.push(item);
            }
        }
        if set.data.is_empty() {
            self.sets.remove(at);
        }
    }

    /// Keeps only the RRsets of which `keep` holds.
    pub(super) fn retain(&mut self, keep: impl FnMut(&RrSet) -> bool) {
        self.sets.retain(keep);
    }

    pub(super) fn get_mut(&mut self, rtype: Rtype) -> Option<&mut RrSet> {
        self.sets.iter_mut().find(|set| set.rtype == rtype)
    }
}

/// Everything at and beneath one label under an apex: a registered name.
///
/// Shape: keyed by owner relative to the registered name, in wire form, lower
///        case, without the root label; the empty key is the name itself.
///        Every ancestor of a key is a key, so that empty non-terminals exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    nodes: HashMap<Box<[u8]>, Node>,
}

impl Domain {
    /// A name that holds nothing: it exists, and so it is NODATA, not NXDOMAIN.
    pub(super) fn with_apex() -> Self {
        let mut domain = Self::default();
        domain.node_mut(&[]);
        domain
    }

    /// The node at `owner` (see the type's shape).
    pub fn node(&self, owner: &[u8]) -> Option<&Node> {
        self.nodes.get(owner)
    }

    /// The node at `owner`, made with its ancestors if need be.
    pub(super) fn node_mut(&mut self, owner: &[u8]) -> &mut Node {
        let mut rest = owner;
        while let Some((&length, _)) = rest.split_first() {
            rest = rest.get(usize::from(length) + 1..).unwrap_or_default();
            self.nodes.entry(rest.into()).or_default();
        }
        self.nodes.entry(owner.into()).or_default()
    }

    pub(super) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.values_mut()
    }

    /// Every owner with its node, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.nodes.iter().map(|(owner, node)| (&**owner, node))
    }
}

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

/// One zone: everything beneath an apex.
#[derive(Clone, Debug)]
pub struct Apex {
    text: DomainName,
    name: OwnerName,
    node: Node,
    /// The SOA as denials carry it (RFC 2308 §3: the lesser of its time to
    /// live and its minimum).
    denial: RrSet,
    /// Keyed by the label beneath the apex: lower case, without its length.
    domains: HashTrieMapSync<Box<[u8]>, Arc<Domain>>,
}

impl Apex {
    fn new(text: &DomainName, settings: &ZoneSettings) -> Self {
        let name = absolute(text.as_str()).unwrap_or_else(Name::root_bytes);
        let ns_name = beneath(NS_LABEL, text).unwrap_or_else(|| name.clone());
        let ttl = Ttl::from_secs(settings.apex_ttl);
        let mut node = Node::default();
        node.add(Rtype::NS, ttl, [Ns::new(ns_name).into()]);
        let mut server = Domain::default();
        for address in &settings.ns_addresses {
            let (rtype, data) = address_data(*address);
            server.node_mut(&[]).add(rtype, ttl, [data]);
        }
        let mut domains = HashTrieMapSync::new_sync();
        if !settings.ns_addresses.is_empty() {
            domains.insert_mut(NS_LABEL.as_bytes().into(), Arc::new(server));
        }
        let denial = RrSet {
            rtype: Rtype::SOA,
            ttl,
            data: Vec::new(),
        };
        let mut apex = Self {
            text: text.clone(),
            name,
            node,
            denial,
            domains,
        };
        apex.set_soa(serial(Height(0)), settings);
        apex
    }

    fn set_soa(&mut self, serial: Serial, settings: &ZoneSettings) {
        let server = beneath(NS_LABEL, &self.text).unwrap_or_else(|| self.name.clone());
        let mailbox = beneath(HOSTMASTER_LABEL, &self.text).unwrap_or_else(|| self.name.clone());
        let soa: Data = Soa::new(
            server,
            mailbox,
            serial,
            Ttl::from_secs(REFRESH_SECONDS),
            Ttl::from_secs(RETRY_SECONDS),
            Ttl::from_secs(EXPIRE_SECONDS),
            Ttl::from_secs(settings.negative_ttl),
        )
        .into();
        let ttl = Ttl::from_secs(settings.apex_ttl);
        self.node.retain(|set| set.rtype != Rtype::SOA);
        self.node.add(Rtype::SOA, ttl, [soa.clone()]);
        self.denial = RrSet {
            rtype: Rtype::SOA,
            ttl: ttl.min(Ttl::from_secs(settings.negative_ttl)),
            data: vec![soa],
        };
    }

    /// The apex' name.
    pub fn name(&self) -> &OwnerName {
        &self.name
    }

    /// Labels of the apex' name, the root not counted.
    pub fn labels(&self) -> usize {
        self.text.labels().count()
    }

    /// SOA and NS.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The SOA as denials carry it.
    pub fn denial(&self) -> &RrSet {
        &self.denial
    }

    /// What is registered as `label`, lower case.
    pub fn domain(&self, label: &[u8]) -> Option<&Domain> {
        self.domains.get(label).map(|domain| &**domain)
    }

    /// Every record of the zone, by owner: what a transfer or a dump of it holds.
    ///
    /// Shape: SOA and NS first, then owners in no order.
    pub fn records(&self) -> impl Iterator<Item = (OwnerName, &RrSet)> {
        let at_apex = self.node.sets.iter().map(|set| (self.name.clone(), set));
        let beneath = self.domains.iter().flat_map(move |(label, domain)| {
            domain.nodes().flat_map(move |(owner, node)| {
                let owner = self.owner_of(label, owner);
                node.sets
                    .iter()
                    .filter_map(move |set| Some((owner.clone()?, set)))
            })
        });
        at_apex.chain(beneath)
    }

    /// The absolute name of `owner` beneath the registered `label`; none if
    /// it is too long to be one.
    fn owner_of(&self, label: &[u8], owner: &[u8]) -> Option<OwnerName> {
        let mut octets = owner.to_vec();
        octets.push(u8::try_from(label.len()).ok()?);
        octets.extend_from_slice(label);
        octets.extend_from_slice(self.name.as_slice());
        Name::from_octets(Bytes::from(octets)).ok()
    }
}

/// The zones at one height.
#[derive(Clone, Debug)]
pub struct Zone {
    height: Height,
    time_ms: u64,
    names: usize,
    settings: Arc<ZoneSettings>,
    /// Longest first, so that the first match is the closest.
    apexes: Vec<Apex>,
}

impl Zone {
    /// Empty zones at height 0.
    pub fn new(apexes: &[DomainName], settings: ZoneSettings) -> Self {
        let mut apexes: Vec<&DomainName> = apexes.iter().collect();
        apexes.sort_by_key(|apex| std::cmp::Reverse((apex.as_str().len(), *apex)));
        apexes.dedup();
        let apexes = apexes
            .into_iter()
            .map(|apex| Apex::new(apex, &settings))
            .collect();
        Self {
            height: Height(0),
            time_ms: 0,
            names: 0,
            settings: Arc::new(settings),
            apexes,
        }
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

    /// The apexes as the ledger writes them, longest first.
    pub fn apex_texts(&self) -> impl Iterator<Item = &DomainName> {
        self.apexes.iter().map(|apex| &apex.text)
    }

    /// The image at `height` with `changes` made.
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
        let mut next = self.clone();
        next.height = height;
        next.time_ms = time_ms;
        for (name, record) in changes {
            let domain = record.and_then(|record| synthesis::domain(record, &self.settings));
            next.set(name, domain);
        }
        let serial = serial(height);
        for apex in &mut next.apexes {
            apex.set_soa(serial, &next.settings);
        }
        next
    }

    /// Puts or removes what is registered as `name`.
    pub(super) fn set(&mut self, name: &DomainName, domain: Option<Domain>) {
        let Some((apex, label)) = self.apexes.iter_mut().find_map(|apex| {
            let label = name.prefix_under(&apex.text)?.to_owned();
            Some((apex, label))
        }) else {
            return;
        };
        // The ledger registers one label beneath an apex; `ns` is the server's own.
        if label.contains('.') || label == NS_LABEL {
            return;
        }
        let key = label.as_bytes();
        let known = apex.domains.contains_key(key);
        match domain {
            Some(domain) => {
                apex.domains.insert_mut(key.into(), Arc::new(domain));
                self.names += usize::from(!known);
            }
            None => {
                apex.domains.remove_mut(key);
                self.names -= usize::from(known);
            }
        }
    }
}

/// The SOA serial of a height: its low 32 bits, which RFC 1982 orders as long
/// as a secondary is less than 2^31 blocks behind.
fn serial(height: Height) -> Serial {
    Serial((height.0 & u64::from(u32::MAX)) as u32)
}

/// `text` as an absolute name.
pub(super) fn absolute(text: &str) -> Option<OwnerName> {
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
