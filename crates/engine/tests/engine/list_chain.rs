//! The simplest real chain: a list of commands.
//!
//! A block appends commands that are not in the list yet; the state root is a
//! hash over the whole list, so validators that disagree on any command of the
//! past refuse one another's blocks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroU64,
    sync::{Arc, Mutex},
};

use engine::{Certificate, Chain, Office, keys::PeerKey};
use wire::{Block, CircleId, Digest, Header, Height};

/// Where finalized blocks are kept.
pub trait Log: Send {
    /// All blocks, in order; the first has height 1.
    fn load(&mut self) -> Vec<Block>;
    /// Appends a block durably.
    fn append(&mut self, block: &Block, certificate: Option<Certificate>);
}

/// Commands that wait for a block. Shared with whoever submits.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<BTreeSet<Vec<u8>>>>);

impl Pool {
    pub fn insert(&self, command: Vec<u8>) {
        self.0.lock().unwrap().insert(command);
    }
}

/// What a block adds to its parent.
struct Entry {
    parent: Digest,
    root: Digest,
    commands: Vec<Vec<u8>>,
}

/// A list of commands as a chain.
pub struct ListChain {
    circle: CircleId,
    log: Box<dyn Log>,
    pool: Pool,
    tip: Header,
    root: Digest,
    listed: BTreeSet<Vec<u8>>,
    unfinalized: HashMap<Digest, Entry>,
    office: Arc<Office>,
    epoch_length: NonZeroU64,
    /// Told of every certificate: (height, certificate).
    pub certificates: Arc<Mutex<BTreeMap<u64, Certificate>>>,
}

/// Heights of an epoch: few, so that all tests turn over epochs.
pub const EPOCH_LENGTH: u64 = 8;

/// Commands per block: enough for the tests' loads.
const MAX_COMMANDS: usize = 1_000;

impl ListChain {
    /// The committee of `office` stays in office for ever.
    pub fn new(circle: CircleId, office: Arc<Office>, mut log: Box<dyn Log>, pool: Pool) -> Self {
        let mut chain = Self {
            circle,
            tip: genesis(circle).header,
            root: Digest::default(),
            listed: BTreeSet::new(),
            unfinalized: HashMap::new(),
            office,
            epoch_length: NonZeroU64::new(EPOCH_LENGTH).unwrap(),
            certificates: Arc::default(),
            pool,
            log: Box::new(Empty),
        };
        for block in log.load() {
            chain.append(&block);
        }
        chain.log = log;
        chain
    }

    fn append(&mut self, block: &Block) {
        assert_eq!(block.header.parent, self.tip.digest(), "blocks link");
        self.root = root(self.root, &block.transactions);
        assert_eq!(
            block.header.state_root, self.root,
            "the list is the agreed one"
        );
        for command in &block.transactions {
            assert!(
                self.listed.insert(command.clone()),
                "no command comes twice"
            );
            self.pool.0.lock().unwrap().remove(command);
        }
        self.tip = block.header;
        let epoch = self.tip.height.plus(1).0 / self.epoch_length;
        if epoch != self.office.epoch {
            let mut office = Office::clone(&self.office);
            office.epoch = epoch;
            self.office = Arc::new(office);
        }
        let digest = block.header.digest();
        let mut alive = BTreeSet::from([digest]);
        // Entries whose parents are gone are forks that lost.
        loop {
            let before = alive.len();
            for (child, entry) in &self.unfinalized {
                if alive.contains(&entry.parent) {
                    alive.insert(*child);
                }
            }
            if alive.len() == before {
                break;
            }
        }
        alive.remove(&digest);
        self.unfinalized.retain(|block, _| alive.contains(block));
    }

    /// Root and commands of the branch that ends in `parent`.
    fn branch(&self, parent: &Block) -> Option<(Digest, BTreeSet<&[u8]>)> {
        let mut commands = BTreeSet::new();
        let mut at = parent.header.digest();
        let root = match self.unfinalized.get(&at) {
            Some(entry) => entry.root,
            None => self.root,
        };
        while let Some(entry) = self.unfinalized.get(&at) {
            commands.extend(entry.commands.iter().map(Vec::as_slice));
            at = entry.parent;
        }
        (at == self.tip.digest()).then_some((root, commands))
    }

    fn admits(&self, branch: &BTreeSet<&[u8]>, command: &[u8]) -> bool {
        !branch.contains(command) && !self.listed.contains(command)
    }

    fn enter(&mut self, parent: &Block, block: &Block) {
        let entry = Entry {
            parent: parent.header.digest(),
            root: block.header.state_root,
            commands: block.transactions.clone(),
        };
        self.unfinalized.insert(block.header.digest(), entry);
    }
}

pub fn genesis(circle: CircleId) -> Block {
    Block {
        header: Header {
            version: Header::VERSION,
            circle,
            height: Height(0),
            time_ms: 0,
            parent: Digest::default(),
            state_root: Digest::default(),
            transactions: Block::transactions_digest(&[]),
        },
        transactions: Vec::new(),
    }
}

fn root(before: Digest, commands: &[Vec<u8>]) -> Digest {
    commands
        .iter()
        .fold(before, |root, command| Digest::of(&[&root.0, command]))
}

impl Chain for ListChain {
    fn genesis(&self) -> Block {
        genesis(self.circle)
    }

    fn durable_height(&self) -> Height {
        self.tip.height
    }

    fn epoch_length(&self) -> NonZeroU64 {
        self.epoch_length
    }

    fn office(&self) -> Arc<Office> {
        self.office.clone()
    }

    fn deal(&mut self, round: u64, _: Vec<u8>) -> Option<Vec<u8>> {
        panic!("there is no resharing {round}");
    }

    /// The tests keep no file of a share.
    fn share_replaced(&mut self) {}

    fn propose(&mut self, parent: &Block, now_ms: u64) -> Option<Block> {
        let (before, branch) = self.branch(parent).expect("the parent was shown before");
        let pool = self.pool.0.lock().unwrap().clone();
        let transactions: Vec<_> = pool
            .into_iter()
            .filter(|command| self.admits(&branch, command))
            .take(MAX_COMMANDS)
            .collect();
        let block = Block {
            header: Header {
                version: Header::VERSION,
                circle: self.circle,
                height: parent.header.height.plus(1),
                time_ms: now_ms.max(parent.header.time_ms),
                parent: parent.header.digest(),
                state_root: root(before, &transactions),
                transactions: Block::transactions_digest(&transactions),
            },
            transactions,
        };
        self.enter(parent, &block);
        Some(block)
    }

    fn verify(&mut self, parent: &Block, block: &Block, _now_ms: u64) -> bool {
        let (before, mut branch) = self.branch(parent).expect("the parent was shown before");
        for command in &block.transactions {
            if !self.admits(&branch, command) {
                return false;
            }
            branch.insert(command);
        }
        if block.header.time_ms < parent.header.time_ms
            || block.header.state_root != root(before, &block.transactions)
        {
            return false;
        }
        self.enter(parent, block);
        true
    }

    fn finalized(&mut self, block: Block, certificate: Option<Certificate>) {
        if block.header.height <= self.tip.height {
            return;
        }
        assert_eq!(block.header.height, self.tip.height.plus(1), "no gaps");
        self.append(&block);
        self.log.append(&block, certificate);
        if let Some(certificate) = certificate {
            self.certified(block.header.height, certificate);
        }
    }

    fn certified(&mut self, height: Height, certificate: Certificate) {
        self.certificates
            .lock()
            .unwrap()
            .insert(height.0, certificate);
    }

    fn gossip(&mut self, _from: PeerKey, message: Vec<u8>) {
        if !self.listed.contains(&message) {
            self.pool.insert(message);
        }
    }

    fn has_work(&self) -> bool {
        !self.pool.0.lock().unwrap().is_empty()
    }
}

struct Empty;

impl Log for Empty {
    fn load(&mut self) -> Vec<Block> {
        Vec::new()
    }

    fn append(&mut self, _: &Block, _: Option<Certificate>) {}
}
