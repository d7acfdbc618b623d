//! One zone: the apex' own records, and everything registered beneath it.

use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Bound,
    str::FromStr as _,
    sync::Arc,
};

use ::domain::{
    base::{Name, Serial, Ttl, iana::Rtype},
    rdata::{Ns, Soa},
};
use bytes::Bytes;
use rpds::RedBlackTreeMapSync;
use wire::{AccountId, DomainName, Height, NAME_SERVER_LABEL, NameServerTerms};

use super::{
    Data, Domain, Label, NS_LABEL, Node, OwnerName, RrSet, TaggedKey, ZoneSettings, absolute,
    address_data, beneath, held::Held, keys, resolvers, serial,
};
use crate::names::rendered::Dirty;

/// The local part of the SOA's RNAME (RFC 2142 §7).
const HOSTMASTER_LABEL: &str = "hostmaster";

/// How often a secondary asks whether the serial moved: a minute, because
/// endpoints move within blocks.
const REFRESH_SECONDS: u32 = 60;

/// How soon a secondary asks again after a failure.
const RETRY_SECONDS: u32 = 10;

/// How long a secondary may answer without hearing from us: a day.
const EXPIRE_SECONDS: u32 = 86_400;

/// A zone: everything beneath an apex.
#[derive(Clone, Debug)]
pub struct Apex {
    text: DomainName,
    pub(super) name: OwnerName,
    pub(super) node: Node,
    /// The SOA as denials carry it (RFC 2308 §3: the lesser of its time to
    /// live and its minimum).
    pub(super) denial: RrSet,
    pub(super) domains: RedBlackTreeMapSync<Label, Held>,
    /// The keys whose signatures count; none for an unsigned zone.
    pub(super) keys: Option<Arc<Vec<TaggedKey>>>,
    serial: Serial,
    servers: Arc<Vec<Server>>,
    /// The circle's name servers that call themselves `dns` beneath the apex.
    resolvers: Arc<BTreeMap<AccountId, NameServerTerms>>,
    /// What holds of the zone, by its signer or, without one, its operator.
    settings: Arc<ZoneSettings>,
    /// What its operator says.
    fallback: Arc<ZoneSettings>,
    /// What changed since answers were rendered.
    pub(super) dirty: Dirty,
}

/// A name server's label and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    label: String,
    addresses: Vec<IpAddr>,
}

impl Apex {
    pub(super) fn new(text: &DomainName, settings: &Arc<ZoneSettings>) -> Self {
        let name = absolute(text.as_str()).unwrap_or_else(Name::root_bytes);
        let mut apex = Self {
            text: text.clone(),
            name,
            node: Node::default(),
            denial: RrSet::new(Rtype::SOA, Ttl::from_secs(0), Vec::new()),
            domains: RedBlackTreeMapSync::new_sync(),
            keys: None,
            serial: serial(Height(0)),
            servers: Arc::default(),
            resolvers: Arc::default(),
            settings: Arc::clone(settings),
            fallback: Arc::clone(settings),
            dirty: Dirty::default(),
        };
        apex.set_zone(None);
        apex
    }

    /// Takes over what the zone's signer says of it; none for an unsigned
    /// zone, of which the operator speaks.
    ///
    /// Shape: gives the labels that changed; all if the zone became signed
    ///        or unsigned.
    pub(super) fn set_zone(&mut self, record: Option<&wire::record::Zone>) -> BTreeSet<Label> {
        let zone = record.map(|record| &record.zone);
        let negative_ttl = self.settings.negative_ttl;
        self.settings = match zone {
            None => Arc::clone(&self.fallback),
            Some(zone) => Arc::new(ZoneSettings {
                ns_addresses: Vec::new(),
                endpoint_ttl: zone.endpoint_ttl,
                negative_ttl: zone.negative_ttl,
                apex_ttl: zone.apex_ttl,
            }),
        };
        let servers = match zone {
            None => vec![Server {
                label: NS_LABEL.to_owned(),
                addresses: self.settings.ns_addresses.clone(),
            }],
            Some(zone) => zone.servers.iter().map(Server::from).collect(),
        };
        let mut changed = self.set_servers(servers);
        let ttl = Ttl::from_secs(self.settings.apex_ttl);
        let all = zone.map_or(&[][..], |zone| &zone.keys);
        let records = keys::records(&self.name, all, ttl);
        let made: Vec<Rtype> = records.iter().map(|set| set.rtype).collect();
        self.node.retain(|set| {
            let ours = matches!(set.rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY);
            !ours || made.contains(&set.rtype)
        });
        for set in records {
            self.node.put(set);
        }
        self.set_serial(self.serial);
        changed.insert(Label::default());
        let was_signed = self.keys.is_some();
        self.keys = (!all.is_empty()).then(|| Arc::new(keys::published(all)));
        let is_signed = self.keys.is_some();
        if was_signed && !is_signed {
            self.unchain();
        }
        if was_signed != is_signed || negative_ttl != self.settings.negative_ttl {
            changed.extend(self.domains.keys().cloned());
        }
        changed
    }

    fn set_servers(&mut self, servers: Vec<Server>) -> BTreeSet<Label> {
        let ttl = Ttl::from_secs(self.settings.apex_ttl);
        let names: Vec<Data> = servers
            .iter()
            .map(|server| {
                let name = beneath(&server.label, &self.text).unwrap_or_else(|| self.name.clone());
                Ns::new(name).into()
            })
            .collect();
        self.node.put(RrSet::new(Rtype::NS, ttl, names));
        let mut changed = BTreeSet::new();
        let gone: Vec<Label> = self
            .servers
            .iter()
            .filter(|former| servers.iter().all(|server| server.label != former.label))
            .map(Server::key)
            .collect();
        for label in gone {
            self.replace(&label, None);
            changed.insert(label);
        }
        // What the name servers said of themselves comes before what was
        // said of one that has their label.
        let own = |server: &&Server| server.label != NAME_SERVER_LABEL;
        for server in servers.iter().filter(own) {
            let domain = (!server.addresses.is_empty()).then(|| server.domain(ttl));
            self.replace(&server.key(), domain);
            changed.insert(server.key());
        }
        self.servers = Arc::new(servers);
        changed.extend(self.place_resolvers());
        changed
    }

    /// Takes over what the name server of `account` says of itself; none if it
    /// has gone. Gives the label at which that changed something.
    pub(super) fn set_resolver(
        &mut self,
        account: AccountId,
        terms: Option<&NameServerTerms>,
    ) -> Option<Label> {
        let ours =
            terms.filter(|terms| terms.name.prefix_under(&self.text) == Some(NAME_SERVER_LABEL));
        if self.resolvers.get(&account) == ours {
            return None;
        }
        let resolvers = Arc::make_mut(&mut self.resolvers);
        match ours {
            Some(terms) => resolvers.insert(account, terms.clone()),
            None => resolvers.remove(&account),
        };
        self.place_resolvers()
    }

    /// Puts what the name servers say of themselves at their label; gives it
    /// if anything changed.
    fn place_resolvers(&mut self) -> Option<Label> {
        let name = DomainName::from_str(&format!("{NAME_SERVER_LABEL}.{}", self.text)).ok()?;
        let servers = self.resolvers.values();
        let domain = resolvers::domain(&name, &self.text, servers, &self.settings).or_else(|| {
            let ttl = Ttl::from_secs(self.settings.apex_ttl);
            let mut all = self.servers.iter();
            let configured = all.find(|server| server.label == NAME_SERVER_LABEL)?;
            (!configured.addresses.is_empty()).then(|| configured.domain(ttl))
        });
        let label: Label = NAME_SERVER_LABEL.as_bytes().into();
        self.replace(&label, domain).then_some(label)
    }

    /// Whether `label` is the zone's own and so no registered name's.
    pub(in crate::names) fn is_own(&self, label: &str) -> bool {
        self.is_server(label)
    }

    /// Whether `label` is one of the zone's name servers'.
    pub(super) fn is_server(&self, label: &str) -> bool {
        label == NS_LABEL
            || label == NAME_SERVER_LABEL
            || self.servers.iter().any(|server| server.label == label)
    }

    /// Puts or removes what is registered as `label`; the signatures that
    /// still hold stay. Gives whether anything changed.
    pub(super) fn replace(&mut self, label: &Label, domain: Option<Domain>) -> bool {
        let known = self.domains.get(label);
        match domain {
            Some(mut domain) => {
                if let Some(known) = known {
                    let known = known.get();
                    domain.adopt_signatures(&known);
                    if domain == *known {
                        return false;
                    }
                }
                domain.shrink();
                self.domains.insert_mut(label.clone(), Held::new(domain));
                self.dirty.add(label);
                true
            }
            None if self.domains.remove_mut(label) => {
                self.dirty.add(label);
                true
            }
            None => false,
        }
    }

    /// Sets the serial, and so the SOA.
    pub(in crate::names) fn set_serial(&mut self, serial: Serial) {
        self.dirty.add(&[]);
        self.serial = serial;
        let server = self
            .servers
            .first()
            .map_or(NS_LABEL, |server| &server.label);
        let server = beneath(server, &self.text).unwrap_or_else(|| self.name.clone());
        let mailbox = beneath(HOSTMASTER_LABEL, &self.text).unwrap_or_else(|| self.name.clone());
        let soa: Data = Soa::new(
            server,
            mailbox,
            serial,
            Ttl::from_secs(REFRESH_SECONDS),
            Ttl::from_secs(RETRY_SECONDS),
            Ttl::from_secs(EXPIRE_SECONDS),
            Ttl::from_secs(self.settings.negative_ttl),
        )
        .into();
        let ttl = Ttl::from_secs(self.settings.apex_ttl);
        self.node.put(RrSet::new(Rtype::SOA, ttl, vec![soa]));
        self.copy_denial();
    }

    /// Takes the SOA with its signatures over into what denials carry.
    pub(in crate::names) fn copy_denial(&mut self) {
        self.dirty.add(&[]);
        if let Some(soa) = self.node.get(Rtype::SOA) {
            let negative_ttl = Ttl::from_secs(self.settings.negative_ttl);
            self.denial = RrSet {
                ttl: soa.ttl.min(negative_ttl),
                ..soa.clone()
            };
        }
    }

    /// Whether answers are rendered of it as it is.
    pub(in crate::names) fn is_rendered(&self) -> bool {
        self.dirty.is_empty()
    }

    /// What changed since answers were rendered.
    pub(in crate::names) fn dirty_mut(&mut self) -> &mut Dirty {
        &mut self.dirty
    }

    /// The label before `label`; none if it is the first.
    pub(in crate::names) fn label_before(&self, label: &[u8]) -> Option<&Label> {
        let before = (Bound::Unbounded, Bound::Excluded(label));
        let (label, _) = self.domains.range::<[u8], _>(before).next_back()?;
        Some(label)
    }

    /// The apex as the ledger writes it.
    pub fn text(&self) -> &DomainName {
        &self.text
    }

    /// The apex' name.
    pub fn name(&self) -> &OwnerName {
        &self.name
    }

    /// Labels of the apex' name, the root not counted.
    pub fn labels(&self) -> usize {
        self.text.labels().count()
    }

    /// The apex' own RRsets.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The SOA as denials carry it.
    pub fn denial(&self) -> &RrSet {
        &self.denial
    }

    /// The SOA's serial.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// The keys whose signatures count; none for an unsigned zone.
    pub fn keys(&self) -> Option<&[TaggedKey]> {
        self.keys.as_deref().map(Vec::as_slice)
    }

    pub(super) fn settings(&self) -> &ZoneSettings {
        &self.settings
    }

    /// What is registered as `label`, lower case.
    pub fn domain(&self, label: &[u8]) -> Option<Cow<'_, Domain>> {
        self.domains.get(label).map(Held::get)
    }

    /// Whether anything is registered as `label`, lower case.
    pub fn has(&self, label: &[u8]) -> bool {
        self.domains.contains_key(label)
    }

    /// Every label beneath the apex with what stands there, ascending.
    pub fn domains(&self) -> impl Iterator<Item = (&Label, Cow<'_, Domain>)> {
        self.domains.iter().map(|(label, held)| (label, held.get()))
    }

    /// Keeps of `label` the entry that was rendered of it, and nothing else.
    pub(in crate::names) fn pack(&mut self, label: &Label, entry: Arc<[u8]>) {
        if let Some(held) = self.domains.get_mut(label) {
            *held = Held::Packed(entry);
        }
    }

    /// The labels at which two images of a zone may differ, ascending.
    pub(in crate::names) fn labels_unlike<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = &'a Label> {
        let mut ours = self.domains.iter().peekable();
        let mut theirs = other.domains.iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let order = match (ours.peek(), theirs.peek()) {
                    (None, None) => return None,
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some((ours, _)), Some((theirs, _))) => ours.cmp(theirs),
                };
                let mine = order.is_le().then(|| ours.next()).flatten();
                let other = order.is_ge().then(|| theirs.next()).flatten();
                match (mine, other) {
                    (Some((_, mine)), Some((_, other))) if mine.is_same(other) => {}
                    (Some((label, _)), _) | (None, Some((label, _))) => return Some(label),
                    (None, None) => return None,
                }
            }
        })
    }

    /// The labels beneath the apex, and the empty one for the apex itself.
    pub(in crate::names) fn labels_with_own(&self) -> impl Iterator<Item = Label> {
        let beneath = self.domains.keys().cloned();
        std::iter::once(Label::default()).chain(beneath)
    }

    /// At most `limit` labels beneath the apex from `from` on.
    pub(in crate::names) fn labels_from(&self, from: Bound<Label>, limit: usize) -> Vec<Label> {
        self.domains
            .range((from, Bound::Unbounded))
            .map(|(label, _)| label.clone())
            .take(limit)
            .collect()
    }

    /// The node at `owner` beneath `label`, to be signed; the empty label is
    /// the apex itself.
    pub(in crate::names) fn node_mut(&mut self, label: &[u8], owner: &[u8]) -> Option<&mut Node> {
        self.dirty.add(label);
        if label.is_empty() {
            return owner.is_empty().then_some(&mut self.node);
        }
        self.domains.get_mut(label)?.open().existing_mut(owner)
    }

    /// Shows every RRset at or beneath `label` that the zone signs: owner
    /// relative to the label, and RRset; the empty label is the apex itself.
    pub fn see_signed_sets(&self, label: &[u8], mut see: impl FnMut(&[u8], &RrSet)) {
        if label.is_empty() {
            self.node.sets().iter().for_each(|set| see(&[], set));
        } else if let Some(domain) = self.domain(label) {
            domain
                .signed_sets()
                .for_each(|(owner, set)| see(owner, set));
        }
    }

    /// Every record of the zone, by owner: what a transfer or a dump of it holds.
    ///
    /// Shape: the apex' own first, then owners in canonical order.
    pub fn records(&self) -> impl Iterator<Item = (OwnerName, RrSet)> {
        let sets = self.node.sets().iter();
        let at_apex = sets.map(|set| (self.name.clone(), set.clone()));
        let beneath = self.domains().flat_map(move |(label, domain)| {
            let mut all = Vec::new();
            for (owner, node) in domain.nodes() {
                if let Some(owner) = self.owner_of(label, owner) {
                    let sets = node.sets().iter().cloned();
                    all.extend(sets.map(|set| (owner.clone(), set)));
                }
            }
            all
        });
        at_apex.chain(beneath)
    }

    /// The absolute name of `owner` beneath `label`, or of the apex if both
    /// are empty; none if it is too long to be one.
    pub fn owner_of(&self, label: &[u8], owner: &[u8]) -> Option<OwnerName> {
        if label.is_empty() {
            return owner.is_empty().then(|| self.name.clone());
        }
        let mut octets = owner.to_vec();
        octets.push(u8::try_from(label.len()).ok()?);
        octets.extend_from_slice(label);
        octets.extend_from_slice(self.name.as_slice());
        Name::from_octets(Bytes::from(octets)).ok()
    }
}

impl Server {
    fn key(&self) -> Label {
        self.label.as_bytes().into()
    }

    fn domain(&self, ttl: Ttl) -> Domain {
        let mut domain = Domain::default();
        for address in &self.addresses {
            let (rtype, data) = address_data(*address);
            domain.node_mut(&[]).add(rtype, ttl, [data]);
        }
        domain
    }
}

impl From<&wire::ZoneServer> for Server {
    fn from(server: &wire::ZoneServer) -> Self {
        Self {
            label: server.label.to_string(),
            addresses: server.addresses.clone(),
        }
    }
}
