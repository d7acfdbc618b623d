//! Name servers: who may register, what it may say, and its certificate.

use wire::*;

use crate::world::*;

fn terms() -> NameServerTerms {
    NameServerTerms {
        name: name("dns.internal"),
        addresses: vec![
            "192.0.2.53".parse().unwrap(),
            "2001:db8::53".parse().unwrap(),
        ],
        ports: NameServerPorts {
            tls: Some(853),
            https: Some(443),
            quic: None,
        },
        certificate_request: vec![1; 300],
        tls_key: Digest([7; 32]),
    }
}

fn register(world: &mut World, change: impl FnOnce(&mut NameServerTerms)) -> Verdict {
    let mut terms = terms();
    change(&mut terms);
    world.send(
        AUTHORITY,
        Action::RegisterNameServer(RegisterNameServer { terms }),
    )
}

fn certify(world: &mut World, actor: u8, change: impl FnOnce(&mut CertifyNameServer)) -> Verdict {
    let mut action = CertifyNameServer {
        server: account(AUTHORITY),
        tls_key: terms().tls_key,
        certificate: vec![2; 400],
        not_after_ms: World::time_ms(world.height) + 1_000_000,
    };
    change(&mut action);
    world.send(actor, Action::CertifyNameServer(action))
}

fn record(world: &World) -> record::NameServer {
    world
        .get(&state_key::name_server(account(AUTHORITY)))
        .unwrap()
}

pub const CASES: &[Case] = &[
    ("registers a name server", Ok(()), |world| {
        register(world, |_| ())
    }),
    (
        "takes the label beneath any apex of the circle",
        Ok(()),
        |world| register(world, |terms| terms.name = name("dns.corp.internal")),
    ),
    (
        "rejects a name server that the genesis does not list",
        Err(Reject::NotNameServer),
        |world| {
            let terms = terms();
            world.send(
                STRANGER,
                Action::RegisterNameServer(RegisterNameServer { terms }),
            )
        },
    ),
    (
        "rejects another label",
        Err(Reject::NameServerMalformed),
        |world| register(world, |terms| terms.name = name("hello.internal")),
    ),
    (
        "rejects a label beneath the label",
        Err(Reject::NameServerMalformed),
        |world| register(world, |terms| terms.name = name("one.dns.internal")),
    ),
    (
        "rejects a name beneath no apex",
        Err(Reject::NameServerMalformed),
        |world| register(world, |terms| terms.name = name("dns.example")),
    ),
    (
        "rejects a server without addresses",
        Err(Reject::NameServerMalformed),
        |world| register(world, |terms| terms.addresses.clear()),
    ),
    (
        "rejects addresses out of order",
        Err(Reject::NameServerMalformed),
        |world| register(world, |terms| terms.addresses.reverse()),
    ),
    (
        "rejects an address that no host has",
        Err(Reject::NameServerMalformed),
        |world| {
            register(world, |terms| {
                terms.addresses = vec!["0.0.0.0".parse().unwrap()]
            })
        },
    ),
    (
        "rejects port zero",
        Err(Reject::NameServerMalformed),
        |world| register(world, |terms| terms.ports.quic = Some(0)),
    ),
    (
        "rejects an empty certificate request",
        Err(Reject::NameServerMalformed),
        |world| register(world, |terms| terms.certificate_request.clear()),
    ),
    (
        "rejects a certificate request over its limit",
        Err(Reject::NameServerMalformed),
        |world| {
            register(world, |terms| {
                terms.certificate_request = vec![0; limits::MAX_CERTIFICATE_BYTES + 1];
            })
        },
    ),
    ("certifies a name server", Ok(()), |world| {
        register(world, |_| ())?;
        certify(world, AUTHORITY, |_| ())
    }),
    (
        "rejects a certificate from no authority",
        Err(Reject::NotAuthority),
        |world| {
            register(world, |_| ())?;
            certify(world, STRANGER, |_| ())
        },
    ),
    (
        "rejects a certificate for no name server",
        Err(Reject::NameServerNotFound),
        |world| certify(world, AUTHORITY, |_| ()),
    ),
    (
        "rejects a certificate for a former key",
        Err(Reject::CertificateNotWanted),
        |world| {
            register(world, |_| ())?;
            certify(world, AUTHORITY, |action| action.tls_key = Digest([8; 32]))
        },
    ),
    (
        "rejects a name server's expired certificate",
        Err(Reject::CertificateMalformed),
        |world| {
            register(world, |_| ())?;
            certify(world, AUTHORITY, |action| action.not_after_ms = 1)
        },
    ),
    (
        "rejects a name server's empty certificate",
        Err(Reject::CertificateMalformed),
        |world| {
            register(world, |_| ())?;
            certify(world, AUTHORITY, |action| action.certificate.clear())
        },
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn a_certificate_stays_while_name_and_key_do() {
    let mut world = World::new();
    register(&mut world, |_| ()).unwrap();
    assert!(record(&world).certificate.is_none());
    certify(&mut world, AUTHORITY, |_| ()).unwrap();
    let certified = record(&world).certificate.unwrap();
    assert_eq!(certified.authority, account(AUTHORITY));
    register(&mut world, |terms| terms.ports.quic = Some(853)).unwrap();
    assert_eq!(record(&world).certificate, Some(certified));
    register(&mut world, |terms| terms.tls_key = Digest([9; 32])).unwrap();
    assert!(record(&world).certificate.is_none());
}
