//! An account's key in a TPM, which signs transactions as they are sent.
//!
//! `--key tpm:LABEL[@DEVICE]`: the key is made in the TPM from its seed and the
//! label, the same each time, and never leaves it (docs/operations/evidence.md).

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use client::account::{Signer, SignerError};
use platform::{
    TPM_DEVICE,
    tpm::{AccountKey, Tpm},
};
use wire::{PublicKey, SignedTransaction, Transaction};

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

/// A key in a TPM.
pub struct TpmSigner {
    public: PublicKey,
    loaded: Arc<Mutex<(Tpm, AccountKey)>>,
}

impl TpmSigner {
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
            loaded: Arc::new(Mutex::new((tpm, key))),
        })
    }
}

impl Drop for TpmSigner {
    fn drop(&mut self) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let (tpm, key) = &mut *loaded;
        // A TPM has few places for keys; the resource manager would free it, a
        // bare socket would not.
        let _ = key.release(tpm);
    }
}

impl Signer for TpmSigner {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(
        &self,
        transaction: Transaction,
    ) -> Pin<Box<dyn Future<Output = Result<SignedTransaction, SignerError>> + Send + '_>> {
        let loaded = self.loaded.clone();
        Box::pin(async move {
            let work = move || {
                let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                let (tpm, key) = &mut *loaded;
                let signature = key
                    .sign_challenge(tpm, transaction.challenge())
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
