//! Reading the common query: one question beneath an apex, and at most an OPT
//! record.
//!
//! It reads what a stranger sent and knows one answer to whatever is unusual:
//! it is not for here. The full parser then judges it.

use domain::base::{Rtype, opt::cookie::Cookie};
use domain::dep::octseq::Parser;

use super::Rendered;
use crate::names::answer::{MAX_UDP_RESPONSE, MIN_UDP_RESPONSE, Transport};

/// Octets of a message's header.
pub(super) const HEADER: usize = 12;

/// Octets of a name in wire form (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

/// Octets of an OPT record without options.
pub(super) const OPT: usize = 11;

const OPT_TYPE: u16 = 41;
const COOKIE_OPTION: u16 = 10;
const KEEPALIVE_OPTION: u16 = 11;
const PADDING_OPTION: u16 = 12;

/// Octets of a response over a connection: what is rendered of a name seldom has more.
/// Larger ones are written the other way.
pub(in crate::names) const MAX_READY_RESPONSE: usize = 4096;
const CLASS_IN: [u8; 2] = [0, 1];

/// What a client's OPT record says.
#[derive(Clone, Debug, Default)]
pub(super) struct Edns {
    pub dnssec_ok: bool,
    pub cookie: Option<Cookie>,
    /// Whether it is to know how long its connection may idle.
    keepalive: bool,
    /// Whether it padded its query.
    padded: bool,
}

/// A question as it was read; reused from query to query.
#[derive(Clone, Debug)]
pub(in crate::names) struct Question {
    /// The name in wire form, lower case.
    lower: [u8; MAX_NAME],
    /// Octets of the name.
    name: usize,
    /// The apex that the name is beneath.
    pub(super) number: u8,
    /// Where the label beneath the apex begins, and ends.
    label: (usize, usize),
    /// The label's hash in the table.
    pub(super) hash: u64,
    pub(super) qtype: u16,
    pub(super) edns: Option<Edns>,
    /// Whether the response is to be padded.
    pub(super) pads: bool,
    /// The most octets that the response may have.
    pub(super) limit: usize,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            lower: [0; MAX_NAME],
            name: 0,
            number: 0,
            label: (0, 0),
            hash: 0,
            qtype: 0,
            edns: None,
            pads: false,
            limit: 0,
        }
    }
}

impl Question {
    /// Reads a query that came over UDP.
    ///
    /// Shape: whether it is a question for here; if not, nothing of this is
    ///        to be used.
    pub fn read(&mut self, query: &[u8], rendered: &Rendered) -> bool {
        self.try_read(query, rendered).is_some()
    }

    /// Reads a query that came over a connection.
    ///
    /// Shape: as [`Question::read`].
    pub fn read_over(&mut self, query: &[u8], rendered: &Rendered, transport: Transport) -> bool {
        // RFC 9250 §4.2.1: over QUIC there is no id.
        let is_fit = transport != Transport::Quic || query.starts_with(&[0, 0]);
        let is_read = is_fit && self.read(query, rendered);
        let asks = |what: fn(&Edns) -> bool| self.edns.as_ref().is_some_and(what);
        let (keepalive, padded) = (asks(|edns| edns.keepalive), asks(|edns| edns.padded));
        self.limit = MAX_READY_RESPONSE;
        // RFC 7830 §6: padding is for encrypted transports.
        self.pads = padded && transport.is_encrypted();
        is_read && !keepalive
    }

    fn try_read(&mut self, query: &[u8], rendered: &Rendered) -> Option<()> {
        let (header, body) = query.split_first_chunk::<HEADER>()?;
        // A query, opcode QUERY; the other flags matter to no answer. One
        // question, no record but one beside it at most.
        let &[_, _, flags, _, counts @ ..] = header;
        let additional = match counts {
            [0, 1, 0, 0, 0, 0, 0, additional @ 0..=1] => additional,
            _ => return None,
        };
        if flags & 0xf8 != 0 {
            return None;
        }
        let (labels, above) = self.read_name(body)?;
        let rest = &body[self.name..];
        let (&[high, low, class @ ..], rest) = rest.split_first_chunk::<4>()?;
        self.qtype = u16::from_be_bytes([high, low]);
        if class != CLASS_IN || !is_common(self.qtype) {
            return None;
        }
        (self.edns, self.limit) = match additional {
            0 if rest.is_empty() => (None, usize::from(MIN_UDP_RESPONSE)),
            1 => read_opt(rest)?,
            _ => return None,
        };
        self.pads = false;
        self.place(rendered, &labels[..above])
    }

    /// Reads the name; gives where its labels begin, and how many there are.
    fn read_name(&mut self, body: &[u8]) -> Option<([u8; MAX_NAME / 2 + 1], usize)> {
        let mut starts = [0; MAX_NAME / 2 + 1];
        let (mut at, mut labels) = (0, 0);
        loop {
            let length = usize::from(*body.get(at)?);
            if length == 0 {
                break;
            }
            // RFC 1035 §4.1.4: longer ones are pointers, which no question needs.
            if length > 63 || at + 1 + length >= MAX_NAME {
                return None;
            }
            *starts.get_mut(labels)? = at as u8;
            labels += 1;
            at += 1 + length;
        }
        self.name = at + 1;
        // A length octet is below 64 and so never taken for a letter.
        let lower = self.lower.get_mut(..self.name)?;
        lower.copy_from_slice(body.get(..self.name)?);
        lower.make_ascii_lowercase();
        Some((starts, labels))
    }

    /// Finds the apex, the label beneath it, and its hash.
    fn place(&mut self, rendered: &Rendered, starts: &[u8]) -> Option<()> {
        let name = &self.lower[..self.name];
        // Longest first, so that the first match is the closest.
        let mut apexes = rendered.apexes.iter().enumerate();
        let (number, apex) = apexes.find(|(_, apex)| name.ends_with(&apex.name))?;
        let end = self.name - apex.name.len();
        // The last label before the apex, if the match is no part of a label.
        let above = starts.iter().rposition(|start| usize::from(*start) < end)?;
        let start = usize::from(starts[above]);
        if start + 1 + usize::from(name[start]) != end {
            return None;
        }
        self.number = u8::try_from(number).ok()?;
        self.label = (start, end);
        self.hash = rendered.table.hash(self.number, self.label());
        Some(())
    }

    /// The label beneath the apex.
    pub(super) fn label(&self) -> &[u8] {
        &self.lower[self.label.0 + 1..self.label.1]
    }

    /// What the question has before that label, in wire form.
    pub(super) fn owner(&self) -> &[u8] {
        &self.lower[..self.label.0]
    }

    /// Where in the message the question has the apex.
    pub(super) fn apex_at(&self) -> usize {
        HEADER + self.label.1
    }

    /// Octets of header and question.
    pub(super) fn end(&self) -> usize {
        HEADER + self.name + 4
    }

    /// The registered name with its length octets, or the apex.
    pub(super) fn registered(&self, exists: bool) -> &[u8] {
        let from = if exists { self.label.0 } else { self.label.1 };
        &self.lower[from..self.name]
    }
}

/// Types whose answer is what stands at a name.
fn is_common(qtype: u16) -> bool {
    !matches!(
        qtype,
        0 | OPT_TYPE | 249..=255 // SIG, TKEY, TSIG, IXFR, AXFR, MAILB, MAILA, ANY
    ) && qtype != Rtype::RRSIG.to_int()
}

/// Reads what follows the question if it is an OPT record and nothing else.
fn read_opt(rest: &[u8]) -> Option<(Option<Edns>, usize)> {
    let (fixed, mut options) = rest.split_first_chunk::<OPT>()?;
    let &[0, 0, 41, size_high, size_low, _, 0, flags, _, high, low] = fixed else {
        return None;
    };
    if options.len() != usize::from(u16::from_be_bytes([high, low])) {
        return None;
    }
    let mut edns = Edns {
        dnssec_ok: flags & 0x80 != 0,
        ..Edns::default()
    };
    while !options.is_empty() {
        let (&[code_high, code_low, high, low], after) = options.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (option, after) = after.split_at_checked(length)?;
        match u16::from_be_bytes([code_high, code_low]) {
            // RFC 7873 §5.2: only the first one counts.
            COOKIE_OPTION if edns.cookie.is_none() => {
                if !matches!(length, 8 | 16..=40) {
                    return None;
                }
                edns.cookie = Some(Cookie::parse(&mut Parser::from_ref(option)).ok()?);
            }
            KEEPALIVE_OPTION => edns.keepalive = true,
            PADDING_OPTION => edns.padded = true,
            _ => {}
        }
        options = after;
    }
    let size = u16::from_be_bytes([size_high, size_low]);
    let limit = size.clamp(MIN_UDP_RESPONSE, MAX_UDP_RESPONSE);
    Some((Some(edns), usize::from(limit)))
}
