//! Members' escrow of a committee that the protocol made.

use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};

use super::*;
use crate::{Asker, OneTimeKey, answer, founded};

const CIRCLE: CircleId = CircleId([1; 32]);
const LABEL: &[u8] = b"a label";
const MEMBERS: usize = 4;

/// A committee of three, dealt in round 1.
fn made() -> (Committee, Vec<Keeper>) {
    founded::keepers(CIRCLE, 3)
}

fn secret(member: usize) -> [u8; 32] {
    [100 + member as u8; 32]
}

fn terms(keeper: &Keeper) -> EscrowTerms {
    EscrowTerms {
        circle: CIRCLE,
        keeper: keeper.key(),
        round: 1,
        holders: (0..MEMBERS)
            .map(|one| escrow_public(&secret(one)))
            .collect(),
        least: escrow_quorum(MEMBERS),
    }
}

fn rng(seed: u8) -> StdRng {
    StdRng::from_seed([seed; 32])
}

/// The label's key from a quorum of two.
fn derive(committee: &Committee, keepers: &[Keeper]) -> crate::LabelKey {
    let (request, key) = (Digest([7; 32]), OneTimeKey::generate(&mut rng(8)));
    let public = key.public();
    let mut asker = Asker::new(committee, LABEL, request, key);
    for keeper in keepers {
        let sealed = answer(keeper, committee, LABEL, &request, &public, &mut rng(9)).unwrap();
        asker.take(keeper.key(), &sealed).unwrap();
    }
    asker.combine().unwrap()
}

fn handed_over(
    committee: &Committee,
    terms: &EscrowTerms,
    escrow: &KeyEscrow,
    members: &[usize],
    process: &[u8; 32],
) -> Vec<HandedOver> {
    let hand_over = |member: &usize| {
        let piece = open_piece(&secret(*member), committee, terms, escrow).unwrap();
        piece
            .hand_over(terms, escrow, &escrow_public(process), &mut rng(5))
            .unwrap()
    };
    members.iter().map(hand_over).collect()
}

#[test]
fn members_restore_keykeepers_that_derive_what_the_lost_ones_did() {
    let (committee, keepers) = made();
    let before = derive(&committee, &keepers[..2]);
    let mut restored = Vec::new();
    for (index, keeper) in keepers.iter().take(2).enumerate() {
        let terms = terms(keeper);
        let escrow = escrow(keeper, &committee, &terms, &mut rng(1 + index as u8)).unwrap();
        let escrow = KeyEscrow::decode(&escrow.encode()).unwrap();
        escrow.check(&committee, &terms).unwrap();
        let process = [200 + index as u8; 32];
        let pieces = handed_over(&committee, &terms, &escrow, &[3, 0, 2], &process);
        let keeper = restore(&process, &committee, &terms, &escrow, &pieces).unwrap();
        // It is the same keykeeper, to the last byte.
        assert_eq!(keeper.encode(), keepers[index].encode());
        restored.push(keeper);
    }
    assert!(before.is_same(&derive(&committee, &restored)));
}

#[test]
fn one_member_fewer_restores_nothing() {
    let (committee, keepers) = made();
    let terms = terms(&keepers[0]);
    assert_eq!(terms.least, 3);
    let escrow = escrow(&keepers[0], &committee, &terms, &mut rng(1)).unwrap();
    let process = [200; 32];
    let pieces = handed_over(&committee, &terms, &escrow, &[0, 1], &process);
    let refused = EscrowError::TooFew {
        have: 2,
        given: 2,
        need: 3,
    };
    let tried = restore(&process, &committee, &terms, &escrow, &pieces);
    assert_eq!(tried.err(), Some(refused.clone()));
    // One that hands over twice is still one.
    let twice = [&pieces[..], &pieces[..1]].concat();
    let refused = EscrowError::TooFew {
        have: 2,
        given: 3,
        need: 3,
    };
    let tried = restore(&process, &committee, &terms, &escrow, &twice);
    assert_eq!(tried.err(), Some(refused));
    // So says mathematics: with two pieces every share is as good a guess as any.
    let opened: Vec<Piece> = [0, 1]
        .map(|one| open_piece(&secret(one), &committee, &terms, &escrow).unwrap())
        .into();
    let public = public_share(&committee, &terms).unwrap();
    let weights = Interpolator::new(
        opened
            .iter()
            .map(|piece| (piece.holder, point(piece.holder))),
    );
    let values: Map<u16, Scalar> = opened
        .iter()
        .map(|piece| {
            let private: Private = decode(&piece.value[..], &()).unwrap();
            (piece.holder, private.expose(Clone::clone))
        })
        .try_collect()
        .unwrap();
    let guess = weights.interpolate(&values, &Sequential).unwrap();
    assert!(G2::generator() * &guess != public);
}

#[test]
fn pieces_are_of_use_to_their_process_and_keykeeper_alone() {
    let (committee, keepers) = made();
    let terms_of: Vec<EscrowTerms> = keepers.iter().map(terms).collect();
    let escrows: Vec<KeyEscrow> = keepers
        .iter()
        .zip(&terms_of)
        .map(|(keeper, terms)| escrow(keeper, &committee, terms, &mut rng(1)).unwrap())
        .collect();
    let process = [200; 32];
    let all = [0, 1, 2];
    let pieces = handed_over(&committee, &terms_of[0], &escrows[0], &all, &process);
    let have = |tried: Result<Keeper, EscrowError>| match tried {
        Err(EscrowError::TooFew { have, .. }) => have,
        other => panic!("{other:?}"),
    };
    let of =
        |process, at: usize| restore(process, &committee, &terms_of[at], &escrows[at], &pieces);
    assert!(of(&process, 0).is_ok());
    assert_eq!(have(of(&[201; 32], 0)), 0, "another process");
    assert_eq!(have(of(&process, 1)), 0, "another keykeeper");
    let mut place = pieces.clone();
    place[0].holder = 3;
    place[1].holder = 9;
    let tried = restore(&process, &committee, &terms_of[0], &escrows[0], &place);
    assert_eq!(have(tried), 1, "another holder's place, and none's");
    // Of two escrows of one share, pieces do not mix.
    let again = escrow(&keepers[0], &committee, &terms_of[0], &mut rng(2)).unwrap();
    let tried = restore(&process, &committee, &terms_of[0], &again, &pieces);
    assert_eq!(have(tried), 0, "an earlier escrow");
}

#[test]
fn an_escrow_of_something_else_is_refused() {
    let (committee, keepers) = made();
    let terms = terms(&keepers[0]);
    let good = escrow(&keepers[0], &committee, &terms, &mut rng(1)).unwrap();
    let refused = Err(EscrowError::Escrow);

    let mut other = good.clone();
    let mut others = terms.clone();
    others.keeper = keepers[1].key();
    other.commitment = escrow(&keepers[1], &committee, &others, &mut rng(1))
        .unwrap()
        .commitment;
    assert_eq!(other.check(&committee, &terms), refused, "another share");

    let mut fewer = terms.clone();
    fewer.least = 2;
    let easier = escrow(&keepers[0], &committee, &fewer, &mut rng(1)).unwrap();
    assert_eq!(easier.check(&committee, &terms), refused, "a lower quorum");

    let mut missing = good.clone();
    missing.pieces.pop();
    assert_eq!(
        missing.check(&committee, &terms),
        refused,
        "a piece is missing"
    );

    let mut trailing = good.clone();
    trailing.commitment.push(0);
    assert_eq!(
        trailing.check(&committee, &terms),
        refused,
        "trailing bytes"
    );

    // A bad piece is its holder's to find, and the others restore without it.
    let mut bad = good.clone();
    bad.pieces[1][40] ^= 1;
    bad.check(&committee, &terms).unwrap();
    let opened = open_piece(&secret(1), &committee, &terms, &bad);
    assert_eq!(opened.err(), Some(EscrowError::BadPiece));
    assert!(open_piece(&secret(0), &committee, &terms, &bad).is_ok());

    let stranger = open_piece(&[9; 32], &committee, &terms, &good);
    assert_eq!(stranger.err(), Some(EscrowError::NotHolder));

    // An identity that is not the keykeeper's does not come back as one.
    let mut forged = good;
    forged.identity[0] ^= 1;
    let process = [200; 32];
    let pieces = handed_over(&committee, &terms, &forged, &[0, 1, 2], &process);
    let tried = restore(&process, &committee, &terms, &forged, &pieces);
    assert_eq!(tried.err(), Some(EscrowError::NotTheKeeper));
}

#[test]
fn holders_that_make_no_escrow_are_refused() {
    let (committee, keepers) = made();
    let good = terms(&keepers[0]);
    let mut cases = vec![good.clone(); 5];
    cases[0].holders[1] = cases[0].holders[0];
    cases[1].holders.truncate(1);
    cases[2].least = 1;
    cases[3].least = 5;
    cases[4].round = 2;
    for (number, terms) in cases.iter().enumerate() {
        let made = escrow(&keepers[0], &committee, terms, &mut rng(1));
        let wanted = match number {
            4 => EscrowError::NoShare,
            _ => EscrowError::Terms,
        };
        assert_eq!(made.err(), Some(wanted), "{number}");
    }
    // A key of low order is its holder's loss alone.
    let mut low = good;
    low.holders[3] = [0; 32];
    let made = escrow(&keepers[0], &committee, &low, &mut rng(1)).unwrap();
    let process = [200; 32];
    let pieces = handed_over(&committee, &low, &made, &[0, 1, 2], &process);
    assert!(restore(&process, &committee, &low, &made, &pieces).is_ok());
}

#[test]
fn no_byte_of_an_escrow_is_of_share_or_identity() {
    let (committee, keepers) = made();
    let holds = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).any(|at| at == needle);
    for keeper in &keepers {
        let bytes = escrow(keeper, &committee, &terms(keeper), &mut rng(1))
            .unwrap()
            .encode();
        let share = keeper.share_in(&committee).unwrap();
        let share = share.private.expose(|share| share.encode().to_vec());
        assert!(holds(&keeper.encode(), &share), "the search can find it");
        assert!(!holds(&bytes, &share));
        assert!(!holds(&bytes, keeper.identity()));
    }
}

#[test]
fn a_quorum_of_members_is_more_than_two_thirds() {
    let quorums = [1, 2, 3, 4, 6, 7, 10, 128].map(|members| (members, escrow_quorum(members)));
    let wanted = [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 3),
        (6, 5),
        (7, 5),
        (10, 7),
        (128, 86),
    ];
    assert_eq!(quorums, wanted);
    for members in 2..=MAX_MEMBERS {
        assert!(3 * escrow_quorum(members) > 2 * members);
    }
}

proptest! {
    #[test]
    fn what_is_no_escrow_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Some(escrow) = KeyEscrow::decode(&bytes) {
            let (committee, keepers) = made();
            prop_assert!(escrow.check(&committee, &terms(&keepers[0])).is_err());
        }
    }
}
