//! Which block comes next, which blocks are valid, and what do they do?
//!
//! [`NodeChain`] is the chain that the engine orders. It executes blocks on
//! the tree of those that are not final yet, answers the engine from what it
//! executed, and stores what becomes final. It trusts the engine for order
//! and finality, and the ledger for the meaning of transactions.
//!
//! # Durability
//!
//! A finalized block is written to the store before [`engine::Chain::finalized`]
//! returns, but it is synced to disk only every [`PERSIST_INTERVAL_MS`] of the
//! chain's time. The engine keeps every finalized block in archives of its own
//! that it syncs first, and gives the chain at its start whatever lies above
//! [`engine::Chain::durable_height`]; what a crash takes from the store comes
//! back from there. One sync for many blocks is worth several thousand
//! transactions per second on an ordinary disk.

mod block;
mod ceremony;
mod duty;
mod office;
mod pending;
#[cfg(test)]
mod tests;
mod view;

use std::{num::NonZeroU64, sync::Arc};

use engine::{Office, keys::PeerKey};
use ledger::Changes;
use proof::Certificate;
use wire::{
    Block, CheckedTransaction, CircleId, Digest, Event, Genesis, GenesisError, Header, Height,
    Receipt,
};

pub use duty::Duty;
pub(crate) use duty::free_of_charge;
pub use view::View;

pub(crate) use block::LENGTH_BYTES;
pub(crate) use office::epoch;

use crate::{
    checkpoint::{Manifest, Shelf},
    mempool::{Admission, Mempool, encode_message},
    store::{Commit, Persist, Snapshot, Store, StoreError, TreeUpdate, tree},
    tip::Tip,
};
use pending::Pending;

/// How much of the chain's time may pass between two syncs of the store.
pub const PERSIST_INTERVAL_MS: u64 = 500;

/// Blocks between two syncs at most, where many share a moment (catching up):
/// bounds what the database holds in memory.
pub const PERSIST_BLOCKS: u64 = 64;

/// How far ahead of this node's clock a block's time may be. Honest clocks
/// differ by less, and the engine's verdicts must not.
pub const MAX_CLOCK_SKEW_MS: u64 = 5_000;

/// Why a chain cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The genesis founds no circle.
    #[error("the genesis cannot found a circle")]
    Genesis(#[from] GenesisError),
    /// The store failed or belongs to something else.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The circle takes another's state over, and the store has none.
    #[error(
        "this circle goes on from the state of another: restore its first checkpoint \
         (`ringfort node restore`) before the node starts"
    )]
    NotRestored,
    /// The store was founded by other rules for the same genesis.
    #[error(
        "the stored genesis block is {stored}; this build founds {founded} on the same genesis"
    )]
    OtherFounding {
        /// The digest of the stored block 0.
        stored: Digest,
        /// The digest of this build's block 0.
        founded: Digest,
    },
}

/// A block that was executed, with everything that follows from it.
#[derive(Debug)]
pub struct Executed {
    header: Header,
    digest: Digest,
    transactions: Vec<Vec<u8>>,
    changes: Changes,
    tree: TreeUpdate,
    receipts: Vec<Receipt>,
    events: Vec<Vec<Event>>,
}

/// The chain of one circle, as the engine drives it.
pub struct NodeChain {
    circle: CircleId,
    genesis: Block,
    store: Arc<Store>,
    tip: Arc<Tip>,
    mempool: Arc<Mempool>,
    admission: Arc<dyn Admission>,
    pending: Pending,
    /// The store as of the finalized tip.
    state: Arc<Snapshot>,
    durable: Header,
    ceremony: ceremony::Resharing,
    /// Who validates, by `state`.
    office: Arc<Office>,
    epoch_length: NonZeroU64,
    /// None of a chain that does not validate.
    duty: Option<Duty>,
    /// Where checkpoints are made, if they are, and how many blocks the engine
    /// keeps beside them.
    shelf: Option<(Arc<Shelf>, u64)>,
    anchor: Option<engine::Anchor>,
}

impl NodeChain {
    /// Opens the chain of `genesis` on `store`, founding it where the store is
    /// empty.
    ///
    /// Errors: [`ChainError`]; the store is unchanged then.
    pub fn open(
        genesis: &Genesis,
        store: Arc<Store>,
        mempool: Arc<Mempool>,
        tip: Arc<Tip>,
        admission: Arc<dyn Admission>,
    ) -> Result<Self, ChainError> {
        let state = tip.snapshot();
        let founded = match state.header_at(Height(0))? {
            Some(header) => header,
            None => founding(genesis)?.header,
        };
        let anchor = store.anchor()?.map(anchor);
        Ok(Self {
            circle: genesis.circle(),
            genesis: Block {
                header: founded,
                transactions: Vec::new(),
            },
            durable: *state.header(),
            ceremony: ceremony::Resharing::default(),
            office: office::read(&*state),
            // The genesis' check refuses 0, and no vote changes it.
            epoch_length: NonZeroU64::new(genesis.parameters.epoch_length)
                .unwrap_or(NonZeroU64::MAX),
            duty: None,
            shelf: None,
            anchor,
            pending: Pending::default(),
            store,
            tip,
            mempool,
            admission,
            state,
        })
    }

    /// Lets the chain do a validator's duty.
    pub fn with_duty(mut self, duty: Duty) -> Self {
        self.duty = Some(duty);
        self
    }

    /// Makes checkpoints on `shelf`, and lets the engine forget blocks that are
    /// older than all of them and `archive_blocks` below the tip.
    pub fn with_shelf(mut self, shelf: Arc<Shelf>, archive_blocks: u64) -> Self {
        self.shelf = Some((shelf, archive_blocks));
        self
    }

    /// The state after `parent`, if it is the finalized tip or was executed.
    fn view(&self, parent: Digest) -> Option<View<'_>> {
        let layers = self.pending.line(parent, self.state.digest())?;
        Some(View::new(layers, &self.state))
    }

    /// Applies checked transactions on `parent`.
    ///
    /// Panics: on a damaged store only; the node must then neither vote nor answer.
    fn apply(
        &self,
        view: &View<'_>,
        parent: &Header,
        time_ms: u64,
        transactions: &[CheckedTransaction],
    ) -> (ledger::Applied, TreeUpdate) {
        let height = parent.height.plus(1);
        let context = ledger::BlockContext {
            height,
            time_ms,
            parent: parent.digest(),
        };
        let applied = ledger::apply_with(view, &context, transactions, &self.ceremony);
        let tree = tree::update(view, height, &applied.changes)
            .expect("the store holds the tree of the finalized tip");
        (applied, tree)
    }

    /// Executes a proposed block, or finds what was executed.
    fn execute(&mut self, block: &Block) -> Result<Arc<Executed>, block::Invalid> {
        let digest = block.header.digest();
        if let Some(executed) = self.pending.get(digest) {
            return Ok(executed);
        }
        let parent = self.header_of(block.header.parent);
        let view = self.view(block.header.parent);
        let (Some(parent), Some(view)) = (parent, view) else {
            return Err(block::Invalid::UnknownParent);
        };
        let checked = block::check(block, &parent, self.circle, &self.mempool)?;
        let (applied, tree) = self.apply(&view, &parent, block.header.time_ms, &checked);
        if tree.root != block.header.state_root {
            return Err(block::Invalid::StateRoot {
                claimed: block.header.state_root,
                computed: tree.root,
            });
        }
        let executed = Arc::new(Executed {
            header: block.header,
            digest,
            transactions: block.transactions.clone(),
            changes: applied.changes,
            tree,
            receipts: applied.receipts,
            events: applied.events,
        });
        self.pending.insert(executed.clone());
        Ok(executed)
    }

    fn header_of(&self, digest: Digest) -> Option<Header> {
        if digest == self.state.digest() {
            return Some(*self.state.header());
        }
        self.pending.get(digest).map(|executed| executed.header)
    }

    /// Makes a block of what waits. A transaction that would be neither
    /// applied nor charged for is left out and forgotten, so that nobody fills
    /// blocks for nothing.
    fn build(&mut self, parent: &Header, now_ms: u64) -> Option<Arc<Executed>> {
        let view = self.view(parent.digest())?;
        let time_ms = now_ms.max(parent.time_ms);
        let height = parent.height.plus(1);
        let mut selected = self.mempool.select(&view, height);
        let (applied, tree) = loop {
            let checked: Vec<CheckedTransaction> =
                selected.iter().map(|entry| entry.checked.clone()).collect();
            let (applied, tree) = self.apply(&view, parent, time_ms, &checked);
            let free = block::uncharged(&applied.receipts);
            if free.is_empty() {
                break (applied, tree);
            }
            selected.retain(|entry| !free.contains(&entry.checked.id()));
            self.mempool.refuse(&free);
        };
        let transactions: Vec<Vec<u8>> =
            selected.iter().map(|entry| entry.encoded.clone()).collect();
        let header = Header {
            version: Header::VERSION,
            circle: self.circle,
            height,
            time_ms,
            parent: parent.digest(),
            state_root: tree.root,
            transactions: Block::transactions_digest(&transactions),
        };
        let executed = Arc::new(Executed {
            digest: header.digest(),
            header,
            transactions,
            changes: applied.changes,
            tree,
            receipts: applied.receipts,
            events: applied.events,
        });
        self.pending.insert(executed.clone());
        Some(executed)
    }

    fn persistence(&self, header: &Header) -> Persist {
        let late = header.time_ms.saturating_sub(self.durable.time_ms) >= PERSIST_INTERVAL_MS;
        if late || header.height.since(self.durable.height) >= PERSIST_BLOCKS {
            Persist::Now
        } else {
            Persist::Later
        }
    }

    fn commit(
        &mut self,
        block: &Executed,
        certificate: Option<&Certificate>,
    ) -> Result<(), StoreError> {
        let persist = self.persistence(&block.header);
        let commit = Commit {
            header: &block.header,
            transactions: &block.transactions,
            changes: &block.changes,
            tree: &block.tree,
            receipts: &block.receipts,
            events: &block.events,
            certificate,
        };
        self.store.commit(&commit, persist)?;
        if persist == Persist::Now {
            self.durable = block.header;
        }
        self.publish()?;
        if office::is_touched(&block.changes) {
            self.office = office::read(&*self.state);
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<(), StoreError> {
        self.state = self.tip.refresh(&self.store)?;
        if let Some((shelf, _)) = &self.shelf {
            shelf.observe(&self.state);
        }
        Ok(())
    }
}

/// Stores block 0 of `genesis` where `store` is empty, and checks that the
/// store belongs to it where it is not.
///
/// Errors: [`ChainError`]; nothing is stored then.
pub fn found(genesis: &Genesis, store: &Store) -> Result<(), ChainError> {
    store.check(genesis.circle())?;
    let stored = store.snapshot()?;
    // What the circle has certified since needs no comparison with its founding.
    if stored.is_some() && store.anchor()?.is_some() {
        return Ok(());
    }
    if genesis.origin.is_some() {
        return Err(ChainError::NotRestored);
    }
    let Founding {
        header,
        changes,
        tree,
    } = founding(genesis)?;
    if let Some(snapshot) = stored {
        // The oldest blocks may be gone.
        let Some(stored) = snapshot.header_at(Height(0))? else {
            return Ok(());
        };
        let stored = stored.digest();
        let founded = header.digest();
        if stored != founded {
            return Err(ChainError::OtherFounding { stored, founded });
        }
        return Ok(());
    }
    let commit = Commit {
        header: &header,
        transactions: &[],
        changes: &changes,
        tree: &tree,
        receipts: &[],
        events: &[Vec::new()],
        certificate: None,
    };
    store.commit(&commit, Persist::Now)?;
    Ok(())
}

/// What a genesis comes to.
struct Founding {
    header: Header,
    changes: Changes,
    tree: TreeUpdate,
}

fn founding(genesis: &Genesis) -> Result<Founding, ChainError> {
    genesis.check()?;
    let changes = ledger::genesis(genesis)?;
    let tree = tree::update(&tree::Nothing, Height(0), &changes)?;
    let header = Header {
        version: Header::VERSION,
        circle: genesis.circle(),
        height: Height(0),
        time_ms: genesis.time_ms,
        parent: Digest::default(),
        state_root: tree.root,
        transactions: Block::transactions_digest(&[]),
    };
    Ok(Founding {
        header,
        changes,
        tree,
    })
}

/// The block from which a store's state comes, as the engine takes it.
fn anchor(manifest: Manifest) -> engine::Anchor {
    let Certificate {
        epoch,
        view,
        parent_view,
        signature,
    } = manifest.certificate;
    engine::Anchor {
        block: Block {
            header: manifest.header,
            transactions: manifest.transactions,
        },
        certificate: engine::Certificate {
            epoch,
            view,
            parent_view,
            signature,
        },
    }
}

fn own(certificate: engine::Certificate) -> Certificate {
    Certificate {
        epoch: certificate.epoch,
        view: certificate.view,
        parent_view: certificate.parent_view,
        signature: certificate.signature,
    }
}

impl engine::Chain for NodeChain {
    fn genesis(&self) -> Block {
        self.genesis.clone()
    }

    fn anchor(&self) -> Option<engine::Anchor> {
        self.anchor.clone()
    }

    /// Everything, until there is a checkpoint: a new node could not begin
    /// otherwise.
    fn kept_from(&self) -> Height {
        let Some((shelf, archive_blocks)) = &self.shelf else {
            return Height(0);
        };
        let archived = Height(self.state.height().0.saturating_sub(*archive_blocks));
        let oldest = shelf.oldest().unwrap_or_default();
        archived.min(oldest).min(self.durable.height)
    }

    fn durable_height(&self) -> Height {
        self.durable.height
    }

    fn epoch_length(&self) -> NonZeroU64 {
        self.epoch_length
    }

    fn office(&self) -> Arc<Office> {
        self.office.clone()
    }

    fn deal(&mut self, round: u64, dealing: Vec<u8>) -> Option<Vec<u8>> {
        let duty = self.duty.as_mut()?;
        let end = self.office.epoch.saturating_add(1);
        let last = end.saturating_mul(self.epoch_length.get()) - 1;
        let encoded = duty.deal(self.circle, &*self.state, Height(last), round, dealing);
        let message = encode_message(&[encoded]);
        self.admission.gossip(message.clone());
        Some(message)
    }

    fn share_replaced(&mut self) {
        if let Some(duty) = &mut self.duty {
            duty.forget_share();
        }
    }

    fn propose(&mut self, parent: &Block, now_ms: u64) -> Option<Block> {
        let executed = self.build(&parent.header, now_ms)?;
        Some(Block {
            header: executed.header,
            transactions: executed.transactions.clone(),
        })
    }

    fn verify(&mut self, _: &Block, block: &Block, now_ms: u64) -> bool {
        let height = block.header.height;
        let verdict = if block.header.time_ms > now_ms.saturating_add(MAX_CLOCK_SKEW_MS) {
            Err(block::Invalid::Future {
                time_ms: block.header.time_ms,
                now_ms,
            })
        } else {
            self.execute(block).map(drop)
        };
        match verdict {
            Ok(()) => true,
            Err(invalid) => {
                tracing::warn!(%height, %invalid, "refused a proposed block");
                false
            }
        }
    }

    /// Panics: where the circle finalized what this node cannot follow. Its
    /// store is damaged or its build differs, and it must not go on.
    fn finalized(&mut self, block: Block, certificate: Option<engine::Certificate>) {
        let height = block.header.height;
        if height <= self.state.height() {
            return;
        }
        let executed = self
            .execute(&block)
            .unwrap_or_else(|invalid| panic!("block {height} is final and yet {invalid}"));
        let certificate = certificate.map(own);
        self.commit(&executed, certificate.as_ref())
            .unwrap_or_else(|error| panic!("block {height} cannot be stored: {error:?}"));
        self.pending.finalize(executed.digest, height);
        self.tip.answer(&executed.receipts);
        self.mempool.finalized(&executed.receipts, &self.state);
        tracing::debug!(%height, transactions = executed.receipts.len(), "stored a block");
    }

    fn certified(&mut self, height: Height, certificate: engine::Certificate) {
        let stored = self.store.certify(height, &own(certificate));
        if let Err(error) = stored.and_then(|()| self.publish()) {
            // Proofs are then served at another height; the chain is unharmed.
            tracing::error!(%height, ?error, "cannot store a certificate");
        }
    }

    fn gossip(&mut self, _: PeerKey, message: Vec<u8>) {
        self.admission.gossip(message);
    }

    fn has_work(&self) -> bool {
        let waiting = self.mempool.len();
        let newest = self.pending.newest();
        let held = newest
            .and_then(|digest| self.view(digest))
            .map_or(0, |view| view.unfinalized_transactions());
        waiting > held
    }
}

impl Drop for NodeChain {
    /// A node that ends in order starts again without a replay.
    fn drop(&mut self) {
        if let Err(error) = self.store.persist() {
            tracing::error!(?error, "cannot sync the store at the end");
        }
    }
}
