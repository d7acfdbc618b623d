//! What does a validator do on the ledger for itself, without a person?
//!
//! It sends its dealing in a resharing, signed by its seat's key, and deletes
//! the file of its founding share once another share is in office.

use std::path::PathBuf;

use ledger::StateRead;
use wire::{
    Action, Amount, CircleId, Deal, Height, SigningKey, Transaction,
    record::{self, Account},
    state_key,
};

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
        let sender = self.key.public();
        let account: Account = state
            .get(&state_key::account(sender.account()))
            .map(|bytes| record::decode(&bytes).expect("the store holds what this build wrote"))
            .unwrap_or_default();
        if let Some((made_for, sequence, encoded)) = &self.made
            && (*made_for, *sequence) == (round, account.sequence)
        {
            return encoded.clone();
        }
        let transaction = Transaction {
            version: Transaction::VERSION,
            circle,
            sender,
            sequence: account.sequence,
            expires_at,
            // A dealing that is due costs nothing (docs/spec/members.md §2).
            fee_limit: Amount::ZERO,
            actions: vec![Action::Deal(Deal { round, dealing })],
        };
        let encoded = transaction.sign(&self.key).encode();
        self.made = Some((round, account.sequence, encoded.clone()));
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
