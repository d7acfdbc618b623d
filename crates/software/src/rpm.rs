//! What has an RPM distribution published? The chain from a vendor's key to the
//! digest of each file: the signature in a package over its header, and the
//! header, which holds the SHA-256 of every file.
//!
//! Both are read by `rpmkeys` and `rpm`, the programs that such distributions
//! rely on, from one private copy of the package: `rpm` is asked only for what
//! `rpmkeys` has found signed by a key of the keyring. Nothing is unpacked.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::archive::{ArchiveError, ListedPackage, PackagedFile, malformed, sha256};

/// A package; the largest (games, firmware) have some GiB, and are none of a host's
/// programs.
const MAX_PACKAGE_BYTES: u64 = 1024 * 1024 * 1024;

/// The signature checker, and the reader of headers.
const RPMKEYS: &str = "rpmkeys";
const RPM: &str = "rpm";

/// A package without a signature, or with one of an unknown key, is refused: by
/// itself `rpmkeys` would be content with digests.
const NEEDS_SIGNATURE: &str = "_pkgverify_level signature";

/// The identity, the time of the build, how files are digested, how many there are, and of
/// each the digest (none of a link or directory) and the path.
const FORMAT: &str = "%{NAME}\\n%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n%{ARCH}\\n%{BUILDTIME}\\n\
                      %{FILEDIGESTALGO}\\n%{FILENAMES:arraysize}\\n[%{FILEDIGESTS} %{FILENAMES}\\n]";

/// The number of SHA-256 among OpenPGP's digests (RFC 9580 §9.5).
const SHA256: &str = "8";

/// A package whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPackage {
    /// What it is. Its epoch is part of the version, also where it is 0.
    pub listed: ListedPackage,
    /// When it was built, Unix milliseconds.
    pub built_ms: u64,
    /// Its regular files.
    pub files: Vec<PackagedFile>,
}

/// The keys of a vendor, in a store of their own that ends with this.
#[derive(Debug)]
pub struct Keyring {
    folder: tempfile::TempDir,
}

impl Keyring {
    /// Takes the keys of an ASCII-armoured file, as vendors publish them.
    ///
    /// Errors: [`ArchiveError::Program`] also where there is no room for temporary
    ///         files; [`ArchiveError::Malformed`].
    pub fn open(keys: &Path) -> Result<Self, ArchiveError> {
        let program = |source| ArchiveError::Program {
            program: RPMKEYS,
            source,
        };
        let folder = tempfile::tempdir().map_err(program)?;
        let keyring = Self { folder };
        let keys = std::path::absolute(keys).map_err(program)?;
        let output = keyring.run(RPMKEYS, &["--import".as_ref(), keys.as_os_str()])?;
        match output.status.success() {
            true => Ok(keyring),
            false => Err(malformed("keyring", said(&output))),
        }
    }

    /// Checks the signature of the package at `path`, and reads its header.
    ///
    /// Errors: [`ArchiveError`].
    pub fn check(&self, path: &Path) -> Result<SignedPackage, ArchiveError> {
        let unread =
            |error: io::Error| malformed("package", format!("{}: {error}", path.display()));
        if fs::metadata(path).map_err(unread)?.len() > MAX_PACKAGE_BYTES {
            return Err(malformed("package", "it is too large"));
        }
        // Both programs must see the same bytes, whatever happens to the file.
        let bytes = fs::read(path).map_err(unread)?;
        let mut copy = tempfile::NamedTempFile::new_in(self.folder.path()).map_err(unread)?;
        copy.write_all(&bytes).map_err(unread)?;
        let package = copy.path().as_os_str();
        let arguments = [
            "--define".as_ref(),
            NEEDS_SIGNATURE.as_ref(),
            "--checksig".as_ref(),
        ];
        let output = self.run(RPMKEYS, &[&arguments[..], &[package]].concat())?;
        if !output.status.success() {
            // It names the copy, which is nobody's.
            let reason =
                said(&output).replace(&*copy.path().to_string_lossy(), &path.to_string_lossy());
            return Err(ArchiveError::Signature(reason));
        }
        let arguments = [
            "--query".as_ref(),
            "--package".as_ref(),
            "--queryformat".as_ref(),
        ];
        let output = self.run(RPM, &[&arguments[..], &[FORMAT.as_ref(), package]].concat())?;
        let header = String::from_utf8(output.stdout)
            .map_err(|_| malformed("package's header", "it is no text"))?;
        parse(&header, &bytes, path)
    }

    fn run(
        &self,
        program: &'static str,
        arguments: &[&std::ffi::OsStr],
    ) -> Result<Output, ArchiveError> {
        Command::new(program)
            .arg("--dbpath")
            .arg(self.folder.path().join("keys"))
            .args(arguments)
            // Nobody's own macros, and words that do not depend on who runs it.
            .env("HOME", self.folder.path())
            .env("LC_ALL", "C")
            .output()
            .map_err(|source| ArchiveError::Program { program, source })
    }
}

/// What a program had to say, in one line.
fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or("it gave no reason").trim().to_owned()
}

fn parse(header: &str, bytes: &[u8], path: &Path) -> Result<SignedPackage, ArchiveError> {
    let cut = || malformed("package's header", "it is cut short");
    let mut lines = header.lines();
    let mut next = || lines.next().ok_or_else(cut);
    let (name, version, architecture) = (next()?, next()?, next()?);
    let built = next()?.parse::<u64>();
    let built = built.map_err(|_| malformed("package's header", "it has no time of building"))?;
    let algorithm = next()?;
    let count = next()?;
    let files: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    // A package of no files at all names no algorithm.
    if !files.is_empty() && algorithm != SHA256 {
        return Err(malformed(
            "package's header",
            "its files are not digested by SHA-256",
        ));
    }
    // A path with a line's end in it would be two.
    if !files.is_empty() && count.parse() != Ok(files.len()) {
        return Err(malformed(
            "package's header",
            "its list of files is not of one line each",
        ));
    }
    let files = files
        .into_iter()
        .filter_map(|line| packaged(line).transpose());
    Ok(SignedPackage {
        listed: ListedPackage {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            sha256: sha256(bytes),
            filename: PathBuf::from(path.file_name().unwrap_or_default())
                .display()
                .to_string(),
        },
        built_ms: built.saturating_mul(1000),
        files: files.collect::<Result<_, _>>()?,
    })
}

/// A line of the list; none of what is no regular file.
fn packaged(line: &str) -> Result<Option<PackagedFile>, ArchiveError> {
    let wrong = || {
        malformed(
            "package's header",
            format!("{line:?} is no digest and path"),
        )
    };
    let (digits, path) = line.split_once(' ').ok_or_else(wrong)?;
    let path = path.strip_prefix('/').ok_or_else(wrong)?;
    if digits.is_empty() {
        return Ok(None);
    }
    let mut digest = [0; 32];
    hex::decode_to_slice(digits, &mut digest).map_err(|_| wrong())?;
    Ok(Some(PackagedFile {
        sha256: digest,
        path: path.to_owned(),
    }))
}
