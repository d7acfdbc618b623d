//! When is a condition well formed, and when does a witness satisfy it?
//!
//! Source: docs/spec/transactions.md §5.

use std::collections::BTreeSet;

use wire::{
    AccountId, Condition, Digest, Height, LockId, PublicKey, Reject, UnlockFunds, Witness,
    limits::{MAX_CONDITION_DEPTH, MAX_CONDITION_NODES, MAX_PREIMAGE_BYTES, MAX_WITNESS_ITEMS},
};

/// Checks that a condition is within its limits and that every node can hold.
///
/// Errors: [`Reject::ConditionMalformed`].
pub(crate) fn check(condition: &Condition) -> Result<(), Reject> {
    let mut nodes = 0;
    let mut level = vec![condition];
    for _ in 0..MAX_CONDITION_DEPTH {
        let mut below = Vec::new();
        for condition in level {
            nodes += 1;
            if nodes > MAX_CONDITION_NODES {
                return Err(Reject::ConditionMalformed);
            }
            let children: &[Condition] = match condition {
                Condition::Key(_) | Condition::Preimage(_) | Condition::AfterHeight(_) => &[],
                Condition::Threshold { need, of } => {
                    if *need == 0 || usize::from(*need) > of.len() {
                        return Err(Reject::ConditionMalformed);
                    }
                    of
                }
                Condition::All(of) | Condition::Any(of) => {
                    if of.is_empty() {
                        return Err(Reject::ConditionMalformed);
                    }
                    of
                }
            };
            below.extend(children);
        }
        if below.is_empty() {
            return Ok(());
        }
        level = below;
    }
    Err(Reject::ConditionMalformed)
}

/// What a witness proved: every item was asked for and verified.
struct Proven {
    keys: BTreeSet<PublicKey>,
    preimages: BTreeSet<Digest>,
    height: Height,
}

/// Checks that `witness` satisfies `condition` for spending `lock` to `to` in
/// a block at `height`, and holds nothing else.
///
/// Errors: [`Reject::LimitExceeded`], [`Reject::WitnessUnused`] for an item
///         that no leaf asks for, that repeats or that does not verify, and
///         [`Reject::ConditionNotMet`].
pub(crate) fn satisfy(
    condition: &Condition,
    witness: &Witness,
    lock: LockId,
    to: AccountId,
    height: Height,
) -> Result<(), Reject> {
    if witness.signatures.len() + witness.preimages.len() > MAX_WITNESS_ITEMS
        || witness
            .preimages
            .iter()
            .any(|item| item.len() > MAX_PREIMAGE_BYTES)
    {
        return Err(Reject::LimitExceeded);
    }
    let (mut keys, mut digests) = (BTreeSet::new(), BTreeSet::new());
    collect_leaves(condition, &mut keys, &mut digests);
    let mut proven = Proven {
        keys: BTreeSet::new(),
        preimages: BTreeSet::new(),
        height,
    };
    for preimage in &witness.preimages {
        let digest = Digest::of(&[preimage]);
        if !digests.contains(&digest) || !proven.preimages.insert(digest) {
            return Err(Reject::WitnessUnused);
        }
    }
    let message = UnlockFunds::message(lock, to);
    for (key, signature) in &witness.signatures {
        if !keys.contains(key)
            || !proven.keys.insert(*key)
            || key
                .verify(UnlockFunds::PURPOSE, &message, signature)
                .is_err()
        {
            return Err(Reject::WitnessUnused);
        }
    }
    if holds(condition, &proven) {
        Ok(())
    } else {
        Err(Reject::ConditionNotMet)
    }
}

/// Recursion is bounded: only conditions that [`check`] passed are stored.
fn collect_leaves(
    condition: &Condition,
    keys: &mut BTreeSet<PublicKey>,
    digests: &mut BTreeSet<Digest>,
) {
    match condition {
        Condition::Key(key) => {
            keys.insert(*key);
        }
        Condition::Preimage(digest) => {
            digests.insert(*digest);
        }
        Condition::AfterHeight(_) => {}
        Condition::Threshold { of, .. } | Condition::All(of) | Condition::Any(of) => {
            for condition in of {
                collect_leaves(condition, keys, digests);
            }
        }
    }
}

fn holds(condition: &Condition, proven: &Proven) -> bool {
    let met = |of: &[Condition]| of.iter().filter(|inner| holds(inner, proven)).count();
    match condition {
        Condition::Key(key) => proven.keys.contains(key),
        Condition::Preimage(digest) => proven.preimages.contains(digest),
        Condition::AfterHeight(height) => proven.height > *height,
        Condition::Threshold { need, of } => met(of) >= usize::from(*need),
        Condition::All(of) => met(of) == of.len(),
        Condition::Any(of) => met(of) > 0,
    }
}
