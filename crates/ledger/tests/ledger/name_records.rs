//! What a name's records hold and lead to: wildcards, delegations, addresses
//! and the way back from them, labels, and what is left of a name.

use std::net::IpAddr;

use wire::{record::ReleaseReason, *};

use crate::world::*;

const HELLO: &str = "hello.internal";

fn set_of(owner: Option<&str>, rtype: u16, data: &[&[u8]]) -> RecordSet {
    RecordSet {
        owner: owner.map(|owner| owner.parse().unwrap()),
        rtype,
        ttl: 60,
        data: data.iter().map(|data| data.to_vec()).collect(),
    }
}

fn set(world: &mut World, records: Vec<RecordSet>) -> Verdict {
    let name = name(HELLO);
    world.send(USER, Action::NameSet(NameSet { name, records }))
}

fn hello(world: &mut World) -> Verdict {
    world.register_name(USER, HELLO)
}

/// What the state says of an address: names and owners.
fn names_of(world: &World, address: &str) -> Vec<(String, Vec<Option<String>>)> {
    let address: IpAddr = address.parse().unwrap();
    let prefix = state_key::address_names(address);
    world
        .state
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .map(|(key, value)| {
            let name = String::from_utf8(key[prefix.len()..].to_vec()).unwrap();
            let owners: record::AddressOwners = record::decode(value).unwrap();
            let owners = owners
                .owners
                .into_iter()
                .map(|owner| owner.map(String::from));
            (name, owners.collect())
        })
        .collect()
}

pub const CASES: &[Case] = &[
    (
        "sets a wildcard, an alias and a delegation",
        Ok(()),
        |world| {
            hello(world)?;
            let ds = [[0, 1, 13, 2].as_slice(), &[7; 32]].concat();
            set(
                world,
                vec![
                    set_of(Some("*"), 1, &[&[10, 0, 0, 1]]),
                    set_of(Some("a.b.c"), 16, &[b"\x01x"]),
                    set_of(Some("www"), 5, &[b"\x05hello\x08internal\x00"]),
                    set_of(Some("sub"), 2, &[b"\x02ns\x03sub\x05hello\x08internal\x00"]),
                    set_of(Some("sub"), 43, &[&ds]),
                    set_of(Some("ns.sub"), 1, &[&[10, 0, 0, 2]]),
                ],
            )
        },
    ),
    (
        "rejects records hidden beneath a delegation",
        Err(Reject::RecordMalformed),
        |world| {
            hello(world)?;
            set(world, vec![set_of(Some("sub"), 2, &[b"\x02ns\x00"])])?;
            set(world, vec![set_of(Some("a.sub"), 16, &[b"\x01x"])])
        },
    ),
    (
        "rejects a label that IDNA2008 refuses",
        Err(Reject::LabelInvalid),
        |world| world.register_name(USER, "xn--i-7iq.internal"),
    ),
    (
        "rejects a label of two scripts",
        Err(Reject::LabelMixesScripts),
        // "paypal" with a Cyrillic a.
        |world| world.register_name(USER, "xn--pypal-4ve.internal"),
    ),
    ("registers an A-label", Ok(()), |world| {
        world.register_name(USER, "xn--bcher-kva.internal")
    }),
    (
        "rejects a name that looks like another owner's",
        Err(Reject::NameConfusable),
        |world| {
            hello(world)?;
            world.register_name(STRANGER, "he11o.internal")
        },
    ),
    (
        "rejects a name of another script that looks like another owner's",
        Err(Reject::NameConfusable),
        |world| {
            world.register_name(USER, "scope.internal")?;
            // Cyrillic es, es, o, er, ie.
            world.register_name(STRANGER, "xn--e1argc3h.internal")
        },
    ),
    ("an owner may have names that look alike", Ok(()), |world| {
        hello(world)?;
        world.register_name(USER, "he11o.internal")
    }),
    (
        "the same look beneath another apex is another name",
        Ok(()),
        |world| {
            hello(world)?;
            world.register_name(STRANGER, "he11o.corp.internal")
        },
    ),
    (
        "rejects too many names that look alike",
        Err(Reject::LimitExceeded),
        |world| {
            // Each `l` may be written `1`.
            for number in 0..=limits::MAX_CONFUSABLE_NAMES {
                let label: String = (0..5)
                    .map(|bit| if number >> bit & 1 == 1 { '1' } else { 'l' })
                    .collect();
                world.register_name(USER, &format!("{label}.internal"))?;
            }
            Ok(())
        },
    ),
    (
        "rejects a transfer of a name whose like the owner keeps",
        Err(Reject::NameConfusable),
        |world| {
            hello(world)?;
            world.register_name(USER, "he11o.internal")?;
            let action = NameTransfer {
                name: name(HELLO),
                to: key(STRANGER).public(),
            };
            world.send(USER, Action::NameTransfer(action))
        },
    ),
    ("a look is free once the name is", Ok(()), |world| {
        hello(world)?;
        let name = name(HELLO);
        world.send(USER, Action::NameCancel(NameCancel { name }))?;
        world.register_name(STRANGER, "he11o.internal")
    }),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn an_address_leads_to_the_names_that_have_it_while_they_have_it() {
    let mut world = World::new();
    hello(&mut world).unwrap();
    let v6 = "2001:db8::1"
        .parse::<std::net::Ipv6Addr>()
        .unwrap()
        .octets();
    set(
        &mut world,
        vec![
            set_of(None, 1, &[&[10, 0, 0, 1], &[10, 0, 0, 2]]),
            set_of(Some("www"), 1, &[&[10, 0, 0, 1]]),
            set_of(Some("*"), 1, &[&[10, 0, 0, 3]]),
            set_of(None, 28, &[&v6]),
        ],
    )
    .unwrap();
    let both = vec![None, Some("www".to_owned())];
    assert_eq!(names_of(&world, "10.0.0.1"), [(HELLO.to_owned(), both)]);
    assert_eq!(
        names_of(&world, "2001:db8::1"),
        [(HELLO.to_owned(), vec![None])]
    );
    assert_eq!(names_of(&world, "10.0.0.3"), [], "a wildcard is no name");
    set(&mut world, vec![set_of(None, 1, &[&[10, 0, 0, 2]])]).unwrap();
    let www = vec![Some("www".to_owned())];
    assert_eq!(names_of(&world, "10.0.0.1"), [(HELLO.to_owned(), www)]);
    let name = name(HELLO);
    world
        .send(USER, Action::NameCancel(NameCancel { name }))
        .unwrap();
    assert!(
        !world
            .state
            .keys()
            .any(|key| key.starts_with(state_key::ADDRESSES))
    );
}

#[test]
fn the_address_of_a_replica_leads_to_the_name_while_it_runs() {
    let mut world = World::new();
    hello(&mut world).unwrap();
    let mut terms = request_terms();
    terms.name = Some(name(HELLO));
    let (request, _) = world.running(terms);
    assert_eq!(
        names_of(&world, "127.0.1.1"),
        [(HELLO.to_owned(), vec![None])]
    );
    world
        .send(USER, Action::CloseRequest(CloseRequest { request }))
        .unwrap();
    assert_eq!(names_of(&world, "127.0.1.1"), []);
}

#[test]
fn notice_precedes_suspension_and_what_is_left_of_a_name_stays_on_record() {
    let mut world = World::with(|parameters| {
        parameters.rent_period = 5;
        parameters.rent_per_period = Amount(500);
        parameters.min_rent_periods = 1;
        parameters.name_grace = 4;
        parameters.name_notice = 3;
    });
    hello(&mut world).unwrap();
    set(&mut world, vec![set_of(None, 1, &[&[10, 0, 0, 1]])]).unwrap();
    // 1000 pays two periods; the third cannot be drawn.
    let registered = world.name(HELLO).registered_at;
    let until = registered.plus(15);
    assert_eq!(world.name(HELLO).notice_due, Some(Height(until.0 - 3)));
    world.idle_until(Height(until.0 - 4));
    let events = world.idle(1);
    let expiring = Event::NameExpiring {
        name: name(HELLO),
        owner: account(USER),
        paid_until: until,
    };
    assert!(events.contains(&expiring), "{events:?}");
    assert_eq!(world.name(HELLO).notice_due, None);
    let events = world.idle(3);
    let suspended = Event::NameSuspended {
        name: name(HELLO),
        owner: account(USER),
        released_at: until.plus(4),
    };
    assert!(events.contains(&suspended), "{events:?}");
    assert_eq!(names_of(&world, "10.0.0.1"), [], "it does not resolve");
    world.idle(4);
    let released: record::Released = world.get(&state_key::released(&name(HELLO))).unwrap();
    assert_eq!(
        released,
        record::Released {
            owner: key(USER).public(),
            registered_at: registered,
            released_at: until.plus(4),
            reason: ReleaseReason::Lapsed,
            refund: Amount::ZERO,
        }
    );
    world.register_name(STRANGER, HELLO).unwrap();
    assert!(!world.state.contains_key(&state_key::released(&name(HELLO))));
}

#[test]
fn a_renewal_moves_the_notice() {
    let mut world = World::new();
    hello(&mut world).unwrap();
    let before = world.name(HELLO).notice_due.unwrap();
    let renewal = NameRenew {
        name: name(HELLO),
        amount: Amount(200),
    };
    world.send(STRANGER, Action::NameRenew(renewal)).unwrap();
    assert_eq!(
        world.name(HELLO).notice_due,
        Some(before.plus(2000)),
        "two periods of rent, of a thousand blocks each"
    );
}
