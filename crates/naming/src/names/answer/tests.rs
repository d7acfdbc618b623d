//! Claims about answers, each by the RFC that makes it.

use domain::base::{
    Message, MessageBuilder, Name, Rtype,
    iana::{Class, ExtendedErrorCode, Opcode, OptRcode},
    opt::{ExtendedError, UnknownOptData},
};
use domain::rdata::AllRecordData;
use proptest::prelude::*;

use super::{fuzz, *};

/// A response as text: one line for each record, `owner ttl type data`.
#[derive(Debug)]
struct Told {
    rcode: OptRcode,
    aa: bool,
    tc: bool,
    answer: Vec<String>,
    authority: Vec<String>,
    additional: Vec<String>,
    octets: Vec<u8>,
}

impl Told {
    fn of(response: &Response) -> Self {
        let message = Message::from_octets(response.octets.clone()).unwrap();
        let lines = |section: Result<domain::base::message::RecordSection<'_, Vec<u8>>, _>| {
            section
                .unwrap()
                .map(Result::unwrap)
                .filter(|record| record.rtype() != Rtype::OPT)
                .map(|record| {
                    let record = record
                        .to_any_record::<AllRecordData<_, domain::base::ParsedName<_>>>()
                        .unwrap();
                    let ttl = record.ttl().as_secs();
                    let owner = record.owner();
                    format!("{owner} {ttl} {} {}", record.rtype(), record.data())
                })
                .collect::<Vec<String>>()
        };
        assert_eq!(message.opt_rcode().to_int(), response.rcode);
        Self {
            rcode: message.opt_rcode(),
            aa: message.header().aa(),
            tc: message.header().tc(),
            answer: lines(message.answer()),
            authority: lines(message.authority()),
            additional: lines(message.additional()),
            octets: response.octets.clone(),
        }
    }

    fn message(&self) -> Message<&[u8]> {
        Message::from_octets(&self.octets[..]).unwrap()
    }

    fn extended_error(&self) -> Option<ExtendedErrorCode> {
        let opt = self.message().opt()?;
        opt.opt()
            .first::<ExtendedError<_>>()
            .map(|error| error.code())
    }
}

fn query(name: &str, rtype: Rtype) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0);
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    let name: Name<Vec<u8>> = Name::vec_from_str(name).unwrap();
    question.push((name, rtype)).unwrap();
    question.finish()
}

fn query_edns(name: &str, rtype: Rtype, size: u16, version: u8) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec().question();
    let name: Name<Vec<u8>> = Name::vec_from_str(name).unwrap();
    builder.push((name, rtype)).unwrap();
    let mut builder = builder.additional();
    builder
        .opt(|opt| {
            opt.set_udp_payload_size(size);
            opt.set_version(version);
            opt.set_dnssec_ok(true);
            // dig sends a cookie; another option is of a kind nobody knows.
            let cookie = UnknownOptData::new(10.into(), vec![7; 8]).unwrap();
            opt.push(&cookie)?;
            let unknown = UnknownOptData::new(65_001.into(), vec![1, 2, 3]).unwrap();
            opt.push(&unknown)
        })
        .unwrap();
    builder.finish()
}

fn view(zone: &Zone) -> View<'_> {
    View {
        zone: Some(zone),
        designation: None,
        freshness: Freshness::Fresh,
    }
}

fn udp(octets: &[u8]) -> Told {
    let zone = fuzz::zone();
    Told::of(&answer(octets, Transport::Udp.into(), view(&zone)).expect("a response"))
}

fn tcp(octets: &[u8]) -> Told {
    let zone = fuzz::zone();
    Told::of(&answer(octets, Transport::Tcp.into(), view(&zone)).expect("a response"))
}

fn ask(name: &str, rtype: Rtype) -> Told {
    udp(&query(name, rtype))
}

const SOA: &str = "internal 5 SOA ns.internal. hostmaster.internal. 7 60 10 86400 5";

#[test]
fn answers_with_authority_from_the_zone() {
    let told = ask("host.internal", Rtype::A);
    assert_eq!(told.rcode, OptRcode::NOERROR);
    assert!(told.aa && !told.tc);
    assert_eq!(told.answer, ["host.internal 60 A 192.0.2.1"]);
    assert!(told.authority.is_empty() && told.additional.is_empty());
    let header = told.message().header();
    assert!(header.qr() && header.rd() && !header.ra() && !header.ad());
}

#[test]
fn the_apex_has_soa_and_ns_with_addresses() {
    let told = ask("internal", Rtype::SOA);
    assert_eq!(
        told.answer,
        ["internal 300 SOA ns.internal. hostmaster.internal. 7 60 10 86400 5"]
    );
    let told = ask("internal", Rtype::NS);
    assert_eq!(told.answer, ["internal 300 NS ns.internal."]);
    assert_eq!(
        told.additional,
        ["ns.internal 300 A 192.0.2.53", "ns.internal 300 AAAA ::1"]
    );
}

#[test]
fn the_question_is_echoed_in_the_clients_letters() {
    let told = ask("HoSt.InTeRnAl", Rtype::A);
    let question = told.message().sole_question().unwrap();
    assert_eq!(question.qname().to_string(), "HoSt.InTeRnAl");
    assert_eq!(told.answer, ["HoSt.InTeRnAl 60 A 192.0.2.1"]);
}

#[test]
fn rfc_2308_a_denial_carries_the_soa_for_its_minimum() {
    let told = ask("nobody.internal", Rtype::A);
    assert_eq!((told.rcode, told.aa), (OptRcode::NXDOMAIN, true));
    assert_eq!(told.authority, [SOA]);
    let told = ask("host.internal", Rtype::TXT);
    assert_eq!((told.rcode, told.aa), (OptRcode::NOERROR, true));
    assert!(told.answer.is_empty());
    assert_eq!(told.authority, [SOA]);
    let told = ask("deeper.nobody.internal", Rtype::A);
    assert_eq!(told.rcode, OptRcode::NXDOMAIN);
}

#[test]
fn an_empty_non_terminal_exists() {
    for name in ["under.host.internal", "empty.internal"] {
        let told = ask(name, Rtype::A);
        assert_eq!(told.rcode, OptRcode::NOERROR, "{name}");
        assert_eq!(told.authority, [SOA]);
    }
    assert_eq!(
        ask("x.under.host.internal", Rtype::A).rcode,
        OptRcode::NXDOMAIN
    );
}

#[test]
fn rfc_4592_a_wildcard_answers_for_what_does_not_exist() {
    let told = ask("anything.wild.internal", Rtype::A);
    assert_eq!(told.answer, ["anything.wild.internal 60 A 192.0.2.9"]);
    let told = ask("a.b.c.wild.internal", Rtype::A);
    assert_eq!(told.answer, ["a.b.c.wild.internal 60 A 192.0.2.9"]);
    let told = ask("anything.wild.internal", Rtype::TXT);
    assert_eq!((told.rcode, told.answer.len()), (OptRcode::NOERROR, 0));
    // What exists, an empty non-terminal too, is not covered, nor is what is beneath.
    assert!(ask("beside.wild.internal", Rtype::A).answer.is_empty());
    let told = ask("x.beside.wild.internal", Rtype::A);
    assert_eq!(told.rcode, OptRcode::NXDOMAIN);
    // The wildcard itself can be asked for.
    let told = ask("*.wild.internal", Rtype::A);
    assert_eq!(told.answer, ["*.wild.internal 60 A 192.0.2.9"]);
    let told = ask("x.alias.wild.internal", Rtype::A);
    assert_eq!(
        told.answer,
        [
            "x.alias.wild.internal 60 CNAME host.internal.",
            "host.internal 60 A 192.0.2.1"
        ]
    );
}

#[test]
fn rfc_1034_aliases_are_followed_within_the_zone() {
    let told = ask("two.alias.internal", Rtype::A);
    assert_eq!(
        told.answer,
        [
            "two.alias.internal 60 CNAME alias.internal.",
            "alias.internal 60 CNAME host.internal.",
            "host.internal 60 A 192.0.2.1"
        ]
    );
    let told = ask("alias.internal", Rtype::CNAME);
    assert_eq!(told.answer, ["alias.internal 60 CNAME host.internal."]);
    let told = ask("alias.internal", Rtype::TXT);
    assert_eq!(
        (told.answer.len(), &told.authority[..]),
        (1, &[SOA.to_owned()][..])
    );
    for name in ["out.alias.internal", "cross.alias.internal"] {
        let told = ask(name, Rtype::A);
        assert_eq!((told.rcode, told.answer.len()), (OptRcode::NOERROR, 1));
        assert!(told.authority.is_empty());
    }
}

#[test]
fn rfc_6604_the_outcome_is_that_of_the_last_alias() {
    let told = ask("gone.alias.internal", Rtype::A);
    assert_eq!(told.rcode, OptRcode::NXDOMAIN);
    assert_eq!(told.answer.len(), 1);
    assert_eq!(told.authority, [SOA]);
}

#[test]
fn a_ring_of_aliases_is_answered_once() {
    let told = ask("ring.alias.internal", Rtype::A);
    assert_eq!((told.rcode, told.answer.len()), (OptRcode::NOERROR, 2));
    let told = ask("self.alias.internal", Rtype::A);
    assert_eq!((told.rcode, told.answer.len()), (OptRcode::NOERROR, 1));
}

#[test]
fn rfc_1034_a_delegation_is_a_referral_with_glue() {
    for (name, rtype) in [
        ("www.sub.cut.internal", Rtype::A),
        ("sub.cut.internal", Rtype::NS),
        ("sub.cut.internal", Rtype::ANY),
        ("ns1.sub.cut.internal", Rtype::A),
        ("x.sub.cut.internal", Rtype::DS),
    ] {
        let told = ask(name, rtype);
        assert_eq!((told.rcode, told.aa), (OptRcode::NOERROR, false), "{name}");
        assert!(told.answer.is_empty());
        assert_eq!(told.authority.len(), 3);
        assert!(told.authority[0].starts_with("sub.cut.internal 60 NS "));
        assert_eq!(
            told.additional,
            [
                "ns1.sub.cut.internal 60 A 192.0.2.54",
                "host.internal 60 A 192.0.2.1",
                "host.internal 60 AAAA ::1"
            ]
        );
    }
    let told = ask("cut.alias.internal", Rtype::A);
    assert!(told.aa, "AA is the alias'");
    assert_eq!((told.answer.len(), told.authority.len()), (1, 3));
}

#[test]
fn rfc_4035_ds_is_the_parents_to_answer() {
    let told = ask("sub.cut.internal", Rtype::DS);
    assert_eq!((told.rcode, told.aa), (OptRcode::NOERROR, true));
    assert_eq!(told.authority, [SOA]);
}

#[test]
fn rfc_6672_a_dname_redirects_what_is_beneath_it() {
    let told = ask("mx.moved.internal", Rtype::A);
    assert_eq!(
        told.answer,
        [
            "moved.internal 60 DNAME host.internal.",
            "mx.moved.internal 60 CNAME mx.host.internal.",
            "mx.host.internal 60 A 192.0.2.2"
        ]
    );
    assert!(ask("moved.internal", Rtype::A).answer.is_empty());
    let told = ask("gone.moved.internal", Rtype::CNAME);
    assert_eq!((told.rcode, told.answer.len()), (OptRcode::NOERROR, 2));
    let long = format!("{}moved.internal", "a234567890.".repeat(21));
    let told = ask(&long, Rtype::A);
    assert_eq!(told.rcode, OptRcode::NXDOMAIN);
    let longest = format!("b.{}moved.internal", "a23456789.".repeat(23));
    let mut zone = fuzz::zone();
    let mut domain = crate::names::zone::Domain::with_apex();
    let far = format!("{}host.internal", "z".repeat(63) + ".");
    let target = domain::rdata::Dname::new(crate::names::zone::absolute(&far).unwrap());
    domain.node_mut(b"").add(
        Rtype::DNAME,
        domain::base::Ttl::from_secs(1),
        [target.into()],
    );
    zone.set(&"moved.internal".parse().unwrap(), Some(domain));
    let response = answer(
        &query(&longest, Rtype::A),
        Transport::Udp.into(),
        view(&zone),
    )
    .unwrap();
    assert_eq!(Told::of(&response).rcode, OptRcode::YXDOMAIN);
}

#[test]
fn rfc_8482_any_is_answered_with_one_rrset() {
    let told = ask("host.internal", Rtype::ANY);
    assert_eq!(told.answer, ["host.internal 60 A 192.0.2.1"]);
}

#[test]
fn mail_exchangers_come_with_addresses_the_zone_knows() {
    let told = ask("host.internal", Rtype::MX);
    assert_eq!(told.answer.len(), 2);
    assert_eq!(told.additional, ["mx.host.internal 60 A 192.0.2.2"]);
}

#[test]
fn rfc_2181_what_does_not_fit_a_datagram_is_truncated() {
    let asked = query("large.host.internal", Rtype::TXT);
    let told = udp(&asked);
    assert!(told.tc && told.octets.len() <= 512);
    assert!(told.answer.is_empty());
    let told = tcp(&asked);
    assert!(!told.tc);
    assert_eq!(told.answer.len(), 26);
    for size in [0, 100, 512, 1000, 1232, 4096, 65_535] {
        let told = udp(&query_edns("large.host.internal", Rtype::TXT, size, 0));
        assert!(told.tc);
        assert!(told.octets.len() <= usize::from(size.clamp(512, 1232)));
    }
}

#[test]
fn rfc_6891_edns_is_answered_in_kind() {
    let told = udp(&query_edns("host.internal", Rtype::A, 4096, 0));
    assert_eq!(told.rcode, OptRcode::NOERROR);
    let opt = told.message().opt().expect("an OPT");
    assert_eq!((opt.udp_payload_size(), opt.version()), (1232, 0));
    assert!(opt.dnssec_ok(), "DO is echoed (RFC 3225)");
    assert!(opt.opt().is_empty(), "no option is answered");
    assert!(ask("host.internal", Rtype::A).message().opt().is_none());
    let told = udp(&query_edns("host.internal", Rtype::A, 4096, 1));
    assert_eq!(told.rcode, OptRcode::BADVERS);
    assert_eq!(told.message().opt().unwrap().version(), 0);
    assert!(told.answer.is_empty());
}

#[test]
fn a_query_with_two_opts_is_malformed() {
    let mut builder = MessageBuilder::new_vec().question();
    let name: Name<Vec<u8>> = Name::vec_from_str("host.internal").unwrap();
    builder.push((name, Rtype::A)).unwrap();
    let mut builder = builder.additional();
    builder.opt(|_| Ok(())).unwrap();
    builder.opt(|_| Ok(())).unwrap();
    assert_eq!(udp(&builder.finish()).rcode, OptRcode::FORMERR);
}

#[test]
fn what_is_not_ours_is_refused() {
    let told = ask("example.org", Rtype::A);
    assert_eq!((told.rcode, told.aa), (OptRcode::REFUSED, false));
    assert_eq!(ask("notinternal", Rtype::A).rcode, OptRcode::REFUSED);
    assert_eq!(ask(".", Rtype::NS).rcode, OptRcode::REFUSED);
    for rtype in [Rtype::AXFR, Rtype::IXFR] {
        assert_eq!(ask("internal", rtype).rcode, OptRcode::REFUSED);
    }
    let mut builder = MessageBuilder::new_vec().question();
    let name: Name<Vec<u8>> = Name::vec_from_str("version.bind").unwrap();
    builder.push((name, Rtype::TXT, Class::CH)).unwrap();
    assert_eq!(udp(&builder.finish()).rcode, OptRcode::REFUSED);
    let told = udp(&query_edns("example.org", Rtype::A, 1232, 0));
    assert_eq!(
        told.extended_error(),
        Some(ExtendedErrorCode::NOT_AUTHORITATIVE)
    );
}

#[test]
fn a_second_apex_is_a_zone_of_its_own() {
    let told = ask("other.corp.example", Rtype::A);
    assert_eq!(told.answer, ["other.corp.example 60 A 192.0.2.1"]);
    assert_eq!(ask("example", Rtype::SOA).rcode, OptRcode::REFUSED);
    assert_eq!(ask("corp.example", Rtype::SOA).answer.len(), 1);
}

#[test]
fn other_opcodes_are_not_implemented() {
    for opcode in [Opcode::STATUS, Opcode::NOTIFY, Opcode::UPDATE] {
        let mut octets = query("host.internal", Rtype::A);
        octets[2] = opcode.to_int() << 3;
        let told = udp(&octets);
        assert_eq!(told.rcode, OptRcode::NOTIMP);
        assert_eq!(told.message().header().opcode(), opcode);
    }
}

#[test]
fn rfc_9619_a_query_has_one_question() {
    let mut builder = MessageBuilder::new_vec().question();
    let name: Name<Vec<u8>> = Name::vec_from_str("host.internal").unwrap();
    builder.push((&name, Rtype::A)).unwrap();
    builder.push((&name, Rtype::AAAA)).unwrap();
    assert_eq!(udp(&builder.finish()).rcode, OptRcode::FORMERR);
    let none = MessageBuilder::new_vec().question().finish();
    assert_eq!(udp(&none).rcode, OptRcode::FORMERR);
}

#[test]
fn malformed_queries_are_told_so_and_noise_is_not_answered() {
    let zone = fuzz::zone();
    let quiet = |octets: &[u8]| answer(octets, Transport::Udp.into(), view(&zone)).is_none();
    assert!(quiet(&[]));
    assert!(quiet(&[0; 11]));
    let mut response = query("host.internal", Rtype::A);
    response[2] |= 0x80;
    assert!(quiet(&response), "a response is never answered");
    let good = query("host.internal", Rtype::A);
    for length in 12..good.len() {
        assert_eq!(udp(&good[..length]).rcode, OptRcode::FORMERR, "{length}");
    }
    let mut trailing = good;
    trailing.push(0);
    assert_eq!(udp(&trailing).rcode, OptRcode::FORMERR);
}

#[test]
fn rfc_3597_unknown_types_are_types_like_any_other() {
    let told = ask("host.internal", Rtype::from_int(65_280));
    assert_eq!(
        (told.rcode, &told.authority[..]),
        (OptRcode::NOERROR, &[SOA.to_owned()][..])
    );
}

#[test]
fn rfc_8914_says_when_it_is_not_ready_stale_or_expired() {
    let zone = fuzz::zone();
    let asked = query_edns("host.internal", Rtype::A, 1232, 0);
    let denied = query_edns("nobody.internal", Rtype::A, 1232, 0);
    let told = |octets: &[u8], zone, freshness| {
        Told::of(
            &answer(
                octets,
                Transport::Udp.into(),
                View {
                    zone,
                    freshness,
                    designation: None,
                },
            )
            .unwrap(),
        )
    };
    let at_first = told(&asked, None, Freshness::Fresh);
    assert_eq!(at_first.rcode, OptRcode::SERVFAIL);
    assert_eq!(
        at_first.extended_error(),
        Some(ExtendedErrorCode::NOT_READY)
    );
    let stale = told(&asked, Some(&zone), Freshness::Stale);
    assert_eq!((stale.rcode, stale.answer.len()), (OptRcode::NOERROR, 1));
    assert_eq!(
        stale.extended_error(),
        Some(ExtendedErrorCode::STALE_ANSWER)
    );
    let stale = told(&denied, Some(&zone), Freshness::Stale);
    let code = ExtendedErrorCode::STALE_NXDOMAIN_ANSWER;
    assert_eq!(
        (stale.rcode, stale.extended_error()),
        (OptRcode::NXDOMAIN, Some(code))
    );
    let expired = told(&asked, Some(&zone), Freshness::Expired);
    assert_eq!(
        (expired.rcode, expired.answer.len()),
        (OptRcode::SERVFAIL, 0)
    );
    assert_eq!(
        expired.extended_error(),
        Some(ExtendedErrorCode::INVALID_DATA)
    );
    let fresh = told(&asked, Some(&zone), Freshness::Fresh);
    assert_eq!(fresh.extended_error(), None);
}

#[test]
fn addresses_begin_elsewhere_for_another_query() {
    let mut zone = fuzz::zone();
    let mut domain = crate::names::zone::Domain::with_apex();
    let addresses = (1..=3).map(|last| domain::rdata::A::from_octets(192, 0, 2, last).into());
    domain
        .node_mut(b"")
        .add(Rtype::A, domain::base::Ttl::from_secs(1), addresses);
    zone.set(&"many.internal".parse().unwrap(), Some(domain));
    let first = |id: u8| {
        let mut octets = query("many.internal", Rtype::A);
        octets[1] = id;
        let response = answer(&octets, Transport::Udp.into(), view(&zone)).unwrap();
        let told = Told::of(&response);
        assert_eq!(told.answer.len(), 3);
        told.answer[0].clone()
    };
    assert_ne!(first(0), first(1));
    assert_ne!(first(1), first(2));
}

/// Queries near enough to well formed that they reach every part.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "host.internal",
        "large.host.internal",
        "two.alias.internal",
        "ring.alias.internal",
        "a.wild.internal",
        "x.sub.cut.internal",
        "x.moved.internal",
        "internal",
        "example.org",
    ]);
    let rtype = prop::sample::select(vec![1u16, 2, 5, 6, 15, 16, 28, 39, 41, 43, 250, 252, 255]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let tail = prop::collection::vec(any::<u8>(), 0..12);
    (name, rtype, any::<u16>(), 0u8..2, changes, tail).prop_map(
        |(name, rtype, size, version, changes, tail)| {
            let mut octets = query_edns(name, Rtype::from_int(rtype), size, version);
            for (at, value) in changes {
                let at = at.index(octets.len());
                octets[at] = value;
            }
            octets.extend(tail);
            octets
        },
    )
}

proptest! {
    #[test]
    fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::fuzz_query(&octets);
    }

    #[test]
    fn nearly_right_queries_are_survived(octets in mutated()) {
        fuzz::fuzz_query(&octets);
    }
}
