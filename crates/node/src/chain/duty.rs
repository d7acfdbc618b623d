//! What does a validator do on the ledger for itself, without a person?
//!
//! It sends its dealing in a resharing, signed by its seat's key, and deletes
//! the file of its founding share once another share is in office.

use std::path::PathBuf;

use ledger::StateRead;
use wire::{Action, Amount, CircleId, Deal, Height, SigningKey, Transaction};

use crate::mempool::next_sequence;

/// What a validator needs to do its duty.
pub struct Duty {
    key: SigningKey,
    share_file: Option<PathBuf>,
    /// The last transaction that was made, and for which round and sequence:
    /// the same is sent again, so that no two wait at a time.
    made: Option<(u64, u64, Vec<u8>)>,
}

impl Duty {
    /// The duty of the validator with this identity.
    pub fn new(identity_seed: [u8; 32], share_file: Option<PathBuf>) -> Self {
        Self {
            key: SigningKey::ed25519(identity_seed),
            share_file,
            made: None,
        }
    }

    /// The transaction that publishes a dealing; valid until the epoch ends.
    pub(super) fn deal(
        &mut self,
        circle: CircleId,
        state: &dyn StateRead,
        expires_at: Height,
        round: u64,
        dealing: Vec<u8>,
    ) -> Vec<u8> {
        let sequence = next_sequence(state, self.key.public().account());
        if let Some((made_for, made_at, encoded)) = &self.made
            && (*made_for, *made_at) == (round, sequence)
        {
            return encoded.clone();
        }
        let action = Action::Deal(Deal { round, dealing });
        let encoded = free_of_charge(circle, &self.key, sequence, expires_at, action);
        self.made = Some((round, sequence, encoded.clone()));
        encoded
    }

    /// Deletes the founding share's file, if it is there.
    pub(super) fn forget_share(&mut self) {
        let Some(path) = &self.share_file else { return };
        let removed = std::fs::metadata(path).and_then(|file| {
            // Overwritten first: a copy-on-write disk may keep it all the same.
            std::fs::write(path, vec![0; file.len() as usize])?;
            std::fs::remove_file(path)
        });
        match removed {
            Ok(()) => tracing::info!(path = %path.display(), "deleted the founding share"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(
                path = %path.display(), %error,
                "delete the founding share by hand: it is of no use and a danger"
            ),
        }
    }
}

/// A signed transaction with one action that costs nothing while it is due: a dealing
/// (docs/spec/members.md §2) or evidence (§9).
pub(crate) fn free_of_charge(
    circle: CircleId,
    key: &SigningKey,
    sequence: u64,
    expires_at: Height,
    action: Action,
) -> Vec<u8> {
    let transaction = Transaction {
        version: Transaction::VERSION,
        circle,
        sender: key.public(),
        sequence,
        expires_at,
        fee_limit: Amount::ZERO,
        actions: vec![action],
    };
    transaction.sign(key).encode()
}
