//! Writing the response to a question out of what is rendered.

use std::net::IpAddr;

use domain::base::iana::Rcode;

use super::{
    ApexPart, Rendered,
    entry::{self, NodeView, SetView, Typed},
    question::{HEADER, OPT, Question},
    table,
    template::{POINTER, Template},
};
use crate::names::{
    answer::{Kind, MAX_UDP_RESPONSE, OPTION_HEADER, PADDING_BLOCK, subject_of},
    cookies::CookieKeys,
};

/// Octets of a cookie option: header, the client's cookie, ours (RFC 9018 §4).
const COOKIE: usize = 4 + 8 + 16;

const NSEC: u16 = 47;

/// Octets from where a record begins to its time to live: a pointer, type and class.
const OWNER_TO_TTL: usize = 2 + 2 + 2;

/// Who asks, and what the answer depends on beside the zone.
#[derive(Clone, Copy, Debug)]
pub(in crate::names) struct Asking<'a> {
    /// From where.
    pub client: IpAddr,
    /// The secrets of cookies.
    pub cookies: &'a CookieKeys,
    /// Unix time in seconds, modulo 2^32.
    pub now_s: u32,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::names) struct Outcome {
    /// Octets of the response.
    pub length: usize,
    /// Its code.
    pub rcode: u16,
    /// What it is.
    pub kind: Kind,
    /// The smallest time to live of its records, seconds.
    pub min_ttl: u32,
    /// Whether a cookie proved the client's address.
    pub proved_address: bool,
}

/// A message that is being written.
struct Message<'o> {
    octets: &'o mut [u8],
    length: usize,
    authority: u16,
    min_ttl: u32,
}

impl Message<'_> {
    /// Appends octets; none if they do not fit.
    fn push(&mut self, octets: &[u8]) -> Option<()> {
        let end = self.length + octets.len();
        self.octets
            .get_mut(self.length..end)?
            .copy_from_slice(octets);
        self.length = end;
        Some(())
    }

    /// Takes note of the time to live of an RRset: it is the same in each of
    /// `records`, whose owner's name is a pointer or a gap for one.
    fn note_ttl(&mut self, records: &[u8]) -> Option<()> {
        let (_, rest) = records.split_at_checked(OWNER_TO_TTL)?;
        let ttl = u32::from_be_bytes(*rest.first_chunk()?);
        self.min_ttl = self.min_ttl.min(ttl);
        Some(())
    }

    /// Appends an RRset at the apex.
    fn push_at_apex(&mut self, template: &Template, signed: bool, apex_at: usize) -> Option<()> {
        let from = self.length;
        let octets = template.octets(signed);
        self.push(octets)?;
        self.note_ttl(octets)?;
        template.fill(&mut self.octets[from..self.length], apex_at);
        self.authority += template.records;
        if signed {
            self.authority += template.signatures;
        }
        Some(())
    }

    /// Appends the NSEC record of another name, and its signatures.
    fn push_elsewhere(&mut self, node: &NodeView<'_>, label: &[u8], apex_at: usize) -> Option<()> {
        let Typed::Rendered(set) = node.get(NSEC) else {
            return None;
        };
        let owner_at = self.length;
        self.push(node.owner)?;
        self.push(&[label.len() as u8])?;
        self.push(label)?;
        self.push(&(POINTER | apex_at as u16).to_be_bytes())?;
        self.push(set.plain().get(2..)?)?;
        self.note_ttl(set.plain())?;
        let pointer = (POINTER | owner_at as u16).to_be_bytes();
        let mut rest = set.signed();
        while let Some((length, _)) = rest
            .get(10..)
            .and_then(|rest| rest.split_first_chunk::<2>())
        {
            let record = 12 + usize::from(u16::from_be_bytes(*length));
            let (signature, after) = rest.split_at_checked(record)?;
            self.push(&pointer)?;
            self.push(&signature[2..])?;
            rest = after;
        }
        self.authority += 1 + u16::from(set.signatures);
        Some(())
    }
}

impl Rendered {
    /// Brings what the answer to `question` is made of near the processor:
    /// the slots.
    pub fn touch_slots(&self, question: &Question) -> u64 {
        self.table.slots(question.hash).len() as u64
    }

    /// The same, and then the entry.
    pub fn touch_entry(&self, question: &Question) -> u8 {
        let slots = self.table.slots(question.hash);
        let entry = table::likely(slots, question.hash).or_else(|| {
            // What denies it is the entry before it.
            question.edns.as_ref().filter(|edns| edns.dnssec_ok)?;
            let apex = self.apexes.get(usize::from(question.number))?;
            apex.order.before(question.label())
        });
        let entry = entry.unwrap_or_default();
        // Two lines hold the directory of most names, and their addresses.
        let [first, second] = [0, 64].map(|at| entry.get(at).copied().unwrap_or_default());
        first ^ second
    }

    /// Answers `question`, which was read from `query`, into `octets`.
    ///
    /// Shape: none if it is to be answered another way; `octets` then hold
    ///        nothing of use.
    pub fn respond(
        &self,
        query: &[u8],
        question: &Question,
        asking: Asking<'_>,
        octets: &mut [u8],
    ) -> Option<Outcome> {
        let apex = self.apexes.get(usize::from(question.number))?;
        let edns = question.edns.as_ref();
        let dnssec = edns.is_some_and(|edns| edns.dnssec_ok);
        let cookie = edns.and_then(|edns| edns.cookie.as_ref());
        let reserved = edns.map_or(0, |_| OPT + cookie.map_or(0, |_| COOKIE));
        let room = question.limit.checked_sub(reserved)?;
        let mut message = Message {
            octets: octets.get_mut(..room)?,
            length: 0,
            authority: 0,
            min_ttl: u32::MAX,
        };
        message.push(query.get(..question.end())?)?;
        let (kind, answers) = self.push_found(&mut message, apex, query, question, dnssec)?;
        let Message {
            length,
            authority,
            min_ttl,
            ..
        } = message;
        let rcode = match kind {
            Kind::NxDomain => Rcode::NXDOMAIN.to_int(),
            _ => Rcode::NOERROR.to_int(),
        };
        let proved = write_opt(question, asking, octets.get_mut(length..)?)?;
        write_header(octets, rcode, answers, authority, edns.is_some());
        let mut length = length + reserved;
        if question.pads {
            length += pad(octets, length, question.limit, cookie.is_some())?;
        }
        Some(Outcome {
            length,
            rcode: rcode.into(),
            kind,
            min_ttl,
            proved_address: proved,
        })
    }

    /// Appends what there is of the question, or what denies it; gives how many
    /// records are the answer.
    #[inline]
    fn push_found(
        &self,
        message: &mut Message<'_>,
        apex: &ApexPart,
        query: &[u8],
        question: &Question,
        dnssec: bool,
    ) -> Option<(Kind, u16)> {
        let slots = self.table.slots(question.hash);
        let found = table::find(slots, question.hash, question.number, question.label());
        let Some(entry) = found else {
            // Only directly beneath the apex is it plain that nothing matches.
            if !question.owner().is_empty() || apex.has_wildcard {
                return None;
            }
            deny_name(message, apex, question, dnssec)?;
            return Some((Kind::NxDomain, 0));
        };
        let node = entry::node(entry, question.owner())?;
        if !node.is_plain {
            return None;
        }
        match node.get(question.qtype) {
            Typed::Elsewhere => None,
            Typed::Rendered(set) => {
                let answers = push_answer(message, &set, query, dnssec)?;
                Some((Kind::Answer, answers))
            }
            Typed::Absent => {
                deny_type(message, apex, &node, question, dnssec)?;
                Some((Kind::NoData, 0))
            }
        }
    }
}

/// Denies a name directly beneath the apex (RFC 4035 §3.1.3.2).
fn deny_name(
    message: &mut Message<'_>,
    apex: &ApexPart,
    question: &Question,
    dnssec: bool,
) -> Option<()> {
    let apex_at = question.apex_at();
    message.push_at_apex(&apex.denial, dnssec, apex_at)?;
    if !dnssec || !apex.is_signed {
        return Some(());
    }
    // Of the wildcard too: it comes before every name, or this is none.
    let nsec = apex.nsec.as_ref()?;
    if let Some(entry) = apex.order.before(question.label()) {
        let (_, label) = entry::name_of(entry)?;
        let node = entry::last_chained(entry)?;
        message.push_elsewhere(&node, label, apex_at)?;
    }
    message.push_at_apex(nsec, true, apex_at)
}

/// Appends the RRset that was asked for; gives how many records it is.
fn push_answer(
    message: &mut Message<'_>,
    set: &SetView<'_>,
    query: &[u8],
    dnssec: bool,
) -> Option<u16> {
    let plain = set.plain();
    message.note_ttl(plain)?;
    if set.stride == 0 {
        message.push(plain)?;
    } else {
        // Addresses begin at another one for each query.
        let id = u16::from_be_bytes(*query.first_chunk()?);
        let first = usize::from(id) % usize::from(set.records).max(1);
        let (late, early) = plain.split_at_checked(first * usize::from(set.stride))?;
        message.push(early)?;
        message.push(late)?;
    }
    if dnssec {
        message.push(set.signed())?;
        return Some(u16::from(set.records) + u16::from(set.signatures));
    }
    Some(set.records.into())
}

/// Denies a type at a name that has others.
fn deny_type(
    message: &mut Message<'_>,
    apex: &ApexPart,
    node: &NodeView<'_>,
    question: &Question,
    dnssec: bool,
) -> Option<()> {
    message.push_at_apex(&apex.denial, dnssec, question.apex_at())?;
    if !dnssec || !apex.is_signed {
        return Some(());
    }
    let Typed::Rendered(nsec) = node.get(NSEC) else {
        return None;
    };
    message.push(nsec.plain())?;
    message.note_ttl(nsec.plain())?;
    message.push(nsec.signed())?;
    message.authority += u16::from(nsec.records) + u16::from(nsec.signatures);
    Some(())
}

/// Writes the OPT record, if the client sent one; gives whether its cookie
/// proves its address.
fn write_opt(question: &Question, asking: Asking<'_>, octets: &mut [u8]) -> Option<bool> {
    let Some(edns) = &question.edns else {
        return Some(false);
    };
    let (opt, rest) = octets.split_first_chunk_mut::<OPT>()?;
    let [size_high, size_low] = MAX_UDP_RESPONSE.to_be_bytes();
    let flags = if edns.dnssec_ok { 0x80 } else { 0 };
    *opt = [0, 0, 41, size_high, size_low, 0, 0, flags, 0, 0, 0];
    let Some(cookie) = &edns.cookie else {
        return Some(false);
    };
    opt[OPT - 1] = COOKIE as u8;
    let judged = asking.cookies.judge(cookie, asking.client, asking.now_s);
    let (option, _) = rest.split_first_chunk_mut::<COOKIE>()?;
    option[..4].copy_from_slice(&[0, 10, 0, COOKIE as u8 - 4]);
    option[4..12].copy_from_slice(&judged.reply.client().into_octets());
    let server: &[u8] = judged.reply.server()?.as_ref();
    option[12..].copy_from_slice(server.first_chunk::<16>()?);
    (server.len() == 16).then_some(judged.valid)
}

/// Appends a padding option to the OPT record that ends a response of `length`
/// octets; gives the octets that it takes (RFC 7830, RFC 8467 §4.1).
fn pad(octets: &mut [u8], length: usize, limit: usize, has_cookie: bool) -> Option<usize> {
    let padded = (length + OPTION_HEADER).next_multiple_of(PADDING_BLOCK);
    let option = octets.get_mut(length..padded.min(limit))?;
    let (header, zeros) = option.split_first_chunk_mut::<OPTION_HEADER>()?;
    let [high, low] = u16::try_from(zeros.len()).ok()?.to_be_bytes();
    *header = [0, 12, high, low];
    zeros.fill(0);
    let added = OPTION_HEADER + zeros.len();
    let options = if has_cookie { COOKIE } else { 0 };
    let [high, low] = u16::try_from(options + added).ok()?.to_be_bytes();
    let at = length - options - 2;
    octets.get_mut(at..at + 2)?.copy_from_slice(&[high, low]);
    Some(added)
}

/// Turns the query's header into the response's.
fn write_header(octets: &mut [u8], rcode: u8, answers: u16, authority: u16, has_opt: bool) {
    let Some(header) = octets.first_chunk_mut::<HEADER>() else {
        return;
    };
    // QR, AA; RD as it was. RFC 4035 §3.1.6: CD is echoed.
    header[2] = 0x84 | header[2] & 1;
    header[3] = header[3] & 0x10 | rcode;
    header[6..8].copy_from_slice(&answers.to_be_bytes());
    header[8..10].copy_from_slice(&authority.to_be_bytes());
    header[10..].copy_from_slice(&[0, u8::from(has_opt)]);
}

impl Question {
    /// A hash of the registered name that an answer of `kind` is about.
    pub fn subject(&self, kind: Kind) -> u64 {
        subject_of(self.registered(kind != Kind::NxDomain))
    }
}
