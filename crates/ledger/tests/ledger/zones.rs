//! Zones: who may set one, and which keys, servers and times it may have.

use wire::{limits::*, *};

use crate::world::*;

pub fn zone_key(flags: u16, byte: u8) -> ZoneKey {
    ZoneKey {
        flags,
        public_key: [byte; 64],
        published: true,
        announced: flags == KEY_SIGNING_FLAGS,
    }
}

pub fn zone() -> SetZone {
    SetZone {
        apex: name("internal"),
        keys: vec![
            zone_key(KEY_SIGNING_FLAGS, 1),
            zone_key(ZONE_SIGNING_FLAGS, 2),
        ],
        servers: ["ns", "ns2"]
            .map(|label| ZoneServer {
                label: name(label),
                addresses: vec![[192, 0, 2, 53].into()],
            })
            .into(),
        apex_ttl: 300,
        negative_ttl: 5,
        endpoint_ttl: 5,
    }
}

fn set(world: &mut World, actor: u8, change: impl FnOnce(&mut SetZone)) -> Verdict {
    let mut action = zone();
    change(&mut action);
    world.send(actor, Action::SetZone(action))
}

pub const CASES: &[Case] = &[
    ("sets a zone", Ok(()), |world| set(world, AUTHORITY, |_| ())),
    ("takes a zone's keys away", Ok(()), |world| {
        set(world, AUTHORITY, |_| ())?;
        set(world, AUTHORITY, |zone| zone.keys.clear())
    }),
    ("takes a key that is only announced", Ok(()), |world| {
        set(world, AUTHORITY, |zone| {
            let mut next = zone_key(KEY_SIGNING_FLAGS, 3);
            next.published = false;
            zone.keys.push(next);
        })
    }),
    (
        "rejects a zone from anyone but a zone signer",
        Err(Reject::NotZoneSigner),
        |world| set(world, USER, |_| ()),
    ),
    (
        "rejects a zone that is no apex",
        Err(Reject::ZoneMalformed),
        |world| set(world, AUTHORITY, |zone| zone.apex = name("hello.internal")),
    ),
    (
        "rejects a key that is listed twice",
        Err(Reject::ZoneMalformed),
        |world| {
            set(world, AUTHORITY, |zone| {
                zone.keys.push(zone_key(ZONE_SIGNING_FLAGS, 1));
            })
        },
    ),
    (
        "rejects a zone that nothing could sign",
        Err(Reject::ZoneMalformed),
        |world| set(world, AUTHORITY, |zone| zone.keys.truncate(1)),
    ),
    (
        "rejects flags that are no zone key's",
        Err(Reject::ZoneMalformed),
        |world| set(world, AUTHORITY, |zone| zone.keys[1].flags = 0),
    ),
    (
        "rejects a zone-signing key for the parent",
        Err(Reject::ZoneMalformed),
        |world| set(world, AUTHORITY, |zone| zone.keys[1].announced = true),
    ),
    (
        "rejects a key that is nowhere",
        Err(Reject::ZoneMalformed),
        |world| {
            set(world, AUTHORITY, |zone| {
                let mut key = zone_key(ZONE_SIGNING_FLAGS, 3);
                key.published = false;
                zone.keys.push(key);
            })
        },
    ),
    (
        "rejects too many keys",
        Err(Reject::LimitExceeded),
        |world| {
            set(world, AUTHORITY, |zone| {
                let more = (10..10 + MAX_ZONE_KEYS as u8).map(|b| zone_key(ZONE_SIGNING_FLAGS, b));
                zone.keys.extend(more);
            })
        },
    ),
    (
        "rejects a zone without servers",
        Err(Reject::ZoneMalformed),
        |world| set(world, AUTHORITY, |zone| zone.servers.clear()),
    ),
    (
        "rejects a server at a label that can be registered",
        Err(Reject::ZoneMalformed),
        |world| set(world, AUTHORITY, |zone| zone.servers[1].label = name("nsa")),
    ),
    (
        "rejects a server without addresses",
        Err(Reject::ZoneMalformed),
        |world| set(world, AUTHORITY, |zone| zone.servers[1].addresses.clear()),
    ),
    (
        "rejects servers out of order",
        Err(Reject::ZoneMalformed),
        |world| set(world, AUTHORITY, |zone| zone.servers.reverse()),
    ),
    (
        "rejects a time above a day",
        Err(Reject::ZoneMalformed),
        |world| set(world, AUTHORITY, |zone| zone.apex_ttl = MAX_ZONE_TTL + 1),
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn a_zone_is_stored_with_its_signer_and_height() {
    let mut world = World::new();
    world.send(AUTHORITY, Action::SetZone(zone())).unwrap();
    let bytes = &world.state[&state_key::zone(&name("internal"))];
    let stored: record::Zone = record::decode(bytes).unwrap();
    assert_eq!(stored.zone, zone());
    assert_eq!(stored.signer, account(AUTHORITY));
    assert_eq!(stored.changed_at, world.height);
}
