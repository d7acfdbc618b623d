//! Which file belongs to which version of which package, and when was that
//! version the current one?
//!
//! An index is made where the archives are (a mirror, a build machine) and
//! handed to whoever appraises. It is as trustworthy as whoever made it; what
//! it was made from was signed ([`crate::archive`]).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    archive::{ListedPackage, PackagedFile, Release},
    rpm::SignedPackage,
};

/// The version of the form that this build reads and writes.
const VERSION: u8 = 1;

/// A version of a package.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PackageVersion {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// The archive that published it, such as `Debian bookworm-security`.
    pub archive: String,
    /// The date of the first release seen that had it, Unix milliseconds; where
    /// packages are signed one by one, of its build.
    pub current_from_ms: u64,
    /// The date of the first release seen that no longer had it; of the next build.
    pub current_until_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct FileRecord {
    sha256: [u8; 32],
    package: u32,
    /// From the root, without the first slash.
    path: String,
}

#[derive(Default, BorshSerialize, BorshDeserialize)]
struct Stored {
    version: u8,
    /// The newest release of each archive.
    releases: BTreeMap<String, u64>,
    packages: Vec<PackageVersion>,
    /// Ascending by digest.
    files: Vec<FileRecord>,
}

impl Stored {
    /// Sees that `packages` and `files` more still have numbers.
    ///
    /// Errors: [`IndexError::Full`].
    fn check_room(&self, packages: usize, files: usize) -> Result<(), IndexError> {
        for count in [self.packages.len() + packages, self.files.len() + files] {
            u32::try_from(count).map_err(|_| IndexError::Full)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        listed: ListedPackage,
        files: Vec<PackagedFile>,
        archive: &str,
        current_from_ms: u64,
    ) -> Result<(), IndexError> {
        let package = u32::try_from(self.packages.len()).map_err(|_| IndexError::Full)?;
        self.packages.push(PackageVersion {
            name: listed.name,
            version: listed.version,
            architecture: listed.architecture,
            archive: archive.to_owned(),
            current_from_ms,
            current_until_ms: None,
        });
        self.files.extend(files.into_iter().map(|file| FileRecord {
            sha256: file.sha256,
            package,
            path: file.path,
        }));
        Ok(())
    }
}

fn has(packages: &[PackageVersion], listed: &ListedPackage) -> bool {
    packages.iter().any(|package| {
        package.name == listed.name
            && package.version == listed.version
            && package.architecture == listed.architecture
    })
}

/// Digests are uniform already: a few of their bits are as good a hash as any.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let count = bytes.len().min(8);
        first[..count].copy_from_slice(&bytes[..count]);
        self.0 = u64::from_le_bytes(first);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// An index, ready to be asked.
#[derive(Default)]
pub struct Index {
    stored: Stored,
    /// Digest -> its first record.
    by_digest: HashMap<[u8; 32], u32, BuildHasherDefault<FirstBytes>>,
    /// Records in the order of their paths.
    by_path: Vec<u32>,
}

/// Why an index cannot be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Not an index of this form.
    #[error("this is no index that this build reads: {0}")]
    Malformed(String),
    /// A release older than one that was seen: somebody replays it.
    #[error("the release of {archive} is older than the one that the index knows")]
    OlderRelease {
        /// The archive.
        archive: String,
    },
    /// More files than an index has numbers for.
    #[error("the index is full")]
    Full,
}

impl Index {
    /// Reads [`Index::encode`]'s form.
    ///
    /// Errors: [`IndexError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let stored = Stored::try_from_slice(bytes)
            .map_err(|error| IndexError::Malformed(error.to_string()))?;
        if stored.version != VERSION {
            return Err(IndexError::Malformed(format!("version {}", stored.version)));
        }
        let packages = stored.packages.len();
        let known = |file: &FileRecord| usize::try_from(file.package).is_ok_and(|n| n < packages);
        if !stored.files.iter().all(known)
            || !stored.files.is_sorted_by(|a, b| a.sha256 <= b.sha256)
        {
            return Err(IndexError::Malformed(
                "its files are out of order".to_owned(),
            ));
        }
        Self::ready(stored)
    }

    /// The form in which it is kept.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(&Stored {
            version: VERSION,
            releases: self.stored.releases.clone(),
            packages: self.stored.packages.clone(),
            files: self.stored.files.clone(),
        })
        .expect("an index always encodes")
    }

    fn ready(stored: Stored) -> Result<Self, IndexError> {
        let count = u32::try_from(stored.files.len()).map_err(|_| IndexError::Full)?;
        let mut by_digest: HashMap<_, _, _> = HashMap::with_capacity_and_hasher(
            stored.files.len(),
            BuildHasherDefault::<FirstBytes>::default(),
        );
        for (file, number) in stored.files.iter().zip(0..count) {
            by_digest.entry(file.sha256).or_insert(number);
        }
        let mut by_path: Vec<u32> = (0..count).collect();
        by_path.sort_by_key(|number| &stored.files[*number as usize].path);
        Ok(Self {
            stored,
            by_digest,
            by_path,
        })
    }

    /// Packages, in the order in which they were added.
    pub fn packages(&self) -> &[PackageVersion] {
        &self.stored.packages
    }

    /// How many files it knows.
    pub fn files(&self) -> usize {
        self.stored.files.len()
    }

    /// Whether it holds this version of a package.
    pub fn has(&self, listed: &ListedPackage) -> bool {
        has(&self.stored.packages, listed)
    }

    /// Takes a release: adds packages of it with their files, and notes which
    /// known versions it no longer has.
    ///
    /// Shape:  `listed` is the release's whole list; `added` are packages of it
    ///         with their files.
    /// Errors: [`IndexError::OlderRelease`], [`IndexError::Full`]; nothing changes then.
    pub fn take_release(
        &mut self,
        release: &Release,
        listed: &[ListedPackage],
        added: Vec<(ListedPackage, Vec<PackagedFile>)>,
    ) -> Result<(), IndexError> {
        let archive = release.name.clone();
        let known = self.stored.releases.get(&archive).copied();
        if known.is_some_and(|date| date > release.date_ms) {
            return Err(IndexError::OlderRelease { archive });
        }
        let files = added.iter().map(|(_, files)| files.len()).sum();
        self.stored.check_room(added.len(), files)?;
        // Nothing fails from here on.
        let mut stored = std::mem::take(&mut self.stored);
        let current: BTreeSet<(&str, &str, &str)> = listed
            .iter()
            .map(|one| (&*one.name, &*one.version, &*one.architecture))
            .collect();
        for package in &mut stored.packages {
            let identity = (&*package.name, &*package.version, &*package.architecture);
            let gone = package.archive == archive && !current.contains(&identity);
            if gone && package.current_until_ms.is_none() {
                package.current_until_ms = Some(release.date_ms);
            }
        }
        for (listed, files) in added {
            stored.add(listed, files, &archive, release.date_ms)?;
        }
        stored.releases.insert(archive, release.date_ms);
        stored.files.sort_by_key(|file| file.sha256);
        *self = Self::ready(stored)?;
        Ok(())
    }

    /// Takes packages that are signed one by one, of an archive without a signed
    /// list: a version is current from its build until that of the next one seen.
    /// Packages that it has already are passed over; how many were added.
    ///
    /// Errors: [`IndexError::Full`]; nothing changes then.
    pub fn take_packages(
        &mut self,
        archive: &str,
        packages: Vec<SignedPackage>,
    ) -> Result<usize, IndexError> {
        let files = packages.iter().map(|package| package.files.len()).sum();
        self.stored.check_room(packages.len(), files)?;
        // Nothing fails from here on.
        let mut stored = std::mem::take(&mut self.stored);
        let before = stored.packages.len();
        for package in packages {
            if !has(&stored.packages, &package.listed) {
                stored.add(package.listed, package.files, archive, package.built_ms)?;
            }
        }
        let added = stored.packages.len() - before;
        let mut builds: BTreeMap<(String, String), BTreeSet<u64>> = BTreeMap::new();
        let of = |package: &PackageVersion| (package.name.clone(), package.architecture.clone());
        for package in stored.packages.iter().filter(|one| one.archive == archive) {
            let times = builds.entry(of(package)).or_default();
            times.insert(package.current_from_ms);
        }
        for package in &mut stored.packages {
            if package.archive == archive
                && let Some(times) = builds.get(&of(package))
            {
                let mut later = times.range(package.current_from_ms.saturating_add(1)..);
                package.current_until_ms = later.next().copied();
            }
        }
        stored.files.sort_by_key(|file| file.sha256);
        *self = Self::ready(stored)?;
        Ok(added)
    }

    /// The versions that contain a file with this digest, in no order.
    pub fn containing(&self, sha256: &[u8; 32]) -> impl Iterator<Item = &PackageVersion> {
        let first = self.by_digest.get(sha256).map(|first| *first as usize);
        let records = first.map_or(&[][..], |first| &self.stored.files[first..]);
        records
            .iter()
            .take_while(|record| record.sha256 == *sha256)
            .map(|record| &self.stored.packages[record.package as usize])
    }

    /// The versions that contain a file at `path`, whatever is in it.
    ///
    /// A path is found on either side of the merge of `/bin`, `/lib` and
    /// `/sbin` into `/usr`.
    pub fn at(&self, path: &str) -> impl Iterator<Item = &PackageVersion> {
        let path = path.trim_start_matches('/');
        let unmerged = path.strip_prefix("usr/").unwrap_or(path);
        [path.to_owned(), unmerged.to_owned(), format!("usr/{path}")]
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .flat_map(|path| self.with_path(path))
    }

    fn with_path(&self, path: String) -> impl Iterator<Item = &PackageVersion> {
        let path_of = |number: &u32| self.stored.files[*number as usize].path.as_str();
        let start = self
            .by_path
            .partition_point(|number| path_of(number) < path.as_str());
        self.by_path[start..]
            .iter()
            .map(|number| &self.stored.files[*number as usize])
            .take_while(move |file| file.path == path)
            .map(|file| &self.stored.packages[file.package as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(date_ms: u64) -> Release {
        Release {
            name: "Debian stable".to_owned(),
            date_ms,
            files: BTreeMap::new(),
        }
    }

    fn listed(version: &str) -> ListedPackage {
        ListedPackage {
            name: "coreutils".to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            sha256: [0; 32],
            filename: String::new(),
        }
    }

    fn file(digest: u8, path: &str) -> PackagedFile {
        PackagedFile {
            sha256: [digest; 32],
            path: path.to_owned(),
        }
    }

    fn index() -> Index {
        let mut index = Index::default();
        let added = vec![(
            listed("1"),
            vec![
                file(1, "bin/ls"),
                file(2, "usr/bin/env"),
                file(1, "bin/dir"),
            ],
        )];
        index
            .take_release(&release(100), &[listed("1")], added)
            .unwrap();
        index
    }

    #[test]
    fn files_are_found_by_digest_and_by_path() {
        let index = index();
        assert_eq!(index.containing(&[1; 32]).count(), 2);
        assert_eq!(index.containing(&[3; 32]).count(), 0);
        for path in ["/bin/ls", "/usr/bin/ls", "/usr/bin/env", "/bin/env"] {
            assert_eq!(index.at(path).count(), 1, "{path}");
        }
        assert_eq!(index.at("/bin/l").count(), 0);
        assert_eq!(index.at("/bin/lss").count(), 0);
    }

    #[test]
    fn a_version_is_current_until_a_release_no_longer_has_it() {
        let mut index = index();
        let added = vec![(listed("2"), vec![file(3, "bin/ls")])];
        index
            .take_release(&release(200), &[listed("2")], added)
            .unwrap();
        let old = index.containing(&[1; 32]).next().unwrap();
        assert_eq!(old.current_until_ms, Some(200));
        let new = index.containing(&[3; 32]).next().unwrap();
        assert_eq!((new.current_from_ms, new.current_until_ms), (200, None));
        assert!(index.has(&listed("2")));
        assert!(!index.has(&listed("3")));
        assert!(matches!(
            index.take_release(&release(150), &[], vec![]),
            Err(IndexError::OlderRelease { .. })
        ));
        assert_eq!(index.files(), 4, "a refused release changes nothing");
    }

    #[test]
    fn an_index_survives_its_file() {
        let index = index();
        let bytes = index.encode();
        let again = Index::decode(&bytes).unwrap();
        assert_eq!(again.encode(), bytes);
        assert_eq!(again.containing(&[2; 32]).count(), 1);
        assert!(Index::decode(&bytes[..bytes.len() - 1]).is_err());
        let mut other = bytes;
        other[0] = 9;
        assert!(Index::decode(&other).is_err());
    }
}
