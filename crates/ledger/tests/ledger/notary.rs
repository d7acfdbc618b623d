//! Notarised data items.

use wire::{record::Notarisation, *};

use crate::world::*;

fn notarise(world: &mut World, actor: u8, note: &str) -> Verdict {
    let action = Notarise {
        digest: Digest([4; 32]),
        size: 12,
        encrypted: true,
        media: "text/plain".to_owned(),
        note: note.to_owned(),
    };
    world.send(actor, Action::Notarise(action))
}

pub const CASES: &[Case] = &[
    ("notarises an item", Ok(()), |world| {
        notarise(world, USER, "")
    }),
    (
        "rejects a second record of one signer",
        Err(Reject::AlreadyNotarised),
        |world| {
            notarise(world, USER, "first")?;
            notarise(world, USER, "second")
        },
    ),
    ("another signer has a record of its own", Ok(()), |world| {
        notarise(world, USER, "")?;
        notarise(world, STRANGER, "")
    }),
    ("rejects a long note", Err(Reject::LimitExceeded), |world| {
        notarise(world, USER, &"x".repeat(limits::MAX_TEXT_BYTES + 1))
    }),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn the_record_says_who_what_and_when() {
    let mut world = World::new();
    world.idle(3);
    notarise(&mut world, USER, "a note").unwrap();
    let key_of = state_key::notarisation(Digest([4; 32]), account(USER));
    assert_eq!(
        world.get::<Notarisation>(&key_of),
        Some(Notarisation {
            signer: key(USER).public(),
            size: 12,
            encrypted: true,
            media: "text/plain".to_owned(),
            note: "a note".to_owned(),
            notarised_at: world.height,
            time_ms: World::time_ms(world.height),
        })
    );
}
