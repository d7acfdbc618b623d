//! A TEE's report from the Linux kernel (configfs-tsm, since 6.7;
//! Documentation/ABI/testing/configfs-tsm).
//!
//! One interface for TDX and SEV-SNP: a directory is made, the report data is
//! written, the report is read, the directory is removed. The kernel names the
//! vendor in `provider`.
//!
//! A crate of its own, because a guest's first process (`enclave::guest`) asks for
//! reports too, and must not bring the verifiers of evidence into what is measured.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use wire::EvidenceKind;

/// Where the kernel has reports.
pub const REPORTS: &str = "/sys/kernel/config/tsm/report";

/// The largest report that is read: a TDX quote is below 8 KiB, and the
/// kernel's own limit for a quote is 16 KiB.
const MAX_REPORT_BYTES: u64 = 64 * 1024;

/// Tells this process's reports apart.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// The kernel's report directories. [`ConfigFs`] is the kernel's; tests have
/// one that keeps to the same rules.
pub trait ReportFiles {
    /// Makes the directory of one report; its files are there at once.
    ///
    /// Errors: there is no TEE here, or the kernel refuses.
    fn make(&self, entry: &str) -> io::Result<()>;
    /// Reads a file whole.
    ///
    /// Errors: the kernel's.
    fn read(&self, entry: &str, file: &str) -> io::Result<Vec<u8>>;
    /// Writes a file with one write, which the kernel takes as its whole value.
    ///
    /// Errors: the kernel's.
    fn write(&self, entry: &str, file: &str, value: &[u8]) -> io::Result<()>;
    /// Removes the directory.
    fn remove(&self, entry: &str);
}

/// Reports of the kernel that runs this process.
#[derive(Clone, Debug)]
pub struct ConfigFs {
    root: PathBuf,
}

impl ConfigFs {
    /// Reports beneath `root`; the kernel's are at [`REPORTS`].
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }
}

impl ReportFiles for ConfigFs {
    fn make(&self, entry: &str) -> io::Result<()> {
        fs::create_dir(self.root.join(entry))
    }

    fn read(&self, entry: &str, file: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(self.root.join(entry).join(file))?
            .take(MAX_REPORT_BYTES)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, entry: &str, file: &str, value: &[u8]) -> io::Result<()> {
        let path = self.root.join(entry).join(file);
        OpenOptions::new().write(true).open(path)?.write_all(value)
    }

    fn remove(&self, entry: &str) {
        let _ = fs::remove_dir(self.root.join(entry));
    }
}

/// A report as the kernel gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsmReport {
    /// Which kind of evidence it is the raw part of.
    pub kind: EvidenceKind,
    /// A TDX quote or an SEV-SNP attestation report.
    pub report: Vec<u8>,
    /// What the host gave along: certificates (SEV-SNP); empty if nothing.
    pub auxiliary: Vec<u8>,
}

/// Why the kernel gives no report.
#[derive(Debug, thiserror::Error)]
pub enum TsmError {
    /// The kernel has no report interface here, or refused.
    #[error("the kernel's TEE report, {file}: {source}")]
    Io {
        /// The file.
        file: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A provider that is not known here.
    #[error("the kernel's report provider {0:?} is not known here")]
    Provider(String),
    /// Another process wrote to the same report.
    #[error("another process wrote to the same report")]
    Raced,
}

fn io_error(file: &'static str) -> impl Fn(io::Error) -> TsmError {
    move |source| TsmError::Io { file, source }
}

/// A report's directory, removed at the end whatever happens.
struct Entry<'a, F: ReportFiles> {
    files: &'a F,
    name: String,
}

impl<'a, F: ReportFiles> Entry<'a, F> {
    fn make(files: &'a F) -> Result<Self, TsmError> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringfort-{}-{number}", std::process::id());
        files.make(&name).map_err(io_error("directory"))?;
        Ok(Self { files, name })
    }

    fn read(&self, file: &'static str) -> Result<Vec<u8>, TsmError> {
        self.files.read(&self.name, file).map_err(io_error(file))
    }

    fn text(&self, file: &'static str) -> Result<String, TsmError> {
        let bytes = self.read(file)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }
}

impl<F: ReportFiles> Drop for Entry<'_, F> {
    fn drop(&mut self) {
        self.files.remove(&self.name);
    }
}

/// The kernel's report provider, such as `tdx_guest`.
///
/// Errors: [`TsmError::Io`] where there is none.
pub fn provider(files: &impl ReportFiles) -> Result<String, TsmError> {
    Entry::make(files)?.text("provider")
}

/// Has the TEE make a report over `report_data`.
///
/// Errors: [`TsmError`].
pub fn report(files: &impl ReportFiles, report_data: &[u8; 64]) -> Result<TsmReport, TsmError> {
    let entry = Entry::make(files)?;
    let kind = match entry.text("provider")?.as_str() {
        "tdx_guest" => EvidenceKind::TdxDcap,
        "sev_guest" => EvidenceKind::SevSnp,
        other => return Err(TsmError::Provider(other.to_owned())),
    };
    let generation = || {
        entry
            .text("generation")
            .map(|text| text.parse::<u64>().ok())
    };
    let before = generation()?;
    files
        .write(&entry.name, "inblob", report_data)
        .map_err(io_error("inblob"))?;
    let report = entry.read("outblob")?;
    let auxiliary = entry.read("auxblob").unwrap_or_default();
    // Every write counts one; another count means that the report may be over
    // somebody else's data.
    match (before, generation()?) {
        (Some(before), Some(after)) if after == before + 1 => Ok(TsmReport {
            kind,
            report,
            auxiliary,
        }),
        _ => Err(TsmError::Raced),
    }
}
