//! The messages of a transfer: records of one image in as few messages as
//! hold them, each signed.

use std::{collections::VecDeque, ops::Bound, sync::Arc};

use domain::{
    base::{
        Message, Rtype, StaticCompressor,
        iana::Rcode,
        message_builder::{AdditionalBuilder, MessageBuilder},
    },
    rdata::{AllRecordData, tsig::Time48},
    tsig::ServerSequence,
};

use super::{
    SharedKey,
    journal::{ZoneRecord, records_at_apex, records_beneath, soa},
};
use crate::names::zone::{Label, Zone};

/// Octets of a message without its signature: what a message may have, less
/// the largest TSIG record (RFC 8945 §4.2) with room to spare.
const MAX_MESSAGE: usize = 65_535 - 1024;

/// Labels whose records are held at once.
const PAGE: usize = 256;

type Builder = StaticCompressor<Vec<u8>>;

/// Where the records of a transfer come from.
pub(super) enum Source {
    /// A whole zone of an image, label by label.
    Whole {
        zone: Arc<Zone>,
        index: usize,
        next: Option<Bound<Label>>,
        queue: VecDeque<ZoneRecord>,
    },
    /// These records.
    List(VecDeque<ZoneRecord>),
}

impl Source {
    /// The zone `index` of `zone` (RFC 5936 §2.2): SOA, everything else, SOA.
    pub fn whole(zone: Arc<Zone>, index: usize) -> Self {
        let apex = &zone.apexes()[index];
        let mut queue: VecDeque<ZoneRecord> = soa(apex).into_iter().collect();
        queue.extend(records_at_apex(apex));
        Self::Whole {
            zone,
            index,
            next: Some(Bound::Unbounded),
            queue,
        }
    }

    pub fn list(records: Vec<ZoneRecord>) -> Self {
        Self::List(records.into())
    }

    /// The first record alone: a SOA.
    pub fn soa_alone(self) -> Self {
        let (Self::List(mut queue) | Self::Whole { mut queue, .. }) = self;
        queue.truncate(1);
        Self::List(queue)
    }

    fn next(&mut self) -> Option<ZoneRecord> {
        let (zone, index, next, queue) = match self {
            Self::List(queue) => return queue.pop_front(),
            Self::Whole {
                zone,
                index,
                next,
                queue,
            } => (zone, *index, next, queue),
        };
        while queue.is_empty() {
            let from = next.take()?;
            let apex = &zone.apexes()[index];
            let labels = apex.labels_from(from, PAGE);
            let mut records = Vec::new();
            for label in &labels {
                if let Some(domain) = apex.domain(label) {
                    records_beneath(apex, label, &domain, &mut records);
                }
            }
            *next = match labels.last() {
                Some(last) if labels.len() == PAGE => Some(Bound::Excluded(last.clone())),
                _ => {
                    records.extend(soa(apex));
                    None
                }
            };
            queue.extend(records);
        }
        queue.pop_front()
    }
}

/// The messages of an answer; an iterator over octets.
pub(in crate::names) struct Replies {
    query: Vec<u8>,
    sequence: ServerSequence<SharedKey>,
    source: Source,
    rcode: Rcode,
    /// A record that did not fit the last message.
    held: Option<ZoneRecord>,
    first: bool,
    done: bool,
}

impl Replies {
    pub(super) fn new(
        query: &Message<Vec<u8>>,
        sequence: ServerSequence<SharedKey>,
        source: Source,
    ) -> Self {
        Self {
            query: query.as_slice().to_vec(),
            sequence,
            source,
            rcode: Rcode::NOERROR,
            held: None,
            first: true,
            done: false,
        }
    }

    /// One message without records.
    pub(super) fn refusing(
        query: &Message<Vec<u8>>,
        sequence: ServerSequence<SharedKey>,
        rcode: Rcode,
    ) -> Self {
        Self {
            rcode,
            ..Self::new(query, sequence, Source::List(VecDeque::new()))
        }
    }

    fn compose(&mut self) -> Option<Vec<u8>> {
        let query = Message::from_octets(self.query.as_slice()).ok()?;
        let target = StaticCompressor::new(Vec::new());
        let mut builder = MessageBuilder::from_target(target).ok()?;
        builder.set_push_limit(MAX_MESSAGE);
        let header = builder.header_mut();
        header.set_id(query.header().id());
        header.set_qr(true);
        header.set_aa(self.rcode == Rcode::NOERROR);
        header.set_rcode(self.rcode);
        let mut question = builder.question();
        // RFC 5936 §2.2.2: the first message echoes the question.
        if self.first {
            for asked in query.question().flatten() {
                question.push(asked).ok()?;
            }
        }
        let mut answer = question.answer();
        let mut count = 0;
        self.done = loop {
            let Some(record) = self.held.take().or_else(|| self.source.next()) else {
                break true;
            };
            if answer.push(&record).is_err() {
                // One that fits no message ends the transfer, incomplete.
                self.held = Some(record);
                break count == 0;
            }
            count += 1;
        };
        self.first = false;
        let mut additional = answer.additional();
        additional.clear_push_limit();
        self.sequence.answer(&mut additional, Time48::now()).ok()?;
        Some(additional.finish().into_target())
    }
}

impl Iterator for Replies {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.done {
            return None;
        }
        let message = self.compose();
        self.done |= message.is_none();
        message
    }
}

/// Signs an answer that was made for a signed question; none if it does not
/// parse or fit.
pub(in crate::names) fn sign(
    response: &[u8],
    sequence: &mut ServerSequence<SharedKey>,
) -> Option<Vec<u8>> {
    let mut additional = copy(response)?;
    sequence.answer(&mut additional, Time48::now()).ok()?;
    Some(additional.finish().into_target())
}

/// The same message, to be added to.
pub(super) fn copy(response: &[u8]) -> Option<AdditionalBuilder<Builder>> {
    let message = Message::from_octets(response).ok()?;
    let target = StaticCompressor::new(Vec::with_capacity(response.len() + 256));
    let mut builder = MessageBuilder::from_target(target).ok()?;
    *builder.header_mut() = message.header();
    let mut question = builder.question();
    for asked in message.question().flatten() {
        question.push(asked).ok()?;
    }
    type Any<'a> = AllRecordData<&'a [u8], domain::base::ParsedName<&'a [u8]>>;
    let mut answer = question.answer();
    for record in message.answer().ok()?.limit_to_in::<Any<'_>>() {
        answer.push(record.ok()?).ok()?;
    }
    let mut authority = answer.authority();
    for record in message.authority().ok()?.limit_to_in::<Any<'_>>() {
        authority.push(record.ok()?).ok()?;
    }
    let mut additional = authority.additional();
    for record in message.additional().ok()? {
        let record = record.ok()?.to_record::<Any<'_>>().ok()??;
        if record.rtype() == Rtype::OPT {
            // A record's class and time to live mean other things in an OPT.
            let opt = message.opt()?;
            additional.push(opt.as_record()).ok()?;
        } else {
            additional.push(record).ok()?;
        }
    }
    Some(additional)
}
