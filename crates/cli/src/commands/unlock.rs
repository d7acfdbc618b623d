//! `ringfort unlock`: spends a lock. Several keys of one lock sign one after
//! the other, each on its own machine, with `--sign-only`.

use std::path::PathBuf;

use anyhow::Context as _;
use wire::{
    AccountId, Action, Condition, LockId, PublicKey, UnlockFunds, Witness, record, state_key,
};

use super::{account::account_id, sent::SentReport};
use crate::{failure::Status, session::Session, user};

/// Arguments of `ringfort unlock`.
#[derive(clap::Args)]
pub struct Unlock {
    /// The lock's id.
    lock: LockId,
    /// Who receives the funds; your own account if not given.
    #[arg(long, value_name = "ACCOUNT", value_parser = account_id)]
    to: Option<AccountId>,
    /// A preimage, in hex; may be given often.
    #[arg(long, value_name = "HEX")]
    preimage: Vec<String>,
    /// What other keys of the lock signed; may be given often.
    #[arg(long, value_name = "FILE")]
    witness: Vec<PathBuf>,
    /// Print what your key signs, for another to send.
    #[arg(long)]
    sign_only: bool,
}

/// Signs, and sends unless told not to.
pub fn execute(session: &Session, unlock: &Unlock) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let (_, key) = user::unlock(session)?;
    let key_of_lock = state_key::lock(unlock.lock);
    let lock: record::Lock = super::runtime()?
        .block_on(client.require(key_of_lock, || format!("lock {}", unlock.lock)))
        .context("read the lock")?;
    let to = unlock.to.unwrap_or_else(|| key.account());
    let mut witness = Witness::default();
    if asks_for(&lock.condition, key.public()) {
        let message = UnlockFunds::message(unlock.lock, to);
        let signature = key.signer().sign(UnlockFunds::PURPOSE, &message);
        witness.signatures.push((key.public(), signature));
    }
    if unlock.sign_only {
        println!("{}", serde_json::to_string_pretty(&witness)?);
        return Ok(Status::Done);
    }
    for path in &unlock.witness {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let other: Witness = serde_json::from_str(&text)
            .with_context(|| format!("{} is no witness", path.display()))?;
        witness.signatures.extend(other.signatures);
        witness.preimages.extend(other.preimages);
    }
    for preimage in &unlock.preimage {
        witness
            .preimages
            .push(hex::decode(preimage).context("a preimage is hex")?);
    }
    let action = Action::UnlockFunds(UnlockFunds {
        lock: unlock.lock,
        to,
        witness,
    });
    SentReport::send(session, action, "unlocked")
}

/// Whether some leaf of the condition is `key`.
fn asks_for(condition: &Condition, key: PublicKey) -> bool {
    match condition {
        Condition::Key(leaf) => *leaf == key,
        Condition::Threshold { of, .. } | Condition::All(of) | Condition::Any(of) => {
            of.iter().any(|condition| asks_for(condition, key))
        }
        Condition::Preimage(_) | Condition::AfterHeight(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_at_any_depth_and_no_other_is() {
        let key = PublicKey::Ed25519([1; 32]);
        let other = PublicKey::Ed25519([2; 32]);
        let tree = Condition::Any(vec![
            Condition::AfterHeight(wire::Height(1)),
            Condition::Threshold {
                need: 1,
                of: vec![Condition::All(vec![Condition::Key(key)])],
            },
        ]);
        assert!(asks_for(&tree, key));
        assert!(!asks_for(&tree, other));
    }
}
