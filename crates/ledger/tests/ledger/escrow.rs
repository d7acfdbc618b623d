//! Keykeepers' shares in escrow: who may hold pieces, what a keykeeper may post, and
//! what changes of members and keykeepers do to it.

use rand::{SeedableRng as _, rngs::StdRng};
use threshold::{Committee, EscrowTerms, Keeper};
use wire::record::{EscrowHolders, KeyEscrow, KeyOutcome};
use wire::*;

use crate::{
    keys::{KEEPERS, WINDOW, committee, enact, founded, run_rounds, set_keykeepers},
    world::*,
};

fn secret(member: u8) -> [u8; 32] {
    [member; 32]
}

fn enrol(world: &mut World, member: u8, key: Option<[u8; 32]>) -> Verdict {
    let key = key.map(EscrowKey);
    world.send(member, Action::SetEscrowKey(SetEscrowKey { key }))
}

pub(super) fn enrol_all(world: &mut World) {
    for member in VALIDATORS {
        enrol(
            world,
            member,
            Some(threshold::escrow_public(&secret(member))),
        )
        .unwrap();
    }
}

fn holders(world: &World) -> EscrowHolders {
    world.get(&state_key::escrow_holders()).unwrap()
}

fn terms(world: &World, actor: u8) -> EscrowTerms {
    let holders = holders(world);
    EscrowTerms {
        circle: world.circle,
        keeper: threshold::keeper_key(&[actor; 32]),
        round: committee(world).round,
        holders: holders.keys(),
        least: usize::from(holders.least),
    }
}

pub(super) fn escrow_of(world: &World, keeper: &Keeper, actor: u8) -> PostEscrow {
    let sharing = Committee::decode(&committee(world).sharing).unwrap();
    let mut rng = StdRng::from_seed([actor; 32]);
    let made = threshold::escrow(keeper, &sharing, &terms(world, actor), &mut rng).unwrap();
    PostEscrow {
        round: committee(world).round,
        holders: holders(world).digest(),
        escrow: made.encode(),
    }
}

fn posted(world: &World, actor: u8) -> Option<KeyEscrow> {
    world.get(&state_key::key_escrow(&key(actor).public()))
}

#[test]
fn members_with_a_vote_hold_pieces_under_keys_of_their_own() {
    let mut world = World::new();
    world.fund_members();
    let public = threshold::escrow_public(&secret(1));
    let stranger = enrol(&mut world, USER, Some(public));
    assert_eq!(stranger, Err(Reject::NotMember));
    enrol(&mut world, VALIDATORS[0], Some(public)).unwrap();
    let same = enrol(&mut world, VALIDATORS[1], Some(public));
    assert_eq!(same, Err(Reject::KeyMessageRefused), "one key, two members");
    enrol(&mut world, VALIDATORS[0], Some([8; 32])).unwrap();
    let record = holders(&world);
    assert_eq!(
        record.keys(),
        [[8; 32]],
        "a new key takes the old one's place"
    );
    assert_eq!(record.least, 3, "of four members, whoever gave a key");
    assert!(!record.suffice());
    enrol_all(&mut world);
    assert!(holders(&world).suffice());
    enrol(&mut world, VALIDATORS[0], None).unwrap();
    assert_eq!(holders(&world).holders.len(), 3);
}

#[test]
fn a_keykeepers_escrow_is_kept_and_members_restore_it_from_the_ledger() {
    let (mut world, keepers) = founded(&KEEPERS[..3]);
    enrol_all(&mut world);
    for (actor, keeper) in &keepers {
        let post = escrow_of(&world, keeper, *actor);
        world.send(*actor, Action::PostEscrow(post)).unwrap();
    }
    let sharing = Committee::decode(&committee(&world).sharing).unwrap();
    for (actor, keeper) in &keepers {
        let record = posted(&world, *actor).unwrap();
        assert_eq!(record.holders, holders(&world));
        let escrow = threshold::KeyEscrow::decode(&record.escrow).unwrap();
        let terms = terms(&world, *actor);
        let process = [77; 32];
        let hand_over = |member: &u8| {
            let piece = threshold::open_piece(&secret(*member), &sharing, &terms, &escrow).unwrap();
            let to = threshold::escrow_public(&process);
            let mut rng = StdRng::from_seed([*member; 32]);
            piece.hand_over(&terms, &escrow, &to, &mut rng).unwrap()
        };
        let pieces: Vec<_> = VALIDATORS[..3].iter().map(hand_over).collect();
        let restored = threshold::restore(&process, &sharing, &terms, &escrow, &pieces).unwrap();
        assert_eq!(restored.encode(), keeper.encode());
        let few = threshold::restore(&process, &sharing, &terms, &escrow, &pieces[..2]);
        assert!(few.is_err(), "below the quorum of members");
    }
}

#[test]
fn an_escrow_that_is_not_the_senders_or_not_for_these_holders_is_refused() {
    let (mut world, keepers) = founded(&KEEPERS[..3]);
    let actor = KEEPERS[0];
    enrol_all(&mut world);
    let good = escrow_of(&world, &keepers[&actor], actor);
    let send = |world: &mut World, actor: u8, change: &dyn Fn(&mut PostEscrow)| {
        let mut post = good.clone();
        change(&mut post);
        world.send(actor, Action::PostEscrow(post))
    };
    type Case<'a> = (&'a str, u8, &'a dyn Fn(&mut PostEscrow), Reject);
    let cases: [Case<'_>; 6] = [
        ("a stranger", USER, &|_| (), Reject::NotKeykeeper),
        ("another's", KEEPERS[1], &|_| (), Reject::KeyMessageRefused),
        (
            "another round's",
            actor,
            &|post| post.round += 1,
            Reject::KeyRoundClosed,
        ),
        (
            "for others",
            actor,
            &|post| post.holders = Digest([1; 32]),
            Reject::KeyRoundClosed,
        ),
        (
            "a piece short",
            actor,
            &|post| post.escrow.truncate(400),
            Reject::KeyMessageRefused,
        ),
        (
            "too long",
            actor,
            &|post| post.escrow = vec![0; limits::MAX_KEY_ESCROW_BYTES + 1],
            Reject::LimitExceeded,
        ),
    ];
    for (claim, actor, change, reject) in cases {
        assert_eq!(send(&mut world, actor, change), Err(reject), "{claim}");
    }
    assert_eq!(posted(&world, actor), None);
    // A member takes another key: what was made for the old one is not taken.
    enrol(&mut world, VALIDATORS[0], Some([9; 32])).unwrap();
    let stale = send(&mut world, actor, &|_| ());
    assert_eq!(stale, Err(Reject::KeyRoundClosed));
    // Two of four are not enough to escrow anything.
    enrol(&mut world, VALIDATORS[0], None).unwrap();
    enrol(&mut world, VALIDATORS[1], None).unwrap();
    let mut few = good.clone();
    few.holders = holders(&world).digest();
    let few = world.send(actor, Action::PostEscrow(few));
    assert_eq!(few, Err(Reject::KeyRoundClosed));
}

#[test]
fn who_leaves_the_members_holds_no_pieces_and_a_new_committee_escrows_anew() {
    let (mut world, mut keepers) = founded(&KEEPERS[..3]);
    enrol_all(&mut world);
    let actor = KEEPERS[0];
    let post = escrow_of(&world, &keepers[&actor], actor);
    world.send(actor, Action::PostEscrow(post)).unwrap();
    assert!(posted(&world, actor).is_some());
    enact(&mut world, set_keykeepers(&KEEPERS[..3], WINDOW)).unwrap();
    assert_eq!(run_rounds(&mut world, &mut keepers), KeyOutcome::Done);
    assert_eq!(posted(&world, actor), None, "of shares that are no more");
    let post = escrow_of(&world, &keepers[&actor], actor);
    world.send(actor, Action::PostEscrow(post)).unwrap();

    let leaves = account(VALIDATORS[3]);
    let update = MemberUpdate {
        role: Some(MemberRole::Observer),
        ..MemberUpdate::default()
    };
    let member = leaves;
    enact(&mut world, Change::UpdateMember { member, update }).unwrap();
    let record = holders(&world);
    assert!(record.holders.iter().all(|holder| holder.member != leaves));
    assert_eq!((record.holders.len(), record.least), (3, 3));
    assert_ne!(
        posted(&world, actor).unwrap().holders,
        record,
        "to be renewed"
    );
}
