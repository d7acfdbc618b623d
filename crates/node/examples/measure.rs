//! How fast is the authenticated state, and how small are its proofs?
//!
//! ```text
//! cargo run --release -p node --features simulation --example measure -- ENTRIES [BLOCKS]
//! ```
//!
//! Founds a circle of so many accounts in a file, applies blocks of transfers
//! between random ones as a leader does (20 unless said; select, execute, tree, store; one
//! node, no network), then proves random entries and verifies the proofs as a
//! light client does. The figures of adr/0002 come from here.

use std::{path::Path, sync::Arc, time::Instant};

use blst::min_sig::SecretKey;
use engine::Chain as _;
use node::{
    Tip,
    chain::{self, NodeChain},
    mempool::{Gate, Mempool},
    sample::Circle,
    store::{Snapshot, Store},
};
use proof::{Certificate, DOMAIN_SEPARATION_TAG, Proof};
use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _, TableHandle as _};
use wire::{
    AccountId, Action, Amount, Block, CircleId, CircleKey, Digest, Genesis, Header, Height,
    SigningKey, Transaction, Transfer, state_key,
};

/// Transfers in each block.
const TRANSFERS: u64 = 2000;

/// Blocks that are measured.
const DEFAULT_BLOCKS: u64 = 20;

/// Proofs that are measured.
const PROOFS: u64 = 2000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let entries: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 100_000,
    };
    let blocks: u64 = match std::env::args().nth(2) {
        Some(text) => text.parse()?,
        None => DEFAULT_BLOCKS,
    };
    let secret = SecretKey::key_gen(&[5; 32], &[]).map_err(|error| format!("{error:?}"))?;
    let senders: Vec<SigningKey> = (0..TRANSFERS).map(sender).collect();
    let genesis = genesis(entries, &senders, CircleKey(secret.sk_to_pk().compress()));

    let folder = tempfile::tempdir()?;
    let store = Arc::new(Store::open(&folder.path().join("ledger.redb"))?);
    let started = Instant::now();
    chain::found(&genesis, &store)?;
    println!(
        "founded {entries} accounts in {:.1} s",
        started.elapsed().as_secs_f64()
    );

    let tip = Arc::new(Tip::new(&store)?);
    let mempool = Arc::new(Mempool::default());
    let gate = Gate::new(genesis.circle(), mempool.clone(), tip.clone());
    let admission = Arc::new(gate.clone());
    let mut chain = NodeChain::open(&genesis, store, mempool, tip.clone(), admission)?;
    apply(&genesis, &senders, &gate, &mut chain, &secret, blocks);
    prove(&genesis, &tip.snapshot())?;
    drop(chain);
    sizes(&folder.path().join("ledger.redb"))
}

/// Where the file's bytes are.
fn sizes(path: &Path) -> Result<(), Failure> {
    let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    let length = std::fs::metadata(path)?.len();
    println!("the file has {:.0} MiB", mib(length));
    let database = Database::open(path)?;
    let read = database.begin_read()?;
    let mut used = 0;
    for handle in read.list_tables()? {
        let name = handle.name().to_owned();
        let stats = read.open_untyped_table(handle)?.stats()?;
        let pages = stats.leaf_pages() + stats.branch_pages();
        let bytes = stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
        used += bytes;
        println!(
            "  {name:<14} {:8.1} MiB in {pages:8} pages, of which {:8.1} MiB are rows",
            mib(bytes),
            mib(stats.stored_bytes())
        );
    }
    println!(
        "  free           {:8.1} MiB",
        mib(length.saturating_sub(used))
    );
    Ok(())
}

fn sender(number: u64) -> SigningKey {
    SigningKey::ed25519(Digest::tagged("measure/sender", &[&number.to_le_bytes()]).0)
}

fn holder(number: u64) -> AccountId {
    AccountId(Digest::tagged("measure/holder", &[&number.to_le_bytes()]).0)
}

fn genesis(entries: u64, senders: &[SigningKey], circle_key: CircleKey) -> Genesis {
    let mut genesis = Circle::new(1).genesis;
    genesis.circle_key = circle_key;
    let senders = senders.iter().map(|key| key.public().account());
    let holders = (0..entries.saturating_sub(TRANSFERS)).map(holder);
    genesis.accounts = senders
        .chain(holders)
        .map(|account| (account, Amount(10_000_000)))
        .collect();
    genesis.accounts.sort_unstable();
    genesis
}

fn apply(
    genesis: &Genesis,
    senders: &[SigningKey],
    gate: &Gate,
    chain: &mut NodeChain,
    secret: &SecretKey,
    blocks: u64,
) {
    // The id is a digest over every account: it is made once.
    let circle = genesis.circle();
    let holders = genesis.accounts.len() as u64;
    let mut parent = chain.genesis();
    let (mut admitting, mut building, mut storing) = (0.0, 0.0, 0.0);
    for block in 0..blocks {
        let transfers: Vec<Vec<u8>> = senders
            .iter()
            .enumerate()
            .map(|(index, key)| {
                let to = (block * TRANSFERS + index as u64).wrapping_mul(0x9E37_79B9) % holders;
                transfer(circle, key, block, genesis.accounts[to as usize].0)
            })
            .collect();
        let start = Instant::now();
        let admitted = gate.admit(transfers);
        assert!(admitted.iter().all(Result::is_ok), "{:?}", admitted[0]);
        admitting += start.elapsed().as_secs_f64();
        let start = Instant::now();
        let proposed = chain.propose(&parent, 1000 * (block + 1));
        parent = proposed.expect("a leader proposes on the tip");
        assert_eq!(parent.transactions.len(), senders.len());
        building += start.elapsed().as_secs_f64();
        let certificate = certify(&parent, secret);
        let start = Instant::now();
        chain.finalized(parent.clone(), Some(certificate));
        storing += start.elapsed().as_secs_f64();
    }
    let count = (blocks * TRANSFERS) as f64;
    let each = |seconds: f64| 1e6 * seconds / count;
    println!(
        "{blocks} blocks of {TRANSFERS} transfers: {:.1} µs each to admit, {:.1} µs to execute \
         with the tree, {:.1} µs to store; {:.0} transfers/s on one node",
        each(admitting),
        each(building),
        each(storing),
        count / (admitting + building + storing),
    );
}

fn transfer(circle: CircleId, key: &SigningKey, sequence: u64, to: AccountId) -> Vec<u8> {
    Transaction {
        version: Transaction::VERSION,
        circle,
        sender: key.public(),
        sequence,
        expires_at: Height(u64::MAX),
        fee_limit: Amount(100_000),
        actions: vec![Action::Transfer(Transfer {
            to,
            amount: Amount(1),
        })],
    }
    .sign(key)
    .encode()
}

/// A threshold signature is an ordinary one under the group's key.
fn certify(block: &Block, secret: &SecretKey) -> engine::Certificate {
    let Header { circle, height, .. } = block.header;
    let unsigned = Certificate {
        epoch: 0,
        view: height.0 + 1,
        parent_view: height.0,
        signature: [0; 48],
    };
    let message = unsigned.message(circle, block.header.digest());
    engine::Certificate {
        epoch: unsigned.epoch,
        view: unsigned.view,
        parent_view: unsigned.parent_view,
        signature: secret.sign(&message, DOMAIN_SEPARATION_TAG, &[]).compress(),
    }
}

fn prove(genesis: &Genesis, snapshot: &Snapshot) -> Result<(), Failure> {
    let keys = (0..PROOFS).map(|number| {
        let index = number.wrapping_mul(0x9E37_79B9) as usize % genesis.accounts.len();
        state_key::account(genesis.accounts[index].0)
    });
    let start = Instant::now();
    let mut proofs = Vec::new();
    for key in keys {
        let proof = snapshot.prove(&key)?.ok_or("no block is certified")?;
        proofs.push(proof.encode());
    }
    let proving = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for bytes in &proofs {
        Proof::decode(bytes)?.verify(&genesis.circle_key)?;
    }
    let verifying = start.elapsed().as_secs_f64();
    let mut sizes: Vec<usize> = proofs.iter().map(Vec::len).collect();
    sizes.sort_unstable();
    println!(
        "proofs of accounts: {} bytes in the middle, {} at most; {:.0} µs to make, {:.0} µs to \
         verify",
        sizes[sizes.len() / 2],
        sizes[sizes.len() - 1],
        1e6 * proving / PROOFS as f64,
        1e6 * verifying / PROOFS as f64,
    );
    Ok(())
}
