//! The chain on its own: what is proposed, verified, finalized and taken up again.

use engine::Chain as _;
use proof::verify_header;
use wire::{Amount, Block, CircleKind, Digest, Height, PublicKey, record, state_key};

use super::*;
use crate::{
    sample::{BALANCE, Circle, Parts, account},
    store::MemoryDisk,
};

fn circle() -> Circle {
    Circle::new(4)
}

fn open(circle: &Circle) -> Parts {
    Parts::open(&circle.genesis, &MemoryDisk::default()).unwrap()
}

fn submit(parts: &Parts, transactions: &[wire::SignedTransaction]) {
    let encoded = transactions.iter().map(|signed| signed.encode()).collect();
    for result in parts.gate.admit(encoded) {
        result.unwrap();
    }
}

fn balance(parts: &Parts, user: u8) -> Amount {
    let bytes = parts
        .tip
        .snapshot()
        .entry(&state_key::account(account(user)));
    let account: record::Account = record::decode(&bytes.unwrap().unwrap()).unwrap();
    account.balance
}

fn certificate(view: u64) -> engine::Certificate {
    engine::Certificate {
        epoch: 0,
        view,
        parent_view: view - 1,
        signature: [9; 48],
    }
}

/// A block as a leader that lies would make it.
fn altered(block: &Block, alter: impl FnOnce(&mut Block)) -> Block {
    let mut block = block.clone();
    alter(&mut block);
    block
}

#[test]
fn proposes_what_waits_and_another_node_agrees() {
    let circle = circle();
    let (mut leader, mut follower) = (open(&circle), open(&circle));
    assert!(!leader.chain.has_work());
    submit(
        &leader,
        &[circle.transfer(0, 0, 1, 500), circle.transfer(0, 1, 2, 7)],
    );
    assert!(leader.chain.has_work());
    let genesis = leader.chain.genesis();
    assert_eq!(genesis, follower.chain.genesis());
    let block = leader.chain.propose(&genesis, 1000).unwrap();
    assert_eq!(block.transactions.len(), 2);
    assert_eq!(block.header.time_ms, 1000);
    assert!(!leader.chain.has_work(), "what waits is in a block already");
    assert!(follower.chain.verify(&genesis, &block, 1000));
    assert!(follower.chain.verify(&genesis, &block, 1000), "again");
    for parts in [&mut leader, &mut follower] {
        parts.chain.finalized(block.clone(), Some(certificate(2)));
        assert_eq!(balance(parts, 1), Amount(BALANCE.0 + 500));
        assert_eq!(parts.tip.snapshot().height(), Height(1));
        assert!(parts.mempool.is_empty());
    }
    let id = circle.transfer(0, 1, 2, 7).id();
    let receipt = follower.tip.snapshot().receipt(&id).unwrap().unwrap();
    assert_eq!((receipt.height, receipt.index), (Height(1), 1));
}

#[test]
fn refuses_every_block_that_breaks_a_rule() {
    let circle = circle();
    let (mut leader, mut follower) = (open(&circle), open(&circle));
    submit(
        &leader,
        &[circle.transfer(0, 0, 1, 500), circle.transfer(3, 0, 2, 7)],
    );
    let genesis = leader.chain.genesis();
    let good = leader.chain.propose(&genesis, 1000).unwrap();
    let with = |transactions: Vec<Vec<u8>>| {
        altered(&good, |block| {
            block.header.transactions = Block::transactions_digest(&transactions);
            block.transactions = transactions;
        })
    };
    let [first, second] = [good.transactions[0].clone(), good.transactions[1].clone()];
    let mut forged = first.clone();
    *forged.last_mut().unwrap() ^= 1;
    let bad = [
        ("root", altered(&good, |b| b.header.state_root.0[0] ^= 1)),
        ("version", altered(&good, |b| b.header.version = 2)),
        ("circle", altered(&good, |b| b.header.circle.0[0] ^= 1)),
        ("height", altered(&good, |b| b.header.height = Height(2))),
        (
            "parent",
            altered(&good, |b| b.header.parent = Digest([1; 32])),
        ),
        (
            "digest",
            altered(&good, |b| b.header.transactions.0[0] ^= 1),
        ),
        ("past", altered(&good, |b| b.header.time_ms = 0)),
        (
            "future",
            altered(&good, |b| b.header.time_ms = 1001 + MAX_CLOCK_SKEW_MS),
        ),
        (
            "twice",
            with(vec![first.clone(), second.clone(), first.clone()]),
        ),
        ("forged", with(vec![forged, second])),
        ("noise", with(vec![b"noise".to_vec()])),
        ("fewer", with(vec![first.clone()])),
        ("many", with(vec![first; 5000])),
    ];
    for (rule, block) in bad {
        assert!(!follower.chain.verify(&genesis, &block, 1000), "{rule}");
    }
    assert!(follower.chain.verify(&genesis, &good, 1000));
}

#[test]
fn the_order_of_independent_transfers_changes_only_the_header() {
    let circle = circle();
    let mut parts = open(&circle);
    submit(
        &parts,
        &[circle.transfer(0, 0, 1, 5), circle.transfer(3, 0, 2, 7)],
    );
    let genesis = parts.chain.genesis();
    let block = parts.chain.propose(&genesis, 1000).unwrap();
    let reversed = altered(&block, |block| {
        block.transactions.reverse();
        block.header.transactions = Block::transactions_digest(&block.transactions);
    });
    assert_ne!(reversed.header.digest(), block.header.digest());
    assert!(parts.chain.verify(&genesis, &reversed, 1000));
}

#[test]
fn builds_on_unfinalized_blocks_and_forgets_the_losing_fork() {
    let circle = circle();
    let mut parts = open(&circle);
    let genesis = parts.chain.genesis();
    submit(&parts, &[circle.transfer(0, 0, 1, 100)]);
    let one = parts.chain.propose(&genesis, 1000).unwrap();
    submit(&parts, &[circle.transfer(0, 1, 1, 10)]);
    let two = parts.chain.propose(&one, 1100).unwrap();
    assert_eq!(two.transactions, [circle.transfer(0, 1, 1, 10).encode()]);
    // Another leader did not see the first block.
    let fork = parts.chain.propose(&genesis, 1050).unwrap();
    assert_eq!(fork.transactions.len(), 2);
    let on_fork = parts.chain.propose(&fork, 1200).unwrap();
    assert!(on_fork.transactions.is_empty());
    let three = parts.chain.propose(&two, 1300).unwrap();
    assert_eq!(parts.chain.pending.len(), 5);

    parts.chain.finalized(one.clone(), None);
    assert_eq!(parts.chain.pending.len(), 2, "two and three");
    assert!(
        !parts.chain.verify(&fork, &on_fork, 1300),
        "its line is dead"
    );
    assert!(parts.chain.propose(&fork, 1300).is_none());
    parts.chain.finalized(two.clone(), None);
    assert_eq!(balance(&parts, 1), Amount(BALANCE.0 + 110));
    parts.chain.finalized(three, None);
    assert_eq!(parts.chain.pending.len(), 0);
    assert_eq!(parts.tip.snapshot().height(), Height(3));
}

#[test]
fn follows_final_blocks_that_it_never_verified() {
    let circle = circle();
    let (mut leader, mut late) = (open(&circle), open(&circle));
    let mut parent = leader.chain.genesis();
    let mut blocks = Vec::new();
    for number in 0..20 {
        submit(&leader, &[circle.transfer(0, number, 1, 1)]);
        let block = leader.chain.propose(&parent, 1000 + 100 * number).unwrap();
        leader.chain.finalized(block.clone(), None);
        blocks.push(block.clone());
        parent = block;
    }
    for block in &blocks {
        late.chain.finalized(block.clone(), None);
        late.chain.finalized(block.clone(), None);
    }
    assert_eq!(late.tip.snapshot().digest(), leader.tip.snapshot().digest());
    assert_eq!(balance(&late, 1), Amount(BALANCE.0 + 20));
}

#[test]
fn leaves_out_what_would_be_neither_applied_nor_charged() {
    let circle = circle();
    let mut parts = open(&circle);
    let genesis = parts.chain.genesis();
    // The first empties the account; the second cannot pay its fee then, but
    // could when it was admitted.
    let first = circle.transfer(0, 0, 1, BALANCE.0 - 1000);
    let second = circle.transfer(0, 1, 1, 1);
    let third = circle.transfer(0, 2, 1, 1);
    submit(&parts, &[first.clone(), second, third]);
    submit(
        &parts,
        &[circle.transfer(0, 3, 1, 1), circle.transfer(0, 4, 1, 1)],
    );
    let block = parts.chain.propose(&genesis, 1000).unwrap();
    assert_eq!(block.transactions[0], first.encode());
    assert!(block.transactions.len() < 5, "{}", block.transactions.len());
    parts.chain.finalized(block, None);
    let receipts = parts.tip.snapshot().receipts(Height(1)).unwrap().unwrap();
    assert!(receipts.iter().all(|receipt| receipt.fee > Amount::ZERO));
}

/// Ten blocks of one circle, the store's crash somewhere between them.
#[test]
fn a_crash_anywhere_loses_nothing_that_the_engine_gives_again() {
    let circle = circle();
    let blocks = ten_blocks(&circle);
    for seed in 0..60u64 {
        let disk = MemoryDisk::default();
        let mut parts = Parts::open(&circle.genesis, &disk).unwrap();
        let crash_after = (seed % 11) as usize;
        for block in &blocks[..crash_after] {
            parts.chain.finalized(block.clone(), None);
        }
        disk.crash(|write| (seed.wrapping_mul(0x9E37_79B9) >> (write % 31)) & 1 == 1);
        drop(parts);
        let mut parts = Parts::open(&circle.genesis, &disk).unwrap();
        let durable = parts.chain.durable_height();
        assert!(durable.0 as usize <= crash_after, "seed {seed}");
        parts.store.check(circle.genesis.circle()).unwrap();
        for block in &blocks[durable.0 as usize..] {
            parts.chain.finalized(block.clone(), None);
        }
        assert_eq!(balance(&parts, 1), Amount(BALANCE.0 + 10), "seed {seed}");
        assert_eq!(
            parts.tip.snapshot().digest(),
            blocks[9].header.digest(),
            "seed {seed}"
        );
    }
}

fn ten_blocks(circle: &Circle) -> Vec<Block> {
    let mut leader = open(circle);
    let mut parent = leader.chain.genesis();
    (0..10u64)
        .map(|number| {
            submit(&leader, &[circle.transfer(0, number, 1, 1)]);
            // Some of the gaps make the store sync, some do not.
            let block = leader.chain.propose(&parent, 1000 + 190 * number).unwrap();
            leader.chain.finalized(block.clone(), None);
            parent = block.clone();
            block
        })
        .collect()
}

#[test]
fn an_orderly_end_needs_no_replay() {
    let circle = circle();
    let disk = MemoryDisk::default();
    let mut parts = Parts::open(&circle.genesis, &disk).unwrap();
    for block in &ten_blocks(&circle)[..3] {
        parts.chain.finalized(block.clone(), None);
    }
    drop(parts);
    disk.crash(|_| false);
    let parts = Parts::open(&circle.genesis, &disk).unwrap();
    assert_eq!(parts.chain.durable_height(), Height(3));
}

#[test]
fn the_durable_height_follows_within_the_persist_interval() {
    let circle = circle();
    let mut parts = open(&circle);
    let mut parent = parts.chain.genesis();
    for number in 1..=100 {
        let block = parts.chain.propose(&parent, 1000).unwrap();
        parts.chain.finalized(block.clone(), None);
        let behind = number - parts.chain.durable_height().0;
        assert!(behind < PERSIST_BLOCKS, "{behind} blocks");
        parent = block;
    }
    let block = parts
        .chain
        .propose(&parent, 1000 + PERSIST_INTERVAL_MS)
        .unwrap();
    parts.chain.finalized(block, None);
    assert_eq!(parts.chain.durable_height(), Height(101));
}

#[test]
fn proves_at_the_latest_certified_height_also_when_later_blocks_are_final() {
    let circle = circle();
    let mut parts = open(&circle);
    let key = state_key::account(account(1));
    let mut parent = parts.chain.genesis();
    assert_eq!(parts.tip.snapshot().prove(&key).unwrap(), None);
    for number in 0..6 {
        submit(&parts, &[circle.transfer(0, number, 1, 1)]);
        let block = parts.chain.propose(&parent, 1000 + number).unwrap();
        let certificate = (number == 1).then(|| certificate(5));
        parts.chain.finalized(block.clone(), certificate);
        parent = block;
    }
    let proven = |parts: &Parts| {
        let proof = parts.tip.snapshot().prove(&key).unwrap().unwrap();
        let value = proof.value.as_deref().unwrap();
        let account: record::Account = record::decode(value).unwrap();
        let root = proof.path.root(&key, Some(value)).unwrap();
        assert_eq!(root, proof.header.state_root);
        (proof.header.height, account.balance)
    };
    assert_eq!(proven(&parts), (Height(2), Amount(BALANCE.0 + 2)));
    // A certificate that comes late is taken up.
    parts.chain.certified(Height(4), certificate(9));
    assert_eq!(proven(&parts), (Height(4), Amount(BALANCE.0 + 4)));
    let proof = parts.tip.snapshot().prove(b"nothing").unwrap().unwrap();
    assert_eq!(proof.value, None);
    // The signature above was made up, and no light client falls for it.
    assert!(
        verify_header(
            &proof.header,
            &proof.certificate,
            &circle.genesis.circle_key
        )
        .is_err()
    );
}

#[test]
fn a_store_of_another_circle_is_refused() {
    let disk = MemoryDisk::default();
    drop(Parts::open(&circle().genesis, &disk).unwrap());
    let mut other = circle().genesis;
    other.name = "another".to_owned();
    let opened = Parts::open(&other, &disk).map(drop);
    assert!(
        matches!(
            opened,
            Err(ChainError::Store(StoreError::OtherCircle { .. }))
        ),
        "{opened:?}"
    );
}

#[test]
fn no_chain_starts_on_a_genesis_that_founds_no_circle() {
    let mut genesis = circle().genesis;
    genesis.kind = CircleKind::Production;
    genesis.development_roots = vec![PublicKey::Ed25519([1; 32])];
    let opened = Parts::open(&genesis, &MemoryDisk::default()).map(drop);
    assert!(
        matches!(
            opened,
            Err(ChainError::Genesis(GenesisError::DevelopmentEvidence))
        ),
        "{opened:?}"
    );
}

#[test]
#[should_panic(expected = "is final and yet")]
fn a_final_block_that_cannot_be_followed_stops_the_node() {
    let circle = circle();
    let mut parts = open(&circle);
    let genesis = parts.chain.genesis();
    let block = parts.chain.propose(&genesis, 1000).unwrap();
    let other = altered(&block, |block| block.header.state_root.0[0] ^= 1);
    parts.chain.finalized(other, None);
}
