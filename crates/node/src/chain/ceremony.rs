//! What do the dealings of a resharing come to?
//!
//! The engine judges them; this file puts the ledger's question to it. The
//! answer is a function of the question, and judging is slow, so the last
//! answer is remembered: every block that ends the same epoch asks the same.

use std::sync::Mutex;

use engine::{
    keys::PeerKey,
    resharing::{Task, conclude},
};
use ledger::{Ceremony, Concluded, ReshareTask};
use wire::{Digest, PublicKey};

type Remembered = Option<(Digest, Option<Concluded>)>;

/// The engine's judgement.
#[derive(Default)]
pub(super) struct Resharing(Mutex<Remembered>);

/// The Ed25519 key within, which every seat has.
pub(super) fn peer(key: &PublicKey) -> Option<PeerKey> {
    match key {
        PublicKey::Ed25519(key) => Some(*key),
        PublicKey::P256(_) => None,
    }
}

fn question(task: &ReshareTask<'_>) -> Digest {
    let parts = (
        task.circle,
        task.round,
        task.previous,
        task.players,
        task.dealings,
    );
    let bytes = borsh::to_vec(&parts).expect("keys and bytes always encode");
    Digest::of(&[&bytes])
}

fn judge(task: &ReshareTask<'_>) -> Option<Concluded> {
    let players: Option<Vec<PeerKey>> = task.players.iter().map(peer).collect();
    let dealings: Option<Vec<(PeerKey, Vec<u8>)>> = task
        .dealings
        .iter()
        .map(|(dealer, dealing)| Some((peer(dealer)?, dealing.clone())))
        .collect();
    let round = Task {
        circle: task.circle,
        round: task.round,
        previous: Some(task.previous.to_vec()),
        players: players?,
    };
    match conclude(&round, &dealings?) {
        Ok(conclusion) => Some(Concluded {
            sharing: conclusion.sharing,
            revealed: conclusion
                .revealed
                .into_iter()
                .map(PublicKey::Ed25519)
                .collect(),
        }),
        Err(error) => {
            tracing::warn!(round = task.round, %error, "a resharing came to nothing");
            None
        }
    }
}

impl Ceremony for Resharing {
    fn conclude(&self, task: &ReshareTask<'_>) -> Option<Concluded> {
        let question = question(task);
        let mut last = self.0.lock().expect("judging does not panic");
        match &*last {
            Some((asked, answer)) if *asked == question => answer.clone(),
            _ => {
                let answer = judge(task);
                *last = Some((question, answer.clone()));
                answer
            }
        }
    }
}
