//! The files that a job sees: `/input`, read-only, and `/output`, writable;
//! both in the process's memory and nowhere else.
//!
//! The process has no file system to lend (see `sandbox`), so plaintext cannot
//! reach the host's disk by way of one. `tree` is the files themselves, `host`
//! gives them to WebAssembly as `wasi:filesystem`.

mod host;
mod tree;

pub use host::{HasFilesystem, View};
pub use tree::Filesystem;
