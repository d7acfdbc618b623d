//! The same questions to stock name servers, serving the same zones out of our
//! zone files: all must agree, but for the differences that `differences.txt`
//! explains one by one.
//!
//! A normal run asks Knot DNS, NSD and BIND some thousand questions;
//! `RINGFORT_QUESTIONS` sets how many, and `script/differential` asks 100,000. A
//! difference is reduced to its kind: what was asked, and which types of records
//! who alone has in which section.

mod peers;

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    base::{Message, MessageBuilder, Name, ParsedName, Rtype},
    rdata::AllRecordData,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use self::peers::{Kind, Peer};
use super::{Freshness, Transport, View, answer, fuzz};
use crate::names::{
    cookies::CookieKeys,
    rendered::{Asking, answer_alike},
};

/// Questions put to each in a normal run.
const QUESTIONS: usize = 3_000;

/// From so many questions on, a kind of difference that is listed and does
/// not show is out of date.
const EXHAUSTIVE: usize = 100_000;

/// Kinds of differences, and why each is as it is.
const EXPLAINED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/names/answer/differential/differences.txt"
);

const TYPES: &[u16] = &[
    1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 43, 46, 47, 48, 52, 59, 60, 65, 257, 65_280,
];

fn question(id: u16, name: &str, rtype: u16, edns: Option<u16>, dnssec_ok: bool) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    let mut builder = builder.question();
    let name: Name<Vec<u8>> = Name::vec_from_str(name).unwrap();
    builder.push((name, Rtype::from_int(rtype))).unwrap();
    let mut builder = builder.additional();
    if let Some(size) = edns {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(size);
                opt.set_dnssec_ok(dnssec_ok);
                Ok(())
            })
            .unwrap();
    }
    builder.finish()
}

/// What a response says, so that order and letters' case do not matter: in
/// each section, records as text with their types.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    rcode: u8,
    aa: bool,
    tc: bool,
    sections: [BTreeSet<(String, String)>; 3],
}

fn said(octets: &[u8]) -> Said {
    let message = Message::from_octets(octets).unwrap();
    let header = message.header();
    let lines = |section: domain::base::message::RecordSection<'_, &[u8]>| {
        section
            .map(Result::unwrap)
            .filter(|record| record.rtype() != Rtype::OPT)
            .map(|record| {
                let record = record
                    .to_any_record::<AllRecordData<_, ParsedName<_>>>()
                    .unwrap();
                let ttl = record.ttl().as_secs();
                let kind = match record.data() {
                    AllRecordData::Rrsig(rrsig) => format!("RRSIG({})", rrsig.type_covered()),
                    _ => record.rtype().to_string(),
                };
                let line = format!("{} {ttl} {kind} {}", record.owner(), record.data());
                (line.to_ascii_lowercase(), kind)
            })
            .collect()
    };
    Said {
        rcode: header.rcode().to_int(),
        aa: header.aa(),
        tc: header.tc(),
        sections: [
            lines(message.answer().unwrap()),
            lines(message.authority().unwrap()),
            lines(message.additional().unwrap()),
        ],
    }
}

/// The kind of difference between two responses; none if they agree.
fn difference(rtype: u16, dnssec_ok: bool, ours: &Said, theirs: &Said) -> Option<String> {
    // What a truncated response still holds is no statement (RFC 2181 §9).
    if ours == theirs || ours.tc && theirs.tc && ours.rcode == theirs.rcode {
        return None;
    }
    let rtype = Rtype::from_int(rtype);
    let mut kind = format!("{rtype} {}", if dnssec_ok { "do" } else { "plain" });
    let mut unequal = |what: &str, ours: u8, theirs: u8| {
        if ours != theirs {
            kind += &format!(" {what}:{ours}/{theirs}");
        }
    };
    unequal("rcode", ours.rcode, theirs.rcode);
    unequal("aa", ours.aa.into(), theirs.aa.into());
    unequal("tc", ours.tc.into(), theirs.tc.into());
    let names = ["answer", "authority", "additional"];
    for ((name, ours), theirs) in names.iter().zip(&ours.sections).zip(&theirs.sections) {
        let types = |some: &BTreeSet<(String, String)>, not: &BTreeSet<(String, String)>| {
            let kinds: BTreeSet<&str> = some.difference(not).map(|(_, kind)| &**kind).collect();
            kinds.into_iter().collect::<Vec<_>>().join(",")
        };
        for (whose, types) in [
            ("ours", types(ours, theirs)),
            ("theirs", types(theirs, ours)),
        ] {
            if !types.is_empty() {
                kind += &format!(" {name}:{whose}={types}");
            }
        }
    }
    Some(kind)
}

/// A name from what exists, or a little beside it.
fn some_name(random: &mut StdRng, known: &[String]) -> String {
    let labels = [
        "a", "host", "sub", "*", "beside", "_443", "_tcp", "mx", "under", "ring", "zz", "0",
        "secure",
    ];
    let mut name = known.choose(random).unwrap().clone();
    match random.random_range(0..4) {
        0 => {}
        1 => name = format!("{}.{name}", labels.choose(random).unwrap()),
        2 => {
            let (one, two) = (
                labels.choose(random).unwrap(),
                labels.choose(random).unwrap(),
            );
            name = format!("{one}.{two}.{name}");
        }
        _ => {
            let parent = name.split_once('.').map_or(name.as_str(), |(_, rest)| rest);
            name = format!("{}.{parent}", labels.choose(random).unwrap());
        }
    }
    if random.random_bool(0.1) {
        name = name.to_ascii_uppercase();
    }
    name
}

/// The list of explained kinds: for each server, pattern and explanation.
///
/// Shape: a line `SERVER PATTERN -- EXPLANATION`; `*` in a pattern stands for
///        any characters. Lines that begin with `#` are for people.
fn explained(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (kind, why) = line.split_once(" -- ").expect("an explanation");
            assert!(why.len() > 20, "{line}: an explanation says why");
            kind.split_once(' ').expect("a server and a kind")
        })
        .collect()
}

/// Whether `text` is what `pattern` describes.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut last = first;
    let mut is_exact = true;
    for part in parts {
        is_exact = false;
        last = part;
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    if is_exact {
        rest.is_empty()
    } else {
        text.ends_with(last)
    }
}

#[test]
fn patterns_match_as_they_say() {
    assert!(matches("A do answer:*", "A do answer:ours=A"));
    assert!(matches("* tc:1/0*", "NS do tc:1/0 answer:x"));
    assert!(!matches("A do", "A do answer:ours=A"));
    assert!(matches("*=RRSIG(A)", "A do additional:theirs=RRSIG(A)"));
    assert!(!matches("*=RRSIG(A)", "A do additional:theirs=RRSIG(AAAA)"));
}

#[test]
fn stock_name_servers_answer_alike() {
    let mut zone = fuzz::zone_with_everything();
    zone.render();
    let cookies = CookieKeys::new([7; 16], None);
    let asking = Asking {
        client: std::net::Ipv4Addr::LOCALHOST.into(),
        cookies: &cookies,
        now_s: 0,
    };
    let known: Vec<String> = zone
        .apexes()
        .iter()
        .flat_map(|apex| apex.records())
        .map(|(owner, _)| owner.to_string())
        .chain(["example.org".to_owned()])
        .collect();
    let questions = std::env::var("RINGFORT_QUESTIONS")
        .map_or(QUESTIONS, |text| text.parse().expect("a number"));
    let peers: Vec<Peer> = Kind::ALL
        .iter()
        .map(|kind| Peer::serve(*kind, &zone))
        .collect();
    let seed = 0x5eed;
    let mut random = StdRng::seed_from_u64(seed);
    let mut kinds: BTreeMap<(&str, String), (usize, String)> = BTreeMap::new();
    let mut rendered = 0;
    for index in 0..questions {
        let name = some_name(&mut random, &known);
        let rtype = *TYPES.choose(&mut random).unwrap();
        let edns = [None, Some(512), Some(1232), Some(1232)]
            .choose(&mut random)
            .copied()
            .flatten();
        let dnssec_ok = edns.is_some() && random.random_bool(0.6);
        let query = question(index as u16, &name, rtype, edns, dnssec_ok);
        let view = View {
            zone: Some(&zone),
            designation: None,
            freshness: Freshness::Fresh,
        };
        // As a worker does: what is rendered goes first.
        let ours = match answer_alike(&zone, &query, asking) {
            Some(octets) => {
                rendered += 1;
                said(&octets)
            }
            None => said(&answer(&query, Transport::Udp.into(), view).unwrap().octets),
        };
        for peer in &peers {
            let theirs = said(&peer.try_ask(&query).expect("the server answers"));
            if let Some(kind) = difference(rtype, dnssec_ok, &ours, &theirs) {
                let example = || {
                    format!(
                        "{name} TYPE{rtype} {edns:?}\n    ours   {ours:?}\n    theirs {theirs:?}"
                    )
                };
                let key = (peer.kind.name(), kind);
                kinds.entry(key).or_insert_with(|| (0, example())).0 += 1;
            }
        }
    }
    assert!(rendered > questions / 20, "{rendered} of {questions}");
    let text = std::fs::read_to_string(EXPLAINED).unwrap();
    let explained = explained(&text);
    let unexplained: Vec<String> = kinds
        .iter()
        .filter(|((server, kind), _)| {
            !explained
                .iter()
                .any(|(of, pattern)| of == server && matches(pattern, kind))
        })
        .map(|((server, kind), (count, example))| {
            format!("{server} {kind}  ({count})\n    {example}")
        })
        .collect();
    assert!(
        unexplained.is_empty(),
        "seed {seed:#x}: {} kinds of differences are not explained\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
    if questions >= EXHAUSTIVE {
        for (server, pattern) in explained {
            let shows = kinds
                .keys()
                .any(|(of, kind)| *of == server && matches(pattern, kind));
            assert!(shows, "{server} {pattern}: explained, and does not show");
        }
    }
}
