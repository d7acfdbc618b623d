//! What can a client believe of a circle's ledger when it holds nothing but
//! the circle's public key?
//!
//! A [`Proof`] carries a header, the circle's threshold [`Certificate`] over
//! it, a key and its value (or the value's absence), and the path of the
//! authenticated tree between them. [`Proof::verify`] turns it into a
//! [`Proven`], which nothing else can make. No node, engine or chain is
//! trusted, and none is linked: the crate needs BLS12-381 and SHA-256 only.
//!
//! Left to the caller: whether the header is *recent* ([`Proven::time_ms`],
//! [`Proven::height`]) and whether the key is the one that was asked for.
//!
//! The exact bytes are in docs/spec/proofs.md.

mod certificate;
mod path;
mod proven;
mod varint;

pub use certificate::{Certificate, DOMAIN_SEPARATION_TAG, SIGNATURE_BYTES, verify_header};
pub use path::{EMPTY_SUBTREE, MAX_DEPTH, OtherLeaf, Path, PathError};
pub use proven::{CertifiedHeader, MAX_KEY_BYTES, MAX_PROOF_BYTES, MAX_VALUE_BYTES, Proof, Proven};

/// Why a header or a proof is not to be believed.
///
/// It is always the fault of whoever made the proof, or of the way it came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The header has a version that this build does not know.
    #[error("header version {0} is not known here; this build knows {known}", known = wire::Header::VERSION)]
    Version(u8),
    /// The circle key is no point of the right group.
    #[error("the circle key is not a valid BLS12-381 public key")]
    CircleKey,
    /// The certificate is not the circle's over this header.
    #[error("the certificate is not the circle's signature over this header")]
    Certificate,
    /// The key or the value is over its limit.
    #[error("the {what} has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// The key or the value.
        what: &'static str,
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The path cannot belong to the key.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The path leads to another root than the header's.
    #[error("the path does not lead from the entry to the header's state root")]
    StateRoot,
}
