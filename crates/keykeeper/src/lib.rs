//! The keykeeper's process, and how a holder asks for a label's key.
//!
//! [`Keykeeper`] is the async shell around [`threshold::Keeper`]: it reads the
//! ledger by proofs, posts what a round waits for, stores its secret before each
//! post, and answers requests that it has checked itself ([`check`]): label,
//! epoch, asker, evidence and code, under the circle's proven rules. [`derive`] is
//! the other side: it makes a one-time key, has evidence made for it, asks, and
//! combines a quorum of good answers.
//!
//! It trusts proofs under the circle's key, and no node. It does *not* run in an
//! enclave yet: its share is in a process of the host, and in a file that is
//! sealed under its key file. Root on a keykeeper's host has that keykeeper's
//! share; a quorum of such roots has every key.

mod check;
mod circle;
mod holder;
mod keykeeper;
mod remote;
mod store;

pub use check::{RequestRefused, check};
pub use circle::{Circle, CircleError, Reading, decode};
pub use holder::{HolderError, derive};
pub use keykeeper::{Keykeeper, KeykeeperError, Step};
pub use remote::Remote;
pub use store::SealedStore;

use zeroize::Zeroizing;

/// 32 bytes of the system's entropy.
pub(crate) fn fresh() -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut bytes[..]).expect("the system has a random number generator");
    bytes
}
