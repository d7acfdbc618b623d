//! How does a production chain live in a simulation?
//!
//! A [`Life`] is a node's chain with its real store, on a disk that loses what
//! was not synced when the life ends, and with clients: they remember what was
//! acknowledged to them and read with proofs. What they saw is judged later
//! ([`crate::judge`]).

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, Mutex},
};

use engine::{
    Certificate, Chain, Office,
    keys::PeerKey,
    simulation::{Birth, Power},
};
use node::{
    sample::{Circle, Parts, USERS, account},
    store::{MemoryDisk, Snapshot},
};
use wire::{
    Block, Height, Receipt, TransactionId,
    record::{self, Account},
    state_key,
};

use crate::politics::{self, Wish};

/// What the clients of one run have seen.
#[derive(Default)]
pub struct Seen {
    /// What each validator told its clients: receipts of final blocks.
    pub acknowledged: BTreeMap<(usize, TransactionId), Receipt>,
    /// What clients read, each proven under the circle's key.
    pub reads: Vec<ProvenRead>,
    /// Reads that were refused for being older than what a client had seen.
    pub stale: usize,
    /// Proofs that did not hold.
    pub false_proofs: Vec<String>,
    /// The highest height of which any client knows: they tell each other.
    known: Height,
}

/// A proven read of a user's account.
pub struct ProvenRead {
    /// Whose account; none for one that nobody has.
    pub user: Option<u8>,
    /// The height that the proof names.
    pub height: Height,
    /// What it shows.
    pub account: Option<Account>,
}

/// What the clients of one run have seen, for all lives.
type Clients = Arc<Mutex<Seen>>;

/// Blocks between two reads from one validator.
const READ_EVERY: u64 = 4;

/// One life of a validator: it ends without warning.
pub struct Life {
    /// The chain under test.
    parts: Parts,
    /// What its store is on.
    disk: MemoryDisk,
    /// What keeps it alive.
    power: Power,
    /// Its number.
    validator: usize,
    /// The run's seed.
    seed: u64,
    /// Its clients.
    clients: Clients,
    /// The circle.
    circle: Arc<Circle>,
    /// What its member wants.
    wishes: Arc<Vec<Wish>>,
    /// What its store had synced when last looked at with power.
    durable: Height,
}

/// What all lives of a run have in common.
#[derive(Clone)]
pub struct Lives {
    /// The circle.
    pub circle: Arc<Circle>,
    /// What its members want.
    pub wishes: Arc<Vec<Wish>>,
    /// The run's seed.
    pub seed: u64,
    clients: Clients,
}

impl Lives {
    /// Those of a run whose members want nothing.
    pub fn new(circle: Arc<Circle>, seed: u64) -> Self {
        Self {
            circle,
            wishes: Arc::default(),
            seed,
            clients: Clients::default(),
        }
    }

    /// The life that a node was born to, with what was opened on `disk`.
    pub fn begin(&self, birth: Birth, parts: Parts, disk: MemoryDisk) -> Box<Life> {
        Box::new(Life {
            durable: parts.chain.durable_height(),
            parts,
            disk,
            power: birth.power,
            validator: birth.node,
            seed: self.seed,
            clients: self.clients.clone(),
            circle: self.circle.clone(),
            wishes: self.wishes.clone(),
        })
    }

    /// What the clients have seen; to be asked once, at the end.
    pub fn seen(&self) -> Seen {
        std::mem::take(&mut *self.clients.lock().expect("no client panics"))
    }
}

impl Life {
    /// Clients hear of what is final, and read.
    fn serve(&self, height: Height) {
        let snapshot = self.parts.tip.snapshot();
        let receipts = snapshot.receipts(height).ok().flatten().unwrap_or_default();
        let mut seen = self.clients.lock().expect("no client panics");
        for receipt in receipts {
            seen.known = seen.known.max(receipt.height);
            let key = (self.validator, receipt.transaction);
            seen.acknowledged.insert(key, receipt);
        }
        if (height.0 + self.validator as u64).is_multiple_of(READ_EVERY) {
            self.read(&mut seen, &snapshot, height);
        }
    }

    /// Reads an account with a proof, as a client does that refuses what is
    /// older than what it knows.
    fn read(&self, seen: &mut Seen, snapshot: &Snapshot, height: Height) {
        let number = (height.0 / READ_EVERY % (u64::from(USERS) + 1)) as u8;
        let user = (number < USERS).then_some(number);
        // One past the users has no account; that is proven too.
        let key = state_key::account(account(number));
        let proof = match snapshot.prove(&key) {
            Ok(Some(proof)) => proof,
            Ok(None) => return,
            Err(error) => return seen.false_proofs.push(error.to_string()),
        };
        if proof.header.height < seen.known {
            seen.stale += 1;
            return;
        }
        match proof.verify(&self.circle.genesis.circle_key) {
            Ok(proven) if proven.key() == key => {
                seen.known = proven.height();
                let account = proven.value().map(record::decode).transpose();
                match account {
                    Ok(account) => seen.reads.push(ProvenRead {
                        user,
                        height: proven.height(),
                        account,
                    }),
                    Err(_) => seen.false_proofs.push("a proven account is none".into()),
                }
            }
            Ok(_) => seen.false_proofs.push("a proof is of another key".into()),
            Err(error) => seen.false_proofs.push(error.to_string()),
        }
    }
}

impl Drop for Life {
    /// The disk goes first, so that an orderly end of the chain cannot sync it.
    fn drop(&mut self) {
        let mut state = self.seed.wrapping_add(self.validator as u64);
        self.disk.crash(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 63 == 1
        });
    }
}

impl Chain for Life {
    fn genesis(&self) -> Block {
        self.parts.chain.genesis()
    }

    fn anchor(&self) -> Option<engine::Anchor> {
        self.parts.chain.anchor()
    }

    fn kept_from(&self) -> Height {
        self.parts.chain.kept_from()
    }

    fn durable_height(&self) -> Height {
        // Without power the process believes what is nowhere.
        if !self.power.is_on() {
            return self.durable;
        }
        self.parts.chain.durable_height()
    }

    fn epoch_length(&self) -> NonZeroU64 {
        self.parts.chain.epoch_length()
    }

    fn office(&self) -> Arc<Office> {
        self.parts.chain.office()
    }

    fn deal(&mut self, round: u64, dealing: Vec<u8>) -> Option<Vec<u8>> {
        self.parts.chain.deal(round, dealing)
    }

    fn share_replaced(&mut self) {
        self.parts.chain.share_replaced();
    }

    fn propose(&mut self, parent: &Block, now_ms: u64) -> Option<Block> {
        self.parts.chain.propose(parent, now_ms)
    }

    fn verify(&mut self, parent: &Block, block: &Block, now_ms: u64) -> bool {
        self.parts.chain.verify(parent, block, now_ms)
    }

    fn finalized(&mut self, block: Block, certificate: Option<Certificate>) {
        let height = block.header.height;
        self.parts.chain.finalized(block, certificate);
        // Without power nobody hears of it.
        if !self.power.is_on() {
            return;
        }
        self.durable = self.parts.chain.durable_height();
        self.serve(height);
        politics::act(&self.circle, &self.parts, self.validator, &self.wishes);
    }

    fn certified(&mut self, height: Height, certificate: Certificate) {
        self.parts.chain.certified(height, certificate);
    }

    fn gossip(&mut self, from: PeerKey, message: Vec<u8>) {
        self.parts.chain.gossip(from, message);
    }

    fn has_work(&self) -> bool {
        self.parts.chain.has_work()
    }
}
