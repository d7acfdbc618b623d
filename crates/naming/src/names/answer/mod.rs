//! From a query's octets to a response's octets: one pure function behind
//! every front.
//!
//! [`answer`] takes what arrived, over what, and the image to answer from. It
//! reads no clock and no socket, never panics and never answers more than the
//! transport and the client allow. docs/spec/dns.md §3 says what it answers.

mod compose;
mod fuzz;
mod lookup;
mod options;
mod query;

use std::{
    hash::{DefaultHasher, Hasher as _},
    net::{IpAddr, Ipv4Addr},
};

use domain::{
    base::{
        iana::{Class, ExtendedErrorCode, OptRcode, Rcode, Rtype},
        name::ToLabelIter as _,
    },
    rdata::ZoneRecordData,
};

pub(super) use self::options::{OPTION_HEADER, PADDING_BLOCK};
use self::{
    compose::{ExtendedError, Reply},
    options::Options,
    query::{Head, Query},
};
use super::{
    cookies::CookieKeys,
    designation::Designation,
    zone::{OwnerName, Zone},
};

/// What a query came over; it decides how large its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram: 512 octets, or what EDNS offers up to [`MAX_UDP_RESPONSE`].
    Udp,
    /// A stream with two octets of length.
    Tcp,
    /// The same within TLS (RFC 7858).
    Tls,
    /// A message of HTTP (RFC 8484).
    Https,
    /// A stream of QUIC (RFC 9250).
    Quic,
}

impl Transport {
    /// Whether nobody between can read it.
    pub fn is_encrypted(self) -> bool {
        !matches!(self, Self::Udp | Self::Tcp)
    }
}

/// How a query came, and what its answer depends on beside the zone.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Over what.
    pub transport: Transport,
    /// From where; it is what a cookie is good for.
    pub client: IpAddr,
    /// The secrets of cookies; without them none are given.
    pub cookies: Option<&'a CookieKeys>,
    /// Unix time in seconds, modulo 2^32, for cookies.
    pub now_s: u32,
    /// How long the connection may idle, in tenths of a second, for clients
    /// that ask (RFC 7828).
    pub idle_timeout: Option<u16>,
    /// Whether the client is only to be told how to come back.
    pub limited: bool,
}

impl From<Transport> for Arrival<'_> {
    /// A query of which no more is known.
    fn from(transport: Transport) -> Self {
        Self {
            transport,
            client: Ipv4Addr::UNSPECIFIED.into(),
            cookies: None,
            now_s: 0,
            idle_timeout: None,
            limited: false,
        }
    }
}

/// The largest datagram sent, and the size offered to clients: what crosses
/// every path of IPv6 without fragments (DNS flag day 2020).
pub const MAX_UDP_RESPONSE: u16 = 1232;

/// A response over UDP to a client that said nothing of sizes (RFC 1035 §2.3.4).
pub(super) const MIN_UDP_RESPONSE: u16 = 512;

/// How far behind the ledger the image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Within what the operator tolerates.
    Fresh,
    /// Behind; answers say so (RFC 8914, code 3).
    Stale,
    /// So far behind that no answer is better (RFC 8914, code 24).
    Expired,
    /// Not known: no node gave a proof (RFC 8914, code 22).
    Unproven,
}

/// What there is to answer from.
#[derive(Clone, Copy, Debug)]
pub struct View<'z> {
    /// The newest image; none before the ledger was first read.
    pub zone: Option<&'z Zone>,
    /// How far behind it is.
    pub freshness: Freshness,
    /// Pointers to this server's encrypted transports.
    pub designation: Option<&'z Designation>,
}

/// What a response is, for whoever counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It holds what was asked for.
    Answer,
    /// It says who knows.
    Referral,
    /// The name has nothing of the type.
    NoData,
    /// There is no such name.
    NxDomain,
    /// It was not answered.
    Error,
}

/// A response and its outcome.
#[derive(Debug)]
pub struct Response {
    /// The message.
    pub octets: Vec<u8>,
    /// The outcome, extended codes included (RFC 6891 §6.1.3).
    pub rcode: u16,
    /// The smallest time to live of its records, seconds: how long the whole
    /// may be cached. None if it holds no record.
    pub min_ttl: Option<u32>,
    /// What it is.
    pub kind: Kind,
    /// A hash of the registered name that it is about; of the apex where
    /// there is no such name.
    pub subject: u64,
    /// Whether a cookie proved the client's address.
    pub proved_address: bool,
}

impl Response {
    /// A message that turns a query away.
    pub(super) fn refusal(octets: Vec<u8>) -> Self {
        Self::of(octets, OptRcode::NOTAUTH)
    }

    /// A response of which only the outcome is known.
    fn of(octets: Vec<u8>, rcode: OptRcode) -> Self {
        Self {
            octets,
            rcode: rcode.to_int(),
            min_ttl: None,
            kind: Kind::Error,
            subject: 0,
            proved_address: false,
        }
    }
}

/// Answers one query.
///
/// Shape: none where silence is the answer: for octets too few to carry a
///        header, for what is itself a response, and for what its transport
///        forbids.
pub fn answer(query: &[u8], arrival: Arrival<'_>, view: View<'_>) -> Option<Response> {
    let mut parsed = match Query::parse(query)? {
        Ok(parsed) => parsed,
        Err(mut fault) => {
            if breaks_transport(&fault.head, &arrival) {
                return None;
            }
            set_options(&mut fault.head, &arrival);
            let proved_address = fault.head.options.good_cookie;
            let response = Reply::fault(&fault).compose(arrival.transport)?;
            return Some(Response {
                proved_address,
                ..response
            });
        }
    };
    if breaks_transport(&parsed.head, &arrival) {
        return None;
    }
    set_options(&mut parsed.head, &arrival);
    let response = if arrival.limited {
        come_back(&parsed, arrival.transport)?
    } else {
        answer_parsed(&parsed, arrival.transport, view)?
    };
    Some(Response {
        proved_address: parsed.head.options.good_cookie,
        ..response
    })
}

/// What `query` asks for, if it is one that a zone answers.
pub(super) fn question(query: &[u8]) -> Option<(OwnerName, Rtype)> {
    let parsed = Query::parse(query)?.ok()?;
    Some((parsed.qname, parsed.qtype))
}

/// Where the last alias leads that `zone` answers such a question with, if
/// there is nothing there.
pub(super) fn dangling(zone: &Zone, qname: &OwnerName, qtype: Rtype) -> Option<OwnerName> {
    if matches!(qtype, Rtype::CNAME | Rtype::ANY) {
        return None;
    }
    let found = lookup::lookup(zone, qname.clone(), qtype, false);
    match found.answer.last()?.set.data.first()? {
        ZoneRecordData::Cname(alias) => Some(alias.cname().clone()),
        _ => None,
    }
}

/// Whether the query holds what its transport forbids.
fn breaks_transport(head: &Head<'_>, arrival: &Arrival<'_>) -> bool {
    // RFC 9250 §4.2.1 and §5.5.2: no id, and no keepalive, for QUIC has both.
    let keepalive = head.edns.as_ref().is_some_and(|edns| edns.asked.keepalive);
    arrival.transport == Transport::Quic && (head.header.id() != 0 || keepalive)
}

fn set_options(head: &mut Head<'_>, arrival: &Arrival<'_>) {
    if let Some(edns) = &head.edns {
        head.options = Options::answering(&edns.asked, arrival);
    }
}

/// Tells a client that is over its rate how to be answered: with the cookie
/// that it is given, if it knows of cookies (RFC 7873 §5.2.3), else over TCP.
fn come_back(parsed: &Query<'_>, transport: Transport) -> Option<Response> {
    let reply = if parsed.head.options.bad_cookie {
        Reply::failure(parsed, OptRcode::BADCOOKIE)
    } else {
        let mut reply = Reply::failure(parsed, OptRcode::NOERROR);
        reply.truncated = true;
        reply
    };
    reply.compose(transport)
}

fn answer_parsed(parsed: &Query<'_>, transport: Transport, view: View<'_>) -> Option<Response> {
    let Some(zone) = view.zone else {
        let reply = Reply::failure(parsed, OptRcode::SERVFAIL).because(
            ExtendedErrorCode::NOT_READY,
            "the ledger has not been read yet",
        );
        return reply.compose(transport);
    };
    if parsed.qclass != Class::IN {
        return Reply::failure(parsed, OptRcode::REFUSED).compose(transport);
    }
    if let Some(rcode) = refused_type(parsed.qtype) {
        return Reply::failure(parsed, rcode)
            .because(ExtendedErrorCode::NOT_SUPPORTED, "")
            .compose(transport);
    }
    // RFC 9462 §4: it is about this very server, whatever the ledger says.
    if let Some(designation) = view.designation
        && designation.is_at(&parsed.qname)
    {
        let found = lookup::Answer::of_own(&parsed.qname, parsed.qtype, designation.set());
        return Reply::found(parsed, found).compose(transport);
    }
    let dnssec = parsed.head.edns.as_ref().is_some_and(|edns| edns.dnssec_ok);
    let found = lookup::lookup(zone, parsed.qname.clone(), parsed.qtype, dnssec);
    if found.rcode == Rcode::REFUSED {
        return Reply::failure(parsed, OptRcode::REFUSED)
            .because(ExtendedErrorCode::NOT_AUTHORITATIVE, "")
            .compose(transport);
    }
    let behind = ExtendedError::behind(view.freshness, found.rcode, zone.height());
    if matches!(view.freshness, Freshness::Expired | Freshness::Unproven) {
        let mut reply = Reply::failure(parsed, OptRcode::SERVFAIL);
        reply.error = behind;
        return reply.compose(transport);
    }
    let (kind, min_ttl) = (kind_of(&found), min_ttl(&found));
    let mut reply = Reply::found(parsed, found);
    reply.error = behind;
    let response = reply.compose(transport)?;
    Some(Response {
        min_ttl,
        kind,
        subject: subject(zone, &parsed.qname, kind),
        ..response
    })
}

/// For how long the whole answer may be cached: as long as its shortest-lived
/// record (RFC 8484 §5.1); a denial's is its SOA.
fn min_ttl(found: &lookup::Answer<'_>) -> Option<u32> {
    let section = if found.answer.is_empty() {
        &found.authority
    } else {
        &found.answer
    };
    section.iter().map(|placed| placed.set.ttl.as_secs()).min()
}

fn kind_of(found: &lookup::Answer<'_>) -> Kind {
    match found.rcode {
        Rcode::NXDOMAIN => Kind::NxDomain,
        Rcode::NOERROR if !found.answer.is_empty() => Kind::Answer,
        Rcode::NOERROR if found.authoritative => Kind::NoData,
        Rcode::NOERROR => Kind::Referral,
        _ => Kind::Error,
    }
}

/// Hashes the registered name that `qname` lies at or beneath: whatever a
/// wildcard makes of random labels is about one name. A name that does not
/// exist is about its apex.
fn subject(zone: &Zone, qname: &OwnerName, kind: Kind) -> u64 {
    let Some(apex) = zone
        .apexes()
        .iter()
        .find(|apex| qname.ends_with(apex.name()))
    else {
        return 0;
    };
    let labels = apex.labels() + usize::from(kind != Kind::NxDomain);
    let above = (qname.iter_labels().count() - 1).saturating_sub(labels);
    let skipped: usize = qname
        .iter_labels()
        .take(above)
        .map(|label| label.len() + 1)
        .sum();
    let mut about = [0; 255];
    let octets = &qname.as_slice()[skipped..];
    let about = &mut about[..octets.len()];
    about.copy_from_slice(octets);
    about.make_ascii_lowercase();
    subject_of(about)
}

/// Hashes a name, in wire form and lower case, that answers are about.
pub(super) fn subject_of(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

/// Types that are no data: transfers, which this version does not serve, and
/// what only a question or a transaction carries (RFC 6895 §3.1).
fn refused_type(qtype: Rtype) -> Option<OptRcode> {
    match qtype {
        Rtype::AXFR | Rtype::IXFR => Some(OptRcode::REFUSED),
        Rtype::ANY => None,
        other if (249..=254).contains(&other.to_int()) => Some(OptRcode::NOTIMP),
        _ => None,
    }
}

#[cfg(test)]
pub(super) use self::fuzz::zone_with_everything;
pub(super) use self::fuzz::{fuzz_query, fuzz_rendered};

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
