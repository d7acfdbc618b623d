//! Envelopes, transfers and fees.

use wire::*;

use crate::world::*;

fn transfer(to: u8, amount: u64) -> Action {
    Action::Transfer(Transfer {
        to: account(to),
        amount: Amount(amount),
    })
}

fn alone(world: &mut World, transaction: CheckedTransaction) -> Verdict {
    verdict(&world.block(&[transaction]).receipts[0])
}

pub const CASES: &[Case] = &[
    ("moves funds", Ok(()), |world| {
        world.send(USER, transfer(STRANGER, 1))
    }),
    ("moves funds to oneself", Ok(()), |world| {
        world.send(USER, transfer(USER, 1))
    }),
    (
        "rejects a transfer of nothing",
        Err(Reject::AmountOutOfRange),
        |world| world.send(USER, transfer(STRANGER, 0)),
    ),
    (
        "rejects a transfer above the balance",
        Err(Reject::InsufficientBalance),
        |world| world.send(USER, transfer(STRANGER, BALANCE.0)),
    ),
    (
        "rejects a sender without a balance",
        Err(Reject::InsufficientBalance),
        |world| world.send(99, transfer(STRANGER, 1)),
    ),
    ("rejects a replay", Err(Reject::SequenceMismatch), |world| {
        let transaction = world.sign(USER, transfer(STRANGER, 1));
        alone(world, transaction.clone())?;
        alone(world, transaction)
    }),
    (
        "rejects a sequence ahead",
        Err(Reject::SequenceMismatch),
        |world| {
            let transaction = world.sign_ahead(USER, 1, vec![transfer(STRANGER, 1)]);
            alone(world, transaction)
        },
    ),
    ("takes a transaction at its last height", Ok(()), |world| {
        let transaction = world.sign_with(USER, vec![transfer(STRANGER, 1)], |transaction| {
            transaction.expires_at = Height(1);
        });
        alone(world, transaction)
    }),
    (
        "rejects an expired transaction",
        Err(Reject::Expired),
        |world| {
            let transaction = world.sign_with(USER, vec![transfer(STRANGER, 1)], |transaction| {
                transaction.expires_at = Height(1);
            });
            world.idle(1);
            alone(world, transaction)
        },
    ),
    (
        "rejects a fee above the limit",
        Err(Reject::FeeLimitTooLow),
        |world| {
            world.fee_limit = Amount(100);
            world.send(USER, transfer(STRANGER, 1))
        },
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn a_rejected_transaction_pays_its_fee_and_changes_nothing_else() {
    let mut world = World::new();
    let actions = vec![transfer(STRANGER, 5), transfer(STRANGER, 0)];
    let transaction = world.sign_ahead(USER, 0, actions);
    let applied = world.block(std::slice::from_ref(&transaction));
    let receipt = &applied.receipts[0];
    assert_eq!(
        receipt.result,
        TransactionResult::Rejected {
            reject: Reject::AmountOutOfRange,
            action: Some(1)
        }
    );
    let fee = ledger::fee(&Parameters::default(), transaction.encoded_bytes());
    assert_eq!(receipt.fee, fee);
    assert!(applied.events[0].is_empty());
    assert_eq!(world.balance(USER).0, BALANCE.0 - fee.0);
    assert_eq!(world.balance(STRANGER), BALANCE);
    let account: record::Account = world.get(&state_key::account(account(USER))).unwrap();
    assert_eq!(account.sequence, 1);
    let pool: record::Pool = world.get(&state_key::pool()).unwrap();
    assert_eq!(pool.balance, fee);
}

#[test]
fn an_envelope_that_fails_costs_nothing_and_keeps_the_sequence() {
    let mut world = World::new();
    let before = world.balance(USER);
    let transaction = world.sign_ahead(USER, 3, vec![transfer(STRANGER, 1)]);
    let applied = world.block(&[transaction]);
    assert_eq!(applied.receipts[0].fee, Amount::ZERO);
    assert_eq!(world.balance(USER), before);
    assert_eq!(world.send(USER, transfer(STRANGER, 1)), Ok(()));
}

#[test]
fn several_transactions_of_one_sender_follow_in_one_block() {
    let mut world = World::new();
    let transactions: Vec<_> = (0..3)
        .map(|ahead| world.sign_ahead(USER, ahead, vec![transfer(STRANGER, 10)]))
        .collect();
    let applied = world.block(&transactions);
    assert!(
        applied
            .receipts
            .iter()
            .all(|receipt| verdict(receipt).is_ok())
    );
    assert_eq!(world.balance(STRANGER).0, BALANCE.0 + 30);
}

#[test]
fn the_pool_is_shared_every_rent_period_and_the_remainder_stays() {
    let mut world = World::with(|parameters| parameters.rent_period = 4);
    world.send(USER, transfer(STRANGER, 1)).unwrap();
    let pool: record::Pool = world.get(&state_key::pool()).unwrap();
    assert!(
        !pool.balance.0.is_multiple_of(4),
        "the test wants a remainder"
    );
    world.idle(3);
    for validator in [10, 11, 12, 13] {
        assert_eq!(world.balance(validator).0, pool.balance.0 / 4);
    }
    let rest: record::Pool = world.get(&state_key::pool()).unwrap();
    assert_eq!(rest.balance.0, pool.balance.0 % 4);
}

#[test]
fn a_mempool_admits_sequences_within_the_window() {
    let world = World::new();
    let admit = |transaction: &CheckedTransaction, height| {
        ledger::admit(&world.state, Height(height), transaction)
    };
    let ahead = |ahead| world.sign_ahead(USER, ahead, vec![transfer(STRANGER, 1)]);
    assert_eq!(admit(&ahead(0), 1), Ok(()));
    assert_eq!(admit(&ahead(ledger::ADMISSION_WINDOW), 1), Ok(()));
    assert_eq!(
        admit(&ahead(ledger::ADMISSION_WINDOW + 1), 1),
        Err(Reject::SequenceMismatch)
    );
    let expiring = world.sign_with(USER, vec![transfer(STRANGER, 1)], |transaction| {
        transaction.expires_at = Height(5);
    });
    assert_eq!(admit(&expiring, 5), Ok(()));
    assert_eq!(admit(&expiring, 6), Err(Reject::Expired));
    let poor = world.sign(99, transfer(STRANGER, 1));
    assert_eq!(admit(&poor, 1), Err(Reject::InsufficientBalance));
}

#[test]
fn a_genesis_that_founds_no_circle_is_refused() {
    let genesis = genesis(|genesis| genesis.validators.clear());
    assert_eq!(ledger::genesis(&genesis), Err(GenesisError::Validators));
}
