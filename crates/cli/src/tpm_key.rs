//! An account's key in a TPM, which signs transactions as they are sent.
//!
//! `--key tpm:LABEL[@DEVICE]`: the key is made in the TPM from its seed and the
//! label, the same each time, and never leaves it (docs/operations/evidence.md).

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use client::account::{Signer, SignerError};
use platform::{
    TPM_DEVICE,
    tpm::{AccountKey, Sealed, Tpm},
};
use wire::{PublicKey, SignedTransaction, Transaction};
use zeroize::Zeroizing;

/// Which key of which TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the key is called.
    pub label: String,
    /// A device, or the socket of a software TPM.
    pub device: String,
}

/// The key that `--key` names, if it is one in a TPM.
pub fn place(text: &str) -> Option<Place> {
    let name = text.strip_prefix("tpm:")?;
    let (label, device) = name.split_once('@').unwrap_or((name, TPM_DEVICE));
    Some(Place {
        label: label.to_owned(),
        device: device.to_owned(),
    })
}

/// A key in a TPM, loaded while this lives.
pub struct LoadedKey {
    public: PublicKey,
    loaded: Mutex<(Tpm, AccountKey)>,
}

impl LoadedKey {
    /// Has the TPM make the key.
    ///
    /// Errors: there is no TPM there, or it refuses.
    pub fn open(place: &Place) -> anyhow::Result<Self> {
        let mut tpm = Tpm::open(&place.device)
            .with_context(|| format!("open the TPM at {}", place.device))?;
        let key = tpm
            .account_key(&place.label)
            .with_context(|| format!("make the key {} in the TPM", place.label))?;
        Ok(Self {
            public: key.public(),
            loaded: Mutex::new((tpm, key)),
        })
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Has the TPM do something with the key; nobody else uses it meanwhile.
    pub fn with<T>(&self, work: impl FnOnce(&mut Tpm, &mut AccountKey) -> T) -> T {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let (tpm, key) = &mut *loaded;
        work(tpm, key)
    }
}

impl std::fmt::Debug for LoadedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoadedKey({})", self.public)
    }
}

impl Drop for LoadedKey {
    fn drop(&mut self) {
        // A TPM has few places for keys; the resource manager would free it, a
        // bare socket would not.
        let _ = self.with(|tpm, key| key.release(tpm));
    }
}

/// An account's key in a TPM.
pub struct TpmSigner(Arc<LoadedKey>);

impl TpmSigner {
    /// Has the TPM make the key.
    ///
    /// Errors: as for [`LoadedKey::open`].
    pub fn open(place: &Place) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(LoadedKey::open(place)?)))
    }

    /// The identity of this key's wallet, which the TPM sealed: made the first
    /// time, and of use with this TPM alone. A signature could not give it, as
    /// the TPM makes another one each time.
    ///
    /// Errors: the file cannot be read or written, or is of another TPM.
    pub fn wallet_identity(&self, directory: &Path) -> anyhow::Result<Zeroizing<String>> {
        let path = directory.join(format!("tpm-{}.sealed", self.0.public.account()));
        self.0.with(|tpm, _| wallet_identity(tpm, &path))
    }
}

fn wallet_identity(tpm: &mut Tpm, path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let sealed = match std::fs::read(path) {
        Ok(bytes) => borsh::from_slice::<Sealed>(&bytes)
            .with_context(|| format!("{} is damaged", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = client::wallet::new_identity();
            // To no register: a wallet outlives an update of the firmware.
            let sealed = tpm
                .seal(&[], made.as_bytes())
                .context("seal the wallet's key")?;
            client::write_new(path, &borsh::to_vec(&sealed)?)?;
            sealed
        }
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let secret = tpm
        .unseal(&sealed)
        .with_context(|| format!("have the TPM open {}", path.display()))?;
    let text = std::str::from_utf8(&secret).context("the wallet's key is no text")?;
    Ok(Zeroizing::new(text.to_owned()))
}

impl Signer for TpmSigner {
    fn public(&self) -> PublicKey {
        self.0.public
    }

    fn sign(
        &self,
        transaction: Transaction,
    ) -> Pin<Box<dyn Future<Output = Result<SignedTransaction, SignerError>> + Send + '_>> {
        let key = Arc::clone(&self.0);
        Box::pin(async move {
            let work = move || {
                let signature = key
                    .with(|tpm, key| key.sign_challenge(tpm, transaction.challenge()))
                    .map_err(|error| SignerError(error.to_string()))?;
                Ok(SignedTransaction {
                    transaction,
                    signature: signature.into(),
                })
            };
            // A command takes a tenth of a second.
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|error| SignerError(error.to_string()))?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_a_tpm_is_named_by_label_and_device() {
        let place_of = |text| place(text).map(|place| (place.label, place.device));
        let own = |label: &str, device: &str| Some((label.to_owned(), device.to_owned()));
        assert_eq!(place_of("tpm:treasury"), own("treasury", TPM_DEVICE));
        assert_eq!(place_of("tpm:a@/run/swtpm"), own("a", "/run/swtpm"));
        assert_eq!(place_of("treasury"), None);
    }
}
