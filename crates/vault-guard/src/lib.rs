//! The vault's judgement: may this caller be answered now, and with what?
//!
//! A [`Vault`] takes an agent's messages and answers them. What differs between the
//! places that it runs in (a protected process, a trusted application of a TEE) is
//! behind [`Place`]: clocks, random numbers and the key. Nothing else is, so that both
//! judge by the same code. Without a standard library, I/O or a clock of its own.
//!
//! What an agent says is believed, as `vault` explains; docs/spec/vault.md has the rules.

#![no_std]

extern crate alloc;

mod credential;
mod guard;
mod message;
mod vault;

pub use credential::{
    Certificate, Code, Credential, CredentialError, MAX_CREDENTIAL_BYTES, certify, sign,
};
pub use guard::{CallerId, Guard, MAX_CALLERS, MEASURED_WITHIN, Moment, Refused};
pub use message::{FromVault, MAX_ENCODED_BYTES, MAX_MESSAGE_BYTES, Measured, ToVault};
pub use vault::{Place, Vault};
