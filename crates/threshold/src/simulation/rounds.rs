//! Does the protocol end as it should, whoever misbehaves?

use super::*;

const LABEL: &[u8] = b"a label";

/// Two that are byzantine, in every way there is one.
const MISCONDUCTS: [[Conduct; 2]; 6] = [
    [Conduct::DealsBadShares, Conduct::Equivocates],
    [Conduct::DealsBadShares, Conduct::ComplainsFalsely],
    [
        Conduct::QuietAfter(Phase::Joining),
        Conduct::QuietAfter(Phase::Dealing),
    ],
    [Conduct::ForgesAcknowledgements, Conduct::CommitsWrongly],
    [Conduct::Equivocates, Conduct::QuietAfter(Phase::Dealing)],
    [Conduct::ComplainsFalsely, Conduct::ForgesAcknowledgements],
];

#[test]
fn generation_derivation_and_resharing_complete_with_two_byzantine_and_one_crashed() {
    for (seed, misconducts) in MISCONDUCTS.iter().enumerate() {
        println!("seed {seed}: {misconducts:?}");
        let mut conducts = vec![Conduct::Honest; 4];
        conducts.extend(misconducts);
        conducts.push(Conduct::Crashed);
        let mut world = World::new(seed as u64, &conducts);

        let seven = world.order.clone();
        world.change(&seven);
        let first = world.committee.clone().unwrap();
        assert!(first.quorum() >= 3);
        let honest = world.keepers(Conduct::Honest);
        assert!(honest.iter().all(|key| first.keepers().contains(key)));
        let key = world.derive(LABEL, &seven).unwrap();

        // Nine: the seven, of whom three are still faulty, and two more.
        world.add(Conduct::Honest);
        world.add(Conduct::Honest);
        let nine = world.order.clone();
        world.change(&nine);
        let second = world.committee.clone().unwrap();
        assert_eq!(second.master_key(), first.master_key());
        assert_ne!(second.encode(), first.encode());
        assert!(key.is_same(&world.derive(LABEL, &nine).unwrap()));

        // Five: three honest ones, among them a newcomer, and both byzantine.
        let five = [nine[0], nine[1], nine[7], nine[4], nine[5]];
        world.change(&five);
        let third = world.committee.clone().unwrap();
        assert_eq!(third.master_key(), first.master_key());
        assert!(key.is_same(&world.derive(LABEL, &five).unwrap()));
        // Who left holds nothing any more.
        for left in [nine[2], nine[3], nine[8]] {
            assert_eq!(world.keeper(&left).holds(), None);
        }
    }
}

#[test]
fn all_honest_keepers_need_one_round_and_all_hold_a_share() {
    let mut world = World::new(1, &[Conduct::Honest; 7]);
    let seven = world.order.clone();
    world.change(&seven);
    let committee = world.committee.clone().unwrap();
    assert_eq!((committee.keepers().len(), committee.quorum()), (7, 4));
    assert_eq!(world.rounds, 2);
    // Any quorum comes to the same key, and another label to another.
    let key = world.derive(LABEL, &seven[..4]).unwrap();
    assert!(key.is_same(&world.derive(LABEL, &seven[3..]).unwrap()));
    assert!(!key.is_same(&world.derive(b"other", &seven).unwrap()));
}

#[test]
fn a_bad_dealer_is_left_out_and_its_victims_stay() {
    let mut conducts = vec![Conduct::Honest; 4];
    conducts.push(Conduct::DealsBadShares);
    let mut world = World::new(3, &conducts);
    let all = world.order.clone();
    world.change(&all);
    let committee = world.committee.clone().unwrap();
    assert_eq!(
        committee.keepers().len(),
        5,
        "it dealt badly and holds a share"
    );
    let dealers = committee.output().dealers().clone();
    let bad = world.keepers(Conduct::DealsBadShares)[0];
    assert!(
        dealers
            .iter()
            .all(|dealer| crate::committee::key_of(dealer) != bad)
    );
    assert!(committee.output().revealed().is_empty());
}

#[test]
fn a_round_with_too_few_players_comes_to_nothing() {
    let conducts = [
        Conduct::Honest,
        Conduct::Honest,
        Conduct::Honest,
        Conduct::Crashed,
        Conduct::Crashed,
        Conduct::Crashed,
        Conduct::Crashed,
    ];
    let mut world = World::new(4, &conducts);
    let board = world.round(Task::first(CIRCLE, 1, None, world.order.clone()));
    assert_eq!(board.verdict(), Some(Verdict::Failed));
    let mut keeper = world.keeper(&world.order[0]);
    assert_eq!(keeper.settle(&board), Ok(None));
    assert_eq!(keeper.holds(), None);
}

#[test]
fn a_resharing_that_fails_leaves_the_shares_where_they_are() {
    let mut world = World::new(5, &[Conduct::Honest; 4]);
    let four = world.order.clone();
    world.change(&four);
    let key = world.derive(LABEL, &four).unwrap();
    let committee = world.committee.clone();
    for _ in 0..3 {
        world.add(Conduct::Crashed);
    }
    let newcomers: Vec<KeeperKey> = world.order[4..].to_vec();
    world.rounds += 1;
    let task = Task::first(CIRCLE, world.rounds, committee, newcomers);
    let board = world.round(task);
    assert_eq!(board.verdict(), Some(Verdict::Failed));
    for holder in &four {
        let mut keeper = world.keeper(holder);
        assert_eq!(keeper.settle(&board), Ok(None));
        world.store(holder, &keeper);
    }
    assert!(key.is_same(&world.derive(LABEL, &four).unwrap()));
}

#[test]
fn refuses_posts_of_strangers_and_out_of_phase() {
    let mut world = World::new(6, &[Conduct::Honest; 4]);
    let invited = world.order[..3].to_vec();
    let stranger = world.order[3];
    let mut board = Board::new(Task::first(CIRCLE, 1, None, invited.clone())).unwrap();
    let join = Join {
        keys: vec![[9; 32]; 3],
    };
    assert_eq!(board.join(stranger, join.clone()), Err(Refusal::NotAsked));
    let short = Join {
        keys: vec![[9; 32]; 2],
    };
    assert_eq!(board.join(invited[0], short), Err(Refusal::Malformed));
    let dealing = Dealing {
        commitment: Vec::new(),
        shares: Vec::new(),
    };
    assert_eq!(
        board.deal(invited[0], dealing.clone()),
        Err(Refusal::WrongPhase)
    );
    for key in &invited {
        world.step(key, &mut board);
    }
    assert!(board.is_complete());
    board.close_phase();
    assert_eq!(board.join(invited[0], join), Err(Refusal::WrongPhase));
    assert_eq!(
        board.deal(stranger, dealing.clone()),
        Err(Refusal::NotAsked)
    );
    assert_eq!(board.deal(invited[0], dealing), Err(Refusal::Malformed));
    let answer = Answer {
        verdicts: Vec::new(),
    };
    assert_eq!(board.answer(invited[0], answer), Err(Refusal::WrongPhase));
    assert_eq!(board.verdict(), None);
}

#[test]
fn refuses_lists_that_make_no_round() {
    use crate::CommitteeError as E;
    let world = World::new(7, &[Conduct::Honest; 2]);
    let one = world.order[0];
    let error =
        |invited: Vec<KeeperKey>| Board::new(Task::first(CIRCLE, 1, None, invited)).unwrap_err();
    assert_eq!(error(Vec::new()), E::Count(0));
    assert_eq!(error(vec![one]), E::Count(1));
    assert_eq!(error(vec![one; 65]), E::Count(65));
    assert_eq!(error(vec![one, one]), E::Duplicate);
    let mut off_curve = [0; 32];
    off_curve[0] = 2;
    assert_eq!(error(vec![one, off_curve]), E::Key);
}

#[test]
fn a_keeper_that_lost_its_seed_says_so() {
    let mut world = World::new(8, &[Conduct::Honest; 3]);
    let all = world.order.clone();
    let forgetful = all[1];
    let before = world.members[&forgetful].stored.clone();
    let mut board = Board::new(Task::first(CIRCLE, 1, None, all.clone())).unwrap();
    for key in &all {
        world.step(key, &mut board);
    }
    board.close_phase();
    for key in &all {
        world.step(key, &mut board);
    }
    board.close_phase();
    let mut restored = Keeper::decode(&before).unwrap();
    assert_eq!(restored.act(&board, [1; 32]), Err(crate::KeeperError::Lost));
}

/// One of each message: what all of them come to takes too long for a test.
#[test]
fn the_largest_round_fits_its_limits() {
    use crate::*;
    use commonware_utils::NZU32;
    const MOST: usize = wire::limits::MAX_KEYKEEPERS;
    let mut world = World::new(9, &[Conduct::Honest; MOST]);
    let all = world.order.clone();
    let mut board = Board::new(Task::first(CIRCLE, 1, None, all.clone())).unwrap();
    for key in &all {
        world.step(key, &mut board);
    }
    for key in &all[..2] {
        board.close_phase();
        world.step(key, &mut board);
    }
    let [joins, rest] = [&world.ledger[..MOST], &world.ledger[MOST..]];
    assert!(joins.iter().all(|join| Join::decode(join).is_some()));
    assert!(Dealing::decode(&rest[0]).is_some());
    assert!(Answer::decode(&rest[1]).is_some());
    for message in &world.ledger {
        assert!(message.len() <= wire::limits::MAX_KEY_POST_BYTES);
    }
    let largest = crate::committee::Sharings::max_encode_size(NZU32!(MOST as u32));
    // The library counts as many coefficients as there are keepers; a quorum is
    // little more than half of them.
    assert!(largest - 96 * (MOST - quorum(MOST)) <= MAX_SHARING_BYTES);
}
