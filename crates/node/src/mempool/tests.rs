//! The mempool against a model of what senders may hold in it.

use proptest::prelude::*;
use wire::{Action, Amount, Transfer};

use super::*;
use crate::{
    sample::{self, Circle, Parts, USERS},
    store::MemoryDisk,
};

fn parts(circle: &Circle) -> Parts {
    Parts::open(&circle.genesis, &MemoryDisk::default()).unwrap()
}

fn checked(circle: &Circle, from: u8, sequence: u64) -> (CheckedTransaction, Vec<u8>) {
    let bytes = circle.transfer(from, sequence, 1, 1).encode();
    let checked = CheckedTransaction::check(&bytes, circle.genesis.circle()).unwrap();
    (checked, bytes)
}

fn sequences(selected: &[Arc<Entry>]) -> Vec<(AccountId, u64)> {
    selected
        .iter()
        .map(|entry| (entry.account, entry.sequence()))
        .collect()
}

#[test]
fn takes_a_transaction_once_and_a_sequence_once() {
    let circle = Circle::new(4);
    let pool = Mempool::default();
    let first = checked(&circle, 0, 0);
    let other = circle.transfer(0, 0, 2, 2).encode();
    let other = (
        CheckedTransaction::check(&other, circle.genesis.circle()).unwrap(),
        other,
    );
    let id = first.0.id();
    let results = pool.insert(vec![first.clone(), first, other], Height(1));
    assert_eq!(
        results,
        [Ok(true), Ok(false), Err(Rejected::SequenceTaken(id))]
    );
    assert_eq!(pool.len(), 1);
}

#[test]
fn an_expired_transaction_makes_room_for_another_of_its_sequence() {
    let circle = Circle::new(4);
    let pool = Mempool::default();
    let action = Action::Transfer(Transfer {
        to: sample::account(1),
        amount: Amount(7),
    });
    let bytes = circle.sign(0, 0, Height(4), action).encode();
    let old = CheckedTransaction::check(&bytes, circle.genesis.circle()).unwrap();
    let id = old.id();
    assert_eq!(pool.insert(vec![(old, bytes)], Height(1)), [Ok(true)]);
    let new = checked(&circle, 0, 0);
    let taken = [Err(Rejected::SequenceTaken(id))];
    assert_eq!(pool.insert(vec![new.clone()], Height(4)), taken);
    assert_eq!(pool.insert(vec![new.clone()], Height(5)), [Ok(true)]);
    assert_eq!(pool.len(), 1);
    assert!(pool.known(&[id])[0].is_none());
}

#[test]
fn one_sender_cannot_fill_it() {
    let circle = Circle::new(4);
    let pool = Mempool::default();
    for sequence in 0..MAX_PER_SENDER as u64 {
        let inserted = pool.insert(vec![checked(&circle, 0, sequence)], Height(1));
        assert_eq!(inserted, [Ok(true)]);
    }
    let more = checked(&circle, 0, MAX_PER_SENDER as u64);
    assert_eq!(
        pool.insert(vec![more], Height(1)),
        [Err(Rejected::SenderFull)]
    );
    assert_eq!(
        pool.insert(vec![checked(&circle, 1, 0)], Height(1)),
        [Ok(true)]
    );
}

#[test]
fn is_bounded_in_bytes() {
    let circle = Circle::new(4);
    let pool = Mempool::default();
    pool.pool().bytes = MAX_BYTES - 10;
    assert_eq!(
        pool.insert(vec![checked(&circle, 0, 0)], Height(1)),
        [Err(Rejected::Full)]
    );
}

#[test]
fn passes_over_a_gap_and_what_has_expired() {
    let circle = Circle::new(4);
    let parts = parts(&circle);
    let expired = circle.sign(
        3,
        0,
        Height(4),
        Action::Transfer(Transfer {
            to: sample::account(1),
            amount: Amount(1),
        }),
    );
    let expired = expired.encode();
    let expired = (
        CheckedTransaction::check(&expired, circle.genesis.circle()).unwrap(),
        expired,
    );
    let waiting = vec![
        checked(&circle, 0, 1),
        checked(&circle, 2, 0),
        expired,
        checked(&circle, 2, 2),
    ];
    parts.mempool.insert(waiting, Height(1));
    let state = parts.tip.snapshot();
    let at = |height| sequences(&parts.mempool.select(&*state, Height(height)));
    assert_eq!(at(4), [(sample::account(2), 0), (sample::account(3), 0)]);
    assert_eq!(at(5), [(sample::account(2), 0)]);
    parts
        .mempool
        .insert(vec![checked(&circle, 0, 0)], Height(1));
    assert_eq!(
        at(5),
        [
            (sample::account(2), 0),
            (sample::account(0), 0),
            (sample::account(0), 1)
        ]
    );
}

#[test]
fn forgets_in_time_what_can_no_longer_be_applied() {
    let circle = Circle::new(4);
    let parts = parts(&circle);
    let gap = checked(&circle, 0, 5);
    let ready = checked(&circle, 1, 0);
    parts.mempool.insert(vec![gap, ready], Height(1));
    let state = parts.tip.snapshot();
    let mut pool = parts.mempool.pool();
    pool.sweep(&*state, Height(1 + GAP_BLOCKS));
    assert_eq!(pool.entries.len(), 2);
    pool.sweep(&*state, Height(2 + GAP_BLOCKS));
    assert_eq!(pool.entries.len(), 1, "only the one behind a gap is gone");
    assert_eq!(pool.arrivals.len(), 1);
    assert_eq!(pool.senders.len(), 1);
}

#[test]
fn the_gate_refuses_what_is_not_signed_or_cannot_pay() {
    let circle = Circle::new(4);
    let parts = parts(&circle);
    let good = circle.transfer(0, 0, 1, 1);
    let mut forged = circle.transfer(2, 0, 1, 1);
    forged.signature = wire::Signature([1; 64]).into();
    let far = circle.transfer(3, ADMISSION_WINDOW + 1, 1, 1);
    let unknown = SigningStranger::transfer(&circle);
    let results = parts.gate.admit(vec![
        good.encode(),
        forged.encode(),
        b"noise".to_vec(),
        far.encode(),
        unknown,
        good.encode(),
    ]);
    assert_eq!(
        results[0],
        Ok(Admitted {
            id: good.id(),
            fresh: true
        })
    );
    assert_eq!(results[1], Err(Refusal::Check(wire::CheckError::Signature)));
    assert!(matches!(results[2], Err(Refusal::Check(_))));
    assert_eq!(
        results[3],
        Err(Refusal::Ledger(wire::Reject::SequenceMismatch))
    );
    assert_eq!(
        results[4],
        Err(Refusal::Ledger(wire::Reject::InsufficientBalance))
    );
    assert_eq!(
        results[5],
        Ok(Admitted {
            id: good.id(),
            fresh: false
        })
    );
    assert_eq!(parts.mempool.len(), 1);
}

/// Somebody without an account.
struct SigningStranger;

impl SigningStranger {
    fn transfer(circle: &Circle) -> Vec<u8> {
        let key = wire::SigningKey::ed25519([9; 32]);
        let mut transaction = circle.transfer(0, 0, 1, 1).transaction;
        transaction.sender = key.public();
        transaction.sign(&key).encode()
    }
}

#[test]
fn a_message_survives_and_another_kind_is_refused() {
    let list = vec![vec![1, 2, 3], vec![], vec![9; 40]];
    assert_eq!(decode_message(&encode_message(&list)), Ok(list));
    assert_eq!(decode_message(&[]), Err(MessageError::Kind));
    assert_eq!(decode_message(&[2, 0, 0, 0, 0]), Err(MessageError::Kind));
    let lying = [1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert!(matches!(
        decode_message(&lying),
        Err(MessageError::Malformed(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_block_holds_each_sender_in_sequence_whatever_the_order_of_arrival(
        arrivals in proptest::collection::vec((0..USERS, 0u64..12), 0..120),
    ) {
        let circle = Circle::new(4);
        let parts = parts(&circle);
        let waiting = arrivals.iter().map(|(user, sequence)| checked(&circle, *user, *sequence));
        parts.mempool.insert(waiting.collect(), Height(1));
        let state = parts.tip.snapshot();
        let selected = sequences(&parts.mempool.select(&*state, Height(1)));
        let mut next: BTreeMap<AccountId, u64> = BTreeMap::new();
        for (account, sequence) in &selected {
            let next = next.entry(*account).or_default();
            prop_assert_eq!(*sequence, *next);
            *next += 1;
        }
        // Nothing that could follow was left out.
        for (user, sequence) in &arrivals {
            let taken = next.get(&sample::account(*user)).copied().unwrap_or(0);
            prop_assert!(*sequence != taken);
        }
    }

    #[test]
    fn arbitrary_messages_never_panic(message in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(list) = decode_message(&message) {
            prop_assert_eq!(encode_message(&list), message);
        }
    }
}
