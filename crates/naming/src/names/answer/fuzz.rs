//! A zone with every construct in it, and the promises that hold for any octets.

use std::sync::OnceLock;

use domain::base::{
    Message, Ttl,
    iana::{DigestAlgorithm, Rtype, SecurityAlgorithm},
    rdata::UnknownRecordData,
};
use domain::rdata::{A, Aaaa, Cname, Dname, Ds, Mx, Ns, Srv, Txt};
use wire::{DomainName, Height, SetZone, ZoneServer, record};

use super::{Arrival, Freshness, MAX_UDP_RESPONSE, Transport, View, answer};
use crate::names::{
    cookies::CookieKeys,
    rendered::{Asking, answer_alike},
    signer::{
        keys::FileKeys,
        roll,
        sign::{Period, Signers, sign_missing},
    },
    zone::{Change, Domain, Zone, ZoneSettings, absolute},
};

/// Checks what is promised of the answer to any octets: nothing panics, the
/// response is a message within its limit, it is marked as one and it carries
/// the query's id.
pub(in crate::names) fn fuzz_query(data: &[u8]) {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    let zone = ZONE.get_or_init(zone_with_everything);
    let keys = CookieKeys::new([7; 16], None);
    for transport in [
        Transport::Udp,
        Transport::Tcp,
        Transport::Tls,
        Transport::Quic,
    ] {
        let limit = match transport {
            Transport::Udp => usize::from(MAX_UDP_RESPONSE),
            _ => usize::from(u16::MAX),
        };
        for freshness in [
            Freshness::Fresh,
            Freshness::Stale,
            Freshness::Expired,
            Freshness::Unproven,
        ] {
            let view = View {
                zone: Some(zone),
                designation: None,
                freshness,
            };
            let arrival = Arrival {
                cookies: Some(&keys),
                idle_timeout: Some(100),
                limited: data.len().is_multiple_of(5),
                ..transport.into()
            };
            let Some(response) = answer(data, arrival, view) else {
                continue;
            };
            assert!(response.octets.len() <= limit);
            assert_eq!(response.octets[..2], data[..2]);
            let message = Message::from_octets(&response.octets[..]).expect("a header");
            assert!(message.header().qr());
            let mut section = message.additional().expect("sections that parse");
            assert!(section.by_ref().all(|record| record.is_ok()));
            assert_eq!(section.pos(), response.octets.len());
        }
    }
}

/// Checks that what is rendered answers as [`answer`] does.
pub(in crate::names) fn fuzz_rendered(data: &[u8]) {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    let zone = ZONE.get_or_init(|| {
        let mut zone = zone_with_everything();
        zone.render();
        zone
    });
    let cookies = CookieKeys::new([7; 16], None);
    let asking = Asking {
        client: std::net::Ipv4Addr::UNSPECIFIED.into(),
        cookies: &cookies,
        now_s: 0,
    };
    answer_alike(zone, data, asking);
}

/// Names beneath `internal`: a host, aliases (also in a ring), a wildcard, a
/// delegation, a redirection, an empty non-terminal and an RRset too large for
/// a datagram.
pub(super) fn zone() -> Zone {
    let apexes: Vec<DomainName> = ["internal".parse(), "corp.example".parse()]
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("apexes are names");
    let settings = ZoneSettings {
        ns_addresses: vec![[192, 0, 2, 53].into(), std::net::Ipv6Addr::LOCALHOST.into()],
        ..ZoneSettings::default()
    };
    let mut zone = Zone::new(&apexes, settings).next(Height(7), 1_000, []);
    for (name, domain) in [
        ("host.internal", host()),
        ("alias.internal", aliases()),
        ("wild.internal", wildcard()),
        ("cut.internal", delegation()),
        ("moved.internal", redirection()),
        ("empty.internal", Domain::with_apex()),
        ("other.corp.example", host()),
    ] {
        zone.set(&name.parse().expect("a name"), Some(domain));
    }
    zone
}

/// The same with more shapes, `internal` signed under keys made for it.
pub(in crate::names) fn zone_with_everything() -> Zone {
    let apex: DomainName = "internal".parse().expect("a name");
    // Servers and validators look at the clock.
    let now = crate::names::now_ms() / 1000;
    let mut keys = FileKeys::open("/nonexistent/keys".as_ref()).expect("no file, no keys");
    roll::begin(&mut keys, &apex, now).expect("keys");
    let record = record::Zone {
        zone: SetZone {
            apex: apex.clone(),
            keys: keys.public(&apex),
            servers: vec![ZoneServer {
                label: "ns".parse().expect("a label"),
                addresses: vec![[192, 0, 2, 53].into(), std::net::Ipv6Addr::LOCALHOST.into()],
            }],
            apex_ttl: 300,
            negative_ttl: 5,
            endpoint_ttl: 5,
        },
        signer: wire::AccountId([0; 32]),
        changed_at: Height(8),
    };
    let change = Change::Zone(&apex, Some(&record));
    let (mut zone, _) = zone().advance(Height(8), 1_000, [change]);
    for (name, domain) in [
        ("shapes.internal", shapes()),
        ("given.internal", given_away()),
        ("a-b.internal", host()),
    ] {
        zone.set(&name.parse().expect("a name"), Some(domain));
    }
    for index in 0..zone.apexes().len() {
        let apex = &mut zone.apexes_mut()[index];
        if apex.keys().is_none() {
            continue;
        }
        apex.set_serial(domain::base::Serial(8));
        let signers = Signers::of(apex, &keys);
        let labels = apex.labels_with_own().collect();
        sign_missing(apex, &labels, &keys, &signers, Period { now }).expect("signatures");
    }
    zone
}

const TTL: Ttl = Ttl::from_secs(60);

fn name(text: &str) -> crate::names::zone::OwnerName {
    absolute(text).expect("a name")
}

fn host() -> Domain {
    let mut domain = Domain::with_apex();
    let apex = domain.node_mut(b"");
    apex.add(Rtype::A, TTL, [A::from_octets(192, 0, 2, 1).into()]);
    apex.add(
        Rtype::AAAA,
        TTL,
        [Aaaa::new(std::net::Ipv6Addr::LOCALHOST).into()],
    );
    let mail = [
        Mx::new(10, name("mx.host.internal")).into(),
        Mx::new(20, name("mx.elsewhere.test")).into(),
    ];
    apex.add(Rtype::MX, TTL, mail);
    let large = (0..40).filter_map(|index| {
        let text: Txt<bytes::Bytes> = Txt::build_from_slice(&[b'a' + index % 26; 80][..]).ok()?;
        Some(text.into())
    });
    // Twenty-six texts, for equal data is one record.
    domain.node_mut(b"\x05large").add(Rtype::TXT, TTL, large);
    let address = A::from_octets(192, 0, 2, 2).into();
    domain.node_mut(b"\x02mx").add(Rtype::A, TTL, [address]);
    let deep = A::from_octets(192, 0, 2, 3).into();
    domain
        .node_mut(b"\x04deep\x05under")
        .add(Rtype::A, TTL, [deep]);
    domain
}

fn aliases() -> Domain {
    let mut domain = Domain::with_apex();
    for (owner, target) in [
        (&b""[..], "host.internal"),
        (b"\x03two", "alias.internal"),
        (b"\x04ring", "ring2.alias.internal"),
        (b"\x05ring2", "ring.alias.internal"),
        (b"\x04self", "self.alias.internal"),
        (b"\x04gone", "nothing.host.internal"),
        (b"\x03out", "www.example.org"),
        (b"\x05cross", "other.corp.example"),
        (b"\x03cut", "www.sub.cut.internal"),
    ] {
        let target = Cname::new(name(target)).into();
        domain.node_mut(owner).add(Rtype::CNAME, TTL, [target]);
    }
    domain
}

fn wildcard() -> Domain {
    let mut domain = Domain::with_apex();
    let any = A::from_octets(192, 0, 2, 9).into();
    domain.node_mut(b"\x01*").add(Rtype::A, TTL, [any]);
    let exact = A::from_octets(192, 0, 2, 10).into();
    domain
        .node_mut(b"\x05exact\x06beside")
        .add(Rtype::A, TTL, [exact]);
    let alias = Cname::new(name("host.internal")).into();
    domain
        .node_mut(b"\x01*\x05alias")
        .add(Rtype::CNAME, TTL, [alias]);
    domain
}

fn delegation() -> Domain {
    let mut domain = Domain::with_apex();
    let servers = [
        Ns::new(name("ns1.sub.cut.internal")).into(),
        Ns::new(name("host.internal")).into(),
        Ns::new(name("ns.example.org")).into(),
    ];
    domain.node_mut(b"\x03sub").add(Rtype::NS, TTL, servers);
    let glue = A::from_octets(192, 0, 2, 54).into();
    domain
        .node_mut(b"\x03ns1\x03sub")
        .add(Rtype::A, TTL, [glue]);
    let server = Ns::new(name("ns.example.org")).into();
    domain.node_mut(b"\x06secure").add(Rtype::NS, TTL, [server]);
    let ds = Ds::new(
        12_345,
        SecurityAlgorithm::ECDSAP256SHA256,
        DigestAlgorithm::SHA256,
        bytes::Bytes::from_static(&[7; 32]),
    );
    if let Ok(ds) = ds {
        domain
            .node_mut(b"\x06secure")
            .add(Rtype::DS, TTL, [ds.into()]);
    }
    domain
}

/// A registered name that is delegated whole.
fn given_away() -> Domain {
    let mut domain = Domain::with_apex();
    let servers = [
        Ns::new(name("ns.given.internal")).into(),
        Ns::new(name("host.internal")).into(),
    ];
    domain.node_mut(b"").add(Rtype::NS, TTL, servers);
    let glue = A::from_octets(192, 0, 2, 55).into();
    domain.node_mut(b"\x02ns").add(Rtype::A, TTL, [glue]);
    domain
}

/// Service records, an unknown type, an alias to a wildcard and back, and a
/// wildcard that stands beside and beneath other things.
fn shapes() -> Domain {
    let mut domain = Domain::with_apex();
    let text = Txt::<bytes::Bytes>::build_from_slice(b"shapes").ok();
    domain
        .node_mut(b"")
        .add(Rtype::TXT, TTL, text.map(Into::into));
    let server = Srv::new(0, 0, 443, name("host.internal")).into();
    domain
        .node_mut(b"\x05_xmpp\x04_tcp")
        .add(Rtype::SRV, TTL, [server]);
    let rtype = Rtype::from_int(65_280);
    let unknown = UnknownRecordData::from_octets(rtype, bytes::Bytes::from_static(b"opaque"));
    domain
        .node_mut(b"\x07unknown")
        .add(rtype, TTL, unknown.ok().map(Into::into));
    let any = A::from_octets(192, 0, 2, 77).into();
    domain.node_mut(b"\x01*\x04star").add(Rtype::A, TTL, [any]);
    let deep = A::from_octets(192, 0, 2, 78).into();
    domain
        .node_mut(b"\x04deep\x01*\x05under")
        .add(Rtype::A, TTL, [deep]);
    for (owner, target) in [
        (&b"\x06tostar"[..], "x.star.shapes.internal"),
        (b"\x01*\x05chain", "any.wild.internal"),
        (b"\x06tonone", "none.shapes.internal"),
        (b"\x05tocut", "www.given.internal"),
        (b"\x04toet", "under.shapes.internal"),
    ] {
        let target = Cname::new(name(target)).into();
        domain.node_mut(owner).add(Rtype::CNAME, TTL, [target]);
    }
    domain
}

fn redirection() -> Domain {
    let mut domain = Domain::with_apex();
    let target = Dname::new(name("host.internal")).into();
    domain.node_mut(b"").add(Rtype::DNAME, TTL, [target]);
    domain
}
