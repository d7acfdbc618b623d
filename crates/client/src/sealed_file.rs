//! Small secret files: encrypted with age, written so that a crash leaves the
//! old file or the new one, never a part.
//!
//! The format is age's own (age-encryption.org/v1): a user can open every
//! file with the stock `age` tool and the passphrase.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use zeroize::Zeroizing;

/// A secret file, encrypted: a few secrets and labels.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why a secret file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SealedFileError {
    /// The file system failed.
    #[error("{path} cannot be read or written")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file stands where a new one was to be made.
    #[error("{path} exists: it is not overwritten")]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The passphrase or key does not open it.
    #[error("{path} does not open: wrong passphrase or key")]
    WrongKey {
        /// Which file.
        path: PathBuf,
    },
    /// It is no such file, or damaged.
    #[error("{path} is damaged or not such a file: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl SealedFileError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl ToString) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// What happens to a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Keep,
    Replace,
}

/// Encrypts `plaintext` to `recipient` and puts it at `path`, on disk when
/// this returns.
pub(crate) fn write(
    path: &Path,
    recipient: &impl age::Recipient,
    plaintext: &[u8],
    existing: Existing,
) -> Result<(), SealedFileError> {
    let sealed = age::encrypt(recipient, plaintext)
        .map_err(|error| SealedFileError::damaged(path, error))?;
    write_durably(path, &sealed, existing)
}

/// Reads and decrypts the file at `path`.
pub(crate) fn read(
    path: &Path,
    identity: &impl age::Identity,
) -> Result<Zeroizing<Vec<u8>>, SealedFileError> {
    let file = File::open(path).map_err(SealedFileError::io(path))?;
    let mut sealed = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut sealed)
        .map_err(SealedFileError::io(path))?;
    if sealed.len() as u64 > MAX_FILE_BYTES {
        return Err(SealedFileError::damaged(path, "too large"));
    }
    match age::decrypt(identity, &sealed) {
        Ok(plaintext) => Ok(Zeroizing::new(plaintext)),
        Err(age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed) => {
            Err(SealedFileError::WrongKey {
                path: path.to_owned(),
            })
        }
        Err(error) => Err(SealedFileError::damaged(path, error)),
    }
}

/// Writes a new file for its owner alone, on disk when this returns.
///
/// Errors: [`SealedFileError::Exists`]: another's is never overwritten; the
///         file system fails.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), SealedFileError> {
    write_durably(path, bytes, Existing::Keep)
}

/// Distinguishes temporary files of one process.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Writes a file for its owner alone: whole, synced, then moved into place,
/// and the move synced too.
pub(crate) fn write_durably(
    path: &Path,
    bytes: &[u8],
    existing: Existing,
) -> Result<(), SealedFileError> {
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(SealedFileError::io(directory))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".{}-{}.tmp",
        std::process::id(),
        TEMPORARY.fetch_add(1, Ordering::Relaxed)
    ));
    let temporary = path.with_file_name(name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        match existing {
            Existing::Replace => fs::rename(&temporary, path)?,
            // A hard link fails if the name is taken; a rename would not.
            Existing::Keep => fs::hard_link(&temporary, path)?,
        }
        File::open(directory)?.sync_all()
    })();
    if existing == Existing::Keep || written.is_err() {
        // A leftover is harmless: it is encrypted, and never read.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|source| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            SealedFileError::Exists {
                path: path.to_owned(),
            }
        } else {
            SealedFileError::io(path)(source)
        }
    })
}
