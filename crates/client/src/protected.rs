//! Secrets in memory that is never swapped out and is wiped when dropped.
//!
//! It protects against a copy on disk, not against a debugger of the same
//! user. Where the kernel's limit on locked memory is used up, the secret
//! stays in ordinary memory and [`Protected::is_locked`] says so.

use zeroize::{Zeroize, Zeroizing};

/// A 32-byte secret.
pub struct Protected {
    bytes: Box<[u8; 32]>,
    lock: Option<region::LockGuard>,
}

impl Protected {
    /// Moves a secret into locked memory; the caller's copy is wiped.
    pub fn new(mut secret: Zeroizing<[u8; 32]>) -> Self {
        // The place is locked before the secret is written to it.
        let mut bytes = Box::new([0u8; 32]);
        let lock = region::lock(bytes.as_ptr(), bytes.len()).ok();
        bytes.copy_from_slice(&secret[..]);
        secret.zeroize();
        Self { bytes, lock }
    }

    /// Draws a secret.
    pub fn random() -> Self {
        let mut secret = Zeroizing::new([0u8; 32]);
        fill_random(&mut secret[..]);
        Self::new(secret)
    }

    /// The secret.
    pub fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Whether the memory is locked.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }
}

impl Clone for Protected {
    fn clone(&self) -> Self {
        Self::new(Zeroizing::new(*self.bytes))
    }
}

impl Drop for Protected {
    fn drop(&mut self) {
        // Wiped before the guard unlocks the memory.
        self.bytes.zeroize();
    }
}

impl std::fmt::Debug for Protected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Protected")
    }
}

/// Fills `bytes` from the system's generator.
///
/// A system without one cannot keep secrets; nothing can be done but stop.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system has a random number generator");
}
