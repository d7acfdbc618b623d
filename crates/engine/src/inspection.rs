//! Is what the engine stored still what it wrote?
//!
//! Asked before an engine is started, on threads of its own. The archives of
//! blocks and certificates are read from end to end, since a damaged block would
//! otherwise be met only when a peer asks for it. They can be had again from
//! peers, so [`set_aside`] takes them out of the way whole; what cannot be had
//! again, the shares and the memory of votes, stays where it is. Nothing is
//! deleted. Trusts the checksums that the storage library writes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
};

use commonware_runtime::{Runner as _, Supervisor as _, tokio};

use crate::{
    handle::reason,
    storage::{Archives, Sizes, page_cache},
    tcp::PARTITION,
};

/// The parts of a directory that peers can give again.
const REPLACEABLE: [&str; 3] = ["finalizations", "blocks", "marshal"];

/// What was stored is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine's archives in {directory} are damaged: {what}")]
pub struct Damage {
    /// The engine's directory.
    pub directory: PathBuf,
    /// What cannot be read.
    pub what: String,
}

/// Reads the archives of an engine that does not run; nothing to read is well.
///
/// Errors: [`Damage`].
pub fn inspect(directory: &Path) -> Result<(), Damage> {
    let damage = |what: String| Damage {
        directory: directory.to_owned(),
        what,
    };
    if !directory.exists() {
        return Ok(());
    }
    let configuration = tokio::Config::new()
        .with_worker_threads(1)
        .with_storage_directory(directory);
    // Not on the caller's thread, which may be another runtime's; and what the
    // storage library takes for a bug of its caller ends that thread alone.
    let inspection = thread::spawn(move || {
        tokio::Runner::new(configuration).start(|context| async move {
            let cache = page_cache(Sizes::PRODUCTION);
            let child = context.child("inspection");
            let archives = Archives::open(&child, PARTITION, &cache, Sizes::PRODUCTION).await;
            archives.map_err(|error| error.to_string())?.verify().await
        })
    });
    let read = inspection.join();
    let read = read.unwrap_or_else(|panic| Err(reason(&*panic)));
    read.map_err(damage)
}

/// Moves the archives of an engine that does not run into `aside`.
///
/// Errors: the system's; some of them may have been moved then.
pub fn set_aside(directory: &Path, aside: &Path) -> io::Result<()> {
    fs::create_dir_all(aside)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_replaceable = name
            .to_str()
            .and_then(|name| name.strip_prefix(PARTITION)?.strip_prefix('-'))
            .is_some_and(|part| REPLACEABLE.iter().any(|own| part.starts_with(own)));
        if is_replaceable {
            fs::rename(entry.path(), aside.join(name))?;
        }
    }
    Ok(())
}
