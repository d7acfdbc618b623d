//! Who on this machine answers for a request: a command or the agent, never
//! both, so that no operation gets two challenges.
//!
//! The lock is the kernel's and goes with the process that holds it.

use std::{
    fs::{File, OpenOptions},
    path::Path,
    time::{Duration, Instant},
};

use wire::RequestId;

use crate::{sealed_file::SealedFileError, wallet::Wallet};

/// How long a command waits for the agent to finish a step.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// The right to answer for one request, until dropped.
#[derive(Debug)]
pub struct RequestLock {
    _file: File,
}

impl RequestLock {
    /// Takes the lock of `request` if it is free; none if another holder has it.
    ///
    /// Errors: the lock file cannot be made.
    pub fn try_take(wallet: &Wallet, request: RequestId) -> Result<Option<Self>, SealedFileError> {
        let directory = wallet.directory().join("locks");
        std::fs::create_dir_all(&directory).map_err(SealedFileError::io(&directory))?;
        let path = directory.join(format!("{request}.lock"));
        let file = open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(source)) => Err(SealedFileError::io(&path)(source)),
        }
    }

    /// As [`RequestLock::try_take`], waiting up to [`PATIENCE`] for a holder
    /// that is about to let go: the agent holds it for one step at a time.
    ///
    /// Errors: as there.
    pub async fn take(
        wallet: &Wallet,
        request: RequestId,
    ) -> Result<Option<Self>, SealedFileError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::try_take(wallet, request)? {
                None if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                taken => return Ok(taken),
            }
        }
    }
}

fn open(path: &Path) -> Result<File, SealedFileError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(SealedFileError::io(path))
}
