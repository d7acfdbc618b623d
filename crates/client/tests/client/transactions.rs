//! Transactions: each applies once, whatever breaks, and holders of one key
//! take turns.

use std::sync::Arc;

use client::{
    account::{Account, lock_path},
    keyfile::{KeyKind, UnlockedKey},
};
use wire::{AccountId, Action, Amount, Transfer};

use crate::fake_node::{Node, circle, client};

fn transfer(amount: u64) -> Vec<Action> {
    vec![Action::Transfer(Transfer {
        to: AccountId([1; 32]),
        amount: Amount(amount),
    })]
}

fn sequences(node: &Node) -> Vec<u64> {
    let ledger = node.ledger.lock().unwrap();
    ledger
        .applied
        .iter()
        .map(|one| one.transaction().sequence)
        .collect()
}

#[tokio::test]
async fn a_transaction_whose_answer_was_lost_applies_once() {
    let one = Node::start(&circle(), 10).await;
    let two = one.beside().await;
    one.mischief(|mischief| mischief.swallow_receipts = 1);
    let key = Arc::new(UnlockedKey::generate("k", KeyKind::Ed25519));
    let account = Account::new(client(&[&one, &two]), key, None);
    let sent = account.send(transfer(1)).await.unwrap();
    assert_eq!(sent.transaction, sent.receipt.transaction);
    assert_eq!(sequences(&one), [0]);
}

#[tokio::test]
async fn sends_side_by_side_use_every_sequence_once() {
    let node = Node::start(&circle(), 10).await;
    let key = Arc::new(UnlockedKey::generate("k", KeyKind::P256));
    let account = Account::new(client(&[&node]), key, None);
    let sends = (1..=20).map(|amount| account.send(transfer(amount)));
    futures_util::future::try_join_all(sends).await.unwrap();
    let expected: Vec<u64> = (0..20).collect();
    assert_eq!(sequences(&node), expected);
}

#[tokio::test]
async fn two_holders_of_a_key_take_turns() {
    let node = Node::start(&circle(), 10).await;
    let directory = tempfile::tempdir().unwrap();
    let lock = lock_path(&directory.path().join("user.key"));
    let key = Arc::new(UnlockedKey::generate("k", KeyKind::Ed25519));
    // Each holder has a client, a connection and a lock file handle of its own,
    // as two processes have.
    let holder = || Account::new(client(&[&node]), key.clone(), Some(lock.clone()));
    let (one, two) = (holder(), holder());
    for round in 0..5 {
        let sends = (1..=4).map(|n| {
            let account = if (n + round) % 2 == 0 { &one } else { &two };
            account.send(transfer(n))
        });
        futures_util::future::try_join_all(sends).await.unwrap();
    }
    let expected: Vec<u64> = (0..20).collect();
    assert_eq!(sequences(&node), expected);
}

#[tokio::test]
async fn a_holder_on_another_machine_only_costs_another_try() {
    let node = Node::start(&circle(), 10).await;
    let key = Arc::new(UnlockedKey::generate("k", KeyKind::Ed25519));
    // No lock file in common: each keeps its own count.
    let holder = || Account::new(client(&[&node]), key.clone(), None);
    let (one, two) = (holder(), holder());
    for _ in 0..3 {
        one.send(transfer(1)).await.unwrap();
        two.send(transfer(2)).await.unwrap();
    }
    let expected: Vec<u64> = (0..6).collect();
    assert_eq!(sequences(&node), expected);
}

#[tokio::test]
async fn what_must_be_on_disk_first_is_asked_for_before_anything_is_sent() {
    let node = Node::start(&circle(), 10).await;
    let key = Arc::new(UnlockedKey::generate("k", KeyKind::Ed25519));
    let account = Account::new(client(&[&node]), key, None);
    let mut prepared = None;
    let refused = account
        .send_prepared(transfer(1), |id| {
            prepared = Some(id);
            Err(client::run::RunError::Terms("the disk is full".to_owned()))
        })
        .await;
    assert!(refused.is_err() && prepared.is_some());
    assert!(sequences(&node).is_empty());
    // The sequence was not used up.
    account.send(transfer(2)).await.unwrap();
    assert_eq!(sequences(&node), [0]);
}
