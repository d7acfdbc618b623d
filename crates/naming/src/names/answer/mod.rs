//! From a query's octets to a response's octets: one pure function behind
//! every front.
//!
//! [`answer`] takes what arrived, over what, and the image to answer from. It
//! reads no clock and no socket, never panics and never answers more than the
//! transport and the client allow. docs/spec/dns.md §3 says what it answers.

mod compose;
mod fuzz;
mod lookup;
mod query;

use domain::base::iana::{Class, ExtendedErrorCode, OptRcode, Rcode, Rtype};

use self::{
    compose::{ExtendedError, Reply},
    query::{Fault, Query},
};
use super::zone::Zone;

/// How a query came; it decides how large its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram: 512 octets, or what EDNS offers up to [`MAX_UDP_RESPONSE`].
    Udp,
    /// A stream with two octets of length.
    Tcp,
}

/// The largest datagram sent, and the size offered to clients: what crosses
/// every path of IPv6 without fragments (DNS flag day 2020).
pub const MAX_UDP_RESPONSE: u16 = 1232;

/// How far behind the ledger the image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Within what the operator tolerates.
    Fresh,
    /// Behind; answers say so (RFC 8914, code 3).
    Stale,
    /// So far behind that no answer is better (RFC 8914, code 24).
    Expired,
}

/// What there is to answer from.
#[derive(Clone, Copy, Debug)]
pub struct View<'z> {
    /// The newest image; none before the ledger was first read.
    pub zone: Option<&'z Zone>,
    /// How far behind it is.
    pub freshness: Freshness,
}

/// A response and its outcome.
#[derive(Debug)]
pub struct Response {
    /// The message.
    pub octets: Vec<u8>,
    /// The outcome, extended codes included (RFC 6891 §6.1.3).
    pub rcode: u16,
}

/// Answers one query.
///
/// Shape: none where silence is the answer: for octets too few to carry a
///        header, and for what is itself a response.
pub fn answer(query: &[u8], transport: Transport, view: View<'_>) -> Option<Response> {
    let parsed = match Query::parse(query)? {
        Ok(parsed) => parsed,
        Err(fault) => return fault_reply(&fault, transport),
    };
    let Some(zone) = view.zone else {
        let reply = Reply::failure(&parsed, OptRcode::SERVFAIL).because(
            ExtendedErrorCode::NOT_READY,
            "the ledger has not been read yet",
        );
        return reply.compose(transport);
    };
    if parsed.qclass != Class::IN {
        return Reply::failure(&parsed, OptRcode::REFUSED).compose(transport);
    }
    if let Some(rcode) = refused_type(parsed.qtype) {
        return Reply::failure(&parsed, rcode)
            .because(ExtendedErrorCode::NOT_SUPPORTED, "")
            .compose(transport);
    }
    let found = lookup::lookup(zone, parsed.qname.clone(), parsed.qtype);
    if found.rcode == Rcode::REFUSED {
        return Reply::failure(&parsed, OptRcode::REFUSED)
            .because(ExtendedErrorCode::NOT_AUTHORITATIVE, "")
            .compose(transport);
    }
    let behind = ExtendedError::behind(view.freshness, found.rcode, zone.height());
    if view.freshness == Freshness::Expired {
        let mut reply = Reply::failure(&parsed, OptRcode::SERVFAIL);
        reply.error = behind;
        return reply.compose(transport);
    }
    let mut reply = Reply::found(&parsed, found);
    reply.error = behind;
    reply.compose(transport)
}

fn fault_reply(fault: &Fault<'_>, transport: Transport) -> Option<Response> {
    Reply::fault(fault).compose(transport)
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

pub(super) use self::fuzz::fuzz_query;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
