//! Recovery: who decides it, and what becomes of the state.

use ledger::{RecoveryError, decided, recover};
use wire::record::{CircleRecord, Epoch, Member, Rules};
use wire::*;

use crate::world::*;

/// The validator that is lost, and the one that is new in its place.
const LOST: u8 = 13;
const NEW: u8 = 40;

/// A circle in which something happened, at the height of its last block.
fn former() -> World {
    let mut world = World::with(|parameters| parameters.epoch_length = 40);
    world.fund_members();
    world.register_name(USER, "hello.internal").unwrap();
    world.post_offer(PROVIDER, offer_terms());
    world.idle(45);
    world
}

fn origin(world: &World) -> Origin {
    Origin {
        circle: world.circle,
        circle_key: CircleKey([1; 96]),
        height: world.height,
        header: World::header(world.height),
    }
}

/// The same circle with the validators that are left and a new one.
fn successor(world: &World) -> Genesis {
    genesis(|genesis| {
        genesis.circle_key = CircleKey([3; 96]);
        genesis.sharing = vec![4; 8];
        genesis.parameters.epoch_length = 40;
        genesis.validators.retain(|v| v.key != key(LOST).public());
        genesis.validators.push(Validator {
            key: key(NEW).public(),
            name: "new".to_owned(),
        });
        genesis.origin = Some(origin(world));
    })
}

fn vote(world: &World, genesis: &Genesis, member: u8) -> RefoundingVote {
    RefoundingVote::sign(&key(member), &origin(world), genesis.circle())
}

#[test]
fn more_than_half_of_the_members_decide_each_once_for_one_genesis() {
    let world = former();
    let genesis = successor(&world);
    let votes = |members: &[u8]| -> Vec<_> {
        let votes = members.iter().map(|member| vote(&world, &genesis, *member));
        votes.collect()
    };
    decided(&world.state, &genesis, &votes(&[10, 11, 12])).unwrap();
    let counts = |votes: &[RefoundingVote]| match decided(&world.state, &genesis, votes) {
        Err(RecoveryError::Votes {
            agree,
            need: 3,
            members: 4,
        }) => agree,
        other => panic!("{other:?}"),
    };
    assert_eq!(counts(&votes(&[10, 11])), 2);
    assert_eq!(counts(&votes(&[10, 11, 11, 11])), 2, "each once");
    assert_eq!(counts(&votes(&[10, 11, STRANGER, NEW])), 2, "members only");
    let mut other = genesis.clone();
    other.sharing = vec![5; 8];
    let for_other = vote(&world, &other, 12);
    assert_eq!(counts(&[votes(&[10, 11]), vec![for_other]].concat()), 2);
    let mut forged = votes(&[10, 11, 12]);
    forged[2].signature = forged[1].signature;
    assert_eq!(counts(&forged), 2);
}

#[test]
fn a_state_of_another_circle_and_a_genesis_of_its_own_are_refused() {
    let world = former();
    let genesis = successor(&world);
    let other = World::new();
    assert_eq!(
        recover(&other.state, &genesis, Height(9)),
        Err(RecoveryError::OtherCircle)
    );
    let mut own = genesis.clone();
    own.origin = None;
    assert_eq!(
        recover(&world.state, &own, Height(9)),
        Err(RecoveryError::NoOrigin)
    );
    let mut richer = genesis.clone();
    richer.accounts[0].1 = Amount(1);
    assert_eq!(
        recover(&world.state, &richer, Height(9)),
        Err(RecoveryError::Supply)
    );
    let mut unsound = genesis;
    unsound.validators.clear();
    assert!(matches!(
        recover(&world.state, &unsound, Height(9)),
        Err(RecoveryError::Genesis(_))
    ));
}

#[test]
fn everything_stays_but_who_validates_under_which_key_and_the_circle_goes_on() {
    let mut world = former();
    let genesis = successor(&world);
    let before = ledger::audit(&world.state).unwrap();
    let name_before = world.name("hello.internal");
    let height = world.height.plus(1);
    let changes = recover(&world.state, &genesis, height).unwrap();
    let touched = [
        &state_key::circle()[..],
        &state_key::rules(),
        &state_key::epoch(),
    ];
    for key in changes.keys() {
        let is_member = key.starts_with(state_key::MEMBERS);
        let is_dealing = key.starts_with(state_key::DEALINGS);
        assert!(
            is_member || is_dealing || touched.contains(&&key[..]),
            "{key:?}"
        );
    }
    world.advance(changes);
    world.circle = genesis.circle();
    let after = ledger::audit(&world.state).unwrap();
    assert_eq!(after.supply, before.supply);
    assert_eq!(world.name("hello.internal"), name_before);

    let rules: Rules = world.get(&state_key::rules()).unwrap();
    assert_eq!(rules.circle, genesis.circle());
    let circle: CircleRecord = world.get(&state_key::circle()).unwrap();
    assert_eq!(circle.genesis, genesis);
    let epoch: Epoch = world.get(&state_key::epoch()).unwrap();
    assert_eq!(epoch.number, (height.0 + 1) / 40);
    assert_eq!(epoch.sharing, vec![4; 8]);
    assert_eq!(epoch.reshared_from, None);
    let mut seats: Vec<_> = epoch.committee.iter().map(|seat| seat.key).collect();
    seats.sort_unstable();
    let mut wanted: Vec<_> = [10, 11, 12, NEW].map(|seed| key(seed).public()).into();
    wanted.sort_unstable();
    assert_eq!(seats, wanted);
    let lost: Member = world.get(&state_key::member(account(LOST))).unwrap();
    assert_eq!(
        (lost.terms.role, lost.terms.seat),
        (MemberRole::Voter, None)
    );
    let new: Member = world.get(&state_key::member(account(NEW))).unwrap();
    assert_eq!(new.terms.role, MemberRole::Validator);

    // Blocks go on under the new id only, across the end of an epoch, and the
    // new validators are paid.
    let stale = former().sign(USER, give(STRANGER)).transaction().clone();
    let stale = stale.sign(&key(USER)).encode();
    let refused = CheckedTransaction::check(&stale, world.circle);
    assert!(matches!(refused, Err(CheckError::OtherCircle(_))));
    world.send(USER, give(STRANGER)).unwrap();
    let paid = world.balance(NEW);
    let period = rules.parameters.rent_period;
    world.idle(period);
    assert!(world.balance(NEW) > paid);
    let later: Epoch = world.get(&state_key::epoch()).unwrap();
    assert_eq!(later.number, (world.height.0 + 1) / 40);
    assert_eq!(later.resharing, None, "nobody else is wanted");
}

#[test]
fn a_member_that_validates_with_another_key_keeps_its_account() {
    let mut world = former();
    let seat = key(31);
    let replacement = ValidatorSeat {
        key: seat.public(),
        address: "127.0.0.1:1".to_owned(),
    };
    let message = SeatReplacement::message(world.circle, account(12), &replacement);
    let change = Change::ReplaceSeat(SeatReplacement {
        member: account(12),
        seat: replacement,
        signature: seat.sign(SeatReplacement::PURPOSE, &message),
    });
    let id = world
        .send_for_id(10, Action::Propose(Propose { change }))
        .unwrap();
    for member in [11, 12] {
        let proposal = ProposalId::made_by(id, 0);
        let vote = Vote {
            proposal,
            approve: true,
        };
        world.send(member, Action::Vote(vote)).unwrap();
    }
    let mut genesis = successor(&world);
    genesis.validators.retain(|v| v.key != key(12).public());
    genesis.validators.push(Validator {
        key: seat.public(),
        name: "seat".to_owned(),
    });
    let height = world.height.plus(1);
    world.advance(recover(&world.state, &genesis, height).unwrap());
    let epoch: Epoch = world.get(&state_key::epoch()).unwrap();
    let held = epoch.committee.iter().find(|s| s.key == seat.public());
    assert_eq!(held.unwrap().account, account(12));
    assert!(
        world
            .get::<Member>(&state_key::member(seat.public().account()))
            .is_none()
    );
}

fn give(to: u8) -> Action {
    Action::Transfer(Transfer {
        to: account(to),
        amount: Amount(1),
    })
}
