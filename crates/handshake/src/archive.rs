//! A job's `/output` directory in one piece: what a stream of
//! [`crate::Purpose::Output`] holds.
//!
//! Files only, with their paths, lengths and hashes; no owners, modes, links or
//! times, so that what comes out of an enclave cannot touch anything but the
//! files that the user unpacks.

use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::Zeroizing;

use crate::container::{self, ContainerError, Part};

/// What an archive begins with.
const MAGIC: &[u8; 8] = b"rf-archi";

/// Files of an archive, at most.
pub const MAX_OUTPUT_FILES: usize = 1024;

#[derive(BorshSerialize, BorshDeserialize)]
struct Manifest {
    files: Vec<(String, Part)>,
}

impl Manifest {
    fn check(&self) -> Result<(), ContainerError> {
        if self.files.len() > MAX_OUTPUT_FILES {
            return Err(ContainerError::Manifest(format!(
                "{} files are over the limit of {MAX_OUTPUT_FILES}",
                self.files.len()
            )));
        }
        container::check_paths(self.files.iter().map(|(path, _)| path.as_str()))
    }
}

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFile<'a> {
    /// Its path beneath `/output`: relative, without `..`, safe to join.
    pub path: String,
    /// Its contents.
    pub bytes: &'a [u8],
}

/// An archive, borrowed from its bytes.
pub struct ArchiveView<'a> {
    /// The files, in the archive's order.
    pub files: Vec<ArchiveFile<'a>>,
}

/// Packs files: pairs of path and contents.
///
/// Errors: [`ContainerError`], for anything that [`ArchiveView::parse`] would refuse.
pub fn encode_archive(files: &[(String, &[u8])]) -> Result<Zeroizing<Vec<u8>>, ContainerError> {
    let part = |(path, bytes): &(String, &[u8])| (path.clone(), Part::of(bytes));
    let manifest = Manifest {
        files: files.iter().map(part).collect(),
    };
    manifest.check()?;
    container::encode(MAGIC, &manifest, files.iter().map(|(_, bytes)| *bytes))
}

impl<'a> ArchiveView<'a> {
    /// Reads an archive and checks every path and hash in it.
    ///
    /// Errors: any [`ContainerError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ContainerError> {
        let (manifest, mut rest): (Manifest, _) = container::split(MAGIC, bytes)?;
        manifest.check()?;
        let mut files = Vec::with_capacity(manifest.files.len());
        for (path, part) in manifest.files {
            let bytes = container::take(&mut rest, &part, &path)?;
            files.push(ArchiveFile { path, bytes });
        }
        if !rest.is_empty() {
            return Err(ContainerError::Length);
        }
        Ok(Self { files })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_archive_comes_back_whole_and_an_empty_one_too() {
        for files in [
            vec![],
            vec![
                ("counts.json".to_owned(), &b"{}"[..]),
                ("charts/a.svg".to_owned(), &b"<svg/>"[..]),
            ],
        ] {
            let bytes = encode_archive(&files).unwrap();
            let view = ArchiveView::parse(&bytes).unwrap();
            let back: Vec<(String, &[u8])> = view
                .files
                .into_iter()
                .map(|file| (file.path, file.bytes))
                .collect();
            assert_eq!(back, files);
        }
    }

    #[test]
    fn refuses_paths_that_leave_the_directory_and_too_many_files() {
        let escape = [("../../etc/passwd".to_owned(), &b""[..])];
        assert!(encode_archive(&escape).is_err());
        let many: Vec<(String, &[u8])> = (0..=MAX_OUTPUT_FILES)
            .map(|index| (index.to_string(), &b""[..]))
            .collect();
        assert!(encode_archive(&many).is_err());
        assert!(encode_archive(&many[1..]).is_ok());
    }

    proptest! {
        #[test]
        fn reading_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(ArchiveView::parse(&bytes).is_err());
        }

        #[test]
        fn a_cut_archive_is_refused(cut: prop::sample::Index) {
            let bytes = encode_archive(&[("a".to_owned(), &[7; 100][..])]).unwrap();
            let cut = cut.index(bytes.len());
            prop_assert!(ArchiveView::parse(&bytes[..cut]).is_err());
        }
    }
}
