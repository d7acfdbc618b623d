//! What does a small circle look like, for tests and simulations?
//!
//! Everything follows from numbers, so that a failing run repeats. Nothing
//! here is secret and nothing of it serves a circle in use.

use std::sync::Arc;

use engine::keys;
use wire::{
    AccountId, Action, Amount, CircleKey, CircleKind, Genesis, Height, Parameters, PublicKey,
    SignedTransaction, SigningKey, Transaction, Transfer, Validator,
};

use crate::{
    chain::{self, ChainError, Duty, NodeChain},
    mempool::{Gate, Mempool},
    store::{MemoryDisk, Store, StoreError},
    tip::Tip,
};

/// Users of a sample circle.
pub const USERS: u8 = 16;

/// What each user holds at first.
pub const BALANCE: Amount = Amount(1_000_000);

/// The fee limit of sample transactions: above every fee.
const FEE_LIMIT: Amount = Amount(100_000);

/// A development circle with everybody's keys.
pub struct Circle {
    /// Its genesis.
    pub genesis: Genesis,
    /// The validators' identity seeds, in the order of the genesis.
    pub seeds: Vec<[u8; 32]>,
    /// The validators' shares, in the same order.
    pub shares: Vec<Vec<u8>>,
}

/// The signing key of a user.
pub fn user(number: u8) -> SigningKey {
    SigningKey::ed25519([200 - number; 32])
}

/// The account of a user.
pub fn account(number: u8) -> AccountId {
    user(number).public().account()
}

impl Circle {
    /// A circle of so many validators.
    ///
    /// Panics: for a number of validators that the engine does not take.
    pub fn new(validators: u8) -> Self {
        let seeds: Vec<[u8; 32]> = (1..=validators).map(|number| [number; 32]).collect();
        let keys: Vec<_> = seeds.iter().map(keys::public_key).collect();
        let dealing = keys::development_dealer(&keys, DEALER_SEED).expect("a few validators");
        let mut accounts: Vec<_> = (0..USERS)
            .map(|number| (account(number), BALANCE))
            .collect();
        accounts.sort_unstable();
        let genesis = Genesis {
            version: Genesis::VERSION,
            name: "sample".to_owned(),
            kind: CircleKind::Development,
            // The clock of a simulation begins at about this time.
            time_ms: 1,
            circle_key: CircleKey(dealing.group_key),
            sharing: dealing.polynomial,
            validators: keys
                .iter()
                .enumerate()
                .map(|(number, key)| Validator {
                    key: PublicKey::Ed25519(*key),
                    name: format!("validator-{number}"),
                })
                .collect(),
            accounts,
            apexes: vec!["ring.internal".parse().expect("a name")],
            certificate_authorities: Vec::new(),
            zone_signers: Vec::new(),
            name_servers: Vec::new(),
            keykeepers: Vec::new(),
            development_roots: Vec::new(),
            reference_values: Vec::new(),
            evidence: Default::default(),
            parameters: Parameters::default(),
            origin: None,
        };
        let shares = dealing.shares.iter().map(|share| share.to_vec());
        Self {
            genesis,
            seeds,
            shares: shares.collect(),
        }
    }

    /// The same circle with epochs of so many blocks, and with something in
    /// the founders' accounts, so that they can propose and vote.
    pub fn with_epochs(validators: u8, epoch_length: u64) -> Self {
        let mut circle = Self::new(validators);
        let genesis = &mut circle.genesis;
        genesis.parameters.epoch_length = epoch_length;
        let founders = genesis.validators.iter();
        let funded = founders.map(|founder| (founder.key.account(), BALANCE));
        genesis.accounts.extend(funded);
        genesis.accounts.sort_unstable();
        circle
    }

    /// A transfer from one user to another.
    pub fn transfer(&self, from: u8, sequence: u64, to: u8, amount: u64) -> SignedTransaction {
        self.sign(
            from,
            sequence,
            Height(u64::MAX),
            Action::Transfer(Transfer {
                to: account(to),
                amount: Amount(amount),
            }),
        )
    }

    /// A transaction of one action.
    pub fn sign(
        &self,
        from: u8,
        sequence: u64,
        expires_at: Height,
        action: Action,
    ) -> SignedTransaction {
        let key = user(from);
        Transaction {
            version: Transaction::VERSION,
            circle: self.genesis.circle(),
            sender: key.public(),
            sequence,
            expires_at,
            fee_limit: FEE_LIMIT,
            actions: vec![action],
        }
        .sign(&key)
    }
}

/// The sharing of a sample circle's key is dealt from this, as a simulated
/// one's is.
const DEALER_SEED: [u8; 32] = [7; 32];

/// A chain without an engine, and what it shares with the rest of a node.
pub struct Parts {
    /// The chain.
    pub chain: NodeChain,
    /// Its store.
    pub store: Arc<Store>,
    /// Its tip.
    pub tip: Arc<Tip>,
    /// Its mempool.
    pub mempool: Arc<Mempool>,
    /// The gate before the mempool.
    pub gate: Gate,
}

impl Parts {
    /// Opens the chain of `genesis` on `disk`.
    ///
    /// Errors: [`ChainError`].
    pub fn open(genesis: &Genesis, disk: &MemoryDisk) -> Result<Self, ChainError> {
        let store = Arc::new(Store::in_memory(disk)?);
        chain::found(genesis, &store)?;
        let tip = Arc::new(Tip::new(&store)?);
        let mempool = Arc::new(Mempool::default());
        let gate = Gate::new(genesis.circle(), mempool.clone(), tip.clone());
        let chain = NodeChain::open(
            genesis,
            store.clone(),
            mempool.clone(),
            tip.clone(),
            Arc::new(gate.clone()),
        )?;
        Ok(Self {
            chain,
            store,
            tip,
            mempool,
            gate,
        })
    }

    /// As [`Parts::open`], for the validator with this identity: its chain deals
    /// in resharings.
    ///
    /// Errors: [`ChainError`].
    pub fn open_for(
        genesis: &Genesis,
        disk: &MemoryDisk,
        identity_seed: [u8; 32],
    ) -> Result<Self, ChainError> {
        let mut parts = Self::open(genesis, disk)?;
        parts.chain = parts.chain.with_duty(Duty::new(identity_seed, None));
        Ok(parts)
    }

    /// The store on a disk that nothing runs on any more.
    ///
    /// Errors: [`StoreError`].
    pub fn inspect(disk: &MemoryDisk) -> Result<Store, StoreError> {
        Store::in_memory(disk)
    }
}
