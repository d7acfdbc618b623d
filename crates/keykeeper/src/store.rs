//! Where does a keykeeper keep its secret? In one file, sealed under its key.

use std::path::PathBuf;

use client::{SealedFileError, keyfile::UnlockedKey};
use zeroize::Zeroizing;

/// A keykeeper's file: encrypted with age to the key of its key file, replaced
/// whole, on disk when a write returns.
#[derive(Debug)]
pub struct SealedStore {
    path: PathBuf,
}

impl SealedStore {
    /// The file at `path`, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What was stored; none if nothing was.
    ///
    /// Errors: [`SealedFileError`].
    pub fn read(&self, key: &UnlockedKey) -> Result<Option<Zeroizing<Vec<u8>>>, SealedFileError> {
        if !self.path.exists() {
            return Ok(None);
        }
        key.read_sealed(&self.path).map(Some)
    }

    /// Stores `secret` in the place of what was there.
    ///
    /// Errors: [`SealedFileError`].
    pub fn write(&self, key: &UnlockedKey, secret: &[u8]) -> Result<(), SealedFileError> {
        key.write_sealed(&self.path, secret)
    }
}
