//! The key's life: made by founders, handed on, and worth nothing to whoever left.

use std::collections::BTreeMap;

use commonware_codec::DecodeExt;
use commonware_consensus::{
    simplex::types::{Finalization, Finalize, Proposal},
    types::{Epoch, Round, View},
};
use commonware_cryptography::sha256::Digest as EngineDigest;
use commonware_utils::{TestRng, non_empty};
use proptest::prelude::*;

use super::*;
use crate::{certificate::Scheme, keys::public_key};

const CIRCLE: CircleId = CircleId([0xC1; 32]);

type Shares = BTreeMap<PeerKey, Zeroizing<Vec<u8>>>;

fn seed(member: u8) -> [u8; 32] {
    [member; 32]
}

fn peer(member: u8) -> PeerKey {
    public_key(&seed(member))
}

/// How a round is disturbed.
#[derive(Default)]
struct Disturbance {
    /// Members that are down: they neither deal nor answer.
    down: Vec<u8>,
    /// Dealers that send every player a share of another polynomial.
    bad_shares: Vec<u8>,
    /// What is published instead of these members' dealings.
    published: BTreeMap<u8, Vec<u8>>,
}

struct Made {
    conclusion: Conclusion,
    shares: Shares,
    dealings: Vec<(PeerKey, Vec<u8>)>,
}

fn task(round: u64, previous: Option<&Conclusion>, players: &[u8]) -> Task {
    Task {
        circle: CIRCLE,
        round,
        previous: previous.map(|previous| previous.sharing.clone()),
        players: players.iter().map(|player| peer(*player)).collect(),
    }
}

/// Runs a round among `dealers` and `players`, who are numbers of members.
fn perform(
    task: &Task,
    dealers: &[u8],
    shares: &Shares,
    players: &[u8],
    disturbance: &Disturbance,
) -> Result<Made, ResharingError> {
    let is_down = |member: &u8| disturbance.down.contains(member);
    let mut receivers: BTreeMap<PeerKey, Player> = players
        .iter()
        .filter(|player| !is_down(player))
        .map(|player| (peer(*player), Player::new(task, &seed(*player)).unwrap()))
        .collect();
    let mut dealings = Vec::new();
    for member in dealers.iter().filter(|dealer| !is_down(dealer)) {
        let from = peer(*member);
        let share = shares.get(&from).map(|share| share.as_slice());
        let entropy = [100 + member; 32];
        let (mut dealer, messages) = Dealer::start(task, &seed(*member), share, entropy).unwrap();
        let other = Dealer::start(task, &seed(*member), share, [200; 32])
            .unwrap()
            .1;
        for ((to, message), (_, foreign)) in messages.iter().zip(&other) {
            let Some(player) = receivers.get_mut(to) else {
                continue;
            };
            let mut sent = message.to_vec();
            if disturbance.bad_shares.contains(member) {
                let secret = sent.len() - 32;
                sent[secret..].copy_from_slice(&foreign[secret..]);
            }
            match player.take(&from, &sent) {
                Ok(Some(ack)) => dealer.acknowledged(to, &ack).unwrap(),
                Ok(None) => unreachable!("nobody deals twice here"),
                Err(error) => {
                    assert!(disturbance.bad_shares.contains(member), "{error}");
                }
            }
        }
        let dealing = dealer.finish();
        let published = disturbance
            .published
            .get(member)
            .cloned()
            .unwrap_or(dealing);
        dealings.push((from, published));
    }
    let conclusion = conclude(task, &dealings)?;
    let shares = receivers
        .into_iter()
        .map(|(key, player)| {
            let (same, share) = player.finish(&dealings).unwrap();
            assert_eq!(same, conclusion, "players come to what everybody sees");
            (key, share)
        })
        .collect();
    Ok(Made {
        conclusion,
        shares,
        dealings,
    })
}

fn found(founders: &[u8]) -> Made {
    let none = Shares::new();
    let calm = Disturbance::default();
    perform(&task(0, None, founders), founders, &none, founders, &calm).unwrap()
}

fn reshare(before: &Made, dealers: &[u8], round: u64, players: &[u8]) -> Made {
    let task = task(round, Some(&before.conclusion), players);
    let calm = Disturbance::default();
    perform(&task, dealers, &before.shares, players, &calm).unwrap()
}

/// The certificate that these shares assemble, if it verifies under `key`.
fn certify(sharing: &[u8], shares: &[(&PeerKey, &Zeroizing<Vec<u8>>)], key: &GroupKey) -> bool {
    let sharing = decode_sharing(sharing).unwrap();
    let name = namespace(CIRCLE);
    let proposal = Proposal::new(
        Round::new(Epoch::new(3), View::new(9)),
        View::new(8),
        EngineDigest([7; 32]),
    );
    let schemes: Vec<Scheme> = shares
        .iter()
        .filter_map(|(_, share)| {
            let share = keys::decode_share(share).unwrap();
            let players = sharing.players().clone();
            Scheme::signer(&name, players, sharing.public().clone(), share)
        })
        .collect();
    let votes: Vec<_> = schemes
        .iter()
        .map(|scheme| Finalize::sign(scheme, proposal.clone()).unwrap())
        .collect();
    let Ok(finalization) =
        Finalization::from_finalizes(&schemes[0], non_empty![@votes.iter()], &Sequential)
    else {
        return false;
    };
    let identity = DecodeExt::decode(key.to_vec()).unwrap();
    let verifier = Scheme::certificate_verifier(&name, identity);
    finalization.verify(&mut TestRng::new(1), &verifier, &Sequential)
}

fn some(shares: &Shares, count: usize) -> Vec<(&PeerKey, &Zeroizing<Vec<u8>>)> {
    shares.iter().take(count).collect()
}

#[test]
fn founders_make_a_key_that_three_of_four_sign_with_and_two_do_not() {
    let made = found(&[1, 2, 3, 4]);
    let Conclusion {
        sharing, group_key, ..
    } = &made.conclusion;
    assert!(made.conclusion.revealed.is_empty());
    assert!(certify(sharing, &some(&made.shares, 3), group_key));
    assert!(!certify(sharing, &some(&made.shares, 2), group_key));
    let other = perform(
        &task(1, None, &[1, 2, 3, 4]),
        &[1, 2, 3, 4],
        &Shares::new(),
        &[1, 2, 3, 4],
        &Disturbance::default(),
    );
    assert_eq!(
        other.unwrap().conclusion.group_key,
        *group_key,
        "the key is the founders' entropy alone"
    );
}

#[test]
fn a_join_a_leave_and_a_replacement_keep_the_key() {
    let founded = found(&[1, 2, 3, 4]);
    let key = founded.conclusion.group_key;
    let joined = reshare(&founded, &[1, 2, 3, 4], 1, &[1, 2, 3, 4, 5]);
    let left = reshare(&joined, &[1, 2, 3, 4, 5], 2, &[2, 3, 4, 5]);
    let replaced = reshare(&left, &[2, 3, 4, 5], 3, &[2, 3, 4, 6]);
    for made in [&joined, &left, &replaced] {
        assert_eq!(made.conclusion.group_key, key);
        let quorum = made.shares.len() - (made.shares.len() - 1) / 3;
        assert!(certify(
            &made.conclusion.sharing,
            &some(&made.shares, quorum),
            &key
        ));
    }
}

#[test]
fn the_dealers_first_shares_are_handed_on_like_any_others() {
    let founders = [1, 2, 3, 4];
    let peers: Vec<_> = founders.iter().map(|member| peer(*member)).collect();
    let dealt = keys::development_dealer(&peers, [9; 32]).unwrap();
    let shares: Shares = peers.iter().copied().zip(dealt.shares).collect();
    let task = Task {
        circle: CIRCLE,
        round: 1,
        previous: Some(dealt.polynomial),
        players: [2, 3, 4, 5].map(peer).to_vec(),
    };
    let calm = Disturbance::default();
    let made = perform(&task, &founders, &shares, &[2, 3, 4, 5], &calm).unwrap();
    assert_eq!(made.conclusion.group_key, dealt.group_key);
    assert!(certify(
        &made.conclusion.sharing,
        &some(&made.shares, 3),
        &dealt.group_key
    ));
}

/// Four founders, and the round in which a fifth joins them, disturbed.
fn join_of_a_fifth(disturbance: &Disturbance) -> (Made, Made) {
    let founded = found(&[1, 2, 3, 4]);
    let players = [1, 2, 3, 4, 5];
    let task = task(1, Some(&founded.conclusion), &players);
    let dealers = [1, 2, 3, 4];
    let made = perform(&task, &dealers, &founded.shares, &players, disturbance);
    (founded, made.unwrap())
}

#[test]
fn a_removed_members_share_is_useless_to_the_new_committee_and_to_its_enemies() {
    let founded = found(&[1, 2, 3, 4]);
    let key = founded.conclusion.group_key;
    let left = reshare(&founded, &[1, 2, 3, 4], 1, &[2, 3, 4, 5]);
    let (removed, old) = founded.shares.get_key_value(&peer(1)).unwrap();
    // Two of the new shares and the old one: as many as a quorum.
    let mut mixed = some(&left.shares, 2);
    mixed.push((removed, old));
    assert!(!certify(&left.conclusion.sharing, &mixed, &key));
    assert!(!certify(&founded.conclusion.sharing, &mixed, &key));
    // Nor do the old shares of members that stayed and new shares mix.
    let mut ages = some(&left.shares, 2);
    let (stays, older) = founded.shares.get_key_value(&peer(4)).unwrap();
    ages.push((stays, older));
    assert!(!certify(&left.conclusion.sharing, &ages, &key));
    // This is why old shares are deleted: a quorum of them could still sign.
    assert!(certify(
        &founded.conclusion.sharing,
        &some(&founded.shares, 3),
        &key
    ));
}

#[test]
fn a_member_that_is_down_is_named_as_revealed() {
    let (founded, made) = join_of_a_fifth(&Disturbance {
        down: vec![4],
        ..Disturbance::default()
    });
    assert_eq!(made.conclusion.revealed, [peer(4)]);
    assert_eq!(made.conclusion.group_key, founded.conclusion.group_key);
}

#[test]
fn one_byzantine_dealer_of_four_changes_nothing_and_two_stop_the_round() {
    let founded = found(&[1, 2, 3, 4]);
    let players = [1, 2, 3, 4, 5];
    let next = task(1, Some(&founded.conclusion), &players);
    let earlier = task(9, Some(&founded.conclusion), &players);
    let calm = Disturbance::default();
    let members = [1, 2, 3, 4];
    let run = |disturbance: &Disturbance| {
        perform(&next, &members, &founded.shares, &players, disturbance)
    };
    let stale = perform(&earlier, &members, &founded.shares, &players, &calm).unwrap();
    let good = run(&calm).unwrap();
    let foreign = found(&[1, 2, 3, 4]);
    let other_key = Task {
        previous: None,
        players: next.players.clone(),
        ..next.clone()
    };
    let fresh = Dealer::start(&other_key, &seed(1), None, [3; 32])
        .unwrap()
        .0;
    for published in [
        Vec::new(),
        vec![0xFF; 900],
        // Another dealer's dealing, one of another round, one of another key.
        good.dealings[1].1.clone(),
        stale.dealings[0].1.clone(),
        foreign.dealings[0].1.clone(),
        fresh.finish(),
    ] {
        let disturbance = Disturbance {
            published: BTreeMap::from([(1, published.clone())]),
            ..Disturbance::default()
        };
        let made = run(&disturbance).unwrap();
        assert_eq!(made.conclusion.group_key, founded.conclusion.group_key);
        assert!(made.conclusion.revealed.is_empty());
        let disturbance = Disturbance {
            published: BTreeMap::from([(1, published.clone()), (3, published)]),
            ..Disturbance::default()
        };
        let error = run(&disturbance).err().unwrap();
        assert!(
            matches!(error, ResharingError::TooFewDealings(_)),
            "{error}"
        );
    }
}

#[test]
fn a_dealer_of_bad_shares_gets_no_acknowledgement_and_its_dealing_is_void() {
    let (founded, made) = join_of_a_fifth(&Disturbance {
        bad_shares: vec![3],
        ..Disturbance::default()
    });
    assert_eq!(made.conclusion.group_key, founded.conclusion.group_key);
    assert!(made.conclusion.revealed.is_empty());
    assert!(certify(
        &made.conclusion.sharing,
        &some(&made.shares, 4),
        &made.conclusion.group_key
    ));
}

#[test]
fn a_restart_deals_the_same_again_and_needs_every_message_that_was_acknowledged() {
    let founded = found(&[1, 2, 3, 4]);
    let task = task(1, Some(&founded.conclusion), &[1, 2, 3, 4]);
    let share = founded.shares[&peer(1)].as_slice();
    let deal = || {
        Dealer::start(&task, &seed(1), Some(share), [5; 32])
            .unwrap()
            .1
    };
    assert_eq!(deal(), deal());

    let calm = Disturbance::default();
    let members = [1, 2, 3, 4];
    let made = perform(&task, &members, &founded.shares, &members, &calm).unwrap();
    let forgetful = Player::new(&task, &seed(2)).unwrap();
    let error = forgetful.finish(&made.dealings).err().unwrap();
    assert!(matches!(error, ResharingError::Lost(_)), "{error}");
    // With its messages taken again it comes to the same share.
    let mut careful = Player::new(&task, &seed(2)).unwrap();
    for member in members {
        let share = founded.shares[&peer(member)].as_slice();
        let entropy = [100 + member; 32];
        let messages = Dealer::start(&task, &seed(member), Some(share), entropy)
            .unwrap()
            .1;
        let (_, message) = messages.iter().find(|(to, _)| *to == peer(2)).unwrap();
        assert!(careful.take(&peer(member), message).unwrap().is_some());
        assert_eq!(careful.take(&peer(member), message).unwrap(), None);
    }
    assert_eq!(
        careful.finish(&made.dealings).unwrap().1,
        made.shares[&peer(2)]
    );
}

#[test]
fn refuses_rounds_that_are_none() {
    let founded = found(&[1, 2, 3, 4]);
    let sharing = &founded.conclusion;
    assert!(matches!(
        conclude(&task(1, Some(sharing), &[]), &[]),
        Err(ResharingError::Key(KeyError::ValidatorCount(0)))
    ));
    assert!(matches!(
        conclude(&task(1, Some(sharing), &[1, 1]), &[]),
        Err(ResharingError::Key(KeyError::DuplicateValidator))
    ));
    let task = task(1, Some(sharing), &[1, 2, 3]);
    assert!(matches!(
        Player::new(&task, &seed(9)),
        Err(ResharingError::Round(_))
    ));
    assert!(matches!(
        Dealer::start(&task, &seed(9), None, [1; 32]),
        Err(ResharingError::Round(_))
    ));
    assert!(matches!(
        Dealer::start(&task, &seed(1), None, [1; 32]),
        Err(ResharingError::Round(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_from_peers_never_panic(bytes: Vec<u8>, at in 0usize..2000, flip in 1u8..) {
        let task = task(0, None, &[1, 2]);
        let mut player = Player::new(&task, &seed(1)).unwrap();
        prop_assert!(player.take(&peer(2), &bytes).is_err());
        let (mut dealer, messages) = Dealer::start(&task, &seed(2), None, [1; 32]).unwrap();
        prop_assert!(dealer.acknowledged(&peer(1), &bytes).is_err());
        let mut damaged = messages[0].1.to_vec();
        let place = at % damaged.len();
        damaged[place] ^= flip;
        let _ = player.take(&peer(2), &damaged);
        let mut dealing = dealer.finish();
        let place = at % dealing.len();
        dealing[place] ^= flip;
        prop_assert!(conclude(&task, &[(peer(2), dealing), (peer(1), bytes)]).is_err());
    }
}
