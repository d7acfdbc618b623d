//! Locks: conditions, and the witnesses that satisfy them.

use wire::*;

use crate::world::*;

fn lock(world: &mut World, condition: Condition) -> Result<LockId, Reject> {
    let action = Action::LockFunds(LockFunds {
        amount: Amount(100),
        condition,
    });
    world
        .send_for_id(USER, action)
        .map(|id| LockId::made_by(id, 0))
}

fn signature(signer: u8, lock: LockId, to: u8) -> (PublicKey, Signature) {
    let key = key(signer);
    let message = UnlockFunds::message(lock, account(to));
    (key.public(), key.sign(UnlockFunds::PURPOSE, &message))
}

/// Unlocks to the stranger with these signatures and preimages.
fn unlock(world: &mut World, lock: LockId, signers: &[u8], preimages: &[&[u8]]) -> Verdict {
    let witness = Witness {
        signatures: signers
            .iter()
            .map(|signer| signature(*signer, lock, STRANGER))
            .collect(),
        preimages: preimages.iter().map(|preimage| preimage.to_vec()).collect(),
    };
    spend(world, lock, witness)
}

fn spend(world: &mut World, lock: LockId, witness: Witness) -> Verdict {
    let action = UnlockFunds {
        lock,
        to: account(STRANGER),
        witness,
    };
    world.send(STRANGER, Action::UnlockFunds(action))
}

fn key_of(actor: u8) -> Condition {
    Condition::Key(key(actor).public())
}

fn hash_of(preimage: &[u8]) -> Condition {
    Condition::Preimage(Digest::of(&[preimage]))
}

fn two_of_three() -> Condition {
    Condition::Threshold {
        need: 2,
        of: vec![key_of(30), key_of(31), hash_of(b"secret")],
    }
}

/// `depth` nested conditions.
fn deep(depth: usize) -> Condition {
    (1..depth).fold(key_of(30), |inner, _| Condition::All(vec![inner]))
}

pub const CASES: &[Case] = &[
    (
        "rejects a lock of nothing",
        Err(Reject::AmountOutOfRange),
        |world| {
            let action = LockFunds {
                amount: Amount::ZERO,
                condition: key_of(30),
            };
            world.send(USER, Action::LockFunds(action))
        },
    ),
    (
        "rejects a lock above the balance",
        Err(Reject::InsufficientBalance),
        |world| {
            let action = LockFunds {
                amount: BALANCE,
                condition: key_of(30),
            };
            world.send(USER, Action::LockFunds(action))
        },
    ),
    ("takes the deepest condition", Ok(()), |world| {
        lock(world, deep(limits::MAX_CONDITION_DEPTH)).map(|_| ())
    }),
    (
        "rejects a threshold of nothing",
        Err(Reject::ConditionMalformed),
        |world| {
            let of = vec![key_of(30)];
            lock(world, Condition::Threshold { need: 0, of }).map(|_| ())
        },
    ),
    (
        "rejects a threshold above its leaves",
        Err(Reject::ConditionMalformed),
        |world| {
            let of = vec![key_of(30)];
            lock(world, Condition::Threshold { need: 2, of }).map(|_| ())
        },
    ),
    (
        "rejects an empty list of alternatives",
        Err(Reject::ConditionMalformed),
        |world| lock(world, Condition::Any(Vec::new())).map(|_| ()),
    ),
    (
        "rejects an empty list of demands",
        Err(Reject::ConditionMalformed),
        |world| lock(world, Condition::All(Vec::new())).map(|_| ()),
    ),
    (
        "rejects too many nodes",
        Err(Reject::ConditionMalformed),
        |world| {
            let of = vec![key_of(30); limits::MAX_CONDITION_NODES];
            lock(world, Condition::Any(of)).map(|_| ())
        },
    ),
    ("spends by a key", Ok(()), |world| {
        let lock = lock(world, key_of(30))?;
        unlock(world, lock, &[30], &[])
    }),
    (
        "spends by two signatures of three leaves",
        Ok(()),
        |world| {
            let lock = lock(world, two_of_three())?;
            unlock(world, lock, &[30, 31], &[])
        },
    ),
    ("spends by a signature and a preimage", Ok(()), |world| {
        let lock = lock(world, two_of_three())?;
        unlock(world, lock, &[31], &[b"secret"])
    }),
    (
        "rejects one leaf of two",
        Err(Reject::ConditionNotMet),
        |world| {
            let lock = lock(world, two_of_three())?;
            unlock(world, lock, &[31], &[])
        },
    ),
    (
        "rejects an empty witness",
        Err(Reject::ConditionNotMet),
        |world| {
            let lock = lock(world, key_of(30))?;
            unlock(world, lock, &[], &[])
        },
    ),
    (
        "rejects a stranger's signature",
        Err(Reject::WitnessUnused),
        |world| {
            let lock = lock(world, key_of(30))?;
            unlock(world, lock, &[30, 32], &[])
        },
    ),
    (
        "rejects a preimage that no leaf asks for",
        Err(Reject::WitnessUnused),
        |world| {
            let lock = lock(world, key_of(30))?;
            unlock(world, lock, &[30], &[b"secret"])
        },
    ),
    (
        "rejects a repeated signature",
        Err(Reject::WitnessUnused),
        |world| {
            let lock = lock(world, key_of(30))?;
            unlock(world, lock, &[30, 30], &[])
        },
    ),
    (
        "rejects a signature for another receiver",
        Err(Reject::WitnessUnused),
        |world| {
            let lock = lock(world, key_of(30))?;
            let witness = Witness {
                signatures: vec![signature(30, lock, USER)],
                preimages: Vec::new(),
            };
            spend(world, lock, witness)
        },
    ),
    (
        "rejects a preimage over its limit",
        Err(Reject::LimitExceeded),
        |world| {
            let long = [1; limits::MAX_PREIMAGE_BYTES + 1];
            let lock = lock(world, hash_of(&long))?;
            unlock(world, lock, &[], &[&long])
        },
    ),
    (
        "rejects a witness over its limit",
        Err(Reject::LimitExceeded),
        |world| {
            let lock = lock(world, key_of(30))?;
            let signers = [30; limits::MAX_WITNESS_ITEMS + 1];
            unlock(world, lock, &signers, &[])
        },
    ),
    (
        "rejects an unknown lock",
        Err(Reject::LockNotFound),
        |world| unlock(world, LockId([1; 32]), &[], &[]),
    ),
    (
        "rejects a second spend",
        Err(Reject::LockNotFound),
        |world| {
            let lock = lock(world, key_of(30))?;
            unlock(world, lock, &[30], &[])?;
            unlock(world, lock, &[30], &[])
        },
    ),
    (
        "rejects a spend at the height of a time lock",
        Err(Reject::ConditionNotMet),
        |world| {
            let lock = lock(world, Condition::AfterHeight(Height(5)))?;
            world.idle(3);
            unlock(world, lock, &[], &[])
        },
    ),
    ("spends above the height of a time lock", Ok(()), |world| {
        let lock = lock(world, Condition::AfterHeight(Height(5)))?;
        world.idle(4);
        unlock(world, lock, &[], &[])
    }),
    (
        "refunds by the other branch of a hashed time lock",
        Ok(()),
        |world| {
            let refund = Condition::All(vec![key_of(USER), Condition::AfterHeight(Height(3))]);
            let claim = Condition::All(vec![key_of(30), hash_of(b"secret")]);
            let lock = lock(world, Condition::Any(vec![claim, refund]))?;
            world.idle(3);
            unlock(world, lock, &[USER], &[])
        },
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn a_lock_that_is_too_deep_never_decodes() {
    let condition = deep(limits::MAX_CONDITION_DEPTH + 1);
    assert!(borsh::from_slice::<Condition>(&borsh::to_vec(&condition).unwrap()).is_err());
}

#[test]
fn a_spend_moves_the_whole_lock_to_the_receiver() {
    let mut world = World::new();
    let lock = lock(&mut world, hash_of(b"secret")).unwrap();
    let before = world.balance(STRANGER);
    let transaction = world.sign(
        USER,
        Action::UnlockFunds(UnlockFunds {
            lock,
            to: account(STRANGER),
            witness: Witness {
                signatures: Vec::new(),
                preimages: vec![b"secret".to_vec()],
            },
        }),
    );
    world.block(&[transaction]);
    assert_eq!(world.balance(STRANGER).0, before.0 + 100);
}
