//! What a dynamic update asks for, who signed it, and what it makes of a
//! name's records (RFC 2136, RFC 2931).
//!
//! The same reading serves consensus, which applies the message, and name
//! servers, which spare the ledger what it would refuse. Nothing here is
//! trusted: a message says something only once [`Update::verify`] has taken the
//! owner's key. Whether records are fit for a name is for the ledger.
//!
//! Source: docs/spec/update.md.

mod apply;
mod message;
mod signature;

pub use self::{
    apply::Unmet,
    message::{Change, Prerequisite, Update, UpdateError},
    signature::{SignatureError, Signed},
};

/// Octets of a message: room for a name's records as nsupdate sends them.
pub const MAX_UPDATE_BYTES: usize = 4096;

/// How long a signature may hold, in seconds: what nsupdate asks for, 300, and
/// as much again for clocks that differ.
pub const MAX_SIGNATURE_SECONDS: u32 = 600;
