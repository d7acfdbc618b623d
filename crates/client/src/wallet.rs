//! The wallet: secrets of one account's requests and name commitments, each in
//! a file of its own, on disk before anything that depends on it is sent.
//!
//! A request's secrets are filed under its public agreement key, which the
//! ledger's record repeats, so that a request found on the ledger leads to its
//! secrets whatever was lost in between. Files are encrypted to the wallet key
//! that the key file holds.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use wire::DomainName;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    keyfile::UnlockedKey,
    protected::Protected,
    sealed_file::{self, Existing, SealedFileError},
};

/// The secrets of one request.
#[derive(Clone, Debug)]
pub struct RequestSecrets {
    /// The X25519 public key that the request carries.
    pub agreement_public: [u8; 32],
    /// Its private half.
    pub agreement: Protected,
    /// The data-encryption key of the payload (seed 000 \[0036\]).
    pub data_key: Protected,
    /// What the user calls it.
    pub label: String,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
}

/// The secret of a name that is committed to and not yet revealed.
#[derive(Clone, Debug)]
pub struct NameSecret {
    /// The name.
    pub name: DomainName,
    /// The commitment's nonce.
    pub nonce: [u8; 32],
}

/// A directory of one account's secrets.
#[derive(Clone)]
pub struct Wallet {
    directory: PathBuf,
    identity: age::x25519::Identity,
}

#[derive(Serialize, Deserialize)]
struct StoredRequest {
    version: u8,
    agreement_public: String,
    agreement: String,
    data_key: String,
    label: String,
    created_ms: u64,
}

impl Drop for StoredRequest {
    fn drop(&mut self) {
        self.agreement.zeroize();
        self.data_key.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
struct StoredName {
    version: u8,
    name: DomainName,
    #[serde(with = "hex::serde")]
    nonce: [u8; 32],
}

const VERSION: u8 = 1;

/// A new identity for a wallet, as text: for where no key file holds it.
pub fn new_identity() -> Zeroizing<String> {
    use age::secrecy::ExposeSecret as _;
    let identity = age::x25519::Identity::generate();
    Zeroizing::new(identity.to_string().expose_secret().to_owned())
}

impl Wallet {
    /// The wallet of `key`'s account in `directory`, which is made when first written to.
    pub fn new(directory: PathBuf, key: &UnlockedKey) -> Self {
        Self {
            directory,
            identity: key.wallet_identity().clone(),
        }
    }

    /// The wallet in `directory` under an identity that is kept elsewhere: the
    /// text that [`new_identity`] made.
    ///
    /// Errors: none is given for text that is no identity.
    pub fn with_identity(directory: PathBuf, identity: &str) -> Option<Self> {
        Some(Self {
            directory,
            identity: identity.parse().ok()?,
        })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Files a new request's secrets; they are on disk when this returns.
    ///
    /// Errors: the file system's.
    pub fn put_request(&self, secrets: &RequestSecrets) -> Result<(), SealedFileError> {
        let stored = StoredRequest {
            version: VERSION,
            agreement_public: hex::encode(secrets.agreement_public),
            agreement: hex::encode(secrets.agreement.expose()),
            data_key: hex::encode(secrets.data_key.expose()),
            label: secrets.label.clone(),
            created_ms: secrets.created_ms,
        };
        self.write(&self.request_path(&secrets.agreement_public), &stored)
    }

    /// The secrets of the request with this public agreement key; none if this
    /// wallet never made it.
    ///
    /// Errors: the file is damaged or not this key's.
    pub fn request(
        &self,
        agreement_public: &[u8; 32],
    ) -> Result<Option<RequestSecrets>, SealedFileError> {
        let path = self.request_path(agreement_public);
        let Some(stored) = self.read::<StoredRequest>(&path)? else {
            return Ok(None);
        };
        let damaged = |_| SealedFileError::damaged(&path, "its contents do not decode");
        let secret = |text: &str| {
            let mut bytes = Zeroizing::new([0u8; 32]);
            hex::decode_to_slice(text, &mut bytes[..])
                .map(|()| Protected::new(bytes))
                .map_err(damaged)
        };
        if stored.agreement_public != hex::encode(agreement_public) {
            return Err(SealedFileError::damaged(&path, "it is another request's"));
        }
        Ok(Some(RequestSecrets {
            agreement_public: *agreement_public,
            agreement: secret(&stored.agreement)?,
            data_key: secret(&stored.data_key)?,
            label: stored.label.clone(),
            created_ms: stored.created_ms,
        }))
    }

    /// Forgets a request's secrets: its payload, logs and results can never be
    /// read again.
    ///
    /// Errors: the file system's; nothing if there was no such file.
    pub fn remove_request(&self, agreement_public: &[u8; 32]) -> Result<(), SealedFileError> {
        remove(&self.request_path(agreement_public))
    }

    /// Files a commitment's secret; it is on disk when this returns.
    ///
    /// Errors: the file system's.
    pub fn put_name(&self, secret: &NameSecret) -> Result<(), SealedFileError> {
        let stored = StoredName {
            version: VERSION,
            name: secret.name.clone(),
            nonce: secret.nonce,
        };
        self.write(&self.name_path(&secret.name), &stored)
    }

    /// The secret of a commitment to `name`, if one is open.
    ///
    /// Errors: the file is damaged or not this key's.
    pub fn name(&self, name: &DomainName) -> Result<Option<NameSecret>, SealedFileError> {
        let path = self.name_path(name);
        match self.read::<StoredName>(&path)? {
            Some(stored) if &stored.name == name => Ok(Some(NameSecret {
                name: stored.name,
                nonce: stored.nonce,
            })),
            Some(_) => Err(SealedFileError::damaged(&path, "it is another name's")),
            None => Ok(None),
        }
    }

    /// Forgets a commitment, once the name is registered.
    ///
    /// Errors: the file system's.
    pub fn remove_name(&self, name: &DomainName) -> Result<(), SealedFileError> {
        remove(&self.name_path(name))
    }

    fn request_path(&self, agreement_public: &[u8; 32]) -> PathBuf {
        let name = format!("{}.age", hex::encode(agreement_public));
        self.directory.join("requests").join(name)
    }

    fn name_path(&self, name: &DomainName) -> PathBuf {
        self.directory.join("names").join(format!("{name}.age"))
    }

    fn write<T: Serialize>(&self, path: &Path, value: &T) -> Result<(), SealedFileError> {
        let plaintext = Zeroizing::new(
            serde_json::to_vec(value).map_err(|error| SealedFileError::damaged(path, error))?,
        );
        let recipient = self.identity.to_public();
        sealed_file::write(path, &recipient, &plaintext, Existing::Replace)
    }

    fn read<T: for<'de> Deserialize<'de>>(
        &self,
        path: &Path,
    ) -> Result<Option<T>, SealedFileError> {
        let plaintext = match sealed_file::read(path, &self.identity) {
            Ok(plaintext) => plaintext,
            Err(SealedFileError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&plaintext)
            .map(Some)
            .map_err(|_| SealedFileError::damaged(path, "its contents do not decode"))
    }
}

fn remove(path: &Path) -> Result<(), SealedFileError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(SealedFileError::io(path)(source))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyfile::KeyKind;

    fn secrets(number: u8) -> RequestSecrets {
        RequestSecrets {
            agreement_public: [number; 32],
            agreement: Protected::random(),
            data_key: Protected::random(),
            label: "hello".to_owned(),
            created_ms: 5,
        }
    }

    fn key() -> UnlockedKey {
        UnlockedKey::generate("me", KeyKind::Ed25519)
    }

    #[test]
    fn secrets_come_back_by_their_public_key_to_their_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let key_of_owner = key();
        let wallet = Wallet::new(directory.path().join("w"), &key_of_owner);
        assert!(wallet.request(&[1; 32]).unwrap().is_none());
        let secrets = secrets(1);
        wallet.put_request(&secrets).unwrap();
        let found = wallet.request(&[1; 32]).unwrap().unwrap();
        assert_eq!(found.agreement.expose(), secrets.agreement.expose());
        assert_eq!(found.data_key.expose(), secrets.data_key.expose());
        assert_eq!((&*found.label, found.created_ms), ("hello", 5));

        let stranger = Wallet::new(directory.path().join("w"), &key());
        let refused = stranger.request(&[1; 32]);
        assert!(matches!(refused, Err(SealedFileError::WrongKey { .. })));
        wallet.remove_request(&[1; 32]).unwrap();
        assert!(wallet.request(&[1; 32]).unwrap().is_none());
        wallet.remove_request(&[1; 32]).unwrap();
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let wallet = Wallet::new(directory.path().to_owned(), &key());
        wallet.put_request(&secrets(1)).unwrap();
        let path = wallet.request_path(&[1; 32]);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(wallet.request(&[1; 32]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_crash_in_the_middle_of_a_write_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let wallet = Wallet::new(directory.path().to_owned(), &key());
        let name: DomainName = "a.internal".parse().unwrap();
        let old = NameSecret {
            name: name.clone(),
            nonce: [1; 32],
        };
        wallet.put_name(&old).unwrap();
        // What a crash leaves is the temporary file, whole or in part.
        let path = wallet.name_path(&name);
        let torn = &fs::read(&path).unwrap()[..20];
        fs::write(path.with_file_name("a.internal.age.77-0.tmp"), torn).unwrap();
        assert_eq!(wallet.name(&name).unwrap().unwrap().nonce, [1; 32]);
        let new = NameSecret {
            name: name.clone(),
            nonce: [2; 32],
        };
        wallet.put_name(&new).unwrap();
        assert_eq!(wallet.name(&name).unwrap().unwrap().nonce, [2; 32]);
    }

    #[test]
    fn a_file_in_anothers_place_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let wallet = Wallet::new(directory.path().to_owned(), &key());
        wallet.put_request(&secrets(1)).unwrap();
        let moved = wallet.request_path(&[2; 32]);
        fs::rename(wallet.request_path(&[1; 32]), moved).unwrap();
        assert!(wallet.request(&[2; 32]).is_err());
    }
}
