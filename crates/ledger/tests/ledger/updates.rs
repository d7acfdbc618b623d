//! Updates that owners signed as DNS messages: whose they are, when they count,
//! how often, and what RFC 2136 makes of them.

use domain::base::{
    MessageBuilder, Name, Rtype, Ttl,
    iana::{Class, Opcode},
    rdata::UnknownRecordData,
};
use wire::{record::NameUpdates, *};

use crate::world::*;

const A: u16 = 1;
const CNAME: u16 = 5;
const TXT: u16 = 16;
const ANY: u16 = 255;
const ED25519: u8 = 15;

/// A record: owner, type, class, TTL, data.
type Record<'a> = (&'a str, u16, Class, u32, &'a [u8]);

fn add<'a>(owner: &'a str, rtype: u16, data: &'a [u8]) -> Record<'a> {
    (owner, rtype, Class::IN, 300, data)
}

/// What is sent: two sections, and how it is signed.
struct Sent<'a> {
    zone: &'a str,
    prerequisites: &'a [Record<'a>],
    updates: &'a [Record<'a>],
    signer: &'a str,
    algorithm: u8,
    inception: u32,
    expiration: u32,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        Self {
            zone: "internal",
            prerequisites: &[],
            updates: &[("hello.internal", A, Class::IN, 300, &[192, 0, 2, 1])],
            signer: "hello.internal",
            algorithm: ED25519,
            inception: 1000,
            expiration: 1300,
        }
    }
}

fn dns_name(text: &str) -> Name<Vec<u8>> {
    text.parse().unwrap()
}

impl Sent<'_> {
    fn unsigned(&self) -> Vec<u8> {
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_opcode(Opcode::UPDATE);
        let mut zone = message.question();
        zone.push((dns_name(self.zone), Rtype::SOA)).unwrap();
        let record = |&(owner, rtype, class, ttl, data): &Record<'_>| {
            let rtype = Rtype::from_int(rtype);
            let data = UnknownRecordData::from_octets(rtype, data.to_vec()).unwrap();
            (dns_name(owner), class, Ttl::from_secs(ttl), data)
        };
        let mut prerequisites = zone.answer();
        for one in self.prerequisites {
            prerequisites.push(record(one)).unwrap();
        }
        let mut updates = prerequisites.authority();
        for one in self.updates {
            updates.push(record(one)).unwrap();
        }
        updates.finish()
    }

    /// The message with its SIG(0), made by `actor`'s key as RFC 2931 §3.1 says.
    fn signed_by(&self, actor: u8) -> Vec<u8> {
        let message = self.unsigned();
        let mut data = vec![0, 0, self.algorithm, 0, 0, 0, 0, 0];
        data.extend_from_slice(&self.expiration.to_be_bytes());
        data.extend_from_slice(&self.inception.to_be_bytes());
        data.extend_from_slice(&[0x12, 0x34]);
        data.extend_from_slice(dns_name(self.signer).as_slice());
        let covered = [data.as_slice(), &message].concat();
        let SigningKey::Ed25519(key) = key(actor) else {
            unreachable!("actors have Ed25519 keys");
        };
        let signature: [u8; 64] = key.sign(&covered).into();
        data.extend_from_slice(&signature);
        // RFC 2931 §3: owner root, class ANY; the count of the section grows.
        let mut signed = message;
        signed.extend_from_slice(&[0, 0, 24, 0, 255, 0, 0, 0, 0]);
        signed.extend_from_slice(&(data.len() as u16).to_be_bytes());
        signed.extend_from_slice(&data);
        signed[11] = 1;
        signed
    }
}

/// An update that gives `hello.internal` an address, signed by `actor` from `inception` on.
pub(super) fn address_signed_by(actor: u8, inception: u32, last: u8) -> Vec<u8> {
    let address = [192, 0, 2, last];
    let it = Sent {
        updates: &[add("hello.internal", A, &address)],
        inception,
        expiration: inception + 300,
        ..Sent::default()
    };
    it.signed_by(actor)
}

fn post(world: &mut World, message: Vec<u8>) -> Verdict {
    world.send(STRANGER, Action::NameUpdate(NameUpdate { message }))
}

/// Registers the name, and sends what its owner signed, through a stranger.
fn sent(world: &mut World, sent: &Sent<'_>) -> Verdict {
    if !world
        .state
        .contains_key(&state_key::name(&name("hello.internal")))
    {
        world.register_name(USER, "hello.internal")?;
    }
    post(world, sent.signed_by(USER))
}

fn updates(world: &mut World, updates: &[Record<'_>]) -> Verdict {
    let inception = 1000 + (world.height.0 / 4) as u32 - 1;
    let it = Sent {
        updates,
        inception,
        ..Sent::default()
    };
    sent(world, &it)
}

/// Sends a prerequisite after `www` got an address.
fn required(world: &mut World, prerequisites: &[Record<'_>]) -> Verdict {
    updates(world, &[add("www.hello.internal", A, &[192, 0, 2, 1])])?;
    let it = Sent {
        prerequisites,
        inception: 1000 + (world.height.0 / 4) as u32,
        ..Sent::default()
    };
    sent(world, &it)
}

/// A set: owner, type, TTL, data.
type Set = (Option<String>, u16, u32, Vec<Vec<u8>>);

fn records(world: &World) -> Vec<Set> {
    let record: record::Name = world
        .get(&state_key::name(&name("hello.internal")))
        .unwrap();
    let sets = record.records.into_iter();
    sets.map(|set| (set.owner.map(String::from), set.rtype, set.ttl, set.data))
        .collect()
}

pub const CASES: &[Case] = &[
    ("takes an update that the owner signed", Ok(()), |world| {
        sent(world, &Sent::default())
    }),
    (
        "rejects an update that another signed",
        Err(Reject::UpdateSignature),
        |world| {
            world.register_name(USER, "hello.internal")?;
            post(world, Sent::default().signed_by(STRANGER))
        },
    ),
    (
        "rejects a message without a signature",
        Err(Reject::UpdateSignature),
        |world| {
            world.register_name(USER, "hello.internal")?;
            post(world, Sent::default().unsigned())
        },
    ),
    (
        "rejects a message that was changed",
        Err(Reject::UpdateSignature),
        |world| {
            world.register_name(USER, "hello.internal")?;
            let mut message = Sent::default().signed_by(USER);
            // The id, which a signature covers as all the rest.
            message[0] ^= 1;
            post(world, message)
        },
    ),
    (
        "rejects a signature of another algorithm",
        Err(Reject::UpdateSignature),
        |world| {
            sent(
                world,
                &Sent {
                    algorithm: 13,
                    ..Sent::default()
                },
            )
        },
    ),
    (
        "rejects a signer that is not the name",
        Err(Reject::UpdateSignature),
        |world| {
            sent(
                world,
                &Sent {
                    signer: "ello.internal",
                    ..Sent::default()
                },
            )
        },
    ),
    (
        "rejects a signature that holds for too long",
        Err(Reject::UpdateSignature),
        |world| {
            sent(
                world,
                &Sent {
                    expiration: 1601,
                    ..Sent::default()
                },
            )
        },
    ),
    (
        "rejects a signature that does not hold yet",
        Err(Reject::UpdateTime),
        |world| {
            sent(
                world,
                &Sent {
                    inception: 1200,
                    ..Sent::default()
                },
            )
        },
    ),
    (
        "rejects a signature that holds no more",
        Err(Reject::UpdateTime),
        |world| {
            sent(
                world,
                &Sent {
                    inception: 900,
                    expiration: 999,
                    ..Sent::default()
                },
            )
        },
    ),
    (
        "rejects a message the second time",
        Err(Reject::UpdateTime),
        |world| {
            sent(world, &Sent::default())?;
            sent(world, &Sent::default())
        },
    ),
    (
        "rejects a message older than the newest",
        Err(Reject::UpdateTime),
        |world| {
            sent(world, &Sent::default())?;
            sent(
                world,
                &Sent {
                    inception: 999,
                    ..Sent::default()
                },
            )
        },
    ),
    (
        "rejects what is no update",
        Err(Reject::UpdateMalformed),
        |world| post(world, vec![0; 12]),
    ),
    (
        "rejects an update of a foreign zone",
        Err(Reject::UpdateMalformed),
        |world| {
            let elsewhere = Sent {
                zone: "example",
                updates: &[("hello.example", A, Class::IN, 300, &[192, 0, 2, 1])],
                signer: "hello.example",
                ..Sent::default()
            };
            sent(world, &elsewhere)
        },
    ),
    (
        "rejects an update of two names",
        Err(Reject::UpdateMalformed),
        |world| {
            let both = [
                add("hello.internal", A, &[192, 0, 2, 1]),
                add("other.internal", A, &[192, 0, 2, 1]),
            ];
            updates(world, &both)
        },
    ),
    (
        "rejects a record that is not the owner's to set",
        Err(Reject::RecordMalformed),
        |world| updates(world, &[add("hello.internal", 46, &[0; 20])]),
    ),
    (
        "rejects what leaves too many sets",
        Err(Reject::LimitExceeded),
        |world| {
            let owners: Vec<String> = (0..=limits::MAX_RECORD_SETS)
                .map(|index| format!("n{index}.hello.internal"))
                .collect();
            let all: Vec<Record<'_>> = owners
                .iter()
                .map(|owner| add(owner, A, &[192, 0, 2, 1]))
                .collect();
            updates(world, &all)
        },
    ),
    ("takes prerequisites that hold", Ok(()), |world| {
        let all = [
            ("www.hello.internal", ANY, Class::ANY, 0, &[][..]),
            ("none.hello.internal", ANY, Class::NONE, 0, &[]),
            ("www.hello.internal", A, Class::ANY, 0, &[]),
            ("www.hello.internal", TXT, Class::NONE, 0, &[]),
            ("www.hello.internal", A, Class::IN, 0, &[192, 0, 2, 1]),
        ];
        required(world, &all)
    }),
    (
        "rejects a name that should exist",
        Err(Reject::UpdatePrerequisite),
        |world| required(world, &[("none.hello.internal", ANY, Class::ANY, 0, &[])]),
    ),
    (
        "rejects a name that should not exist",
        Err(Reject::UpdatePrerequisite),
        |world| required(world, &[("www.hello.internal", ANY, Class::NONE, 0, &[])]),
    ),
    (
        "rejects a set that should exist",
        Err(Reject::UpdatePrerequisite),
        |world| required(world, &[("www.hello.internal", TXT, Class::ANY, 0, &[])]),
    ),
    (
        "rejects a set that should not exist",
        Err(Reject::UpdatePrerequisite),
        |world| required(world, &[("www.hello.internal", A, Class::NONE, 0, &[])]),
    ),
    (
        "rejects a set with another record",
        Err(Reject::UpdatePrerequisite),
        |world| {
            required(
                world,
                &[("www.hello.internal", A, Class::IN, 0, &[192, 0, 2, 9])],
            )
        },
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn changes_are_made_in_order_and_aliases_stand_alone() {
    let mut world = World::new();
    let text = b"\x01x";
    let alias = b"\x05other\x07example\x00";
    let first = [
        add("hello.internal", TXT, text),
        add("a.hello.internal", A, &[192, 0, 2, 1]),
        add("A.Hello.Internal", A, &[192, 0, 2, 2]),
        add("a.hello.internal", CNAME, alias),
        add("*.hello.internal", CNAME, alias),
    ];
    updates(&mut world, &first).unwrap();
    let two = vec![vec![192, 0, 2, 1], vec![192, 0, 2, 2]];
    assert_eq!(
        records(&world),
        [
            (None, TXT, 300, vec![text.to_vec()]),
            (Some("*".to_owned()), CNAME, 300, vec![alias.to_vec()]),
            (Some("a".to_owned()), A, 300, two),
        ]
    );
    let second = [
        ("a.hello.internal", A, Class::NONE, 0, &[192, 0, 2, 1][..]),
        ("*.hello.internal", CNAME, Class::ANY, 0, &[]),
        ("hello.internal", ANY, Class::ANY, 0, &[]),
        ("hello.internal", A, Class::IN, 60, &[192, 0, 2, 3]),
    ];
    updates(&mut world, &second).unwrap();
    assert_eq!(
        records(&world),
        [
            (None, A, 60, vec![vec![192, 0, 2, 3]]),
            (Some("a".to_owned()), A, 300, vec![vec![192, 0, 2, 2]]),
        ]
    );
}

#[test]
fn several_updates_of_a_second_count_up_to_a_limit() {
    let mut world = World::new();
    world.register_name(USER, "hello.internal").unwrap();
    let limit = limits::MAX_UPDATES_PER_SECOND;
    for index in 0..=limit {
        let address = [192, 0, 2, index as u8];
        let one = [add("hello.internal", A, &address)];
        let it = Sent {
            updates: &one,
            ..Sent::default()
        };
        let verdict = post(&mut world, it.signed_by(USER));
        let expected = if index < limit {
            Ok(())
        } else {
            Err(Reject::UpdateTime)
        };
        assert_eq!(verdict, expected, "{index}");
    }
    let key = state_key::name_updates(&name("hello.internal"));
    let kept: NameUpdates = world.get(&key).unwrap();
    assert_eq!(kept.digests.len(), limit);
    let cancel = NameCancel {
        name: name("hello.internal"),
    };
    world.send(USER, Action::NameCancel(cancel)).unwrap();
    assert!(world.get::<NameUpdates>(&key).is_none());
}
