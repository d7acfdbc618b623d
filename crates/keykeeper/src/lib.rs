//! The keykeeper, and how a holder asks for a label's key.
//!
//! [`Keykeeper`] is the shell around [`threshold::Keeper`]: it reads the ledger by
//! proofs, posts what a round waits for, stores its secret before each post, deals
//! only to keykeepers whose evidence it has appraised ([`check_peer`]), and answers
//! requests that it has checked itself ([`check`]): label, epoch, asker, payload,
//! evidence and code, under the circle's proven rules. [`derive`] is the other side:
//! it makes a one-time key, has evidence made for it, asks, and combines a quorum of
//! good answers.
//!
//! [`protected`] is the keykeeper as it runs: in the sandbox of a protected process,
//! the program `ringfort-keykeeper`, behind one channel ([`channel`]) to a host that
//! it believes nothing. It trusts proofs under the circle's key, and no node. What a
//! plain Linux process cannot hide from its host's root is said in docs/spec/enclave.md.

pub mod channel;
mod check;
mod circle;
mod holder;
mod keykeeper;
mod peers;
pub mod protected;
mod proven;
pub mod recovery;
mod sealing;
mod store;

pub use check::{RequestRefused, check};
pub use circle::{Circle, CircleError, Reading, decode};
pub use holder::{HolderError, derive};
pub use keykeeper::{Keykeeper, KeykeeperError, Step};
pub use peers::{PeerRefused, check_peer};
pub use store::{Store, StoreError};

use zeroize::Zeroizing;

/// 32 bytes of the system's entropy.
pub(crate) fn fresh() -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut bytes[..]).expect("the system has a random number generator");
    bytes
}
