//! How long does a new node need, and what must it fetch: by executing every
//! block, or by going forward to a checkpoint?
//!
//! One process without network: a leader makes a chain in which so many names
//! are registered, one action a transaction, as people do. A second node
//! executes the same blocks; a third checks and stores the chunks of the
//! checkpoint. Both are measured to the moment when everything is on disk, and
//! must come to the same state.

use std::{path::Path, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use blst::min_sig::SecretKey;
use engine::Chain as _;
use node::{
    Tip,
    chain::{self, NodeChain},
    checkpoint::{CheckpointFile, Policy, Restoration, writer},
    mempool::{Gate, Mempool},
    store::Store,
};
use wire::{
    Action, Amount, Block, CircleKey, CircleKind, Digest, DomainName, EvidenceRules, Genesis,
    Height, NameCommit, NameReveal, Parameters, PublicKey, SigningKey, Transaction, Validator,
    name_commitment,
};

/// Who registers names, two transactions in each block.
const SENDERS: u64 = 2_000;

/// What is paid in for each name.
const DEPOSIT: Amount = Amount(1_000_000);

/// One node's parts.
struct Parts {
    chain: NodeChain,
    gate: Gate,
    tip: Arc<Tip>,
}

struct Bench {
    genesis: Genesis,
    secret: SecretKey,
    senders: Vec<SigningKey>,
}

/// Prints times and bytes for a state of `names` names.
pub fn run(names: u64) -> Result<()> {
    let secret = SecretKey::key_gen(&[5; 32], &[]).map_err(|e| anyhow::anyhow!("{e:?}"))?;
    let senders: Vec<_> = (0..SENDERS).map(sender).collect();
    let bench = Bench {
        genesis: genesis(&senders, &secret)?,
        secret,
        senders,
    };
    let folder = tempfile::tempdir()?;
    let blocks = bench.build(&folder.path().join("leader"), names)?;
    let bytes: u64 = blocks.iter().map(|(block, _)| size(block)).sum();
    let registered = blocks.len() as u64 - 1;
    println!(
        "{} names in {} blocks, {:.1} MB of blocks with their certificates",
        registered * SENDERS,
        blocks.len(),
        mb(bytes)
    );
    let (time, root) = bench.replay(&folder.path().join("replay"), &blocks)?;
    println!(
        "  executing them    {time:8.1} s  {:8.1} MB to fetch",
        mb(bytes)
    );
    let (fetched, forward) = bench.forward(folder.path(), root)?;
    println!(
        "  going forward     {forward:8.1} s  {:8.1} MB to fetch",
        mb(fetched)
    );
    println!(
        "  ratio             {:8.2}    {:8.2}",
        time / forward,
        bytes as f64 / fetched as f64
    );
    Ok(())
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A block and a certificate, as peers send them.
fn size(block: &Block) -> u64 {
    let transactions: usize = block.transactions.iter().map(|t| t.len() + 4).sum();
    transactions as u64 + 145 + 72
}

fn sender(number: u64) -> SigningKey {
    SigningKey::ed25519(Digest::tagged("bench/sender", &[&number.to_le_bytes()]).0)
}

fn genesis(senders: &[SigningKey], secret: &SecretKey) -> Result<Genesis> {
    let validator = engine::keys::public_key(&[1; 32]);
    let dealing = engine::keys::development_dealer(&[validator], [7; 32])?;
    let mut accounts: Vec<_> = senders
        .iter()
        .map(|key| (key.public().account(), Amount(1_000_000_000_000)))
        .collect();
    accounts.sort_unstable();
    Ok(Genesis {
        version: Genesis::VERSION,
        name: "bench".to_owned(),
        kind: CircleKind::Development,
        time_ms: 1,
        circle_key: CircleKey(secret.sk_to_pk().compress()),
        sharing: dealing.polynomial,
        validators: vec![Validator {
            key: PublicKey::Ed25519(validator),
            name: "validator".to_owned(),
        }],
        accounts,
        apexes: vec!["ring.internal".parse()?],
        certificate_authorities: Vec::new(),
        zone_signers: Vec::new(),
        name_servers: Vec::new(),
        keykeepers: Vec::new(),
        development_roots: Vec::new(),
        reference_values: Vec::new(),
        evidence: EvidenceRules::default(),
        parameters: Parameters::default(),
        origin: None,
    })
}

fn name(number: u64) -> Result<DomainName> {
    Ok(format!("name-{number:07}.ring.internal").parse()?)
}

impl Bench {
    fn open(&self, folder: &Path) -> Result<Parts> {
        std::fs::create_dir_all(folder)?;
        let store = Arc::new(Store::open(&folder.join("ledger.redb"))?);
        chain::found(&self.genesis, &store)?;
        let tip = Arc::new(Tip::new(&store)?);
        let mempool = Arc::new(Mempool::default());
        let gate = Gate::new(self.genesis.circle(), mempool.clone(), tip.clone());
        let admission = Arc::new(gate.clone());
        let chain = NodeChain::open(&self.genesis, store, mempool, tip.clone(), admission)?;
        Ok(Parts { chain, gate, tip })
    }

    /// Every sender commits to one name and reveals the one before.
    fn transactions(&self, block: u64, last: bool) -> Result<Vec<Vec<u8>>> {
        let circle = self.genesis.circle();
        let mut all = Vec::new();
        for (index, key) in self.senders.iter().enumerate() {
            let nonce = |block: u64| Digest::tagged("nonce", &[&block.to_le_bytes()]).0;
            let number = |block: u64| block * SENDERS + index as u64;
            let mut actions = Vec::new();
            if let Some(before) = block.checked_sub(1) {
                actions.push(Action::NameReveal(NameReveal {
                    name: name(number(before))?,
                    nonce: nonce(before),
                    deposit: DEPOSIT,
                }));
            }
            if !last {
                let owner = key.public().account();
                let commitment =
                    name_commitment(circle, owner, &name(number(block))?, &nonce(block));
                actions.push(Action::NameCommit(NameCommit { commitment }));
            }
            // Block 0 has a commit alone, so sequences are odd from then on.
            let first = (2 * block).saturating_sub(1);
            for (sequence, action) in (first..).zip(actions) {
                let transaction = Transaction {
                    version: Transaction::VERSION,
                    circle,
                    sender: key.public(),
                    sequence,
                    expires_at: Height(u64::MAX),
                    fee_limit: Amount(10_000_000),
                    actions: vec![action],
                };
                all.push(transaction.sign(key).encode());
            }
        }
        Ok(all)
    }

    fn build(&self, folder: &Path, names: u64) -> Result<Vec<(Block, engine::Certificate)>> {
        let Parts {
            mut chain, gate, ..
        } = self.open(folder)?;
        let mut parent = chain.genesis();
        let mut blocks = Vec::new();
        let rounds = names.div_ceil(SENDERS).max(1);
        for round in 0..=rounds {
            let admitted = gate.admit(self.transactions(round, round == rounds)?);
            let count = admitted.len();
            ensure!(
                admitted.iter().all(Result::is_ok),
                "a transaction is refused"
            );
            let block = chain.propose(&parent, 1_000 * (round + 1));
            parent = block.context("a leader proposes on the tip")?;
            ensure!(parent.transactions.len() == count, "a block is too small");
            let certificate = self.certify(&parent);
            chain.finalized(parent.clone(), Some(certificate));
            blocks.push((parent.clone(), certificate));
        }
        Ok(blocks)
    }

    /// A threshold signature is an ordinary one under the group's key.
    fn certify(&self, block: &Block) -> engine::Certificate {
        let header = &block.header;
        let mut certificate = engine::Certificate {
            epoch: 0,
            view: header.height.0 + 1,
            parent_view: header.height.0,
            signature: [0; 48],
        };
        let message = certificate.message(header.circle, header.digest());
        let tag = engine::certificate::DOMAIN_SEPARATION_TAG;
        certificate.signature = self.secret.sign(&message, tag, &[]).compress();
        certificate
    }

    /// Executes all blocks on an empty store: seconds, and the last root.
    fn replay(
        &self,
        folder: &Path,
        blocks: &[(Block, engine::Certificate)],
    ) -> Result<(f64, Digest)> {
        let Parts { mut chain, tip, .. } = self.open(folder)?;
        let start = Instant::now();
        for (block, certificate) in blocks {
            chain.finalized(block.clone(), Some(*certificate));
        }
        let root = tip.snapshot().header().state_root;
        // Dropping it syncs what was not synced.
        drop(chain);
        Ok((start.elapsed().as_secs_f64(), root))
    }

    /// Writes a checkpoint and goes forward to it: its bytes, and seconds.
    fn forward(&self, folder: &Path, root: Digest) -> Result<(u64, f64)> {
        let path = folder.join("state.checkpoint");
        let leader = Store::open(&folder.join("leader/ledger.redb"))?;
        let snapshot = leader.snapshot()?.context("the leader has a chain")?;
        let certificate = snapshot.certificate(snapshot.height())?;
        let certificate = certificate.context("the tip is certified")?;
        let start = Instant::now();
        let mut out = std::io::BufWriter::new(std::fs::File::create(&path)?);
        let chunk_bytes = Policy::default().chunk_bytes;
        let made = writer::write(&snapshot, &certificate, chunk_bytes, &mut out)?;
        drop(out);
        println!(
            "  a checkpoint of {} entries in {} chunks, written in {:.1} s",
            made.entries,
            made.chunks,
            start.elapsed().as_secs_f64()
        );
        let start = Instant::now();
        let file = CheckpointFile::open(&path)?;
        let manifest = file.manifest().clone();
        let manifest = manifest.check(self.genesis.circle(), &self.genesis.circle_key)?;
        let store = Store::open(&folder.join("forward.redb"))?;
        let mut restoration = Restoration::open(store, manifest)?;
        while let Some(index) = restoration.next_chunk() {
            let chunk = file.chunk(index)?.context("the file has its chunks")?;
            restoration.add(&chunk)?;
        }
        let store = restoration.finish()?;
        let time = start.elapsed().as_secs_f64();
        let tip = store.snapshot()?.context("the store is whole")?;
        ensure!(tip.header().state_root == root, "the states differ");
        let fetched = made.bytes + file.manifest_bytes().len() as u64;
        Ok((fetched, time))
    }
}
