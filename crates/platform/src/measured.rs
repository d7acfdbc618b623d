//! A program's file, opened and measured through one descriptor.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use wire::Measurement;

/// How much is read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// An open file and what it measures to. Whoever executes the descriptor gets
/// what was measured, whatever the path names later.
#[derive(Debug)]
pub struct MeasuredFile {
    /// Open for reading, at its beginning.
    pub file: File,
    /// SHA-256 of its contents: what development evidence names.
    pub measurement: Measurement,
}

impl MeasuredFile {
    /// Opens and measures the file at `path`.
    ///
    /// Errors: the file system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => context.update(&buffer[..count]),
            }
        }
        file.rewind()?;
        let mut sha256 = [0; SHA256_OUTPUT_LEN];
        sha256.copy_from_slice(context.finish().as_ref());
        Ok(Self {
            file,
            measurement: Measurement(sha256),
        })
    }

    /// What starts it as `name`, with pipes for its channel and nothing else of this
    /// process but its standard error.
    pub fn command(&self, name: &str) -> Command {
        // The descriptor is closed by the very exec that resolves this path.
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command
            .arg0(name)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_executed_is_what_was_measured() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        std::fs::write(&path, b"abc").unwrap();
        let mut measured = MeasuredFile::open(&path).unwrap();
        // FIPS 180-4, the one-block example.
        let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(measured.measurement.to_string(), wanted);
        // Another file takes its place.
        std::fs::write(directory.path().join("other"), b"abd").unwrap();
        std::fs::rename(directory.path().join("other"), &path).unwrap();
        let mut contents = Vec::new();
        measured.file.read_to_end(&mut contents).unwrap();
        assert_eq!(contents, b"abc");
    }
}
