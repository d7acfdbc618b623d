//! The protected process's program: measured and executed through one
//! descriptor, so that what runs is what was measured, whatever the path names
//! later.

use std::{io, path::Path, process::Command};

use platform::MeasuredFile;
use wire::Measurement;

/// A program that was measured.
#[derive(Debug)]
pub struct Program(MeasuredFile);

impl Program {
    /// Opens and measures the program at `path`.
    ///
    /// Errors: the file system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        MeasuredFile::open(path).map(Self)
    }

    /// SHA-256 of the program.
    pub fn measurement(&self) -> Measurement {
        self.0.measurement
    }

    /// What starts it, with pipes for its channel and nothing else of this
    /// process. It asks the kernel to end it with the thread that starts it.
    pub(crate) fn command(&self) -> Command {
        self.0.command("ringfort-keykeeper")
    }
}
