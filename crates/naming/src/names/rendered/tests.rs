//! What is rendered answers as the one function for every question does.

use std::{collections::BTreeMap, net::IpAddr};

use domain::base::{Message, MessageBuilder, Name, Rtype, Serial, opt::UnknownOptData};
use proptest::prelude::*;
use wire::{
    AccountId, Amount, ContractId, Digest, DomainName, Height, RecordSet, ServiceEndpoint, SetZone,
    SigningKey, ZoneServer,
    record::{self, NameEndpoint, NameStatus},
};

use super::{
    Asking,
    alike::{answer_alike, answer_alike_over},
};
use crate::names::{
    answer::{Transport, zone_with_everything},
    cookies::CookieKeys,
    dnssec,
    signer::{keys::FileKeys, roll, signing::Signing},
    zone::{Change, Zone, ZoneSettings},
};

const CLIENT: [u8; 4] = [192, 0, 2, 7];
const NOW_S: u32 = 1_700_000_000;

fn keys() -> CookieKeys {
    CookieKeys::new([9; 16], None)
}

fn asking(keys: &CookieKeys) -> Asking<'_> {
    Asking {
        client: IpAddr::from(CLIENT),
        cookies: keys,
        now_s: NOW_S,
    }
}

#[derive(Clone, Debug, Default)]
struct Edns {
    size: u16,
    dnssec_ok: bool,
    cookie: Option<Vec<u8>>,
    unknown: bool,
    keepalive: bool,
    padding: Option<u16>,
}

fn query(id: u16, flags: [u8; 2], name: &str, rtype: u16, edns: Option<&Edns>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec().question();
    let name: Name<Vec<u8>> = Name::vec_from_str(name).unwrap();
    builder.push((name, Rtype::from_int(rtype))).unwrap();
    let mut builder = builder.additional();
    if let Some(edns) = edns {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(edns.size);
                opt.set_dnssec_ok(edns.dnssec_ok);
                if edns.unknown {
                    opt.push(&UnknownOptData::new(65_001.into(), vec![1, 2]).unwrap())?;
                }
                if let Some(cookie) = &edns.cookie {
                    opt.push(&UnknownOptData::new(10.into(), cookie.clone()).unwrap())?;
                }
                if edns.keepalive {
                    opt.push(&UnknownOptData::new(11.into(), Vec::new()).unwrap())?;
                }
                match edns.padding {
                    Some(octets) => opt.padding(octets),
                    None => Ok(()),
                }
            })
            .unwrap();
    }
    let mut octets = builder.finish();
    octets[..2].copy_from_slice(&id.to_be_bytes());
    octets[2..4].copy_from_slice(&flags);
    octets
}

fn signed(cookie: Option<Vec<u8>>) -> Edns {
    Edns {
        size: 1232,
        dnssec_ok: true,
        cookie,
        ..Edns::default()
    }
}

fn rendered_zone() -> Zone {
    let mut zone = zone_with_everything();
    zone.render();
    zone
}

#[test]
fn common_questions_are_answered_here() {
    let (zone, keys) = (rendered_zone(), keys());
    let dig = signed(Some(vec![7; 8]));
    for (name, rtype) in [
        ("host.internal", 1),
        ("HoSt.iNternal", 28),
        ("host.internal", 16),
        ("mx.host.internal", 1),
        ("deep.under.host.internal", 1),
        ("nothing.internal", 1),
        ("a.internal", 28),
        ("zzz.internal", 65),
        ("other.corp.example", 1),
        ("absent.corp.example", 1),
        ("shapes.internal", 16),
        ("unknown.shapes.internal", 65_280),
    ] {
        for edns in [None, Some(&dig)] {
            let query = query(7, [1, 0], name, rtype, edns);
            let answer = answer_alike(&zone, &query, asking(&keys));
            assert!(answer.is_some(), "{name} {rtype} {edns:?}");
        }
    }
}

#[test]
fn what_needs_more_than_one_name_is_left_to_the_full_lookup() {
    let (zone, keys) = (rendered_zone(), keys());
    for (name, rtype) in [
        ("internal", 6),
        ("host.internal", 15),
        ("host.internal", 255),
        ("host.internal", 46),
        ("host.internal", 252),
        ("alias.internal", 1),
        ("any.wild.internal", 1),
        ("www.sub.cut.internal", 1),
        ("secure.cut.internal", 43),
        ("given.internal", 1),
        ("a.moved.internal", 1),
        ("under.host.internal", 1),
        ("a.b.internal", 1),
        ("a.example", 1),
        ("hostinternal", 1),
    ] {
        let query = query(7, [1, 0], name, rtype, Some(&signed(None)));
        let answer = answer_alike(&zone, &query, asking(&keys));
        assert!(answer.is_none(), "{name} {rtype}");
    }
}

#[test]
fn a_cookie_that_was_given_proves_the_address_and_comes_back() {
    let (zone, keys) = (rendered_zone(), keys());
    let ask = |cookie: Vec<u8>| {
        let query = query(7, [1, 0], "host.internal", 1, Some(&signed(Some(cookie))));
        answer_alike(&zone, &query, asking(&keys)).unwrap()
    };
    let first = ask(vec![7; 8]);
    let given = first[first.len() - 24..].to_vec();
    assert_eq!(given[..8], [7; 8]);
    let second = ask(given.clone());
    assert_eq!(second[second.len() - 24..], given);
}

#[test]
fn padded_questions_over_encrypted_connections_are_answered_in_blocks() {
    let (zone, keys) = (rendered_zone(), keys());
    let ask = |transport, cookie| {
        let edns = Edns {
            padding: Some(31),
            ..signed(cookie)
        };
        let query = query(0, [1, 0], "host.internal", 1, Some(&edns));
        answer_alike_over(transport, &zone, &query, asking(&keys)).unwrap()
    };
    for cookie in [None, Some(vec![7; 8])] {
        for transport in [Transport::Tls, Transport::Https, Transport::Quic] {
            assert_eq!(ask(transport, cookie.clone()).len() % 468, 0);
        }
        for transport in [Transport::Udp, Transport::Tcp] {
            assert_ne!(ask(transport, cookie.clone()).len() % 468, 0);
        }
    }
}

#[test]
fn what_a_connection_has_rules_for_is_left_to_the_full_lookup() {
    let (zone, keys) = (rendered_zone(), keys());
    let ask = |transport, id, keepalive| {
        let edns = Edns {
            keepalive,
            ..signed(None)
        };
        let query = query(id, [1, 0], "host.internal", 1, Some(&edns));
        answer_alike_over(transport, &zone, &query, asking(&keys)).is_some()
    };
    assert!(ask(Transport::Tls, 7, false));
    assert!(
        !ask(Transport::Tls, 7, true),
        "it is told how long it may idle"
    );
    assert!(ask(Transport::Quic, 0, false));
    assert!(!ask(Transport::Quic, 7, false), "RFC 9250 §4.2.1");
}

#[test]
fn an_image_that_changed_since_is_not_answered_from() {
    let mut zone = rendered_zone();
    assert!(zone.rendered().is_some());
    zone.set(&"host.internal".parse().unwrap(), None);
    assert!(zone.rendered().is_none());
    zone.render();
    let keys = keys();
    let query = query(7, [1, 0], "host.internal", 1, None);
    let answer = answer_alike(&zone, &query, asking(&keys)).unwrap();
    assert_eq!(answer[3] & 0x0f, 3, "it does not exist any more");
}

/// Names of all sorts beneath, at and beside the apexes.
fn names() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec![
        "host", "HOST", "alias", "wild", "cut", "moved", "empty", "shapes", "given", "a-b", "ns",
        "dns", "mx", "deep", "under", "large", "sub", "www", "secure", "two", "ring", "x", "star",
        "*", "_tcp", "_443", "unknown", "other", "0", "zz", "!", "internal",
    ]);
    let apex = prop::sample::select(vec![
        "internal",
        "INTERNAL",
        "corp.example",
        "Corp.Example",
        "example",
        "xinternal",
        "",
    ]);
    (prop::collection::vec(label, 0..4), apex).prop_map(|(mut labels, apex)| {
        labels.extend((!apex.is_empty()).then_some(apex));
        if labels.is_empty() {
            return ".".to_owned();
        }
        labels.join(".")
    })
}

fn edns() -> impl Strategy<Value = Option<Edns>> {
    let cookie = prop_oneof![
        Just(None),
        prop::collection::vec(any::<u8>(), 8).prop_map(Some),
        prop::collection::vec(any::<u8>(), 0..42).prop_map(Some),
    ];
    let sizes = prop::sample::select(vec![0, 511, 512, 600, 1232, 4096]);
    let padding = prop::option::weighted(0.3, 0..128u16);
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.1));
    let some = (sizes, flags, cookie, padding).prop_map(
        |(size, (dnssec_ok, unknown, keepalive), cookie, padding)| Edns {
            size,
            dnssec_ok,
            cookie,
            unknown,
            keepalive,
            padding,
        },
    );
    prop::option::weighted(0.8, some)
}

const TYPES: &[u16] = &[
    1, 2, 5, 6, 15, 16, 28, 33, 41, 43, 46, 47, 48, 52, 65, 250, 255, 257, 65_280,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_ways_answer_alike(
        questions in prop::collection::vec(
            (any::<u16>(), any::<[u8; 2]>(), names(), prop::sample::select(TYPES), edns()),
            64,
        )
    ) {
        static ZONE: std::sync::OnceLock<Zone> = std::sync::OnceLock::new();
        let (zone, keys) = (ZONE.get_or_init(rendered_zone), keys());
        for (id, flags, name, rtype, edns) in questions {
            // Mostly queries.
            let flags = [flags[0] & 0x87 & !(u8::from(id % 8 != 0) << 7), flags[1]];
            let query = query(id, flags, &name, rtype, edns.as_ref());
            answer_alike(zone, &query, asking(&keys));
        }
    }
}

const APEX: &str = "internal";

fn registered(index: u8, generation: u8) -> record::Name {
    let text = format!("n{index}.{APEX}");
    record::Name {
        name: text.parse().unwrap(),
        owner: SigningKey::ed25519([7; 32]).public(),
        deposit: Amount(1),
        status: NameStatus::Active,
        registered_at: Height(0),
        rent_due: Height(1),
        changed_at: Height(0),
        notice_due: None,
        sale: None,
        records: vec![RecordSet {
            owner: generation.is_multiple_of(3).then(|| "www".parse().unwrap()),
            rtype: 16,
            ttl: 60,
            data: vec![vec![1, generation]],
        }],
        keys: Vec::new(),
        endpoints: (0..generation % 4)
            .map(|replica| NameEndpoint {
                contract: ContractId([replica; 32]),
                endpoint: ServiceEndpoint {
                    addresses: vec![[10, 0, index, generation ^ replica].into()],
                    port: 443 + u16::from(generation % 2),
                    control: String::new(),
                },
                tls_key: Digest([generation; 32]),
            })
            .collect(),
    }
}

/// A signed zone as a name server holds it: each step's changes and the
/// signatures over them taken over, and rendered.
struct Mirrored {
    signing: Signing<FileKeys>,
    zone: Zone,
    height: Height,
}

impl Mirrored {
    fn new() -> Self {
        let apex: DomainName = APEX.parse().unwrap();
        let mut keys = FileKeys::open("/nonexistent/keys".as_ref()).unwrap();
        roll::begin(&mut keys, &apex, crate::names::now_ms() / 1000).unwrap();
        let record = record::Zone {
            zone: SetZone {
                apex: apex.clone(),
                keys: keys.public(&apex),
                servers: vec![ZoneServer {
                    label: "ns".parse().unwrap(),
                    addresses: vec![[192, 0, 2, 53].into()],
                }],
                apex_ttl: 300,
                negative_ttl: 5,
                endpoint_ttl: 5,
            },
            signer: AccountId([0; 32]),
            changed_at: Height(1),
        };
        let empty = Zone::new(std::slice::from_ref(&apex), ZoneSettings::default());
        let mut mirrored = Self {
            signing: Signing::new(keys, empty.clone()),
            zone: empty,
            height: Height(0),
        };
        mirrored.step(&[Change::Zone(&apex, Some(&record))]);
        mirrored
    }

    fn step(&mut self, changes: &[Change<'_>]) {
        self.height = self.height.plus(1);
        let now_ms = crate::names::now_ms();
        let made = self
            .signing
            .step(self.height, now_ms, now_ms / 1000, changes.iter().copied())
            .unwrap();
        let (mut next, _) = self
            .zone
            .advance(self.height, now_ms, changes.iter().copied());
        for one in made {
            let apex = &mut next.apexes_mut()[0];
            apex.set_serial(Serial(one.serial));
            dnssec::attach(apex, &one.labels).unwrap();
        }
        next.render();
        self.zone = next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn after_every_change_both_ways_answer_alike(
        steps in prop::collection::vec(
            prop::collection::btree_map(0u8..12, prop::option::weighted(0.7, any::<u8>()), 1..4),
            1..12,
        )
    ) {
        let mut mirrored = Mirrored::new();
        let keys = keys();
        for step in &steps {
            let records: BTreeMap<DomainName, Option<record::Name>> = step
                .iter()
                .map(|(index, generation)| {
                    let name = registered(*index, 0).name;
                    (name, generation.map(|generation| registered(*index, generation)))
                })
                .collect();
            let changes: Vec<Change<'_>> = records
                .iter()
                .map(|(name, record)| Change::Name(name, record.as_ref()))
                .collect();
            mirrored.step(&changes);
            let mut here = 0;
            for index in 0..12 {
                for name in [format!("n{index}.{APEX}"), format!("www.n{index}.{APEX}"), format!("n{index}x.{APEX}")] {
                    for rtype in [1, 16, 28, 65, 257] {
                        let query = query(3, [1, 0], &name, rtype, Some(&signed(None)));
                        let answer = answer_alike(&mirrored.zone, &query, asking(&keys));
                        if let Some(answer) = answer {
                            here += 1;
                            let message = Message::from_octets(&answer[..]).unwrap();
                            prop_assert!(message.header_counts().nscount() + message.header_counts().ancount() > 1);
                        }
                    }
                }
            }
            // Every name, and every name that is none.
            prop_assert!(here >= 12 * 5 * 2);
        }
    }
}
