//! A server's key as commands name it: a PKCS #8 file, or `tpm:LABEL[@DEVICE]`.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use client::server_key::{KeyHolder, ServerIdentity, read_private_key, signing_key};
use wire::{PublicKey, Signature, SigningKey};

use crate::tpm_key::{self, LoadedKey, Place};

/// The longest file that is read as a key.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Where a server's key is.
#[derive(Clone, Debug)]
pub enum ServerKeyPlace {
    /// In a file.
    File(PathBuf),
    /// In a TPM.
    Tpm(Place),
}

impl std::str::FromStr for ServerKeyPlace {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match tpm_key::place(text) {
            Some(place) => Self::Tpm(place),
            None => Self::File(PathBuf::from(text)),
        })
    }
}

impl ServerKeyPlace {
    /// The key, as TLS uses it.
    ///
    /// Errors: there is no such file or TPM; the key is of another kind.
    pub fn identity(&self) -> anyhow::Result<ServerIdentity> {
        match self {
            Self::File(path) => {
                let key = read_private_key(&read(path)?);
                let identity = key.and_then(|key| ServerIdentity::of(&key));
                identity.with_context(|| format!("read {}", path.display()))
            }
            Self::Tpm(place) => Ok(ServerIdentity::held(Arc::new(LoadedKey::open(place)?))?),
        }
    }

    /// Signs `message` for each purpose, as the ledger's signatures are.
    ///
    /// Shape:  the public key, and one signature for each purpose.
    /// Errors: as for [`ServerKeyPlace::identity`].
    pub fn sign<const N: usize>(
        &self,
        purposes: [&str; N],
        message: &[u8],
    ) -> anyhow::Result<(PublicKey, [Signature; N])> {
        match self {
            Self::File(path) => {
                let key = read_private_key(&read(path)?).and_then(|key| signing_key(&key));
                let key: SigningKey = key.with_context(|| format!("read {}", path.display()))?;
                Ok((
                    key.public(),
                    purposes.map(|purpose| key.sign(purpose, message)),
                ))
            }
            Self::Tpm(place) => {
                let held = LoadedKey::open(place)?;
                let mut signatures = Vec::new();
                for purpose in purposes {
                    let digest = wire::signed_digest(purpose, message);
                    let signature = held.sign(&digest.0).map_err(anyhow::Error::msg)?;
                    signatures.push(signature);
                }
                let signatures = <[Signature; N]>::try_from(signatures).ok();
                let signatures = signatures.context("there is one for each purpose")?;
                Ok((held.public(), signatures))
            }
        }
    }
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path).with_context(|| format!("read {}", path.display()))?;
    if metadata.len() > MAX_FILE_BYTES {
        anyhow::bail!("{} is too long for a key", path.display());
    }
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

impl KeyHolder for LoadedKey {
    fn public(&self) -> PublicKey {
        self.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, String> {
        self.with(|tpm, key| key.sign_octets(tpm, message))
            .map_err(|error| error.to_string())
    }
}
