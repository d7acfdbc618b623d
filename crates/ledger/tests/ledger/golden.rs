//! One scenario through every module, whose state never changes by accident.
//!
//! A change of these digests is a change of consensus: it belongs in the
//! specification and in the release notes.

use wire::*;

use crate::world::*;

/// The digest of a whole state, entry by entry.
pub fn digest(state: &Entries) -> Digest {
    let parts: Vec<&[u8]> = state
        .iter()
        .flat_map(|(key, value)| [key.as_slice(), value.as_slice()])
        .collect();
    Digest::tagged("test/state", &parts)
}

fn scenario() -> World {
    let mut world = World::with(|parameters| parameters.rent_period = 16);
    world
        .send(
            USER,
            Action::Transfer(Transfer {
                to: account(STRANGER),
                amount: Amount(77),
            }),
        )
        .unwrap();
    world
        .send(
            USER,
            Action::LockFunds(LockFunds {
                amount: Amount(50),
                condition: Condition::Any(vec![
                    Condition::Key(key(STRANGER).public()),
                    Condition::AfterHeight(Height(1000)),
                ]),
            }),
        )
        .unwrap();
    world.register_name(USER, "hello.internal").unwrap();
    world.post_offer(PROVIDER, offer_terms());
    world.post_offer(OTHER_PROVIDER, offer_terms());
    let mut terms = request_terms();
    terms.name = Some(name("hello.internal"));
    terms.replicas = 2;
    let request = world.post_request(terms);
    for replica in 0..2 {
        world.start(world.live(request, replica));
    }
    world.idle(3);
    world.beat(world.live(request, 0)).unwrap();
    // The other replica falls silent and is replaced.
    for _ in 0..4 {
        world.idle(9);
        world.beat(world.live(request, 0)).unwrap();
    }
    world
}

#[test]
fn the_genesis_state_is_what_it_was() {
    assert_eq!(
        digest(&World::new().state).to_string(),
        "75871df52344c6dad48b811ec5076aa045d762970c47e920a2744bca8559e1a7"
    );
}

#[test]
fn the_scenarios_state_is_what_it_was() {
    assert_eq!(
        digest(&scenario().state).to_string(),
        "3bee142a7349900e02d5b40bc00d2cd90a44b2ae6a41ec4310e02b7717e6e590"
    );
}
