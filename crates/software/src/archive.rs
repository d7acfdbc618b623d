//! What has a Debian archive published? The chain from its signature to the
//! digest of each file: InRelease -> Packages -> .deb -> contents.
//!
//! The signature is checked by `gpgv`, the program that Debian's own `apt`
//! relies on, against a keyring that the caller names. Everything below it is
//! digests. Debian's packages hold no SHA-256 of their files, so that a package
//! is unpacked, in memory, and hashed.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write},
    path::Path,
    process::{Command, Stdio},
};

use aws_lc_rs::digest;

/// An InRelease file; Debian's has a few hundred KiB.
const MAX_RELEASE_BYTES: usize = 16 * 1024 * 1024;

/// A package's contents, unpacked: a kernel with its modules has some 400 MiB.
const MAX_CONTENTS_BYTES: usize = 2 * 1024 * 1024 * 1024;

/// Files of one package: the largest (documentation) have some 50,000.
const MAX_FILES: usize = 500_000;

/// The signature checker.
const GPGV: &str = "gpgv";

/// A signed release of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The archive's origin and suite, such as `Debian stable`.
    pub name: String,
    /// When it was made, Unix milliseconds.
    pub date_ms: u64,
    /// SHA-256 of each of its files, by their path below the release.
    pub files: BTreeMap<String, [u8; 32]>,
}

/// A package as a release lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// SHA-256 of its .deb.
    pub sha256: [u8; 32],
    /// Where its .deb is, below the archive's root.
    pub filename: String,
}

/// A regular file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackagedFile {
    /// SHA-256 of its contents.
    pub sha256: [u8; 32],
    /// Its path from the root, without the first slash.
    pub path: String,
}

/// Why something of an archive is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A program that checks signatures does not run.
    #[error("cannot run {program}, which archives' signatures need: {source}")]
    Program {
        /// The program.
        program: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// It refuses; why, in its words.
    #[error("what is to be indexed is not signed by a key of the keyring: {0}")]
    Signature(String),
    /// A part does not decode.
    #[error("the {part} does not decode: {reason}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// A part is not the one that the chain above it names.
    #[error("the {0} is not the one that was signed")]
    Digest(String),
}

pub(crate) fn malformed(part: &'static str, reason: impl ToString) -> ArchiveError {
    ArchiveError::Malformed {
        part,
        reason: reason.to_string(),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Checks the signature of an InRelease file against `keyring` and reads it.
///
/// Errors: [`ArchiveError`].
pub fn check_release(in_release: &[u8], keyring: &Path) -> Result<Release, ArchiveError> {
    if in_release.len() > MAX_RELEASE_BYTES {
        return Err(malformed("release", "it is too large"));
    }
    let unable = |source| ArchiveError::Program {
        program: GPGV,
        source,
    };
    let mut gpgv = Command::new(GPGV)
        .arg("--quiet")
        .arg("--keyring")
        .arg(keyring)
        .args(["--output", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(unable)?;
    let mut stdin = gpgv.stdin.take().expect("it was asked for");
    let output = std::thread::scope(|scope| {
        // Written beside the reading, so that neither pipe fills up. A pipe
        // that gpgv closes early shows in its status.
        scope.spawn(move || {
            let _ = stdin.write_all(in_release);
        });
        gpgv.wait_with_output()
    })
    .map_err(unable)?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ArchiveError::Signature(reason));
    }
    // Only what gpgv gives out was signed.
    parse_release(&output.stdout)
}

/// Fields of one paragraph (deb822): a name, a colon, a value that may go on in
/// lines that begin with a space.
fn fields(paragraph: &str) -> BTreeMap<&str, String> {
    let mut fields: BTreeMap<&str, String> = BTreeMap::new();
    let mut last = None;
    for line in paragraph.lines() {
        if let Some(more) = line.strip_prefix([' ', '\t']) {
            if let Some(value) = last.and_then(|name| fields.get_mut(name)) {
                value.push('\n');
                value.push_str(more);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.insert(name, value.trim().to_owned());
            last = Some(name);
        }
    }
    fields
}

fn digest_of(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

fn parse_release(text: &[u8]) -> Result<Release, ArchiveError> {
    let text = std::str::from_utf8(text).map_err(|error| malformed("release", error))?;
    let fields = fields(text);
    let field = |name: &str| {
        fields
            .get(name)
            .ok_or_else(|| malformed("release", format!("no {name}")))
    };
    let date = field("Date")?.replace("UTC", "+0000");
    let date =
        chrono::DateTime::parse_from_rfc2822(&date).map_err(|error| malformed("release", error))?;
    let date_ms =
        u64::try_from(date.timestamp_millis()).map_err(|error| malformed("release", error))?;
    let mut files = BTreeMap::new();
    for line in field("SHA256")?.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let (Some(digest), Some(_), Some(path)) = (words.next(), words.next(), words.next()) else {
            return Err(malformed("release", "a file without a digest"));
        };
        let digest =
            digest_of(digest).ok_or_else(|| malformed("release", "a digest is not hex"))?;
        files.insert(path.to_owned(), digest);
    }
    Ok(Release {
        name: format!("{} {}", field("Origin")?, field("Codename")?),
        date_ms,
        files,
    })
}

/// Checks that `packages` is the release's file at `path` (such as
/// `main/binary-amd64/Packages`, uncompressed) and reads it.
///
/// Errors: [`ArchiveError`].
pub fn check_packages(
    release: &Release,
    path: &str,
    packages: &[u8],
) -> Result<Vec<ListedPackage>, ArchiveError> {
    if release.files.get(path) != Some(&sha256(packages)) {
        return Err(ArchiveError::Digest(format!("package list {path}")));
    }
    let text = std::str::from_utf8(packages).map_err(|error| malformed("package list", error))?;
    text.split("\n\n")
        .filter(|paragraph| !paragraph.trim().is_empty())
        .map(|paragraph| {
            let mut fields = fields(paragraph);
            let mut field = |name: &str| {
                fields
                    .remove(name)
                    .ok_or_else(|| malformed("package list", format!("no {name}")))
            };
            Ok(ListedPackage {
                name: field("Package")?,
                version: field("Version")?,
                architecture: field("Architecture")?,
                filename: field("Filename")?,
                sha256: digest_of(&field("SHA256")?)
                    .ok_or_else(|| malformed("package list", "a digest is not hex"))?,
            })
        })
        .collect()
}

/// Bytes that refuse to grow past a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + data.len() > self.limit {
            return Err(io::Error::other("it unpacks to more than the limit"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Checks that `deb` is the package that was listed and hashes its files.
///
/// Errors: [`ArchiveError`].
pub fn check_package(
    listed: &ListedPackage,
    deb: &[u8],
) -> Result<Vec<PackagedFile>, ArchiveError> {
    if sha256(deb) != listed.sha256 {
        let name = format!("package {} {}", listed.name, listed.version);
        return Err(ArchiveError::Digest(name));
    }
    contents(deb, MAX_CONTENTS_BYTES)
}

/// The regular files of a .deb.
///
/// Units:  `limit` is in bytes of the unpacked contents.
/// Errors: [`ArchiveError::Malformed`].
pub fn contents(deb: &[u8], limit: usize) -> Result<Vec<PackagedFile>, ArchiveError> {
    let (name, data) = member(deb, "data.tar").ok_or_else(|| malformed("package", "no data"))?;
    let mut unpacked = Bounded {
        bytes: Vec::new(),
        limit,
    };
    match name.strip_prefix("data.tar") {
        Some(".xz") => lzma_rs::xz_decompress(&mut &data[..], &mut unpacked)
            .map_err(|error| malformed("package", format!("{error:?}")))?,
        Some(".zst") => zstd::stream::copy_decode(data, &mut unpacked)
            .map_err(|error| malformed("package", error))?,
        Some("") => unpacked
            .write_all(data)
            .map_err(|error| malformed("package", error))?,
        _ => return Err(malformed("package", format!("its {name} is not read here"))),
    }
    let mut archive = tar::Archive::new(&unpacked.bytes[..]);
    let entries = archive
        .entries()
        .map_err(|error| malformed("package", error))?;
    let mut files = Vec::new();
    for entry in entries {
        let mut entry = entry.map_err(|error| malformed("package", error))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if files.len() == MAX_FILES {
            return Err(malformed("package", "too many files"));
        }
        let path = entry.path().map_err(|error| malformed("package", error))?;
        let path = path.to_string_lossy();
        let path = path
            .trim_start_matches("./")
            .trim_start_matches('/')
            .to_owned();
        let mut hasher = digest::Context::new(&digest::SHA256);
        let mut buffer = [0; 64 * 1024];
        loop {
            let read = entry
                .read(&mut buffer)
                .map_err(|error| malformed("package", error))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(hasher.finish().as_ref());
        files.push(PackagedFile { sha256, path });
    }
    Ok(files)
}

/// The member of an `ar` archive (deb(5)) whose name begins with `prefix`.
fn member<'a>(archive: &'a [u8], prefix: &str) -> Option<(String, &'a [u8])> {
    const HEADER: usize = 60;
    let mut rest = archive.strip_prefix(b"!<arch>\n")?;
    while let Some((header, after)) = rest.split_at_checked(HEADER) {
        let name = std::str::from_utf8(&header[..16]).ok()?;
        let name = name.trim_end().trim_end_matches('/');
        let size: usize = std::str::from_utf8(&header[48..58])
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let data = after.get(..size)?;
        if name.starts_with(prefix) {
            return Some((name.to_owned(), data));
        }
        // Members begin at even places.
        rest = after.get(size.checked_add(size % 2)?..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A .deb with one file, its data uncompressed.
    fn deb(path: &str, contents: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, path, contents).unwrap();
        let data = builder.into_inner().unwrap();
        let mut deb = b"!<arch>\n".to_vec();
        for (name, data) in [("debian-binary", &b"2.0\n"[..]), ("data.tar", &data)] {
            let size = data.len();
            deb.extend(
                format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 644).bytes(),
            );
            deb.extend(data);
            deb.extend(vec![b'\n'; size % 2]);
        }
        deb
    }

    #[test]
    fn a_packages_files_are_hashed() {
        let deb = deb("./usr/bin/odd", b"abc");
        let files = contents(&deb, 1 << 20).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].path, "usr/bin/odd");
        assert_eq!(files[0].sha256, sha256(b"abc"));
    }

    #[test]
    fn a_package_that_unpacks_to_too_much_is_refused() {
        assert!(contents(&deb("x", &[0; 5000]), 4000).is_err());
    }

    #[test]
    fn a_changed_package_is_refused() {
        let good = deb("x", b"abc");
        let listed = ListedPackage {
            name: "x".into(),
            version: "1".into(),
            architecture: "all".into(),
            sha256: sha256(&good),
            filename: String::new(),
        };
        assert!(check_package(&listed, &good).is_ok());
        let mut changed = good;
        *changed.last_mut().unwrap() ^= 1;
        assert!(matches!(
            check_package(&listed, &changed),
            Err(ArchiveError::Digest(_))
        ));
    }

    #[test]
    fn a_release_and_its_list_are_read() {
        let list = "Package: a\nVersion: 1\nArchitecture: amd64\nFilename: pool/a.deb\nSHA256: ";
        let list = format!("{list}{}\nDescription: x\n y\n\n", "ab".repeat(32));
        let digest = hex::encode(sha256(list.as_bytes()));
        let text = format!(
            "Origin: Debian\nCodename: odd\nDate: Sat, 10 Jan 2026 10:00:00 UTC\nSHA256:\n {digest} \
             {} main/Packages\n",
            list.len()
        );
        let release = parse_release(text.as_bytes()).unwrap();
        assert_eq!(release.name, "Debian odd");
        assert_eq!(release.date_ms, 1_768_039_200_000);
        let listed = check_packages(&release, "main/Packages", list.as_bytes()).unwrap();
        assert_eq!(listed[0].filename, "pool/a.deb");
        assert!(matches!(
            check_packages(&release, "main/Packages", b"other"),
            Err(ArchiveError::Digest(_))
        ));
        assert!(check_packages(&release, "other/Packages", list.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
        ) {
            let _ = contents(&bytes, 1 << 16);
            let mut deb = deb("x", b"abc");
            let start = at.index(deb.len());
            let end = (start + bytes.len()).min(deb.len());
            deb[start..end].copy_from_slice(&bytes[..end - start]);
            let _ = contents(&deb, 1 << 16);
            let _ = parse_release(&bytes);
        }
    }
}
