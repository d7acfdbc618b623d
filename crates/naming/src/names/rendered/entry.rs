//! What is rendered of one registered name: one piece of memory with a
//! directory in front, so that a question touches few lines of it.
//!
//! An entry is made by [`encode`] and read by the functions here alone; what
//! cannot be read of it is not there, and the caller answers another way. An
//! entry that is whole is all that a zone keeps of a name ([`decode`]).
//!
//! ```text
//! apex u8, label length u8, label,
//! node with the last NSEC u8 (255 for none), nodes u8, nodes:
//!   owner length u8, owner, whether it is plain u8, sets u8, sets:
//!     type u16, records u8, signatures u8, stride u8,
//!     whether it is an answer u8, place u32, octets u16, octets with signatures u16
//! records: pointer to the question's name, type, class, time to live, data
//! ```

use bytes::Bytes;
use domain::{
    base::{
        ParseRecordData, ParsedName, Ttl, iana::Rtype, name::FlattenInto as _,
        rdata::ComposeRecordData as _,
    },
    dep::octseq::Parser,
    rdata::ZoneRecordData,
};

use super::template::push_head;
use crate::names::zone::{Data, Domain, Node, RrSet, Standing};

/// Where a question's name begins in every message, as a pointer.
const QUESTION: [u8; 2] = [0xc0, 12];

/// Nodes of a name that are worth rendering; larger names are rare, and
/// looking for a node is a walk.
const MAX_NODES: usize = 32;

/// Octets of an RRset beyond which it is not rendered: it fits no datagram.
const MAX_SET: usize = 1232;

/// Octets of a set's line in the directory.
const SET_OCTETS: usize = 14;

/// Octets of a record before its data: owner, type, class, time to live, length.
const RECORD_HEAD: usize = 12;

const NO_NODE: u8 = u8::MAX;

/// Whether the answer for such an RRset is made of it alone.
fn is_rendered(rtype: Rtype) -> bool {
    !matches!(
        rtype,
        Rtype::NS | Rtype::MX | Rtype::SRV | Rtype::CNAME | Rtype::DNAME | Rtype::SOA | Rtype::PTR
    )
}

/// Renders what is registered as `label` beneath apex `number`.
#[cfg(test)]
pub(super) fn encode(number: u8, label: &[u8], domain: &Domain) -> Vec<u8> {
    encode_checked(number, label, domain).0
}

/// Renders what is registered as `label` beneath apex `number`; and whether
/// that is whole, so that nothing of the name is missing.
pub(super) fn encode_checked(number: u8, label: &[u8], domain: &Domain) -> (Vec<u8>, bool) {
    let mut entry = vec![number, label.len() as u8];
    entry.extend_from_slice(label);
    let nodes: Vec<(&[u8], &Node)> = domain.nodes().collect();
    if nodes.len() > MAX_NODES {
        entry.extend_from_slice(&[NO_NODE, 0]);
        return (entry, false);
    }
    let mut is_whole = true;
    let last = nodes
        .iter()
        .rposition(|(_, node)| node.get(Rtype::NSEC).is_some());
    entry.push(last.map_or(NO_NODE, |last| last as u8));
    entry.push(nodes.len() as u8);
    let directory: usize = nodes
        .iter()
        .map(|(owner, node)| 3 + owner.len() + node.sets().len().min(255) * SET_OCTETS)
        .sum();
    let (mut place, mut records) = (entry.len() + directory, Vec::new());
    // What lies beneath a redirection is neither.
    let is_redirected = nodes
        .iter()
        .any(|(_, node)| node.get(Rtype::DNAME).is_some());
    for ((owner, node), standing) in nodes.iter().zip(domain.standings()) {
        let is_plain = standing == Standing::Authoritative
            && !is_redirected
            && !node.sets().is_empty()
            && node.sets().len() <= usize::from(u8::MAX)
            && node.get(Rtype::CNAME).is_none();
        entry.push(owner.len() as u8);
        entry.extend_from_slice(owner);
        entry.push(u8::from(is_plain));
        entry.push(node.sets().len().min(255) as u8);
        is_whole &= node.sets().len() <= usize::from(u8::MAX);
        for set in node.sets().iter().take(255) {
            let rendered = render(set);
            is_whole &= rendered.is_some();
            let (line, octets) = rendered.unwrap_or_default();
            let is_answer = u8::from(is_rendered(set.rtype));
            entry.extend(set.rtype.to_int().to_be_bytes());
            entry.extend_from_slice(&[line.records, line.signatures, line.stride, is_answer]);
            let here = if octets.is_empty() { 0 } else { place };
            entry.extend((here as u32).to_be_bytes());
            entry.extend(line.plain.to_be_bytes());
            entry.extend((octets.len() as u16).to_be_bytes());
            place += octets.len();
            records.extend_from_slice(&octets);
        }
    }
    entry.extend_from_slice(&records);
    (entry, is_whole)
}

/// What an entry that is whole was rendered of.
pub(in crate::names) fn decode(entry: &[u8]) -> Option<Domain> {
    // Data share this copy.
    let whole = Bytes::copy_from_slice(entry);
    let mut domain = Domain::default();
    for view in nodes(entry)? {
        let mut sets = Vec::with_capacity(view.sets.len() / SET_OCTETS);
        for line in view.sets.chunks_exact(SET_OCTETS) {
            let place = view.place(line)?;
            let octets = whole.slice(place.start..place.end);
            let mut records = read_records(&octets)?;
            let (rtype, ttl) = records.first().map(|record| (record.0, record.1))?;
            let count = usize::from(line[2]);
            if records.len() < count {
                return None;
            }
            let signatures = records.split_off(count);
            let data = |records: Vec<Record>| records.into_iter().map(|record| record.2).collect();
            sets.push(RrSet {
                rtype,
                ttl,
                data: data(records),
                signatures: data(signatures),
            });
        }
        domain.push(view.owner, sets);
    }
    Some(domain)
}

type Record = (Rtype, Ttl, Data);

/// Records as [`render`] writes them.
fn read_records(octets: &Bytes) -> Option<Vec<Record>> {
    let (mut records, mut at) = (Vec::new(), 0);
    while at < octets.len() {
        let head = octets.get(at..at + RECORD_HEAD)?;
        let &[_, _, t, y, _, _, a, b, c, d, high, low] = head else {
            return None;
        };
        let rtype = Rtype::from_int(u16::from_be_bytes([t, y]));
        let ttl = Ttl::from_secs(u32::from_be_bytes([a, b, c, d]));
        let from = at + RECORD_HEAD;
        at = from + usize::from(u16::from_be_bytes([high, low]));
        if at > octets.len() {
            return None;
        }
        let rdata = octets.slice(from..at);
        let mut parser = Parser::from_ref(&rdata);
        let parsed: ZoneRecordData<Bytes, ParsedName<Bytes>> =
            ZoneRecordData::parse_rdata(rtype, &mut parser).ok()??;
        records.push((rtype, ttl, parsed.try_flatten_into().ok()?));
    }
    Some(records)
}

#[derive(Default)]
struct Line {
    records: u8,
    signatures: u8,
    stride: u8,
    plain: u16,
}

/// The records of an RRset at a question's name; none if they are too many.
fn render(set: &RrSet) -> Option<(Line, Vec<u8>)> {
    let mut octets = Vec::new();
    let mut line = Line {
        records: u8::try_from(set.data.len()).ok()?,
        signatures: u8::try_from(set.signatures.len()).ok()?,
        ..Line::default()
    };
    for data in set.data.iter().chain(&set.signatures) {
        if octets.len() > MAX_SET {
            return None;
        }
        octets.extend_from_slice(&QUESTION);
        push_head(&mut octets, set, data);
        // Composing into a vector does not fail.
        let _ = data.compose_len_rdata(&mut octets);
    }
    if octets.len() > MAX_SET {
        return None;
    }
    let signatures = set.signatures.iter().map(|data| {
        let mut rdata = Vec::new();
        let _ = data.compose_len_rdata(&mut rdata);
        QUESTION.len() + 8 + rdata.len()
    });
    line.plain = u16::try_from(octets.len() - signatures.sum::<usize>()).ok()?;
    if matches!(set.rtype, Rtype::A | Rtype::AAAA) && line.records > 1 {
        line.stride = u8::try_from(line.plain / u16::from(line.records)).ok()?;
    }
    Some((line, octets))
}

/// The apex and the label that an entry is of.
pub(super) fn name_of(entry: &[u8]) -> Option<(u8, &[u8])> {
    let (number, length) = (*entry.first()?, *entry.get(1)?);
    Some((number, entry.get(2..2 + usize::from(length))?))
}

/// A node of an entry.
#[derive(Clone, Copy)]
pub(super) struct NodeView<'e> {
    entry: &'e [u8],
    /// Relative to the label, in wire form.
    pub owner: &'e [u8],
    /// Whether the answer for any type is what stands here, or that it does not.
    pub is_plain: bool,
    sets: &'e [u8],
}

/// A rendered RRset.
#[derive(Clone, Copy)]
pub(super) struct SetView<'e> {
    /// Records before the signatures.
    pub records: u8,
    /// Signatures.
    pub signatures: u8,
    /// Octets of each record, if clients are to get them in turns; or 0.
    pub stride: u8,
    plain: usize,
    octets: &'e [u8],
}

impl<'e> SetView<'e> {
    /// The records.
    pub fn plain(&self) -> &'e [u8] {
        &self.octets[..self.plain]
    }

    /// The signatures.
    pub fn signed(&self) -> &'e [u8] {
        &self.octets[self.plain..]
    }
}

/// A type at a node.
pub(super) enum Typed<'e> {
    /// There is none.
    Absent,
    /// There is, and it is not rendered.
    Elsewhere,
    /// It is this.
    Rendered(SetView<'e>),
}

/// The nodes of an entry.
fn nodes(entry: &[u8]) -> Option<impl Iterator<Item = NodeView<'_>>> {
    let (_, label) = name_of(entry)?;
    let start = 2 + label.len();
    let count = *entry.get(start + 1)?;
    let mut rest = entry.get(start + 2..)?;
    Some((0..count).map_while(move |_| {
        let (length, after) = rest.split_first()?;
        let (owner, after) = after.split_at_checked(usize::from(*length))?;
        let (&[is_plain, sets], after) = after.split_first_chunk::<2>()?;
        let (sets, after) = after.split_at_checked(usize::from(sets) * SET_OCTETS)?;
        rest = after;
        Some(NodeView {
            entry,
            owner,
            is_plain: is_plain != 0,
            sets,
        })
    }))
}

/// The node at `owner`, relative to the label.
pub(super) fn node<'e>(entry: &'e [u8], owner: &[u8]) -> Option<NodeView<'e>> {
    nodes(entry)?.find(|node| node.owner == owner)
}

/// The last node that has an NSEC record.
pub(super) fn last_chained(entry: &[u8]) -> Option<NodeView<'_>> {
    let (_, label) = name_of(entry)?;
    let last = *entry.get(2 + label.len())?;
    nodes(entry)?.nth(usize::from(last))
}

impl<'e> NodeView<'e> {
    /// What the node has of `rtype`.
    pub fn get(&self, rtype: u16) -> Typed<'e> {
        let wanted = rtype.to_be_bytes();
        let mut lines = self.sets.chunks_exact(SET_OCTETS);
        let Some(line) = lines.find(|line| line[..2] == wanted) else {
            return Typed::Absent;
        };
        match self.view(line) {
            Some(view) => Typed::Rendered(view),
            None => Typed::Elsewhere,
        }
    }

    /// Where in the entry a set's records are.
    fn place(&self, line: &[u8]) -> Option<std::ops::Range<usize>> {
        let &[_, _, _, _, _, _, a, b, c, d, _, _, high, low] = line else {
            return None;
        };
        let place = u32::from_be_bytes([a, b, c, d]) as usize;
        let end = place + usize::from(u16::from_be_bytes([high, low]));
        (place > 0 && end <= self.entry.len()).then_some(place..end)
    }

    fn view(&self, line: &[u8]) -> Option<SetView<'e>> {
        let octets = self.entry.get(self.place(line)?)?;
        let &[
            _,
            _,
            records,
            signatures,
            stride,
            is_answer,
            _,
            _,
            _,
            _,
            high,
            low,
            ..,
        ] = line
        else {
            return None;
        };
        let plain = usize::from(u16::from_be_bytes([high, low]));
        (is_answer != 0 && plain <= octets.len()).then_some(SetView {
            records,
            signatures,
            stride,
            plain,
            octets,
        })
    }
}
