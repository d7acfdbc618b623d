//! The host's side of a keykeeper.
//!
//! [`Program`] is the protected process's program, measured and executed through
//! one descriptor. [`make`] has it make an identity; [`Host`] runs it: brings it
//! proofs, sends the transactions that it signs, keeps the state that it seals,
//! and says when the ledger has changed. [`Holder`] is the same program where it
//! holds a label's key for a daemon beside it. [`Remote`] is the circle as an account
//! sees it, for who asks for a key in a process of its own. [`recover`] and [`restore`]
//! bring a lost keykeeper back from the members' escrow.
//!
//! Nothing here is trusted by the protected process. It sees public keys, sealed
//! bytes and transactions; and it holds the sealing key, which keeps the state
//! from who has the disk alone (docs/spec/keys.md §2).

mod files;
mod holder;
mod host;
mod link;
mod program;
mod remote;

pub use files::Files;
pub use holder::Holder;
pub use host::{Host, HostError, Progress};
pub use link::{LinkError, Recovering, make, recover, restore};
pub use program::Program;
pub use remote::{Remote, read_proven};
