//! Which checkpoints does a node keep, and when does it make one?
//!
//! One after every so many blocks, at the same heights on every node and cut in
//! the same way, so that who fetches one can go on with another node. It is
//! written by a thread of its own from a snapshot of the store, while the chain
//! goes on; a file stands under its own name only when it is whole and synced.
//! The newest few are kept.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use proof::Certificate;
use serde::Deserialize;
use wire::Height;

use super::{
    file::CheckpointFile,
    format::{MAX_CHUNK_TARGET, MIN_CHUNK_TARGET, Manifest},
    writer::{self, WriteError},
};
use crate::store::Snapshot;

/// Blocks for which a snapshot waits for its block's certificate: by then the
/// block has become final through a child and gets none of its own.
const CERTIFICATE_PATIENCE: u64 = 64;

/// For how many times the time that the last one took no other is made, so
/// that a large state costs a fraction of one processor.
const REST_FACTOR: u32 = 9;

/// The end of a checkpoint's file name; before it stands the height.
const SUFFIX: &str = ".checkpoint";

/// The end of the name of a file that is being written.
const PART: &str = ".part";

/// When checkpoints are made, and which are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Heights that are a multiple of this get one; 0 to make none.
    pub every_blocks: u64,
    /// How many are kept: at least 2, since one may be under way to another
    /// node while the next is made.
    pub keep: usize,
    /// Bytes at which a chunk is closed: the same on all nodes of a circle.
    pub chunk_bytes: u32,
}

impl Default for Policy {
    /// At two blocks a second, one in a quarter of an hour.
    fn default() -> Self {
        Self {
            every_blocks: 2_048,
            keep: 2,
            chunk_bytes: 256 * 1024,
        }
    }
}

impl Policy {
    /// What is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let cut = MIN_CHUNK_TARGET..=MAX_CHUNK_TARGET;
        if !cut.contains(&self.chunk_bytes) {
            let (least, most) = cut.into_inner();
            return Some(format!("chunk_bytes is not within {least} and {most}"));
        }
        (self.keep < 2).then(|| "keep is below 2".to_owned())
    }
}

/// The checkpoints of one node.
#[derive(Debug)]
pub struct Shelf {
    directory: PathBuf,
    policy: Policy,
    /// Whether files are written by threads of their own.
    threads: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<Height, Arc<CheckpointFile>>,
    /// A snapshot that waits for its certificate.
    due: Option<Arc<Snapshot>>,
    writing: bool,
    rest_until: Option<Instant>,
}

impl Shelf {
    /// Opens the shelf in `directory`, or makes an empty one. What was not
    /// written to its end is removed, and so is what is damaged.
    ///
    /// Errors: the system's.
    pub fn open(directory: &Path, policy: Policy) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(PART) {
                fs::remove_file(&path)?;
            } else if name.ends_with(SUFFIX) {
                match CheckpointFile::open(&path) {
                    Ok(file) => drop(files.insert(file.manifest().header.height, Arc::new(file))),
                    Err(error) => {
                        tracing::warn!(%error, "removed a checkpoint that cannot be used");
                        fs::remove_file(&path)?;
                    }
                }
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            policy,
            threads: true,
            state: Mutex::new(State {
                files,
                ..State::default()
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// The checkpoints, newest first.
    pub fn list(&self) -> Vec<Arc<CheckpointFile>> {
        self.state().files.values().rev().cloned().collect()
    }

    /// The checkpoint of the block at `height`.
    pub fn at(&self, height: Height) -> Option<Arc<CheckpointFile>> {
        self.state().files.get(&height).cloned()
    }

    /// The height of the oldest checkpoint.
    pub fn oldest(&self) -> Option<Height> {
        self.state().files.keys().next().copied()
    }

    /// Takes note of a new tip, or of its certificate; a checkpoint that is due
    /// is written by another thread.
    pub fn observe(self: &Arc<Self>, tip: &Arc<Snapshot>) {
        if !self.threads {
            return self.observe_and_wait(tip);
        }
        let Some((snapshot, certificate)) = self.due(tip) else {
            return;
        };
        let shelf = self.clone();
        let writer = std::thread::Builder::new().name("checkpoint".to_owned());
        if let Err(error) = writer.spawn(move || shelf.write(&snapshot, &certificate)) {
            tracing::warn!(%error, "no thread to write a checkpoint");
            self.state().writing = false;
        }
    }

    /// As [`Shelf::observe`], and returns when it is written.
    fn observe_and_wait(&self, tip: &Arc<Snapshot>) {
        if let Some((snapshot, certificate)) = self.due(tip) {
            self.write(&snapshot, &certificate);
        }
    }

    /// The snapshot to write now, if there is one.
    fn due(&self, tip: &Arc<Snapshot>) -> Option<(Arc<Snapshot>, Certificate)> {
        let height = tip.height();
        let mut state = self.state();
        let on_schedule = self.policy.every_blocks != 0
            && height.0 != 0
            && height.0.is_multiple_of(self.policy.every_blocks);
        if on_schedule && !state.files.contains_key(&height) {
            state.due = Some(tip.clone());
        }
        let due = state.due.clone()?;
        if state.writing || state.rest_until.is_some_and(|end| Instant::now() < end) {
            state.due = None;
            return None;
        }
        match tip.certificate(due.height()) {
            Ok(Some(certificate)) => {
                state.due = None;
                state.writing = true;
                Some((due, certificate))
            }
            Ok(None) => {
                if height.since(due.height()) > CERTIFICATE_PATIENCE {
                    state.due = None;
                }
                None
            }
            Err(error) => {
                tracing::error!(%error, "cannot read a certificate");
                state.due = None;
                None
            }
        }
    }

    fn write(&self, snapshot: &Snapshot, certificate: &Certificate) {
        let started = Instant::now();
        let height = snapshot.height();
        let written = self.write_file(snapshot, certificate);
        let took = started.elapsed();
        let mut state = self.state();
        state.writing = false;
        if self.threads {
            state.rest_until = Some(Instant::now() + took.saturating_mul(REST_FACTOR));
        }
        match written {
            Ok((file, manifest)) => {
                tracing::info!(
                    %height, entries = manifest.entries, bytes = manifest.bytes,
                    took_ms = took.as_millis() as u64, "wrote a checkpoint"
                );
                state.files.insert(height, Arc::new(file));
                self.prune(&mut state);
            }
            Err(error) => tracing::error!(%height, %error, "cannot write a checkpoint"),
        }
    }

    fn write_file(
        &self,
        snapshot: &Snapshot,
        certificate: &Certificate,
    ) -> Result<(CheckpointFile, Manifest), WriteError> {
        let name = format!("{}{SUFFIX}", snapshot.height());
        let path = self.directory.join(&name);
        let part = self.directory.join(format!("{name}{PART}"));
        let file = fs::File::create(&part)?;
        let mut out = io::BufWriter::new(&file);
        let manifest = writer::write(snapshot, certificate, self.policy.chunk_bytes, &mut out)?;
        drop(out);
        file.sync_all()?;
        fs::rename(&part, &path)?;
        fs::File::open(&self.directory)?.sync_all()?;
        let file = CheckpointFile::open(&path).map_err(io::Error::other)?;
        Ok((file, manifest))
    }

    /// Removes what is over the number that is kept. Who reads one of them now
    /// reads it to its end.
    fn prune(&self, state: &mut State) {
        while state.files.len() > self.policy.keep {
            if let Some((height, file)) = state.files.pop_first()
                && let Err(error) = fs::remove_file(file.path())
            {
                tracing::warn!(%height, %error, "cannot remove an old checkpoint");
            }
        }
    }

    /// Writes every checkpoint on the thread that finds it due, and never rests:
    /// for simulations, which have no threads and a clock of their own.
    #[cfg(any(test, feature = "simulation"))]
    pub fn without_threads(mut self) -> Self {
        self.threads = false;
        self
    }
}
