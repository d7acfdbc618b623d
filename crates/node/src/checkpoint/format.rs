//! What are the bytes of a checkpoint?
//!
//! Everything here comes from a peer or a file and is bounded before it is
//! decoded. A [`Manifest`] is worth nothing until [`Manifest::check`] has made
//! it a [`CheckedManifest`]; a [`Chunk`] until a restoration has taken it.
//!
//! Source: docs/spec/checkpoints.md.

use borsh::{BorshDeserialize, BorshSerialize};
use jmt::proof::SparseMerkleRangeProof;
use proof::{Certificate, ProofError};
use wire::{Block, CircleId, CircleKey, Header, limits::MAX_BLOCK_BYTES};

/// The tree's hash, as its library names it.
pub(crate) type TreeHash = jmt_sha2::Sha256;

/// The form that this build reads and writes.
pub const VERSION: u8 = 1;

/// What a file of a checkpoint begins with.
pub const MAGIC: &[u8; 16] = b"ringfort-state/1";

/// The largest manifest: the block's transactions with their lengths, the
/// header and the certificate.
pub const MAX_MANIFEST_BYTES: usize = MAX_BLOCK_BYTES + 64 * 1024;

/// The largest encoded chunk: the most that a policy may ask for
/// ([`MAX_CHUNK_TARGET`]), one entry more, and the proof.
pub const MAX_CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Bytes at which a chunk is closed, at most: several fit into memory, and one
/// is fetched within a second over a slow link.
pub const MAX_CHUNK_TARGET: u32 = 1024 * 1024;

/// Bytes at which a chunk is closed, at least: below it proofs would outweigh
/// entries.
pub const MIN_CHUNK_TARGET: u32 = 1024;

/// Chunks of one checkpoint: at the largest size, a state of 64 TiB.
pub const MAX_CHUNKS: u32 = 64 * 1024 * 1024;

/// Why bytes are no checkpoint, or none of this circle. Who gave them is at fault.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Over its limit.
    #[error("{what} of {found} bytes is over the limit of {limit}")]
    TooLarge {
        /// Manifest or chunk.
        what: &'static str,
        /// Its size.
        found: u64,
        /// What is allowed.
        limit: usize,
    },
    /// The bytes do not decode.
    #[error("{what} does not decode")]
    Malformed {
        /// Manifest, chunk or file.
        what: &'static str,
        /// The decoder's reason.
        #[source]
        source: std::io::Error,
    },
    /// Another form than this build's.
    #[error("it has form {0}; this build knows {VERSION}")]
    Version(u8),
    /// It is of another circle.
    #[error("it is of circle {found}, not of {wanted}")]
    OtherCircle {
        /// The header's circle.
        found: CircleId,
        /// The circle that was asked for.
        wanted: CircleId,
    },
    /// The transactions are not the header's.
    #[error("its transactions are not those of its header")]
    Transactions,
    /// The certificate does not verify.
    #[error("the circle has not certified its header")]
    Certificate(#[source] ProofError),
    /// The cut is outside of its bounds.
    #[error("its chunks are cut at {bytes} bytes into {chunks}")]
    Cut {
        /// Bytes at which a chunk is closed.
        bytes: u32,
        /// How many chunks there are.
        chunks: u32,
    },
}

/// Which state it is, and how it is cut.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u8,
    /// The header of the block after which the state was taken.
    pub header: Header,
    /// The circle's signature over it.
    pub certificate: Certificate,
    /// The block's encoded transactions, in order.
    pub transactions: Vec<Vec<u8>>,
    /// A chunk is closed when its entries have this many bytes.
    pub chunk_bytes: u32,
    /// How many chunks there are. Not proven: the last chunk shows that it is.
    pub chunks: u32,
    /// How many entries there are. Not proven; for people.
    pub entries: u64,
    /// Bytes of all encoded chunks. Not proven; for people.
    pub bytes: u64,
}

impl Manifest {
    /// The borsh form.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a manifest always encodes")
    }

    /// Reads [`Manifest::encode`]'s form.
    ///
    /// Errors: [`FormatError::TooLarge`], [`FormatError::Malformed`],
    ///         [`FormatError::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let limit = MAX_MANIFEST_BYTES;
        bounded("a manifest", bytes.len(), limit)?;
        let manifest = Self::try_from_slice(bytes).map_err(|source| FormatError::Malformed {
            what: "the manifest",
            source,
        })?;
        match manifest.version {
            VERSION => Ok(manifest),
            other => Err(FormatError::Version(other)),
        }
    }

    /// Checks that the state is one of this circle's, under the circle's key.
    /// Whether it is recent is for the caller to judge, by the header's time.
    ///
    /// Errors: [`FormatError::OtherCircle`], [`FormatError::Transactions`],
    ///         [`FormatError::Certificate`], [`FormatError::Cut`].
    pub fn check(self, circle: CircleId, key: &CircleKey) -> Result<CheckedManifest, FormatError> {
        if self.header.circle != circle {
            return Err(FormatError::OtherCircle {
                found: self.header.circle,
                wanted: circle,
            });
        }
        if Block::transactions_digest(&self.transactions) != self.header.transactions {
            return Err(FormatError::Transactions);
        }
        let cut = MIN_CHUNK_TARGET..=MAX_CHUNK_TARGET;
        if !cut.contains(&self.chunk_bytes) || !(1..=MAX_CHUNKS).contains(&self.chunks) {
            return Err(FormatError::Cut {
                bytes: self.chunk_bytes,
                chunks: self.chunks,
            });
        }
        proof::verify_header(&self.header.summary(), &self.certificate, key)
            .map_err(FormatError::Certificate)?;
        Ok(CheckedManifest(self))
    }
}

/// A manifest whose header the circle has certified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedManifest(Manifest);

impl std::ops::Deref for CheckedManifest {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        &self.0
    }
}

/// Some entries, and what shows that they are the state's next.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub struct Chunk {
    /// Keys and values, ascending by the keys' SHA-256.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// The nodes to the right of the last entry's path, from the bottom up.
    pub(crate) proof: SparseMerkleRangeProof<TreeHash>,
}

impl Chunk {
    /// The borsh form.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a chunk always encodes")
    }

    /// Reads [`Chunk::encode`]'s form.
    ///
    /// Errors: [`FormatError::TooLarge`], [`FormatError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        bounded("a chunk", bytes.len(), MAX_CHUNK_BYTES)?;
        Self::try_from_slice(bytes).map_err(|source| FormatError::Malformed {
            what: "the chunk",
            source,
        })
    }
}

pub(crate) fn bounded(what: &'static str, found: usize, limit: usize) -> Result<(), FormatError> {
    if found > limit {
        let found = found as u64;
        return Err(FormatError::TooLarge { what, found, limit });
    }
    Ok(())
}
