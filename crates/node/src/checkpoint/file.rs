//! What does a file of a checkpoint hold?
//!
//! ```text
//! "ringfort-state/1"  u32 length, manifest  { u32 length, chunk } for each chunk
//! ```
//!
//! Lengths are little-endian. Opening reads the manifest and finds the chunks;
//! nothing in the file is trusted, and nothing is proven by opening it.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::format::{FormatError, MAGIC, MAX_CHUNK_BYTES, MAX_MANIFEST_BYTES, Manifest, bounded};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file is no checkpoint, or is damaged.
    #[error("{path} is no whole checkpoint")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
}

/// An open file. It may be read by many at a time.
#[derive(Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    file: File,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    /// Where each chunk is, and how long.
    chunks: Vec<(u64, u32)>,
}

impl CheckpointFile {
    /// Opens the file at `path`.
    ///
    /// Errors: [`FileError`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let read_failed = |source| FileError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read_failed)?;
        let scan = || -> Result<_, Failure> {
            let mut magic = [0; MAGIC.len()];
            file.read_exact_at(&mut magic, 0)?;
            if &magic != MAGIC {
                return Err(malformed("it begins with something else"));
            }
            let mut at = MAGIC.len() as u64;
            let (offset, length) = frame(&file, &mut at, "a manifest", MAX_MANIFEST_BYTES)?;
            let manifest_bytes = read(&file, offset, length)?;
            let manifest = Manifest::decode(&manifest_bytes)?;
            let end = file.metadata()?.len();
            let mut chunks = Vec::new();
            while at < end {
                chunks.push(frame(&file, &mut at, "a chunk", MAX_CHUNK_BYTES)?);
            }
            if at != end || chunks.len() as u64 != u64::from(manifest.chunks) {
                return Err(malformed("chunks are missing or cut off"));
            }
            Ok((manifest, manifest_bytes, chunks))
        };
        match scan() {
            Ok((manifest, manifest_bytes, chunks)) => Ok(Self {
                path: path.to_owned(),
                file,
                manifest,
                manifest_bytes,
                chunks,
            }),
            Err(Failure::Read(source)) => Err(read_failed(source)),
            Err(Failure::Format(source)) => Err(FileError::Format {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// What the file says that it holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest as it is encoded.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The encoded chunk of this number; none past the last.
    ///
    /// Errors: [`FileError::Read`].
    pub fn chunk(&self, index: u32) -> Result<Option<Vec<u8>>, FileError> {
        let Some((offset, length)) = self.chunks.get(index as usize) else {
            return Ok(None);
        };
        let bytes = read(&self.file, *offset, *length);
        bytes.map(Some).map_err(|source| FileError::Read {
            path: self.path.clone(),
            source,
        })
    }
}

enum Failure {
    Read(io::Error),
    Format(FormatError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => malformed("it ends too early"),
            _ => Self::Read(error),
        }
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

fn malformed(reason: &str) -> Failure {
    Failure::Format(FormatError::Malformed {
        what: "the file",
        source: io::Error::new(io::ErrorKind::InvalidData, reason),
    })
}

/// Passes over one length and its bytes.
fn frame(
    file: &File,
    at: &mut u64,
    what: &'static str,
    limit: usize,
) -> Result<(u64, u32), Failure> {
    let mut length = [0; 4];
    file.read_exact_at(&mut length, *at)?;
    let length = u32::from_le_bytes(length);
    bounded(what, length as usize, limit)?;
    let offset = *at + 4;
    *at = offset + u64::from(length);
    Ok((offset, length))
}

fn read(file: &File, offset: u64, length: u32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
