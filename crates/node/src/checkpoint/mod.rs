//! How does a node get the state without executing every block?
//!
//! A **checkpoint** is the whole state after one final block: the block with
//! its certificate, and the entries in the order of their keys' hashes, cut
//! into chunks that each prove themselves against the block's state root. Who
//! holds the circle's key needs to trust nobody from whom it has one.
//!
//! - [`format`](mod@format): the bytes of a manifest, a chunk and a file;
//! - [`writer`]: a file of a snapshot of the store;
//! - [`file`](mod@file): such a file, read and checked;
//! - [`shelf`]: the files that a node keeps and offers;
//! - [`restore`]: a store made of chunks, which a crash does not lose;
//! - [`sync`]: chunks fetched from nodes of the circle;
//! - [`backup`]: files that leave a node and come back;
//! - [`recovery`]: a new circle's first block on a former one's state.
//!
//! The exact bytes and rules are in docs/spec/checkpoints.md.

mod assembly;
pub mod backup;
pub mod file;
pub mod format;
pub mod recovery;
pub mod restore;
pub mod shelf;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod writer;

pub use file::CheckpointFile;
pub use format::{CheckedManifest, Chunk, FormatError, Manifest};
pub use restore::{Restoration, RestoreError, Verification};
pub use shelf::{Policy, Shelf};
pub use sync::{SyncConfig, SyncError};
