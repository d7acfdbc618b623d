//! A sharing that members ask for anew, though the validators stay.

use ledger::{Ceremony, Concluded, ReshareTask};
use wire::{
    record::{Epoch, ResharingOutcome},
    *,
};

use crate::{keys::enact, world::*};

const EPOCH: u64 = 40;

/// Judges that three dealings make a sharing named after the round, and that a dealing
/// which begins with 1 exposes the last player's share.
struct Counting;

impl Ceremony for Counting {
    fn conclude(&self, task: &ReshareTask<'_>) -> Option<Concluded> {
        let exposes = |(_, dealing): &(PublicKey, Vec<u8>)| dealing[0] == 1;
        let exposed = task.dealings.iter().any(exposes);
        (task.dealings.len() >= 3).then(|| Concluded {
            sharing: task.round.to_le_bytes().to_vec(),
            revealed: exposed
                .then(|| *task.players.last().unwrap())
                .into_iter()
                .collect(),
        })
    }
}

fn world() -> World {
    let mut world = World::with(|parameters| parameters.epoch_length = EPOCH);
    world.fund_members();
    world
}

fn epoch(world: &World) -> Epoch {
    world.get(&state_key::epoch()).unwrap()
}

fn committee(world: &World) -> Vec<PublicKey> {
    let seats = epoch(world).committee;
    seats.iter().map(|seat| seat.key).collect()
}

fn block(world: &mut World, transactions: &[CheckedTransaction]) {
    let context = ledger::BlockContext {
        height: world.height.plus(1),
        time_ms: World::time_ms(world.height.plus(1)),
        parent: World::header(world.height),
    };
    let applied = ledger::apply_with(&world.state, &context, transactions, &Counting);
    world.advance(applied.changes);
    ledger::audit(&world.state).unwrap();
}

/// Blocks to the end of the epoch; the first three of the committee deal where a resharing
/// is under way, with dealings that begin with `first`.
fn end_epoch(world: &mut World, first: u8) {
    let number = epoch(world).number;
    let mut dealt = None;
    while epoch(world).number == number {
        let under_way = epoch(world).resharing.map(|resharing| resharing.round);
        let mut dealings = Vec::new();
        if let Some(round) = under_way.filter(|round| dealt != Some(*round)) {
            dealt = Some(round);
            let seated = committee(world);
            let dealers = VALIDATORS
                .into_iter()
                .filter(|seed| seated.contains(&key(*seed).public()));
            dealings = dealers
                .take(3)
                .map(|dealer| {
                    let dealing = vec![first; 50];
                    world.sign(dealer, Action::Deal(Deal { round, dealing }))
                })
                .collect();
        }
        block(world, &dealings);
    }
}

#[test]
fn members_have_the_key_shared_anew_among_the_validators_that_stay() {
    let mut world = world();
    end_epoch(&mut world, 7);
    let before = epoch(&world);
    assert_eq!(before.resharing, None, "nobody asked");
    enact(&mut world, Change::Reshare).unwrap();
    let again = enact(&mut world, Change::Reshare);
    assert_eq!(
        again,
        Err(Reject::NothingChanges),
        "it is asked for already"
    );
    end_epoch(&mut world, 7);
    let after = epoch(&world);
    assert_eq!(after.committee, before.committee);
    assert_ne!(after.sharing, before.sharing);
    assert_eq!(after.reshared_from, Some((1, before.sharing)));
    assert_eq!(after.last_outcome, Some(ResharingOutcome::Adopted));
    assert_eq!(after.reshare_since, None);
    // Once is enough.
    end_epoch(&mut world, 7);
    assert_eq!(epoch(&world).sharing, after.sharing);
    // It can be asked for again.
    enact(&mut world, Change::Reshare).unwrap();
    end_epoch(&mut world, 7);
    assert_ne!(epoch(&world).sharing, after.sharing);
}

#[test]
fn what_was_asked_for_is_tried_until_it_is_adopted() {
    let mut world = world();
    let first = epoch(&world).sharing;
    enact(&mut world, Change::Reshare).unwrap();
    // A share would be public: nothing is adopted, and the one whose it is rests.
    end_epoch(&mut world, 1);
    let failed = epoch(&world);
    assert_eq!(failed.last_outcome, Some(ResharingOutcome::SharesRevealed));
    assert_eq!((failed.sharing.clone(), failed.resting.len()), (first, 1));
    assert!(failed.reshare_since.is_some());
    // The set is shrunk before anything is lost.
    end_epoch(&mut world, 7);
    let adopted = epoch(&world);
    assert_ne!(adopted.sharing, failed.sharing);
    assert_eq!(adopted.committee.len(), 3);
    assert!(!committee(&world).contains(&failed.resting[0].0));
    assert_eq!(adopted.reshare_since, None);
}

#[test]
fn a_resharing_that_began_before_members_asked_is_followed_by_another() {
    let mut world = world();
    let update = MemberUpdate {
        role: Some(MemberRole::Voter),
        ..MemberUpdate::default()
    };
    let member = account(VALIDATORS[3]);
    enact(&mut world, Change::UpdateMember { member, update }).unwrap();
    block(&mut world, &[]);
    assert!(epoch(&world).resharing.is_some());
    enact(&mut world, Change::Reshare).unwrap();
    end_epoch(&mut world, 7);
    let first = epoch(&world);
    assert_eq!(first.committee.len(), 3);
    assert!(first.reshare_since.is_some(), "it was another one");
    end_epoch(&mut world, 7);
    let second = epoch(&world);
    assert_ne!(second.sharing, first.sharing);
    assert_eq!(second.committee, first.committee);
    assert_eq!(second.reshare_since, None);
}
