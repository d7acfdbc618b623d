//! Keys that nobody holds alone.
//!
//! A set of *keykeepers* holds shares of one BLS12-381 secret, the *master
//! secret*, which is never put together. The key of a *label* is the BLS
//! signature of the master secret on the label's bytes: a quorum of keykeepers
//! answers with a signature share each, sealed to whoever asks; the asker checks
//! each share, combines them and checks the whole. Anyone encrypts to a label
//! with the master public key alone (identity-based encryption, in which a
//! label's key is the label's private key).
//!
//! This crate is sans-I/O and pure: it is handed entropy, messages and state,
//! and gives messages and state. It names the library of the protocols; what it
//! adds is bytes, bounds, and the rules by which everybody judges a public list
//! of messages alike:
//!
//! - [`Board`]: the public messages of one round, and what they come to;
//! - [`Keeper`]: a keykeeper's secret side of a round, and its share;
//! - [`answer`] and [`Asker`]: from a request for a label's key to [`LabelKey`];
//! - [`escrow()`] and [`restore`]: a keykeeper's share among members, and back;
//! - [`LabelKey`] to usable keys, and [`encrypt`] to a label.
//!
//! What it trusts: that all parties see one list of messages in one order, each
//! with its true sender (the ledger), and that fewer than a quorum of
//! keykeepers ([`quorum`]) conspire. Which labels exist and who may ask is the
//! ledger's to say, and each keykeeper's to check.
//!
//! Source: docs/spec/keys.md; seed 001, distributed key management.

mod board;
mod committee;
mod derive;
mod encryption;
mod escrow;
#[cfg(test)]
mod founded;
mod keeper;
mod label;
mod message;
mod round;
mod sealed;
#[cfg(test)]
mod simulation;

pub use board::{Board, Phase, Refusal, Verdict};
pub use committee::{
    Committee, CommitteeError, KeeperKey, MASTER_KEY_LENGTH, MAX_SHARING_BYTES, MasterKey, faults,
    keeper_key, quorum,
};
pub use derive::{DerivedKey, HpkeKeyPair};
pub use encryption::{ENCRYPTION_OVERHEAD, EncryptionError, MAX_ENCRYPTED_BYTES, encrypt};
pub use escrow::{
    EscrowError, EscrowTerms, HandedOver, KeyEscrow, MAX_ESCROW_BYTES, Piece, escrow,
    escrow_public, escrow_quorum, escrow_secret, open_piece, restore,
};
pub use keeper::{Keeper, KeeperError, Post};
pub use label::{AnswerError, Asker, LabelKey, OneTimeKey, PARTIAL_BYTES, answer};
pub use message::{
    Answer, Dealing, Join, MAX_ANSWER_BYTES, MAX_DEALING_BYTES, MAX_JOIN_BYTES, Verdicts,
};
pub use round::{Conclusion, Task};
