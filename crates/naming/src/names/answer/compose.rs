//! Writing a response: header, question, sections within their limit, OPT.

use domain::base::{
    Record, StaticCompressor,
    iana::{Class, ExtendedErrorCode, OptRcode, Rcode, Rtype},
    message_builder::{
        AdditionalBuilder, AnswerBuilder, MessageBuilder, PushError, RecordSectionBuilder,
    },
    opt,
};
use wire::Height;

use super::{
    Freshness, MAX_UDP_RESPONSE, MIN_UDP_RESPONSE, Response, Transport,
    lookup::{Answer, Placed},
    query::{Fault, Head, Query},
};

/// Octets of an OPT record without options.
const OPT_OCTETS: usize = 11;

/// Octets of an extended error before its text: option header and code.
const EXTENDED_ERROR_OCTETS: usize = 6;

type Builder = StaticCompressor<Vec<u8>>;

/// Why an answer is as it is, for whoever debugs (RFC 8914).
pub(super) struct ExtendedError {
    code: ExtendedErrorCode,
    text: String,
}

impl ExtendedError {
    /// That an answer comes from behind the ledger, or that none does.
    pub fn behind(freshness: Freshness, rcode: Rcode, height: Height) -> Option<Self> {
        let code = match (freshness, rcode) {
            (Freshness::Fresh, _) => return None,
            (Freshness::Stale, Rcode::NXDOMAIN) => ExtendedErrorCode::STALE_NXDOMAIN_ANSWER,
            (Freshness::Stale, _) => ExtendedErrorCode::STALE_ANSWER,
            (Freshness::Expired, _) => ExtendedErrorCode::INVALID_DATA,
            (Freshness::Unproven, _) => {
                return Some(Self {
                    code: ExtendedErrorCode::NO_REACHABLE_AUTHORITY,
                    text: "no node of the circle gave a proof".to_owned(),
                });
            }
        };
        Some(Self {
            code,
            text: format!("last proven at ledger height {height}"),
        })
    }

    fn octets(&self) -> usize {
        EXTENDED_ERROR_OCTETS + self.text.len()
    }
}

/// How much of an answer a response carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All of it.
    Whole,
    /// All but the addresses that only save a question.
    Needed,
    /// Nothing, and TC.
    Truncated,
}

/// A response before it is written.
pub(super) struct Reply<'a> {
    head: Head<'a>,
    rcode: OptRcode,
    sections: Option<Answer<'a>>,
    /// Why; sent only to clients that speak EDNS.
    pub error: Option<ExtendedError>,
    /// Whether the client is to come back over TCP, whatever was found.
    pub truncated: bool,
}

impl<'a> Reply<'a> {
    /// The reply that carries what was found.
    pub fn found(query: &Query<'a>, found: Answer<'a>) -> Self {
        Self {
            head: query.head.clone(),
            rcode: OptRcode::from_rcode(found.rcode),
            sections: Some(found),
            error: None,
            truncated: false,
        }
    }

    /// A reply without records.
    pub fn failure(query: &Query<'a>, rcode: OptRcode) -> Self {
        Self {
            head: query.head.clone(),
            rcode,
            sections: None,
            error: None,
            truncated: false,
        }
    }

    /// The reply to a query that could not be read.
    pub fn fault(fault: &Fault<'a>) -> Self {
        Self {
            head: fault.head.clone(),
            rcode: fault.rcode,
            sections: None,
            error: None,
            truncated: false,
        }
    }

    /// Adds why.
    pub fn because(mut self, code: ExtendedErrorCode, text: &str) -> Self {
        self.error = Some(ExtendedError {
            code,
            text: text.to_owned(),
        });
        self
    }

    /// Writes the response: whole if it fits; else without the records that
    /// only save a question (RFC 2181 §9); else without any and with TC, so
    /// that the client comes back over TCP.
    pub fn compose(&self, transport: Transport) -> Option<Response> {
        let limit = self.limit(transport);
        let octets = [Extent::Whole, Extent::Needed, Extent::Truncated]
            .into_iter()
            .filter(|extent| !self.truncated || *extent == Extent::Truncated)
            .find_map(|extent| self.write(limit, extent).ok())?;
        Some(Response::of(octets, self.rcode))
    }

    /// The most octets that the response may have.
    fn limit(&self, transport: Transport) -> usize {
        match (transport, &self.head.edns) {
            (Transport::Udp, None) => usize::from(MIN_UDP_RESPONSE),
            // RFC 6891 §6.2.3: values below 512 are taken as 512.
            (Transport::Udp, Some(edns)) => {
                usize::from(edns.udp_size.clamp(MIN_UDP_RESPONSE, MAX_UDP_RESPONSE))
            }
            _ => usize::from(u16::MAX),
        }
    }

    fn speaks_edns(&self) -> bool {
        self.head.edns.is_some() || self.rcode == OptRcode::BADVERS
    }

    fn reserved(&self) -> usize {
        match (self.speaks_edns(), &self.error) {
            (false, _) => 0,
            (true, None) => OPT_OCTETS + self.head.options.octets(),
            (true, Some(error)) => OPT_OCTETS + self.head.options.octets() + error.octets(),
        }
    }

    fn write(&self, limit: usize, extent: Extent) -> Result<Vec<u8>, PushError> {
        let target = StaticCompressor::new(Vec::with_capacity(usize::from(MIN_UDP_RESPONSE)));
        let Ok(mut builder) = MessageBuilder::from_target(target);
        // The library's limit is one past the last octet that it allows.
        builder.set_push_limit(limit - self.reserved() + 1);
        self.write_header(&mut builder, extent);
        let mut question = builder.question();
        if let Some(message) = self.head.echo {
            for asked in message.question().flatten() {
                question.push(asked)?;
            }
        }
        let mut additional = match &self.sections {
            Some(found) if extent != Extent::Truncated => {
                self.write_sections(question.answer(), found, extent)?
            }
            _ => question.additional(),
        };
        if self.speaks_edns() {
            additional.clear_push_limit();
            self.write_opt(&mut additional, limit)?;
        }
        Ok(additional.finish().into_target())
    }

    fn write_header(&self, builder: &mut MessageBuilder<Builder>, extent: Extent) {
        let asked = self.head.header;
        let header = builder.header_mut();
        header.set_id(asked.id());
        header.set_qr(true);
        header.set_opcode(asked.opcode());
        header.set_rd(asked.rd());
        // RFC 4035 §3.1.6: CD is echoed.
        header.set_cd(asked.cd());
        let found = self.sections.as_ref();
        header.set_aa(found.is_some_and(|found| found.authoritative));
        header.set_tc(extent == Extent::Truncated);
        header.set_rcode(self.rcode.rcode());
    }

    fn write_sections(
        &self,
        mut answer: AnswerBuilder<Builder>,
        found: &Answer<'a>,
        extent: Extent,
    ) -> Result<AdditionalBuilder<Builder>, PushError> {
        for placed in &found.answer {
            self.push(&mut answer, placed)?;
        }
        let mut authority = answer.authority();
        for placed in &found.authority {
            self.push(&mut authority, placed)?;
        }
        let mut additional = authority.additional();
        for placed in &found.glue {
            self.push(&mut additional, placed)?;
        }
        if extent == Extent::Whole {
            for placed in &found.additional {
                self.push(&mut additional, placed)?;
            }
        }
        Ok(additional)
    }

    /// Writes one RRset, with its signatures for who wants them. Addresses begin
    /// at another one for each query, so that clients which take the first
    /// spread over the replicas.
    fn push(
        &self,
        section: &mut impl RecordSectionBuilder<Builder>,
        placed: &Placed<'_>,
    ) -> Result<(), PushError> {
        let set = &*placed.set;
        let first = match set.rtype {
            Rtype::A | Rtype::AAAA => usize::from(self.head.header.id()) % set.data.len().max(1),
            _ => 0,
        };
        let (late, early) = set.data.split_at(first);
        let signatures = match &self.head.edns {
            Some(edns) if edns.dnssec_ok => &set.signatures[..],
            _ => &[],
        };
        for data in early.iter().chain(late).chain(signatures) {
            section.push(Record::new(&placed.owner, Class::IN, set.ttl, data))?;
        }
        Ok(())
    }

    fn write_opt(
        &self,
        additional: &mut AdditionalBuilder<Builder>,
        limit: usize,
    ) -> Result<(), PushError> {
        let error_octets = self.error.as_ref().map_or(0, ExtendedError::octets);
        let before = additional.as_slice().len() + OPT_OCTETS + error_octets;
        additional.opt(|opt| {
            opt.set_udp_payload_size(MAX_UDP_RESPONSE);
            opt.set_rcode(self.rcode);
            let edns = self.head.edns.as_ref();
            opt.set_dnssec_ok(edns.is_some_and(|edns| edns.dnssec_ok));
            if let Some(error) = &self.error
                && let Ok(option) = extended_error(error)
            {
                opt.push(&option)?;
            }
            self.head.options.write(opt, before, limit)
        })
    }
}

fn extended_error(
    error: &ExtendedError,
) -> Result<opt::ExtendedError<Vec<u8>>, domain::base::opt::LongOptData> {
    if error.text.is_empty() {
        opt::ExtendedError::new(error.code, None)
    } else {
        opt::ExtendedError::new_with_str(error.code, &error.text)
    }
}
