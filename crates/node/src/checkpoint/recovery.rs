//! How does a circle begin on the state of one that cannot go on?
//!
//! A back-up of the former circle is restored, and one block is put on it: the
//! new circle's first, at the next height, in which nothing happens but that
//! other validators hold another key. When they have certified that block by
//! hand, the state after it is a checkpoint like any other, and nodes of the new
//! circle begin with it.
//!
//! Everybody who signs runs this on a back-up and votes of their own, and comes
//! to the same header.
//!
//! Source: docs/spec/recovery.md.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ledger::{Changes, RecoveryError};
use proof::{Certificate, ProofError};
use wire::{Block, Genesis, Header, Height, RefoundingVote};

use super::{
    backup::{self, BackupError, Trust},
    format::Manifest,
    shelf::Policy,
    sync::LEDGER,
    writer::{self, WriteError},
};
use crate::store::{Commit, Persist, Store, StoreError, TreeUpdate, tree};

/// Why a circle does not begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The back-up is no good.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The back-up is of another block than the genesis names.
    #[error("the back-up is of block {found}, the genesis is for {wanted}")]
    OtherBlock {
        /// The back-up's height.
        found: Height,
        /// The genesis' origin's.
        wanted: Height,
    },
    /// The genesis is not sound, or the members do not want it.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The certificate is not the new circle's.
    #[error("the new circle has not certified its first block")]
    Certificate(#[source] ProofError),
    /// Our store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The checkpoint cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Our disk failed.
    #[error("cannot write {path}")]
    System {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// A new circle's first block, before or after its certificate.
pub struct Opening {
    genesis: Genesis,
    store: Store,
    header: Header,
    changes: Changes,
    tree: TreeUpdate,
}

impl Opening {
    /// Puts the first block of `genesis` on the back-up's state, in the folder
    /// `scratch`, whose content is lost.
    ///
    /// Errors: [`OpenError`].
    pub fn prepare(
        backup: &Path,
        genesis: Genesis,
        votes: &[RefoundingVote],
        scratch: &Path,
    ) -> Result<Self, OpenError> {
        let origin = genesis.origin.ok_or(RecoveryError::NoOrigin)?;
        let trust = Trust {
            circle: Some(origin.circle),
            key: origin.circle_key,
        };
        let manifest = backup::restore(backup, &trust, scratch, true)?;
        let last = manifest.header;
        if (last.height, last.digest()) != (origin.height, origin.header) {
            return Err(OpenError::OtherBlock {
                found: last.height,
                wanted: origin.height,
            });
        }
        let store = Store::open(&scratch.join(LEDGER))?;
        let snapshot = store
            .snapshot()?
            .ok_or_else(|| StoreError::Damaged("a restored store has no tip".to_owned()))?;
        ledger::decided(&snapshot, &genesis, votes)?;
        let height = last.height.plus(1);
        let changes = ledger::recover(&snapshot, &genesis, height)?;
        let tree = tree::update(&snapshot, height, &changes)?;
        drop(snapshot);
        let header = Header {
            version: Header::VERSION,
            circle: genesis.circle(),
            height,
            // Time never runs backwards.
            time_ms: genesis.time_ms.max(last.time_ms),
            parent: last.digest(),
            state_root: tree.root,
            transactions: Block::transactions_digest(&[]),
        };
        Ok(Self {
            genesis,
            store,
            header,
            changes,
            tree,
        })
    }

    /// The block's header: the same for everybody.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The epoch of the block's height: the state's own rules say how long
    /// epochs are.
    pub fn epoch(&self) -> Result<u64, StoreError> {
        let snapshot = self.store.snapshot()?;
        let rules = snapshot.map(|snapshot| snapshot.entry(&wire::state_key::rules()));
        let rules = rules.transpose()?.flatten().unwrap_or_default();
        let rules: wire::record::Rules = wire::record::decode(&rules)
            .map_err(|error| StoreError::Damaged(format!("the rules do not decode: {error}")))?;
        Ok(self.header.height.0 / rules.parameters.epoch_length.max(1))
    }

    /// Writes the checkpoint with which the new circle's nodes begin.
    ///
    /// Errors: [`OpenError::Certificate`]; [`OpenError::Write`], [`OpenError::Store`].
    pub fn write(self, certificate: &Certificate, path: &Path) -> Result<Manifest, OpenError> {
        proof::verify_header(
            &self.header.summary(),
            certificate,
            &self.genesis.circle_key,
        )
        .map_err(OpenError::Certificate)?;
        let commit = Commit {
            header: &self.header,
            transactions: &[],
            changes: &self.changes,
            tree: &self.tree,
            receipts: &[],
            events: &[Vec::new()],
            certificate: Some(certificate),
        };
        self.store.commit(&commit, Persist::Now)?;
        let snapshot = self
            .store
            .snapshot()?
            .ok_or_else(|| StoreError::Damaged("nothing was committed".to_owned()))?;
        let failed = |source| OpenError::System {
            path: path.to_owned(),
            source,
        };
        let file = fs::File::create(path).map_err(failed)?;
        let mut out = io::BufWriter::new(&file);
        let chunk_bytes = Policy::default().chunk_bytes;
        let manifest = writer::write(&snapshot, certificate, chunk_bytes, &mut out)?;
        drop(out);
        file.sync_all().map_err(failed)?;
        Ok(manifest)
    }
}
