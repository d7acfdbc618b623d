//! How does the state leave a node and come back?
//!
//! A back-up is a checkpoint's file. It is fetched from a running node over its
//! API, and checked whole before it gets its name; it is checked again, chunk by
//! chunk, when a node's store is made from it. Neither needs more than the
//! circle's key.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use wire::{CircleId, CircleKey, Height};

use super::{
    file::{CheckpointFile, FileError},
    format::{CheckedManifest, FormatError, MAGIC, Manifest},
    restore::{Restoration, RestoreError, Verification},
    sync::{self, LEDGER, Peers, SyncError},
};
use crate::store::{Store, StoreError};

/// The file in which a back-up becomes a store.
const RESTORING: &str = "restoring.redb";

/// Why a back-up was not made, is no good, or was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The node does not give a checkpoint.
    #[error("the node gives no checkpoint")]
    Node(#[source] SyncError),
    /// The node has made none yet.
    #[error("the node has no checkpoint yet")]
    None,
    /// The file cannot be read, or is no checkpoint.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is of another circle, or nobody certified it.
    #[error("{path} is not this circle's")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// Its entries are not the certified state.
    #[error("{path} is damaged or forged")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: RestoreError,
    },
    /// There is a ledger already.
    #[error("{path} holds the ledger up to block {height}")]
    Occupied {
        /// The ledger's file.
        path: PathBuf,
        /// Its tip.
        height: Height,
    },
    /// Our store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our disk failed.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// Whose state a back-up must hold.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// The circle; any that the key certifies, if none is given.
    pub circle: Option<CircleId>,
    /// The circle's key.
    pub key: CircleKey,
}

impl Trust {
    fn check(&self, path: &Path, manifest: Manifest) -> Result<CheckedManifest, BackupError> {
        let circle = self.circle.unwrap_or(manifest.header.circle);
        let checked = manifest.check(circle, &self.key);
        checked.map_err(|source| BackupError::Foreign {
            path: path.to_owned(),
            source,
        })
    }
}

/// Writes the newest checkpoint of the node at `url` to `path`.
///
/// Errors: [`BackupError`]; there is no file at `path` then, or the one before.
pub async fn back_up(
    url: &str,
    trust: &Trust,
    path: &Path,
) -> Result<CheckedManifest, BackupError> {
    let part = path.with_added_extension("part");
    let fetched = fetch(url, &part).await;
    let checked = match fetched {
        Ok(()) => {
            let (part, trust) = (part.clone(), *trust);
            let checked = tokio::task::spawn_blocking(move || verify(&part, &trust)).await;
            checked.unwrap_or_else(|panic| Err(write_failed(path)(io::Error::other(panic))))
        }
        Err(error) => Err(error),
    };
    match checked {
        Ok(manifest) => {
            fs::rename(&part, path).map_err(write_failed(path))?;
            Ok(manifest)
        }
        Err(error) => {
            // It may not exist; what is wrong was said already.
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

async fn fetch(url: &str, part: &Path) -> Result<(), BackupError> {
    let peers = Peers::new(&[url.to_owned()]).map_err(BackupError::Node)?;
    let Some(height) = peers.newest().await.map_err(BackupError::Node)? else {
        return Err(BackupError::None);
    };
    let manifest_bytes = peers.manifest_bytes(height).await;
    let manifest_bytes = manifest_bytes.map_err(BackupError::Node)?;
    let chunks = Manifest::decode(&manifest_bytes).map(|manifest| manifest.chunks);
    let chunks = chunks.map_err(|source| BackupError::Foreign {
        path: part.to_owned(),
        source,
    })?;
    let mut out = io::BufWriter::new(fs::File::create(part).map_err(write_failed(part))?);
    out.write_all(MAGIC).map_err(write_failed(part))?;
    let mut put = |bytes: &[u8]| {
        // Both kinds are far below 4 GiB.
        let length = bytes.len() as u32;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(bytes)
    };
    put(&manifest_bytes).map_err(write_failed(part))?;
    for index in 0..chunks {
        let chunk = peers.any_chunk(height, index).await;
        put(&chunk.map_err(BackupError::Node)?).map_err(write_failed(part))?;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error);
    let synced = file.and_then(|file| file.sync_all());
    synced.map_err(write_failed(part))
}

/// Checks the whole back-up at `path`.
///
/// Errors: [`BackupError::File`], [`BackupError::Foreign`], [`BackupError::Content`].
pub fn verify(path: &Path, trust: &Trust) -> Result<CheckedManifest, BackupError> {
    check(path, trust, |_, _| ())
}

/// Checks the whole back-up, and shows every entry once it is proven.
fn check(
    path: &Path,
    trust: &Trust,
    mut see: impl FnMut(&[u8], &[u8]),
) -> Result<CheckedManifest, BackupError> {
    let file = CheckpointFile::open(path)?;
    let manifest = trust.check(path, file.manifest().clone())?;
    let content = |source| BackupError::Content {
        path: path.to_owned(),
        source,
    };
    let mut verification = Verification::begin(&manifest).map_err(content)?;
    let mut index = 0;
    while let Some(chunk) = file.chunk(index)? {
        for (key, value) in verification.add(&chunk).map_err(content)? {
            see(&key, &value);
        }
        index += 1;
    }
    verification.finish().map_err(content)?;
    Ok(manifest)
}

/// Checks the whole back-up at `path` and gives the value under `key`.
///
/// Errors: as [`verify`].
pub fn read(
    path: &Path,
    trust: &Trust,
    key: &[u8],
) -> Result<(CheckedManifest, Option<Vec<u8>>), BackupError> {
    let mut value = None;
    let manifest = check(path, trust, |found, content| {
        if found == key {
            value = Some(content.to_vec());
        }
    })?;
    Ok((manifest, value))
}

/// Makes the ledger's file in `data_dir` from the back-up at `path`. A ledger
/// that is there is replaced only if `replace` says so.
///
/// Errors: [`BackupError`]; the ledger's file is as it was then.
pub fn restore(
    path: &Path,
    trust: &Trust,
    data_dir: &Path,
    replace: bool,
) -> Result<CheckedManifest, BackupError> {
    let ledger = data_dir.join(LEDGER);
    if ledger.exists() && !replace {
        let snapshot = Store::open(&ledger)?.snapshot()?;
        return Err(BackupError::Occupied {
            height: snapshot.map(|s| s.height()).unwrap_or_default(),
            path: ledger,
        });
    }
    let file = CheckpointFile::open(path)?;
    let manifest = trust.check(path, file.manifest().clone())?;
    let target = data_dir.join(RESTORING);
    fs::create_dir_all(data_dir).map_err(write_failed(&target))?;
    if target.exists() {
        fs::remove_file(&target).map_err(write_failed(&target))?;
    }
    let content = |source| match source {
        RestoreError::Store(source) => BackupError::Store(source),
        source => BackupError::Content {
            path: path.to_owned(),
            source,
        },
    };
    let store = Store::open(&target)?;
    let mut restoration = Restoration::open(store, manifest.clone()).map_err(content)?;
    while let Some(index) = restoration.next_chunk() {
        // Opening the file counted the chunks.
        let chunk = file.chunk(index)?.unwrap_or_default();
        restoration.add(&chunk).map_err(content)?;
    }
    drop(restoration.finish().map_err(content)?);
    sync::replace(&target, &ledger).map_err(BackupError::Node)?;
    Ok(manifest)
}

fn write_failed(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Write { path, source }
}
