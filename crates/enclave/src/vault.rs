//! The one page of memory in which the enclave's long-lived secrets rest.
//!
//! Where the kernel has `memfd_secret`, the page is in no other mapping, not
//! even the kernel's own: reading it through `/proc/PID/mem` fails (seed 000
//! [0058]). Elsewhere it is locked, kept out of core dumps and guarded. Every
//! secret is used from here by reference and never copied for longer than a
//! call; what a library copies inside a call is that library's to wipe
//! (aws-lc and dalek do).

#![allow(unsafe_code)]

use std::sync::{PoisonError, RwLock};

use handshake::{AgreementSecret, DataKey, DerivedKeys};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of the TLS key in PKCS #8, at most: a P-256 key takes 138.
const MAX_TLS_KEY_BYTES: usize = 256;

/// Everything secret that outlives a call.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secrets {
    /// X25519, for key agreement with the user.
    pub agreement: AgreementSecret,
    /// Seed of the Ed25519 key that signs for the ledger.
    pub signing_seed: [u8; 32],
    /// The keys shared with the user; zero until the evidence is known.
    pub derived: DerivedKeys,
    /// The payload's key, from the user's response until the payload is open.
    pub data_key: DataKey,
    tls_key: [u8; MAX_TLS_KEY_BYTES],
    tls_key_bytes: usize,
}

impl Secrets {
    fn empty() -> Self {
        Self {
            agreement: AgreementSecret::from_bytes([0; 32]),
            signing_seed: [0; 32],
            derived: DerivedKeys::empty(),
            data_key: DataKey::from_bytes([0; 32]),
            tls_key: [0; MAX_TLS_KEY_BYTES],
            tls_key_bytes: 0,
        }
    }

    /// The TLS key in PKCS #8; empty before it was made.
    pub fn tls_key(&self) -> &[u8] {
        &self.tls_key[..self.tls_key_bytes]
    }

    /// Keeps the TLS key.
    ///
    /// Panics if it is longer than any P-256 key in PKCS #8.
    pub fn set_tls_key(&mut self, pkcs8: &[u8]) {
        assert!(
            pkcs8.len() <= MAX_TLS_KEY_BYTES,
            "a P-256 key in PKCS #8 is short"
        );
        self.tls_key[..pkcs8.len()].copy_from_slice(pkcs8);
        self.tls_key_bytes = pkcs8.len();
    }
}

/// How the page is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// `memfd_secret`: unmapped from the kernel, locked, never dumped.
    SecretMemory,
    /// Locked and never dumped; the host's root reads it with a debugger's rights.
    Locked,
}

/// The secrets, in protected memory, for the life of the process.
pub struct Vault {
    secrets: RwLock<&'static mut Secrets>,
    protection: Protection,
}

/// There is no memory that can be locked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no page of memory can be locked for the enclave's keys")]
pub struct NoMemory;

impl Vault {
    /// Takes a page. The caller closes every other file descriptor afterwards:
    /// that of `memfd_secret` would be a second way to the page.
    ///
    /// Errors: [`NoMemory`].
    pub fn new() -> Result<Self, NoMemory> {
        // SAFETY: both functions give a writable allocation of the size and
        // alignment of `Secrets` (they align to 16 bytes and `Secrets` needs
        // 8), which is never freed, so that a reference to it lives for ever;
        // it is initialised before a reference is made.
        let (secrets, protection) = unsafe {
            let (memory, protection) = match memsec::memfd_secret::<Secrets>() {
                Some(memory) => (memory, Protection::SecretMemory),
                None => (
                    memsec::malloc::<Secrets>().ok_or(NoMemory)?,
                    Protection::Locked,
                ),
            };
            if !memory.is_aligned() {
                return Err(NoMemory);
            }
            memory.write(Secrets::empty());
            (&mut *memory.as_ptr(), protection)
        };
        Ok(Self {
            secrets: RwLock::new(secrets),
            protection,
        })
    }

    /// How the page is kept from others.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Uses the secrets.
    pub fn read<T>(&self, used: impl FnOnce(&Secrets) -> T) -> T {
        used(&self.secrets.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the secrets in place.
    pub fn write<T>(&self, changed: impl FnOnce(&mut Secrets) -> T) -> T {
        changed(&mut self.secrets.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes every secret zero.
    pub fn wipe(&self) {
        self.write(|secrets| secrets.zeroize());
    }

    /// Where the page is, for tests that try to read it from outside.
    pub fn address(&self) -> usize {
        self.read(|secrets| std::ptr::from_ref(secrets) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_until_it_is_wiped() {
        let vault = Vault::new().unwrap();
        vault.write(|secrets| {
            secrets.signing_seed = [7; 32];
            secrets.set_tls_key(b"pkcs8");
        });
        assert_eq!(vault.read(|secrets| secrets.signing_seed), [7; 32]);
        vault.read(|secrets| assert_eq!(secrets.tls_key(), b"pkcs8"));
        vault.wipe();
        assert_eq!(vault.read(|secrets| secrets.signing_seed), [0; 32]);
        vault.read(|secrets| assert_eq!(secrets.tls_key(), b""));
    }

    #[test]
    fn secret_memory_does_not_open_through_proc() {
        use std::os::unix::fs::FileExt as _;
        let vault = Vault::new().unwrap();
        vault.write(|secrets| secrets.signing_seed = [7; 32]);
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let read = memory.read_at(&mut [0; 32], vault.address() as u64);
        match vault.protection() {
            Protection::SecretMemory => {
                assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EIO));
            }
            // Without the kernel's help the process may read its own pages.
            Protection::Locked => assert!(read.is_ok()),
        }
    }
}
