//! What a keykeeper's host keeps on disk: the sealing key, the sealed state and
//! the public key.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use wire::PublicKey;
use zeroize::Zeroizing;

/// A sealed state is below this: 512 bytes and what sealing adds.
const MAX_SEALED_BYTES: u64 = 1024;

/// A keykeeper's directory.
#[derive(Clone, Debug)]
pub struct Files {
    directory: PathBuf,
}

impl Files {
    /// Those in `directory`, which need not be there.
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn sealing_key_file(&self) -> PathBuf {
        self.directory.join("sealing.key")
    }

    fn state_file(&self) -> PathBuf {
        self.directory.join("state.sealed")
    }

    /// The identity's public key, in a file for people and scripts.
    pub fn public_file(&self) -> PathBuf {
        self.directory.join("public")
    }

    /// Whether there is a state.
    pub fn exist(&self) -> bool {
        self.state_file().exists()
    }

    /// The sealing key; made at the first time, readable by its owner alone.
    ///
    /// Errors: the file system's; a file that is no key.
    pub fn sealing_key(&self) -> io::Result<Zeroizing<[u8; 32]>> {
        fs::create_dir_all(&self.directory)?;
        let mut key = Zeroizing::new([0; 32]);
        match fs::read_to_string(self.sealing_key_file()).map(Zeroizing::new) {
            Ok(text) => hex::decode_to_slice(text.trim(), &mut key[..])
                .map_err(|_| io::Error::other("the sealing key is not 64 hex digits"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                aws_lc_rs::rand::fill(&mut key[..]).map_err(io::Error::other)?;
                let text = Zeroizing::new(format!("{}\n", hex::encode(*key)));
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(self.sealing_key_file())?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
            }
            Err(error) => return Err(error),
        }
        Ok(key)
    }

    /// The sealed state.
    ///
    /// Errors: the file system's; a file that is too long.
    pub fn sealed(&self) -> io::Result<Vec<u8>> {
        read_short(&self.state_file())
    }

    fn recovery_file(&self) -> PathBuf {
        self.directory.join("recovery.sealed")
    }

    /// The sealed key to which members hand a lost keykeeper's pieces over.
    ///
    /// Errors: the file system's; a file that is too long.
    pub fn recovery(&self) -> io::Result<Vec<u8>> {
        read_short(&self.recovery_file())
    }

    /// Keeps that key in the place of an earlier one; on disk when this returns.
    ///
    /// Errors: the file system's.
    pub fn keep_recovery(&self, sealed: &[u8]) -> io::Result<()> {
        self.replace(&self.recovery_file(), sealed)
    }

    /// Forgets that key: the keykeeper is restored.
    ///
    /// Errors: the file system's.
    pub fn forget_recovery(&self) -> io::Result<()> {
        fs::remove_file(self.recovery_file())
    }

    /// Keeps the sealed state in the place of what was there; on disk when this returns.
    ///
    /// Errors: the file system's.
    pub fn keep(&self, sealed: &[u8]) -> io::Result<()> {
        self.replace(&self.state_file(), sealed)
    }

    /// Removes the sealing key's file: another place keeps it. The disk may keep its
    /// blocks for a while.
    ///
    /// Errors: the file system's.
    pub fn forget_sealing_key(&self) -> io::Result<()> {
        fs::remove_file(self.sealing_key_file())
    }

    /// Writes a file of this directory in the place of what was there; on disk when
    /// this returns.
    ///
    /// Errors: the file system's.
    pub fn replace(&self, path: &Path, sealed: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(sealed)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(&self.directory)?.sync_all()
    }

    /// Writes the public key down.
    ///
    /// Errors: the file system's.
    pub fn publish(&self, key: &PublicKey) -> io::Result<()> {
        fs::write(self.public_file(), format!("{key}\n"))
    }

    /// The public key as it was written down; none if it was not.
    pub fn public(&self) -> Option<PublicKey> {
        fs::read_to_string(self.public_file())
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}

fn read_short(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_SEALED_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SEALED_BYTES {
        return Err(io::Error::other("the sealed file is too long"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sealing_key_is_made_once_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let files = Files::at(&directory.path().join("deep"));
        let first = files.sealing_key().unwrap();
        assert_eq!(*first, *files.sealing_key().unwrap());
        let mode = fs::metadata(files.sealing_key_file())
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        fs::write(files.sealing_key_file(), "no key").unwrap();
        assert!(files.sealing_key().is_err());
    }

    #[test]
    fn a_state_is_replaced_whole_and_one_that_is_too_long_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::at(directory.path());
        assert!(!files.exist());
        files.keep(b"one").unwrap();
        files.keep(b"two").unwrap();
        assert_eq!(files.sealed().unwrap(), b"two");
        files.keep(&[0; 2000]).unwrap();
        assert!(files.sealed().is_err());
    }
}
