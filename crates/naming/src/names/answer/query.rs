//! Reading a query: what is asked, and what its EDNS says.
//!
//! Everything here came from a stranger. The wire format is the library's;
//! what this file adds is how strict to be.

use domain::base::{
    Header, Message, ParsedRecord, Rtype,
    iana::{Class, Opcode, OptRcode},
    opt::{Opt, OptRecord},
};

use super::{
    lookup,
    options::{Asked, Options},
};
use crate::names::zone::OwnerName;

/// Records that a query may carry beside its question: stock clients send an
/// OPT and a signature at most.
const MAX_QUERY_RECORDS: u16 = 8;

/// What a client's OPT record says (RFC 6891).
#[derive(Clone, Debug)]
pub(super) struct Edns {
    /// The largest datagram it takes.
    pub udp_size: u16,
    /// Whether it wants DNSSEC records; echoed (RFC 3225 §3).
    pub dnssec_ok: bool,
    /// What its options ask for.
    pub asked: Asked,
}

/// A query that can be answered.
pub(super) struct Query<'q> {
    /// The query's octets up to the end of its question.
    pub head: Head<'q>,
    /// The name, in the letters of the client.
    pub qname: OwnerName,
    /// The type.
    pub qtype: Rtype,
    /// The class.
    pub qclass: Class,
}

/// What every response needs of its query.
#[derive(Clone)]
pub(super) struct Head<'q> {
    /// Its header.
    pub header: Header,
    /// The message, if its question is to be echoed.
    pub echo: Option<&'q Message<[u8]>>,
    /// Its EDNS, if it has any.
    pub edns: Option<Edns>,
    /// The options that the response carries.
    pub options: Options,
}

/// A query that cannot be answered, and with what it is turned away.
pub(super) struct Fault<'q> {
    /// What is known of the query.
    pub head: Head<'q>,
    /// The outcome.
    pub rcode: OptRcode,
}

impl<'q> Query<'q> {
    /// Reads a query.
    ///
    /// Shape: none for what gets no response at all.
    pub fn parse(octets: &'q [u8]) -> Option<Result<Self, Fault<'q>>> {
        let message = Message::from_slice(octets).ok()?;
        let header = message.header();
        if header.qr() {
            return None;
        }
        let mut head = Head {
            header,
            echo: None,
            edns: None,
            options: Options::default(),
        };
        Some(Self::parse_body(message, &mut head).map_err(|rcode| Fault { head, rcode }))
    }

    fn parse_body(message: &'q Message<[u8]>, head: &mut Head<'q>) -> Result<Self, OptRcode> {
        // RFC 1035 §4.1.1: another opcode gives the sections another meaning,
        // so that only EDNS is looked for.
        if head.header.opcode() != Opcode::QUERY {
            head.edns = edns(message).ok().flatten();
            return Err(OptRcode::NOTIMP);
        }
        // RFC 9619: a query has exactly one question.
        let Ok(question) = message.sole_question() else {
            head.edns = edns(message).ok().flatten();
            return Err(without_question(message, head));
        };
        head.echo = Some(message);
        head.edns = edns(message)?;
        let qname = lookup::owned(question.qname()).ok_or(OptRcode::FORMERR)?;
        Ok(Self {
            head: head.clone(),
            qname,
            qtype: question.qtype(),
            qclass: question.qclass(),
        })
    }
}

/// The outcome of a query that does not have one question.
fn without_question(message: &Message<[u8]>, head: &Head<'_>) -> OptRcode {
    // RFC 7873 §5.4: a client may ask for a cookie and nothing else.
    let wants_cookie = head
        .edns
        .as_ref()
        .is_some_and(|edns| edns.asked.cookie.is_some());
    if message.header_counts().qdcount() == 0 && wants_cookie {
        OptRcode::NOERROR
    } else {
        OptRcode::FORMERR
    }
}

/// Walks every record, so that a malformed one is noticed, and reads the OPT.
///
/// Errors: FORMERR for malformed or too many records, octets after the last
///         one, or a second OPT; BADVERS for another version of EDNS.
fn edns(message: &Message<[u8]>) -> Result<Option<Edns>, OptRcode> {
    let counts = message.header_counts();
    let records = u32::from(counts.ancount()) + u32::from(counts.nscount());
    if records + u32::from(counts.arcount()) > u32::from(MAX_QUERY_RECORDS) {
        return Err(OptRcode::FORMERR);
    }
    let malformed = |_| OptRcode::FORMERR;
    for section in [message.answer(), message.authority()] {
        for record in section.map_err(malformed)? {
            record.map_err(malformed)?;
        }
    }
    let mut section = message.additional().map_err(malformed)?;
    let mut found = None;
    for record in section.by_ref() {
        let record = record.map_err(malformed)?;
        if record.rtype() != Rtype::OPT {
            continue;
        }
        // RFC 6891 §6.1.1: the root's, and at most one.
        if found.is_some() || !record.owner().is_root() {
            return Err(OptRcode::FORMERR);
        }
        found = Some(read_opt(&record)?);
    }
    if section.pos() != message.as_slice().len() {
        return Err(OptRcode::FORMERR);
    }
    match found {
        // The version is looked at last: a malformed message is malformed in
        // every version.
        Some((_, version)) if version != 0 => Err(OptRcode::BADVERS),
        Some((edns, _)) => Ok(Some(edns)),
        None => Ok(None),
    }
}

fn read_opt(record: &ParsedRecord<'_, [u8]>) -> Result<(Edns, u8), OptRcode> {
    let record = record
        .to_record::<Opt<_>>()
        .ok()
        .flatten()
        .ok_or(OptRcode::FORMERR)?;
    let opt = OptRecord::from_record(record);
    let edns = Edns {
        udp_size: opt.udp_payload_size(),
        dnssec_ok: opt.dnssec_ok(),
        asked: Asked::read(opt.opt())?,
    };
    Ok((edns, opt.version()))
}
