//! What a registered name stands for in the DNS: its owner's RRsets, and the
//! records that follow from its live replicas.
//!
//! The rules are docs/spec/dns.md §2. The record comes from the ledger, whose
//! rules keep it well formed; what a later ledger might hold and this build
//! cannot put in a zone is left out with a warning, never served broken.

use bytes::Bytes;
use domain::{
    base::{
        ParseRecordData as _, Ttl,
        iana::{Rtype, TlsaCertificateUsage, TlsaMatchingType, TlsaSelector},
        name::{FlattenInto as _, ParsedName},
        rdata::ComposeRecordData as _,
    },
    dep::octseq::Parser,
    rdata::{Tlsa, ZoneRecordData},
};
use tracing::warn;
use wire::{
    DomainName, RecordSet,
    record::{Name, NameEndpoint, NameStatus},
};

use super::zone::{Data, Domain, Node, ZoneSettings, address_data};

/// The longest time to live that RFC 2181 §8 knows.
const MAX_TTL: u32 = i32::MAX as u32;

/// The nodes of `record`; none while it is suspended.
pub(super) fn domain(record: &Name, settings: &ZoneSettings) -> Option<Domain> {
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
    // RFC 6698 §2.1: DANE-EE, SubjectPublicKeyInfo, SHA-256.
    let tlsa = Tlsa::new(
        TlsaCertificateUsage::from_int(3),
        TlsaSelector::from_int(1),
        TlsaMatchingType::from_int(1),
        Bytes::copy_from_slice(&endpoint.tls_key.0),
    );
    let service = service_key(endpoint.endpoint.port);
    // The second place is for people, who type `dig NAME TLSA`.
    for owner in [service.as_slice(), &[]] {
        domain
            .node_mut(owner)
            .add(Rtype::TLSA, ttl, [tlsa.clone().into()]);
    }
}

/// `_PORT._tcp` as a key of [`Domain`].
fn service_key(port: u16) -> Vec<u8> {
    let port = format!("_{port}");
    let mut key = vec![port.len() as u8];
    key.extend_from_slice(port.as_bytes());
    key.extend_from_slice(b"\x04_tcp");
    key
}

/// An owner relative to `name` as a key of [`Domain`]; none if the two make
/// no name.
fn owner_key(name: &DomainName, owner: Option<&DomainName>) -> Option<Vec<u8>> {
    let Some(owner) = owner else {
        return Some(Vec::new());
    };
    if owner.as_str().len() + 1 + name.as_str().len() > wire::MAX_NAME_BYTES {
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
