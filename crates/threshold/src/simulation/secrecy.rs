//! Who can know what? Here, and only here, the master secret is put together.

use commonware_codec::Encode as _;
use commonware_cryptography::bls12381::primitives::{
    group::{G1, G2, Scalar, Share},
    ops::{self, threshold},
    variant::MinSig,
};
use commonware_math::{algebra::CryptoGroup as _, poly::Interpolator};
use commonware_parallel::Sequential;
use commonware_utils::{TryCollect as _, ordered::Map};

use super::*;
use crate::{AnswerError, encrypt, label::NAMESPACE};

const LABEL: &[u8] = b"a label";

fn shares(world: &World) -> Vec<Share> {
    let committee = world.committee.clone().unwrap();
    let keepers = world.order.iter().map(|key| world.keeper(key));
    keepers
        .filter_map(|keeper| keeper.share_in(&committee))
        .collect()
}

fn point(share: &Share) -> Scalar {
    Scalar::from_u64(u64::from(share.index.get()) + 1)
}

fn interpolate(shares: &[Share]) -> Scalar {
    let weights = Interpolator::new(shares.iter().map(|share| (share.index, point(share))));
    let values: Map<_, Scalar> = shares
        .iter()
        .map(|share| (share.index, share.private.expose(Clone::clone)))
        .try_collect()
        .unwrap();
    weights.interpolate(&values, &Sequential).unwrap()
}

fn is_master(world: &World, secret: &Scalar) -> bool {
    let public = (G2::generator() * secret).encode();
    public.as_ref() == world.committee.as_ref().unwrap().master_key()
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn no_message_and_no_keepers_state_holds_the_master_secret_or_anothers_share() {
    for seed in 20..23 {
        println!("seed {seed}");
        let mut conducts = vec![Conduct::Honest; 4];
        conducts.extend([
            Conduct::DealsBadShares,
            Conduct::ComplainsFalsely,
            Conduct::Crashed,
        ]);
        let mut world = World::new(seed, &conducts);
        let all = world.order.clone();
        let mut stored: Vec<(KeeperKey, Vec<u8>)> = Vec::new();
        let mut secrets: Vec<Vec<u8>> = Vec::new();
        let mut owned: Vec<(KeeperKey, Vec<u8>)> = Vec::new();
        for _ in 0..2 {
            world.change(&all);
            let held = shares(&world);
            let quorum = world.committee.as_ref().unwrap().quorum();
            let master = interpolate(&held[..quorum]);
            assert!(is_master(&world, &master), "the quorum is one");
            secrets.push(master.encode().to_vec());
            let committee = world.committee.clone().unwrap();
            for share in &held {
                let owner = committee.keepers()[usize::from(share.index)];
                let bytes = share.private.expose(|private| private.encode().to_vec());
                owned.push((owner, bytes));
            }
            for key in &all {
                stored.push((*key, world.members[key].stored.clone()));
            }
            world.derive(LABEL, &all).unwrap();
        }
        assert_eq!(secrets[0], secrets[1], "resharing keeps the secret");
        let mut reversed = secrets[0].clone();
        reversed.reverse();
        secrets.push(reversed);

        for secret in &secrets {
            let places = world
                .ledger
                .iter()
                .chain(stored.iter().map(|(_, state)| state));
            for place in places {
                assert!(!holds(place, secret));
            }
        }
        for (owner, share) in &owned {
            assert!(world.ledger.iter().all(|message| !holds(message, share)));
            for (key, state) in &stored {
                assert!(key == owner || !holds(state, share));
            }
            // The search can find what is there.
            assert!(stored.iter().any(|(_, state)| holds(state, share)));
        }
    }
}

#[test]
fn one_share_fewer_than_a_quorum_gives_neither_secret_nor_key_nor_plaintext() {
    let mut world = World::new(30, &[Conduct::Honest; 7]);
    let all = world.order.clone();
    world.change(&all);
    let committee = world.committee.clone().unwrap();
    let message = encrypt(
        &committee.master_key(),
        LABEL,
        b"for the label",
        &mut world.rng,
    );
    let message = message.unwrap();
    let held = shares(&world);
    let quorum = committee.quorum();
    let key = world.derive(LABEL, &all[..quorum]).unwrap();
    assert_eq!(&**key.decrypt(&message).unwrap(), b"for the label");

    for first in 0..all.len() {
        for count in 1..quorum {
            let some: Vec<usize> = (0..count).map(|at| (first + at) % all.len()).collect();
            // The protocol refuses, whatever the number of honest answers.
            let from: Vec<KeeperKey> = some.iter().map(|at| all[*at]).collect();
            let error = world.derive(LABEL, &from).unwrap_err();
            let expected = AnswerError::TooFew {
                have: count,
                need: quorum,
            };
            assert_eq!(error, expected);
            // So does mathematics, with the shares themselves in hand.
            let few: Vec<Share> = some.iter().map(|at| held[*at].clone()).collect();
            assert!(!is_master(&world, &interpolate(&few)));
            let weights = Interpolator::new(few.iter().map(|share| (share.index, point(share))));
            let partials: Map<_, G1> = few
                .iter()
                .map(|share| {
                    let partial = threshold::sign_message::<MinSig>(share, NAMESPACE, LABEL);
                    (share.index, partial.value)
                })
                .try_collect()
                .unwrap();
            let forged = weights.interpolate(&partials, &Sequential).unwrap();
            let public = committee.sharing().public();
            assert!(ops::verify_message::<MinSig>(public, NAMESPACE, LABEL, &forged).is_err());
            let mut forged_key = LabelKey {
                signature: [0; 48],
                label: LABEL.to_vec(),
            };
            forged_key.signature.copy_from_slice(&forged.encode());
            assert!(forged_key.decrypt(&message).is_err());
        }
    }
}

/// With one share fewer than a quorum, every master secret is as good a guess
/// as any: for each there is a polynomial of the right degree through them.
#[test]
fn shares_below_a_quorum_fit_every_secret() {
    let mut world = World::new(31, &[Conduct::Honest; 5]);
    let all = world.order.clone();
    world.change(&all);
    let quorum = world.committee.as_ref().unwrap().quorum();
    let few = &shares(&world)[..quorum - 1];
    for guess in [1u64, 2, 3] {
        // The polynomial through the shares and the guess at zero has degree
        // `quorum - 1`: interpolated from its values at other points it gives
        // the guess back.
        let guess = Scalar::from_u64(guess);
        let value_at = |x: u64| {
            let mut points: Vec<(u32, Scalar, Scalar)> = few
                .iter()
                .map(|share| {
                    let value = share.private.expose(Clone::clone);
                    (share.index.get() + 1, point(share), value)
                })
                .collect();
            points.push((0, Scalar::from_u64(0), guess.clone()));
            // Shifted by x, so that interpolation at zero is at x.
            let shift = Scalar::from_u64(x);
            let weights = Interpolator::new(
                points
                    .iter()
                    .map(|(index, at, _)| (*index, at.clone() - &shift)),
            );
            let values: Map<u32, Scalar> = points
                .iter()
                .map(|(index, _, value)| (*index, value.clone()))
                .try_collect()
                .unwrap();
            weights.interpolate(&values, &Sequential).unwrap()
        };
        for share in few {
            let at = u64::from(share.index.get()) + 1;
            assert!(share.private.expose(|private| *private == value_at(at)));
        }
        let elsewhere: Vec<u64> = (101..101 + quorum as u64).collect();
        let weights = Interpolator::new(elsewhere.iter().map(|x| (*x, Scalar::from_u64(*x))));
        let values: Map<u64, Scalar> = elsewhere
            .iter()
            .map(|x| (*x, value_at(*x)))
            .try_collect()
            .unwrap();
        assert!(weights.interpolate(&values, &Sequential).unwrap() == guess);
    }
}

#[test]
fn the_shares_of_one_committee_are_worth_nothing_in_the_next() {
    let mut world = World::new(32, &[Conduct::Honest; 7]);
    let all = world.order.clone();
    world.change(&all);
    let before = shares(&world);
    world.change(&all);
    let after = shares(&world);
    let quorum = world.committee.as_ref().unwrap().quorum();
    // Half from either: a quorum in number, of nothing.
    let mut mixed = before[..quorum / 2].to_vec();
    mixed.extend_from_slice(&after[quorum / 2..quorum]);
    assert!(!is_master(&world, &interpolate(&mixed)));
    assert!(is_master(&world, &interpolate(&after[..quorum])));
    for key in &all {
        assert_eq!(world.keeper(key).holds(), Some(3));
    }
}
