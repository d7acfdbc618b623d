//! What is kept on disk for one contract: ciphertext, all of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use wire::{ContractId, limits::MAX_PAYLOAD_BYTES};

/// A contract's directory.
pub struct ContractFiles {
    directory: PathBuf,
    output: Mutex<Option<Output>>,
}

struct Output {
    file: File,
    bytes: u64,
}

/// Where contracts' directories lie.
pub fn contracts_directory(data_dir: &Path) -> PathBuf {
    data_dir.join("contracts")
}

impl ContractFiles {
    /// The files of `contract` beneath `data_dir`.
    ///
    /// Errors: the directory cannot be made.
    pub fn open(data_dir: &Path, contract: ContractId) -> io::Result<Self> {
        let directory = contracts_directory(data_dir).join(contract.to_string());
        fs::create_dir_all(&directory)?;
        Ok(Self {
            directory,
            output: Mutex::new(None),
        })
    }

    /// The contract's directory; its log lies there too.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The encrypted payload, while the contract lives.
    pub fn payload(&self) -> PathBuf {
        self.directory.join("payload")
    }

    /// The encrypted output of a job.
    pub fn output(&self) -> PathBuf {
        self.directory.join("output")
    }

    /// Appends to the output; the first bytes of a run replace an earlier run's.
    ///
    /// Errors: the file system's; over [`MAX_PAYLOAD_BYTES`] it is invalid data.
    pub fn append_output(&self, bytes: &[u8]) -> io::Result<()> {
        let mut output = self.lock();
        let output = match &mut *output {
            Some(output) => output,
            none => none.insert(Output {
                file: File::create(self.output())?,
                bytes: 0,
            }),
        };
        output.bytes += bytes.len() as u64;
        if output.bytes > MAX_PAYLOAD_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the output is over its limit",
            ));
        }
        output.file.write_all(bytes)
    }

    /// Makes the output whole and durable; an empty one if nothing was appended.
    ///
    /// Errors: the file system's.
    pub fn finish_output(&self) -> io::Result<()> {
        match self.lock().take() {
            Some(output) => output.file.sync_all(),
            None => OpenOptions::new()
                .create(true)
                .append(true)
                .open(self.output())?
                .sync_all(),
        }
    }

    /// Deletes the payload's ciphertext, which nobody needs any more.
    pub fn forget_payload(&self) {
        let _ = fs::remove_file(self.payload());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Output>> {
        self.output
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Deletes the directories of contracts that `keep` does not name and that
/// were last written to before `age`.
///
/// Errors: the directory cannot be listed.
pub fn prune(
    data_dir: &Path,
    age: Duration,
    keep: impl Fn(ContractId) -> bool,
) -> io::Result<Vec<ContractId>> {
    let directory = contracts_directory(data_dir);
    fs::create_dir_all(&directory)?;
    let now = SystemTime::now();
    let mut pruned = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(contract) = name.and_then(|name| name.parse::<ContractId>().ok()) else {
            continue;
        };
        let old = newest(&path)
            .is_some_and(|written| now.duration_since(written).is_ok_and(|since| since > age));
        if old && !keep(contract) && fs::remove_dir_all(&path).is_ok() {
            pruned.push(contract);
        }
    }
    Ok(pruned)
}

/// When a file of `directory` was last written to.
fn newest(directory: &Path) -> Option<SystemTime> {
    let written = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let files = fs::read_dir(directory).ok()?.flatten();
    files
        .filter_map(|entry| written(&entry.path()))
        .chain(written(directory))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_what_was_appended_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let files = ContractFiles::open(directory.path(), ContractId([1; 32])).unwrap();
        files.append_output(b"ab").unwrap();
        files.append_output(b"c").unwrap();
        files.finish_output().unwrap();
        assert_eq!(fs::read(files.output()).unwrap(), b"abc");
        // A second run's output does not begin with the first one's.
        files.append_output(b"z").unwrap();
        files.finish_output().unwrap();
        assert_eq!(fs::read(files.output()).unwrap(), b"z");
    }

    #[test]
    fn pruning_takes_what_is_old_and_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        for number in 1..=2 {
            let files = ContractFiles::open(directory.path(), ContractId([number; 32])).unwrap();
            files.append_output(b"x").unwrap();
        }
        let kept = ContractId([1; 32]);
        let day = Duration::from_secs(86_400);
        assert!(prune(directory.path(), day, |_| false).unwrap().is_empty());
        let pruned = prune(directory.path(), Duration::ZERO, |id| id == kept).unwrap();
        assert_eq!(pruned, [ContractId([2; 32])]);
    }
}
