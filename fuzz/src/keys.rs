//! Decoders of keykeepers and of who asks them: posts of a round, stored state,
//! answers, and messages to a label.
//!
//! Seeds come of a real round of three keykeepers. A post that decodes is also
//! posted, so that the judgement of a board is fuzzed beneath its decoder.

use std::sync::OnceLock;

use handshake::Entropy;
use threshold::{
    Answer, Asker, Board, Committee, Dealing, EscrowTerms, Join, Keeper, KeyEscrow, LabelKey,
    OneTimeKey, Phase, Post, Task, Verdict,
};
use wire::{CircleId, Digest};

const LABEL: &[u8] = b"label";
const REQUEST: Digest = Digest([1; 32]);

struct Round {
    /// A board in each phase, without the posts of the first keeper.
    boards: Vec<Board>,
    posts: Vec<Vec<u8>>,
    keepers: Vec<Keeper>,
    committee: Committee,
}

fn round() -> &'static Round {
    static ROUND: OnceLock<Round> = OnceLock::new();
    ROUND.get_or_init(|| {
        let mut keepers: Vec<Keeper> = (1..=3).map(|seed| Keeper::new([seed; 32])).collect();
        let invited = keepers.iter().map(Keeper::key).collect();
        let task = Task::first(CircleId([1; 32]), 1, None, invited);
        let mut board = Board::new(task).expect("three keepers make a round");
        let (mut boards, mut posts) = (Vec::new(), Vec::new());
        while board.phase() != Phase::Closed {
            for (index, keeper) in keepers.iter_mut().enumerate().rev() {
                if index == 0 {
                    boards.push(board.clone());
                }
                let post = keeper.act(&board, [index as u8; 32]).expect("it can act");
                let (bytes, taken) = match post.expect("each has something to post") {
                    Post::Join(join) => (join.encode(), board.join(keeper.key(), join)),
                    Post::Deal(dealing) => (dealing.encode(), board.deal(keeper.key(), dealing)),
                    Post::Answer(answer) => (answer.encode(), board.answer(keeper.key(), answer)),
                };
                taken.expect("an honest post");
                posts.push(bytes);
            }
            board.close_phase();
        }
        let Some(Verdict::Done(conclusion)) = board.verdict() else {
            panic!("honest keepers make a key");
        };
        for keeper in &mut keepers {
            keeper.settle(&board).expect("it has a share");
        }
        Round {
            boards,
            posts,
            keepers,
            committee: conclusion.committee,
        }
    })
}

pub(crate) fn posts() -> Vec<Vec<u8>> {
    round().posts.clone()
}

pub(crate) fn post(bytes: &[u8]) {
    let round = round();
    let first = round.keepers[0].key();
    if let Some(join) = Join::decode(bytes) {
        assert_eq!(join.encode(), bytes);
        let _ = round.boards[0].clone().join(first, join);
    }
    if let Some(dealing) = Dealing::decode(bytes) {
        assert_eq!(dealing.encode(), bytes);
        let _ = round.boards[1].clone().deal(first, dealing);
    }
    if let Some(answer) = Answer::decode(bytes) {
        assert_eq!(answer.encode(), bytes);
        let mut board = round.boards[2].clone();
        let _ = board.answer(first, answer);
        board.close_phase();
        assert!(board.verdict().is_some());
    }
}

pub(crate) fn states() -> Vec<Vec<u8>> {
    let round = round();
    let mut states = vec![round.committee.encode()];
    states.extend(round.keepers.iter().map(|keeper| keeper.encode().to_vec()));
    states
}

pub(crate) fn state(bytes: &[u8]) {
    if let Ok(committee) = Committee::decode(bytes) {
        assert!(committee.quorum() <= committee.keepers().len());
        let _ = committee.master_key();
    }
    if let Ok(keeper) = Keeper::decode(bytes) {
        let mut rng = Entropy;
        let asker = OneTimeKey::generate(&mut rng).public();
        let committee = &round().committee;
        let _ = threshold::answer(&keeper, committee, LABEL, &REQUEST, &asker, &mut rng);
    }
}

fn asker() -> (OneTimeKey, Vec<Vec<u8>>) {
    let round = round();
    let mut rng = Entropy;
    let key = OneTimeKey::generate(&mut rng);
    let public = key.public();
    let answers = round.keepers.iter().map(|keeper| {
        threshold::answer(keeper, &round.committee, LABEL, &REQUEST, &public, &mut rng)
            .expect("it holds a share")
    });
    let answers = answers.collect();
    (key, answers)
}

pub(crate) fn answers() -> Vec<Vec<u8>> {
    asker().1
}

pub(crate) fn answer(bytes: &[u8]) {
    let round = round();
    let key = OneTimeKey::generate(&mut Entropy);
    let mut asker = Asker::new(&round.committee, LABEL, REQUEST, key);
    let taken = asker.take(round.keepers[0].key(), bytes);
    assert!(taken.is_err(), "sealed to another key");
}

fn label_key() -> &'static LabelKey {
    static KEY: OnceLock<LabelKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let (key, answers) = asker();
        let round = round();
        let mut asker = Asker::new(&round.committee, LABEL, REQUEST, key);
        for (keeper, answer) in round.keepers.iter().zip(answers) {
            asker.take(keeper.key(), &answer).expect("a good answer");
        }
        asker.combine().expect("a quorum")
    })
}

pub(crate) fn messages() -> Vec<Vec<u8>> {
    let master = round().committee.master_key();
    let encrypt = |plain: &[u8]| threshold::encrypt(&master, LABEL, plain, &mut Entropy);
    [&b""[..], b"plain", &[7; 300]]
        .map(|plain| encrypt(plain).expect("it is small"))
        .to_vec()
}

pub(crate) fn message(bytes: &[u8]) {
    let _ = label_key().decrypt(bytes);
}

fn escrow_terms() -> EscrowTerms {
    EscrowTerms {
        circle: CircleId([1; 32]),
        keeper: round().keepers[0].key(),
        round: 1,
        holders: (1..=4)
            .map(|one| threshold::escrow_public(&[one; 32]))
            .collect(),
        least: 3,
    }
}

pub(crate) fn escrows() -> Vec<Vec<u8>> {
    let round = round();
    let terms = escrow_terms();
    let made = threshold::escrow(&round.keepers[0], &round.committee, &terms, &mut Entropy);
    vec![made.expect("it holds a share").encode()]
}

pub(crate) fn escrow(bytes: &[u8]) {
    let Some(escrow) = KeyEscrow::decode(bytes) else {
        return;
    };
    assert_eq!(escrow.encode(), bytes, "one form");
    let (committee, terms) = (&round().committee, escrow_terms());
    if escrow.check(committee, &terms).is_ok() {
        let _ = threshold::open_piece(&[1; 32], committee, &terms, &escrow);
    }
    let _ = threshold::restore(&[9; 32], committee, &terms, &escrow, &[]);
}
