//! Keykeepers on a simulated ledger, some of which crash or misbehave.
//!
//! Every run is a function of its seed, which its failure prints. The ledger is
//! a [`Board`] and a record of every byte that was ever posted. Every keeper is
//! stored and read again at every step, so that each step is also a restart.

mod rounds;
mod runs;
mod secrecy;

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use wire::{CircleId, Digest};

use crate::{
    Answer, Asker, Board, Committee, Dealing, Join, Keeper, KeeperKey, LabelKey, OneTimeKey, Phase,
    Post, Refusal, Task, Verdict, Verdicts, answer, keeper_key, sealed,
};

/// How a keeper behaves, named after what it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    Honest,
    /// Was never there.
    Crashed,
    /// Takes part in the first phases of every round and then says nothing.
    QuietAfter(Phase),
    /// Seals noise, or a share that does not fit, to some players.
    DealsBadShares,
    /// Posts a second dealing that contradicts its first, and answers wrongly.
    Equivocates,
    /// Complains of good shares, with the true secrets.
    ComplainsFalsely,
    /// Signs what it does not sign for.
    ForgesAcknowledgements,
    /// Commits to a polynomial of another degree or another share.
    CommitsWrongly,
}

struct Member {
    stored: Vec<u8>,
    conduct: Conduct,
}

struct World {
    rng: StdRng,
    members: BTreeMap<KeeperKey, Member>,
    order: Vec<KeeperKey>,
    /// Every byte that was posted, also what was refused.
    ledger: Vec<Vec<u8>>,
    committee: Option<Committee>,
    rounds: u64,
}

const CIRCLE: CircleId = CircleId([7; 32]);

impl World {
    fn new(seed: u64, conducts: &[Conduct]) -> Self {
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            members: BTreeMap::new(),
            order: Vec::new(),
            ledger: Vec::new(),
            committee: None,
            rounds: 0,
        };
        for conduct in conducts {
            world.add(*conduct);
        }
        world
    }

    fn add(&mut self, conduct: Conduct) {
        let identity: [u8; 32] = self.rng.random();
        let keeper = Keeper::new(identity);
        let stored = keeper.encode().to_vec();
        let key = keeper_key(&identity);
        self.members.insert(key, Member { stored, conduct });
        self.order.push(key);
    }

    fn keeper(&self, key: &KeeperKey) -> Keeper {
        Keeper::decode(&self.members[key].stored).unwrap()
    }

    fn store(&mut self, key: &KeeperKey, keeper: &Keeper) {
        self.members.get_mut(key).unwrap().stored = keeper.encode().to_vec();
    }

    /// Makes a first key, or deals new shares, among `invited`.
    fn change(&mut self, invited: &[KeeperKey]) {
        self.rounds += 1;
        let mut task = Task::first(
            CIRCLE,
            self.rounds,
            self.committee.clone(),
            invited.to_vec(),
        );
        for _ in 0..=invited.len() {
            let board = self.round(task.clone());
            let verdict = board.verdict().unwrap();
            for key in self.order.clone() {
                if !matches!(self.members[&key].conduct, Conduct::Crashed) {
                    let mut keeper = self.keeper(&key);
                    // A keeper that never joined has nothing to lose.
                    let _ = keeper.settle(&board);
                    self.store(&key, &keeper);
                }
            }
            self.rounds += 1;
            match verdict {
                Verdict::Done(conclusion) => {
                    self.committee = Some(conclusion.committee);
                    return;
                }
                Verdict::Without(silent) => {
                    task = task.without(self.rounds, &silent, &board.joined());
                }
                Verdict::Failed => panic!("the round failed: {board:?}"),
            }
        }
        panic!("rounds without an end");
    }

    fn round(&mut self, task: Task) -> Board {
        let mut board = Board::new(task).unwrap();
        while board.phase() != Phase::Closed {
            let mut order = self.order.clone();
            order.shuffle(&mut self.rng);
            for key in order {
                self.step(&key, &mut board);
            }
            board.close_phase();
        }
        board
    }

    fn step(&mut self, key: &KeeperKey, board: &mut Board) {
        let conduct = self.members[key].conduct;
        let quiet = match (conduct, board.phase()) {
            (Conduct::Crashed, _) => true,
            (Conduct::QuietAfter(Phase::Joining), phase) => phase != Phase::Joining,
            (Conduct::QuietAfter(_), phase) => phase == Phase::Answering,
            _ => false,
        };
        if quiet {
            return;
        }
        let mut keeper = self.keeper(key);
        let fresh = self.rng.random();
        let Some(post) = keeper.act(board, fresh).unwrap() else {
            return;
        };
        self.store(key, &keeper);
        self.post(key, conduct, &keeper, board, post);
        if matches!(conduct, Conduct::Honest) {
            assert!(board.has_posted(key), "an honest post was refused");
            assert_eq!(self.keeper(key).act(board, fresh), Ok(None));
        }
    }

    fn post(
        &mut self,
        key: &KeeperKey,
        conduct: Conduct,
        keeper: &Keeper,
        board: &mut Board,
        post: Post,
    ) {
        match post {
            Post::Join(join) => {
                self.ledger.push(join.encode());
                board.join(*key, join.clone()).unwrap();
                assert_eq!(board.join(*key, join), Err(Refusal::Again));
            }
            Post::Deal(dealing) => {
                let dealing = self.spoil_dealing(conduct, keeper, board, dealing);
                self.ledger.push(dealing.encode());
                let taken = board.deal(*key, dealing.clone());
                if conduct == Conduct::CommitsWrongly {
                    assert_eq!(taken, Err(Refusal::Malformed));
                    return;
                }
                taken.unwrap();
                let mut second = dealing;
                second.shares.rotate_left(1);
                assert_eq!(board.deal(*key, second), Err(Refusal::Again));
            }
            Post::Answer(answer) => {
                let answer = spoil_answer(conduct, keeper, board, answer);
                self.ledger.push(answer.encode());
                let taken = board.answer(*key, answer);
                match conduct {
                    Conduct::ComplainsFalsely
                    | Conduct::ForgesAcknowledgements
                    | Conduct::Equivocates => assert_eq!(taken, Err(Refusal::Untrue)),
                    _ => taken.unwrap(),
                }
            }
        }
    }

    fn spoil_dealing(
        &mut self,
        conduct: Conduct,
        keeper: &Keeper,
        board: &Board,
        mut dealing: Dealing,
    ) -> Dealing {
        match conduct {
            Conduct::DealsBadShares => {
                let round = board.round();
                for (index, player) in round.players.iter().enumerate() {
                    match self.rng.random_range(0..3u8) {
                        0 => self.rng.fill(&mut dealing.shares[index][..]),
                        1 => {
                            // A scalar that opens and does not fit.
                            let mut share = [0; 32];
                            self.rng.fill(&mut share[1..]);
                            let receiver = board.one_time_key(player, &keeper.key()).unwrap();
                            let place = round.share_place(&keeper.key(), player);
                            dealing.shares[index] =
                                sealed::seal(&receiver, &place, &share, &mut self.rng).unwrap();
                        }
                        _ => {}
                    }
                }
            }
            Conduct::CommitsWrongly => {
                // One coefficient fewer: the library's length comes first.
                dealing.commitment[0] -= 1;
                let shorter = dealing.commitment.len() - 96;
                dealing.commitment.truncate(shorter);
            }
            _ => {}
        }
        dealing
    }

    /// Asks `from` for a label's key.
    fn derive(&mut self, label: &[u8], from: &[KeeperKey]) -> Result<LabelKey, crate::AnswerError> {
        let committee = self.committee.clone().unwrap();
        let request = Digest(self.rng.random());
        let key = OneTimeKey::generate(&mut self.rng);
        let public = key.public();
        let mut asker = Asker::new(&committee, label, request, key);
        for keeper in from {
            let member = &self.members[keeper];
            if member.conduct == Conduct::Crashed {
                continue;
            }
            let sealed = answer(
                &self.keeper(keeper),
                &committee,
                if member.conduct == Conduct::Honest {
                    label
                } else {
                    b"another label"
                },
                &request,
                &public,
                &mut self.rng,
            );
            let Ok(sealed) = sealed else { continue };
            self.ledger.push(sealed.clone());
            let taken = asker.take(*keeper, &sealed);
            assert_eq!(taken.is_ok(), member.conduct == Conduct::Honest);
        }
        asker.combine()
    }

    fn keepers(&self, conduct: Conduct) -> Vec<KeeperKey> {
        self.order
            .iter()
            .filter(|key| self.members[*key].conduct == conduct)
            .copied()
            .collect()
    }
}

fn spoil_answer(conduct: Conduct, keeper: &Keeper, board: &Board, mut answer: Answer) -> Answer {
    match conduct {
        Conduct::ComplainsFalsely => {
            for (verdict, dealer) in answer.verdicts.iter_mut().zip(board.dealt()) {
                *verdict = Verdicts::Bad(keeper.one_time_secret_of(board, &dealer));
            }
        }
        Conduct::ForgesAcknowledgements => {
            for verdict in &mut answer.verdicts {
                *verdict = Verdicts::Good([9; 64]);
            }
        }
        // A signature that it made, for another dealer.
        Conduct::Equivocates => answer.verdicts.rotate_left(1),
        _ => {}
    }
    answer
}
