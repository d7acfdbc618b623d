//! What a registered name stands for in the DNS: its owner's RRsets, and the
//! records that follow from its live replicas.
//!
//! The rules are docs/spec/dns.md §2. The record comes from the ledger, whose
//! rules keep it well formed; what a later ledger might hold and this build
//! cannot put in a zone is left out with a warning, never served broken.

use bytes::Bytes;
use domain::{
    base::{
        CharStr, Name as DnsName, ParseRecordData as _, Ttl,
        iana::{Rtype, TlsaCertificateUsage, TlsaMatchingType, TlsaSelector},
        name::{FlattenInto as _, ParsedName},
        rdata::ComposeRecordData as _,
    },
    dep::octseq::Parser,
    rdata::{
        Caa, Https, Tlsa, ZoneRecordData,
        caa::{CaaFlags, CaaTag},
        svcb::{
            SvcParams,
            value::{AlpnBuilder, Port},
        },
    },
};
use tracing::warn;
use wire::{
    Digest, DomainName, RecordSet, RelativeName,
    record::{Name, NameEndpoint, NameStatus},
};

use super::zone::{Data, Domain, Node, OwnerName, ZoneSettings, absolute, address_data};

/// The longest time to live that is served: what a cache may hold must run
/// out before a key that signed it can go.
const MAX_TTL: u32 = wire::limits::MAX_ZONE_TTL;

/// The port at which a web service needs no mention of it (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;

/// What replicas speak beneath TLS (RFC 7301), in their order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The nodes of `record` beneath `apex`; none while it is suspended.
pub(super) fn domain(record: &Name, apex: &DomainName, settings: &ZoneSettings) -> Option<Domain> {
    match record.status {
        NameStatus::Active => {}
        NameStatus::Suspended { .. } => return None,
    }
    let mut domain = Domain::with_apex();
    for set in &record.records {
        add_owner_set(&mut domain, &record.name, set);
    }
    for endpoint in &record.endpoints {
        add_endpoint(&mut domain, endpoint, Ttl::from_secs(settings.endpoint_ttl));
    }
    for node in domain.nodes_mut() {
        settle_singletons(node);
    }
    add_service_bindings(&mut domain, record, settings);
    add_authority(&mut domain, apex, settings);
    domain.settle_cuts();
    Some(domain)
}

fn add_owner_set(domain: &mut Domain, name: &DomainName, set: &RecordSet) {
    let rtype = Rtype::from_int(set.rtype);
    if !is_owners(rtype) {
        warn!(%name, %rtype, "a record set of a type that is not the owner's to set is left out");
        return;
    }
    let Some(owner) = owner_key(name, set.owner.as_ref()) else {
        warn!(%name, owner = ?set.owner, "a record set whose owner is too long is left out");
        return;
    };
    let data: Vec<Data> = set
        .data
        .iter()
        .filter_map(|octets| {
            let data = parse(rtype, octets);
            if data.is_none() {
                warn!(%name, %rtype, "a record whose data does not parse is left out");
            }
            data
        })
        .collect();
    if !data.is_empty() {
        let ttl = Ttl::from_secs(set.ttl.min(MAX_TTL));
        domain.node_mut(&owner).add(rtype, ttl, data);
    }
}

/// A, AAAA and TLSA of one live replica.
fn add_endpoint(domain: &mut Domain, endpoint: &NameEndpoint, ttl: Ttl) {
    for address in &endpoint.endpoint.addresses {
        let (rtype, data) = address_data(*address);
        domain.node_mut(&[]).add(rtype, ttl, [data]);
    }
    let tlsa = server_key(&endpoint.tls_key);
    let service = service_key(endpoint.endpoint.port, b"_tcp");
    // The second place is for people, who type `dig NAME TLSA`.
    for owner in [service.as_slice(), &[]] {
        domain.node_mut(owner).add(Rtype::TLSA, ttl, [tlsa.clone()]);
    }
}

/// TLSA data of a server's key (RFC 6698 §2.1): DANE-EE, SubjectPublicKeyInfo,
/// SHA-256.
pub(super) fn server_key(key: &Digest) -> Data {
    let tlsa = Tlsa::new(
        TlsaCertificateUsage::from_int(3),
        TlsaSelector::from_int(1),
        TlsaMatchingType::from_int(1),
        Bytes::copy_from_slice(&key.0),
    );
    tlsa.into()
}

/// HTTPS records that lead to `port` of `name`, at the domain's own name and
/// where a client that was told the port looks.
pub(super) fn add_https(domain: &mut Domain, name: &OwnerName, port: u16, ttl: Ttl) {
    let prefixed = service_key(port, b"_https");
    if port != HTTPS_PORT
        && let Some(data) = service_binding(name.clone(), port)
    {
        domain.node_mut(&prefixed).add(Rtype::HTTPS, ttl, [data]);
    }
    if let Some(data) = service_binding(DnsName::root_bytes(), port) {
        domain.node_mut(&[]).add(Rtype::HTTPS, ttl, [data]);
    }
}

/// HTTPS records of live replicas, unless the owner set some (RFC 9460): what
/// they speak and at which port, at the name itself and, for another port
/// than 443, where a client that was told the port looks (§9.1).
fn add_service_bindings(domain: &mut Domain, record: &Name, settings: &ZoneSettings) {
    let ttl = Ttl::from_secs(settings.endpoint_ttl);
    let Some(name) = absolute(record.name.as_str()) else {
        return;
    };
    let holds = |domain: &Domain, owner: &[u8]| {
        let node = domain.node(owner);
        node.is_some_and(|node| {
            [Rtype::HTTPS, Rtype::CNAME]
                .iter()
                .any(|rtype| node.get(*rtype).is_some())
        })
    };
    let mut ports: Vec<u16> = record
        .endpoints
        .iter()
        .map(|endpoint| endpoint.endpoint.port)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    let owners_own = holds(domain, &[]);
    for port in ports {
        let prefixed = service_key(port, b"_https");
        if port != HTTPS_PORT
            && !holds(domain, &prefixed)
            && let Some(data) = service_binding(name.clone(), port)
        {
            domain.node_mut(&prefixed).add(Rtype::HTTPS, ttl, [data]);
        }
        if !owners_own && let Some(data) = service_binding(DnsName::root_bytes(), port) {
            domain.node_mut(&[]).add(Rtype::HTTPS, ttl, [data]);
        }
    }
}

/// An HTTPS record that leads to `port` of `target`; the root stands for the
/// owner (RFC 9460 §2.5).
fn service_binding(target: OwnerName, port: u16) -> Option<Data> {
    let mut protocols = AlpnBuilder::<Vec<u8>>::empty();
    for protocol in PROTOCOLS {
        protocols.push(protocol).ok()?;
    }
    let protocols = protocols.freeze();
    let params: SvcParams<Vec<u8>> = SvcParams::from_values(|params| {
        params.push(&protocols)?;
        if port == HTTPS_PORT {
            return Ok(());
        }
        params.push(&Port::new(port))
    })
    .ok()?;
    let params = SvcParams::from_octets(Bytes::from(params.as_slice().to_vec())).ok()?;
    Some(Https::new(1, target, params).ok()?.into())
}

/// Says that only the circle's authority issues for the name (RFC 8659),
/// unless its owner says otherwise.
pub(super) fn add_authority(domain: &mut Domain, apex: &DomainName, settings: &ZoneSettings) {
    let node = domain.node_mut(&[]);
    if node
        .sets()
        .iter()
        .any(|set| matches!(set.rtype, Rtype::CAA | Rtype::CNAME))
    {
        return;
    }
    let tag = CharStr::from_octets(Bytes::from_static(b"issue"))
        .ok()
        .and_then(|tag| CaaTag::new(tag).ok());
    if let Some(tag) = tag {
        let value = Bytes::copy_from_slice(apex.as_str().as_bytes());
        let caa = Caa::new(CaaFlags::new(0), tag, value);
        let ttl = Ttl::from_secs(settings.apex_ttl);
        node.add(Rtype::CAA, ttl, [caa.into()]);
    }
}

/// `_PORT.PROTOCOL` as a key of [`Domain`].
pub(super) fn service_key(port: u16, protocol: &[u8]) -> Vec<u8> {
    let port = format!("_{port}");
    let mut key = vec![port.len() as u8];
    key.extend_from_slice(port.as_bytes());
    key.push(protocol.len() as u8);
    key.extend_from_slice(protocol);
    key
}

/// An owner relative to `name` as a key of [`Domain`]; none if the two make
/// no name.
fn owner_key(name: &DomainName, owner: Option<&RelativeName>) -> Option<Vec<u8>> {
    let Some(owner) = owner else {
        return Some(Vec::new());
    };
    if !owner.fits_beneath(name) {
        return None;
    }
    let mut key = Vec::with_capacity(owner.as_str().len() + 1);
    for label in owner.labels() {
        key.push(u8::try_from(label.len()).ok()?);
        key.extend_from_slice(label.as_bytes());
    }
    Some(key)
}

/// Whether a name's owner may set RRsets of `rtype`.
///
/// Not so for types that exist in queries and transport alone (RFC 6895
/// §3.1), for SOA, which is the zone's, and for what signing makes.
fn is_owners(rtype: Rtype) -> bool {
    !matches!(
        rtype,
        Rtype::SOA
            | Rtype::OPT
            | Rtype::RRSIG
            | Rtype::NSEC
            | Rtype::DNSKEY
            | Rtype::NSEC3
            | Rtype::NSEC3PARAM
            | Rtype::NULL
    ) && !(128..=255).contains(&rtype.to_int())
        && rtype.to_int() != 0
}

/// Parses data in uncompressed wire form; none unless it is exactly that.
fn parse(rtype: Rtype, octets: &[u8]) -> Option<Data> {
    let octets = Bytes::copy_from_slice(octets);
    let mut parser = Parser::from_ref(&octets);
    let parsed: ZoneRecordData<Bytes, ParsedName<Bytes>> =
        ZoneRecordData::parse_rdata(rtype, &mut parser).ok()??;
    if parser.remaining() != 0 {
        return None;
    }
    let data: Data = parsed.try_flatten_into().ok()?;
    // A compression pointer within the data would parse and compose otherwise.
    let mut composed = Vec::with_capacity(octets.len());
    data.compose_rdata(&mut composed).ok()?;
    (composed == octets).then_some(data)
}

/// CNAME and DNAME stand alone or not at all, and have one record.
fn settle_singletons(node: &mut Node) {
    // RFC 1034 §3.6.2: a CNAME suffers no other data. Live replicas appear
    // without the owner's doing, so the alias is what yields.
    if node.sets().len() > 1 {
        node.retain(|set| set.rtype != Rtype::CNAME);
    }
    for rtype in [Rtype::CNAME, Rtype::DNAME] {
        if let Some(set) = node.get_mut(rtype) {
            set.data.truncate(1);
        }
    }
}
