//! The one page of memory in which a protected process's long-lived secrets rest.
//!
//! Where the kernel has `memfd_secret`, the page is in no other mapping, not
//! even the kernel's own: reading it through `/proc/PID/mem` fails (seed 000
//! [0058]). Elsewhere it is locked, kept out of core dumps and guarded. Every
//! secret is used from here by reference and never copied for longer than a
//! call; what a library copies inside a call is that library's to wipe
//! (aws-lc and dalek do).

#![allow(unsafe_code)]

use std::sync::{PoisonError, RwLock};

use zeroize::Zeroize;

/// How the page is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// `memfd_secret`: unmapped from the kernel, locked, never dumped.
    SecretMemory,
    /// Locked and never dumped; the host's root reads it with a debugger's rights.
    Locked,
}

/// Secrets in protected memory, for the life of the process.
pub struct SecretPage<T: 'static> {
    secrets: RwLock<&'static mut T>,
    protection: Protection,
}

/// There is no memory that can be locked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no page of memory can be locked for keys")]
pub struct NoMemory;

impl<T: Zeroize + 'static> SecretPage<T> {
    /// Takes a page that holds `empty`. The caller closes every other file
    /// descriptor afterwards: that of `memfd_secret` would be a second way to
    /// the page.
    ///
    /// Errors: [`NoMemory`].
    pub fn new(empty: T) -> Result<Self, NoMemory> {
        // SAFETY: both functions give a writable allocation of the size of `T`,
        // whose alignment is checked, which is never freed, so that a reference
        // to it lives for ever; it is initialised before a reference is made.
        let (secrets, protection) = unsafe {
            let (memory, protection) = match memsec::memfd_secret::<T>() {
                Some(memory) => (memory, Protection::SecretMemory),
                None => (memsec::malloc::<T>().ok_or(NoMemory)?, Protection::Locked),
            };
            if !memory.is_aligned() {
                return Err(NoMemory);
            }
            memory.write(empty);
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
    pub fn read<R>(&self, used: impl FnOnce(&T) -> R) -> R {
        used(&self.secrets.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the secrets in place.
    pub fn write<R>(&self, changed: impl FnOnce(&mut T) -> R) -> R {
        changed(&mut self.secrets.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes every secret zero.
    pub fn wipe(&self) {
        self.write(Zeroize::zeroize);
    }

    /// Where the page is, for tests that try to read it from outside.
    pub fn address(&self) -> usize {
        self.read(|secrets| std::ptr::from_ref(secrets) as usize)
    }
}
