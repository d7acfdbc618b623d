//! How long does a new node need, what must it fetch and what does it hold: by executing
//! every block, or by going forward to a checkpoint?
//!
//! No network: a leader makes a chain in which so many names are registered, one action a
//! transaction, as people do. A second node executes the same blocks; a third checks and
//! stores the chunks of the checkpoint. Both are processes of their own, measured to the
//! moment when everything is on disk, and must come to the same state. At last a whole
//! validator, with its engine and API, goes on from that state, and its memory is read.

use std::{
    fs,
    io::{BufReader, BufWriter, Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use blst::min_sig::SecretKey;
use engine::Chain as _;
use node::{
    LogConfig, Node, NodeConfig, Tip, ValidatorAddress,
    chain::{self, NodeChain},
    checkpoint::{CheckpointFile, Policy, Restoration, writer},
    mempool::{Gate, Mempool},
    store::Store,
};
use serde_json::{Value, json};
use wire::{
    Action, Amount, Block, CircleKey, CircleKind, Digest, DomainName, EvidenceRules, Genesis,
    Height, NameCommit, NameReveal, Parameters, PublicKey, SigningKey, Transaction, Validator,
    name_commitment,
};

use crate::{load, machine};

/// Who registers names, two transactions in each block.
const SENDERS: u64 = 2_000;

/// What is paid in for each name.
const DEPOSIT: Amount = Amount(1_000_000);

/// The seed of the validator's identity.
const IDENTITY: [u8; 32] = [1; 32];

/// Blocks that the validator makes before its memory is read.
const LIVE_BLOCKS: u64 = 20;

/// How long it may take for them.
const LIVE_PATIENCE: Duration = Duration::from_secs(300);

/// The goal for a validator's memory with 1,000,000 names.
const GOAL_MB: f64 = 300.0;

/// What the nodes begin with, and what they fetch.
const GENESIS_FILE: &str = "genesis.json";
const SHARE_FILE: &str = "share";
const BLOCKS_FILE: &str = "blocks";
const CHECKPOINT_FILE: &str = "state.checkpoint";

/// How a new node gets its state.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum How {
    /// It executes every block.
    Replay,
    /// It takes a checkpoint.
    Forward,
    /// It has one, and validates.
    Validate,
}

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

/// What the leader has made.
struct Made {
    blocks: u64,
    bytes: u64,
    root: Digest,
}

/// Prints times, bytes and memory for a state of `names` names.
pub fn run(names: u64) -> Result<()> {
    let senders: Vec<_> = (0..SENDERS).map(sender).collect();
    let (genesis, secret, share) = genesis(&senders)?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    fs::write(folder.join(GENESIS_FILE), serde_json::to_string(&genesis)?)?;
    write_secret(&folder.join(SHARE_FILE), &share)?;
    let bench = Bench {
        genesis,
        secret,
        senders,
    };
    let start = Instant::now();
    let made = bench.build(folder, names)?;
    println!(
        "{} names in {} blocks, {:.1} MB of blocks with their certificates, made in {:.0} s",
        (made.blocks - 1) * SENDERS,
        made.blocks,
        mb(made.bytes),
        start.elapsed().as_secs_f64(),
    );
    let fetched = bench.write_checkpoint(folder)?;
    let replayed = new_node(How::Replay, folder, made.root)?;
    let forwarded = new_node(How::Forward, folder, made.root)?;
    for (what, seconds, most, bytes) in [
        ("executing them", replayed.0, replayed.1, made.bytes),
        ("going forward", forwarded.0, forwarded.1, fetched),
    ] {
        println!(
            "  {what:<16}  {seconds:8.1} s  {:8.1} MB to fetch  {most:6.0} MB of memory at most",
            mb(bytes)
        );
    }
    println!(
        "  ratio             {:8.2}    {:8.2}",
        replayed.0 / forwarded.0,
        made.bytes as f64 / fetched as f64
    );
    let validator = ask(How::Validate, folder)?;
    let (now, most) = (number(&validator, "now")?, number(&validator, "most")?);
    let verdict = if now <= GOAL_MB { "reached" } else { "missed" };
    println!(
        "  a validator that goes on from it: {now:.0} MB resident, {most:.0} MB at most, up in {:.1} s   \
         goal {GOAL_MB:.0} MB: {verdict}",
        number(&validator, "seconds")?
    );
    Ok(())
}

fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, hex::encode(bytes))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

fn number(answer: &Value, field: &str) -> Result<f64> {
    let number = answer[field].as_f64();
    number.with_context(|| format!("the node's answer has no {field}: {answer}"))
}

/// Has a process of its own get the state: seconds, and megabytes at most.
fn new_node(how: How, folder: &Path, root: Digest) -> Result<(f64, f64)> {
    let answer = ask(how, folder)?;
    ensure!(
        answer["root"] == root.to_string(),
        "the states differ: {answer}"
    );
    Ok((number(&answer, "seconds")?, number(&answer, "most")?))
}

fn ask(how: How, folder: &Path) -> Result<Value> {
    let how = format!("{how:?}").to_lowercase();
    let output = Command::new(std::env::current_exe()?)
        .args(["state-node", &how])
        .arg(folder)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "the node ended with {}",
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The new node's side: prints one object of JSON.
///
/// Errors: what is in `folder` makes no node.
pub async fn take(how: How, folder: &Path) -> Result<()> {
    let genesis: Genesis = serde_json::from_slice(&fs::read(folder.join(GENESIS_FILE))?)?;
    let (seconds, root) = match how {
        How::Replay => replay(&genesis, folder)?,
        How::Forward => forward(&genesis, folder)?,
        How::Validate => return validate(&genesis, folder).await,
    };
    let (now, most) = machine::resident_mb("self")?;
    let root = root.to_string();
    println!(
        "{}",
        json!({ "seconds": seconds, "root": root, "now": now, "most": most })
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

/// A genesis of one validator, the circle's secret key, and the validator's share.
fn genesis(senders: &[SigningKey]) -> Result<(Genesis, SecretKey, Vec<u8>)> {
    let validator = engine::keys::public_key(&IDENTITY);
    let dealing = engine::keys::development_dealer(&[validator], [7; 32])?;
    // One of one: its share is the key, behind its place among the shares.
    let share = dealing.shares[0].to_vec();
    let scalar = share
        .last_chunk::<32>()
        .context("a share ends in a scalar")?;
    let secret = SecretKey::from_bytes(scalar).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    ensure!(
        secret.sk_to_pk().compress() == dealing.group_key,
        "the share is not the circle's key"
    );
    let mut accounts: Vec<_> = senders
        .iter()
        .map(|key| (key.public().account(), Amount(1_000_000_000_000)))
        .collect();
    accounts.sort_unstable();
    let genesis = Genesis {
        version: Genesis::VERSION,
        name: "bench".to_owned(),
        kind: CircleKind::Development,
        time_ms: 1,
        circle_key: CircleKey(dealing.group_key),
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
    };
    Ok((genesis, secret, share))
}

fn name(number: u64) -> Result<DomainName> {
    Ok(format!("name-{number:07}.ring.internal").parse()?)
}

fn open(genesis: &Genesis, folder: &Path) -> Result<Parts> {
    fs::create_dir_all(folder)?;
    let store = Arc::new(Store::open(&folder.join("ledger.redb"))?);
    chain::found(genesis, &store)?;
    let tip = Arc::new(Tip::new(&store)?);
    let mempool = Arc::new(Mempool::default());
    let gate = Gate::new(genesis.circle(), mempool.clone(), tip.clone());
    let admission = Arc::new(gate.clone());
    let chain = NodeChain::open(genesis, store, mempool, tip.clone(), admission)?;
    Ok(Parts { chain, gate, tip })
}

impl Bench {
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

    /// Makes the chain, and writes its blocks for others to fetch.
    fn build(&self, folder: &Path, names: u64) -> Result<Made> {
        let Parts {
            mut chain, gate, ..
        } = open(&self.genesis, &folder.join("leader"))?;
        let mut out = BufWriter::new(fs::File::create(folder.join(BLOCKS_FILE))?);
        let mut parent = chain.genesis();
        let rounds = names.div_ceil(SENDERS).max(1);
        let mut bytes = 0;
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
            bytes += size(&parent);
            let encoded = borsh::to_vec(&(&parent, certificate.signature))?;
            out.write_all(&(encoded.len() as u32).to_le_bytes())?;
            out.write_all(&encoded)?;
            chain.finalized(parent.clone(), Some(certificate));
        }
        out.flush()?;
        Ok(Made {
            blocks: rounds + 1,
            bytes,
            root: parent.header.state_root,
        })
    }

    /// A threshold signature is an ordinary one under the group's key.
    fn certify(&self, block: &Block) -> engine::Certificate {
        let header = &block.header;
        let mut certificate = certificate(header.height, [0; 48]);
        let message = certificate.message(header.circle, header.digest());
        let tag = engine::certificate::DOMAIN_SEPARATION_TAG;
        certificate.signature = self.secret.sign(&message, tag, &[]).compress();
        certificate
    }

    /// Writes a checkpoint of the leader's state: its bytes.
    fn write_checkpoint(&self, folder: &Path) -> Result<u64> {
        let leader = Store::open(&folder.join("leader/ledger.redb"))?;
        let snapshot = leader.snapshot()?.context("the leader has a chain")?;
        let certificate = snapshot.certificate(snapshot.height())?;
        let certificate = certificate.context("the tip is certified")?;
        let start = Instant::now();
        let path = folder.join(CHECKPOINT_FILE);
        let mut out = BufWriter::new(fs::File::create(&path)?);
        let chunk_bytes = Policy::default().chunk_bytes;
        let made = writer::write(&snapshot, &certificate, chunk_bytes, &mut out)?;
        drop(out);
        println!(
            "  a checkpoint of {} entries in {} chunks, written in {:.1} s",
            made.entries,
            made.chunks,
            start.elapsed().as_secs_f64()
        );
        let file = CheckpointFile::open(&path)?;
        Ok(made.bytes + file.manifest_bytes().len() as u64)
    }
}

/// The certificate of a block that was finalized in the view after its parent's.
fn certificate(height: Height, signature: [u8; 48]) -> engine::Certificate {
    engine::Certificate {
        epoch: 0,
        view: height.0 + 1,
        parent_view: height.0,
        signature,
    }
}

/// Executes all blocks on an empty store: seconds, and the last root.
fn replay(genesis: &Genesis, folder: &Path) -> Result<(f64, Digest)> {
    let Parts { mut chain, tip, .. } = open(genesis, &folder.join("replay"))?;
    let mut blocks = BufReader::new(fs::File::open(folder.join(BLOCKS_FILE))?);
    let start = Instant::now();
    loop {
        let mut length = [0; 4];
        if blocks.read(&mut length[..1])? == 0 {
            break;
        }
        blocks.read_exact(&mut length[1..])?;
        let mut encoded = vec![0; u32::from_le_bytes(length) as usize];
        blocks.read_exact(&mut encoded)?;
        let (block, signature): (Block, [u8; 48]) = borsh::from_slice(&encoded)?;
        let certificate = certificate(block.header.height, signature);
        chain.finalized(block, Some(certificate));
    }
    let root = tip.snapshot().header().state_root;
    // Dropping it syncs what was not synced.
    drop(chain);
    Ok((start.elapsed().as_secs_f64(), root))
}

/// Goes forward to the checkpoint: seconds, and the root.
fn forward(genesis: &Genesis, folder: &Path) -> Result<(f64, Digest)> {
    let start = Instant::now();
    let file = CheckpointFile::open(&folder.join(CHECKPOINT_FILE))?;
    let manifest = file.manifest().clone();
    let manifest = manifest.check(genesis.circle(), &genesis.circle_key)?;
    let data = folder.join("forward");
    fs::create_dir_all(&data)?;
    let store = Store::open(&data.join("ledger.redb"))?;
    let mut restoration = Restoration::open(store, manifest)?;
    while let Some(index) = restoration.next_chunk() {
        let chunk = file.chunk(index)?.context("the file has its chunks")?;
        restoration.add(&chunk)?;
    }
    let store = restoration.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    let tip = store.snapshot()?.context("the store is whole")?;
    Ok((seconds, tip.header().state_root))
}

/// Runs a validator on the state that went forward, until it has made some blocks.
async fn validate(genesis: &Genesis, folder: &Path) -> Result<()> {
    let identity_file = folder.join("identity");
    write_secret(&identity_file, &IDENTITY)?;
    let loopback = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let port = std::net::TcpListener::bind(loopback(0))?
        .local_addr()?
        .port();
    let config = NodeConfig {
        genesis: folder.join(GENESIS_FILE),
        data_dir: folder.join("forward"),
        identity_file,
        share_file: Some(folder.join(SHARE_FILE)),
        listen: loopback(port),
        api: loopback(0),
        validators: vec![ValidatorAddress {
            key: genesis.validators[0].key,
            address: loopback(port).to_string(),
        }],
        log: LogConfig::default(),
        checkpoints: Policy::default(),
        sync: Default::default(),
        history: Default::default(),
        disk: Default::default(),
        access: Default::default(),
        evidence: None,
    };
    let start = Instant::now();
    let node = Node::start(&config).await?;
    let api = load::Node::new(&format!("http://{}", node.api_address()));
    let first = height(&api).await?;
    let mut seconds = None;
    loop {
        let made = height(&api).await? - first;
        if made > 0 {
            seconds.get_or_insert(start.elapsed().as_secs_f64());
        }
        if made >= LIVE_BLOCKS {
            break;
        }
        ensure!(
            start.elapsed() < LIVE_PATIENCE,
            "the validator has made {made} blocks"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (now, most) = machine::resident_mb("self")?;
    println!(
        "{}",
        json!({ "seconds": seconds, "now": now, "most": most })
    );
    node.stop().await?;
    Ok(())
}

async fn height(api: &load::Node) -> Result<u64> {
    let status = api.get("/v1/status").await?;
    status["height"].as_u64().context("a status has a height")
}
