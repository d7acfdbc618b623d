//! How does a snapshot of the store become a file?
//!
//! The flat state is in the order of keys and the tree in that of their
//! hashes, so the keys are sorted by hash first: in passes over one part of
//! all hashes each, so that memory stays bounded however large the state is.
//! The snapshot stays as it is while the chain goes on.

use std::io::{self, Seek, SeekFrom, Write};

use proof::Certificate;
use wire::{Digest, Height};

use super::format::{Chunk, MAGIC, Manifest, VERSION};
use crate::store::{Snapshot, StoreError, tree};

/// Keys that are sorted at a time: some 50 MB with their hashes.
const KEYS_PER_PASS: u64 = 400_000;

/// Passes at most: one for each first byte of a hash.
const MAX_PASSES: u64 = 256;

/// Why no file was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be written.
    #[error("the checkpoint cannot be written")]
    Write(#[from] io::Error),
    /// The block has no certificate of its own.
    #[error("block {0} has no certificate of its own")]
    Uncertified(Height),
}

/// Writes the checkpoint of `snapshot`'s tip, which `certificate` is for, and
/// gives its manifest.
///
/// Shape:  `chunk_bytes` closes a chunk; within the bounds of the format.
/// Errors: [`WriteError`]; the file is of no use then.
pub fn write(
    snapshot: &Snapshot,
    certificate: &Certificate,
    chunk_bytes: u32,
    out: &mut (impl Write + Seek),
) -> Result<Manifest, WriteError> {
    let height = snapshot.height();
    let mut manifest = Manifest {
        version: VERSION,
        header: *snapshot.header(),
        certificate: *certificate,
        transactions: snapshot.transactions(height)?.unwrap_or_default(),
        chunk_bytes,
        chunks: 0,
        entries: 0,
        bytes: 0,
    };
    write_head(&manifest, out)?;
    let passes = snapshot
        .entry_count()?
        .div_ceil(KEYS_PER_PASS)
        .next_power_of_two()
        .min(MAX_PASSES);
    let mut open = Open::default();
    for pass in 0..passes {
        for (hash, key) in keys_of_pass(snapshot, pass, passes)? {
            // The snapshot does not change: what was listed is there.
            let value = snapshot.entry(&key)?.unwrap_or_default();
            open.bytes += key.len() + value.len();
            open.entries.push((key, value));
            open.last = hash;
            if open.bytes >= chunk_bytes as usize {
                close(snapshot, &mut open, &mut manifest, out)?;
            }
        }
    }
    if !open.entries.is_empty() {
        close(snapshot, &mut open, &mut manifest, out)?;
    }
    // The manifest's length does not depend on its numbers.
    out.seek(SeekFrom::Start(0))?;
    write_head(&manifest, out)?;
    out.flush()?;
    Ok(manifest)
}

/// The chunk that is being filled.
#[derive(Default)]
struct Open {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
    last: Digest,
}

fn close(
    snapshot: &Snapshot,
    open: &mut Open,
    manifest: &mut Manifest,
    out: &mut impl Write,
) -> Result<(), WriteError> {
    let proof = tree::range_proof(snapshot, open.last, snapshot.height())?;
    let Open { entries, .. } = std::mem::take(open);
    manifest.entries += entries.len() as u64;
    let bytes = Chunk { entries, proof }.encode();
    manifest.chunks += 1;
    manifest.bytes += bytes.len() as u64;
    write_frame(&bytes, out)?;
    Ok(())
}

fn write_head(manifest: &Manifest, out: &mut impl Write) -> io::Result<()> {
    out.write_all(MAGIC)?;
    write_frame(&manifest.encode(), out)
}

fn write_frame(bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(bytes)
}

/// The keys of one pass, ascending by their hashes.
fn keys_of_pass(
    snapshot: &Snapshot,
    pass: u64,
    passes: u64,
) -> Result<Vec<(Digest, Vec<u8>)>, StoreError> {
    let width = MAX_PASSES / passes;
    let mut keys = Vec::new();
    snapshot.each_key(|key| {
        let hash = Digest::of(&[key]);
        if u64::from(hash.0[0]) / width == pass {
            keys.push((hash, key.to_vec()));
        }
    })?;
    keys.sort_unstable();
    Ok(keys)
}
