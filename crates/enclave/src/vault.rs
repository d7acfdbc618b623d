//! What rests in the enclave's page of secrets (`sandbox::SecretPage`): every
//! secret that outlives a call.

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
    /// None yet.
    pub fn empty() -> Self {
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

/// The secrets, in protected memory, for the life of the process.
pub type Vault = sandbox::SecretPage<Secrets>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_until_it_is_wiped() {
        let vault = Vault::new(Secrets::empty()).unwrap();
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
        let vault = Vault::new(Secrets::empty()).unwrap();
        vault.write(|secrets| secrets.signing_seed = [7; 32]);
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let read = memory.read_at(&mut [0; 32], vault.address() as u64);
        match vault.protection() {
            sandbox::Protection::SecretMemory => {
                assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EIO));
            }
            // Without the kernel's help the process may read its own pages.
            sandbox::Protection::Locked => assert!(read.is_ok()),
        }
    }
}
