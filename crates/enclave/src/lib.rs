//! The protected process of a contract: makes its own keys, takes the user's
//! key over the handshake, runs the payload and opens no socket.
//!
//! It speaks to its host over one channel ([`wire::channel`]) and trusts nothing
//! it hears there; the host sees ciphertext, signatures and traffic that is
//! already encrypted. Everything here is part of what evidence measures, so
//! nothing else of Ringfort is linked. How far a plain Linux process can
//! protect itself, and how far not, is said in docs/spec/enclave.md.

mod filesystem;
pub mod guest;
mod host;
mod identity;
mod job;
mod lifecycle;
mod logs;
mod outbox;
mod runtime;
mod service;
mod streams;
pub mod vault;

pub use lifecycle::{End, run};
