//! `ringfort lock`: funds under a condition.

use std::path::PathBuf;

use anyhow::Context as _;
use wire::{Action, Amount, Condition, Digest, Height, LockFunds, LockId, PublicKey};

use super::sent::SentReport;
use crate::{
    failure::{Advice, Status},
    session::Session,
};

/// Arguments of `ringfort lock`. Several conditions must all hold, unless `--any`.
#[derive(clap::Args)]
pub struct Lock {
    /// How much.
    amount: u64,
    /// A signature by this key; may be given often.
    #[arg(long, value_name = "KEY")]
    key: Vec<PublicKey>,
    /// How many of the keys must sign; all if not given.
    #[arg(long, value_name = "N", requires = "key")]
    need: Option<u8>,
    /// A preimage whose SHA-256 is this.
    #[arg(long, value_name = "SHA256")]
    preimage: Option<Digest>,
    /// A block above this height.
    #[arg(long, value_name = "HEIGHT")]
    after_height: Option<u64>,
    /// One of the conditions suffices.
    #[arg(long)]
    any: bool,
    /// A whole tree of conditions, as JSON.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "preimage", "after_height", "any"])]
    condition: Option<PathBuf>,
}

/// Locks the funds and prints the lock's id.
pub fn execute(session: &Session, lock: &Lock) -> anyhow::Result<Status> {
    let action = Action::LockFunds(LockFunds {
        amount: Amount(lock.amount),
        condition: lock.tree()?,
    });
    SentReport::send_making(session, action, "locked", |transaction| {
        Some(LockId::made_by(transaction, 0).to_string())
    })
}

impl Lock {
    /// The condition that the arguments describe.
    fn tree(&self) -> anyhow::Result<Condition> {
        if let Some(path) = &self.condition {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("read {}", path.display()))?;
            return serde_json::from_str(&text)
                .with_context(|| format!("{} is no condition", path.display()));
        }
        let mut parts = Vec::new();
        let keys: Vec<Condition> = self.key.iter().copied().map(Condition::Key).collect();
        match self.need {
            Some(need) => parts.push(Condition::Threshold { need, of: keys }),
            None => parts.extend(keys),
        }
        parts.extend(self.preimage.map(Condition::Preimage));
        parts.extend(
            self.after_height
                .map(|height| Condition::AfterHeight(Height(height))),
        );
        match parts.len() {
            0 => Err(Advice::new(
                "a lock needs a condition",
                "give --key, --preimage, --after-height or --condition FILE",
            )
            .into()),
            1 => Ok(parts.remove(0)),
            _ if self.any => Ok(Condition::Any(parts)),
            _ => Ok(Condition::All(parts)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        Lock {
            amount: 1,
            key: Vec::new(),
            need: None,
            preimage: None,
            after_height: None,
            any: false,
            condition: None,
        }
    }

    #[test]
    fn conditions_add_up_to_a_tree() {
        let keys = [PublicKey::Ed25519([1; 32]), PublicKey::Ed25519([2; 32])];
        assert!(lock().tree().is_err());
        let one = Lock {
            key: vec![keys[0]],
            ..lock()
        };
        assert_eq!(one.tree().unwrap(), Condition::Key(keys[0]));
        let escrow = Lock {
            key: keys.to_vec(),
            need: Some(1),
            after_height: Some(9),
            any: true,
            ..lock()
        };
        let threshold = Condition::Threshold {
            need: 1,
            of: keys.iter().copied().map(Condition::Key).collect(),
        };
        let wanted = Condition::Any(vec![threshold, Condition::AfterHeight(Height(9))]);
        assert_eq!(escrow.tree().unwrap(), wanted);
    }
}
