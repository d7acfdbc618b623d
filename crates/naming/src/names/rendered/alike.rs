//! Whether two responses say the same: records in their order, whatever names
//! they compress.

use domain::{
    base::{Message, ParsedName, Rtype, iana::OptionCode, opt::UnknownOptData},
    rdata::AllRecordData,
};

use super::{Asking, Question};
use crate::names::{
    answer::{Arrival, Freshness, PADDING_BLOCK, Transport, View, answer},
    zone::Zone,
};

/// What a response says, but for its header and question.
fn said(octets: &[u8]) -> Option<Vec<Vec<String>>> {
    let message = Message::from_octets(octets).ok()?;
    let sections = [
        message.answer().ok()?,
        message.authority().ok()?,
        message.additional().ok()?,
    ];
    let mut all = Vec::new();
    for section in sections {
        let mut lines = Vec::new();
        for record in section {
            let record = record.ok()?;
            if record.rtype() == Rtype::OPT {
                let (class, ttl) = (record.class(), record.ttl().as_secs());
                let opt = message.opt()?;
                let options = opt.opt().iter::<UnknownOptData<_>>().flatten();
                let options: Vec<_> = options
                    .map(|option| match option.code() {
                        // How much there is depends on what is compressed.
                        OptionCode::PADDING => (option.code(), Vec::new()),
                        code => (code, option.as_slice().to_vec()),
                    })
                    .collect();
                lines.push(format!("OPT {class} {ttl} {options:?}"));
                continue;
            }
            let record = record
                .to_any_record::<AllRecordData<_, ParsedName<_>>>()
                .ok()?;
            let mut line = record.to_string();
            if record.rtype() == Rtype::SOA {
                // Its names may be compressed, and so take a client's letters.
                line.make_ascii_lowercase();
            }
            lines.push(line);
        }
        all.push(lines);
    }
    Some(all)
}

/// Answers a query from what is rendered of `zone`, over every transport, and
/// checks that the one function for every question gives the same answer. Gives the
/// answer over UDP, if the query is for here.
///
/// Panics if the two differ.
pub(in crate::names) fn answer_alike(
    zone: &Zone,
    query: &[u8],
    asking: Asking<'_>,
) -> Option<Vec<u8>> {
    use Transport::{Https, Quic, Tcp, Tls, Udp};
    for connection in [Tcp, Tls, Https, Quic] {
        answer_alike_over(connection, zone, query, asking);
    }
    answer_alike_over(Udp, zone, query, asking)
}

/// As [`answer_alike`], over one transport.
pub(in crate::names) fn answer_alike_over(
    transport: Transport,
    zone: &Zone,
    query: &[u8],
    asking: Asking<'_>,
) -> Option<Vec<u8>> {
    let rendered = zone.rendered().expect("a rendered image");
    let mut question = Question::default();
    let is_read = match transport {
        Transport::Udp => question.read(query, rendered),
        connection => question.read_over(query, rendered, connection),
    };
    if !is_read {
        return None;
    }
    // What was in a worker's buffer before must not show.
    let mut octets = vec![0xee; question.limit];
    let outcome = rendered.respond(query, &question, asking, &mut octets)?;
    octets.truncate(outcome.length);
    let arrival = Arrival {
        client: asking.client,
        cookies: Some(asking.cookies),
        now_s: asking.now_s,
        ..Arrival::from(transport)
    };
    let view = View {
        zone: Some(zone),
        freshness: Freshness::Fresh,
        designation: None,
    };
    let slow = answer(query, arrival, view).expect("both answer");
    let end = question.end();
    assert_eq!(octets[..end], slow.octets[..end], "of {query:02x?}");
    assert_eq!(said(&octets), said(&slow.octets), "of {query:02x?}");
    assert!(said(&octets).is_some() && octets.len() <= question.limit);
    let is_whole = octets.len() % PADDING_BLOCK == 0 || octets.len() == question.limit;
    assert!(is_whole || !question.pads, "{} octets", octets.len());
    assert_eq!(outcome.rcode, slow.rcode);
    assert_eq!(outcome.kind, slow.kind);
    assert_eq!(Some(outcome.min_ttl), slow.min_ttl, "of {query:02x?}");
    assert_eq!(outcome.proved_address, slow.proved_address);
    assert_eq!(question.subject(outcome.kind), slow.subject);
    Some(octets)
}
