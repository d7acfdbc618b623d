//! Orders opaque blocks: consensus, dissemination, storage and repair, behind
//! a boxed chain.
//!
//! A circle's validators agree on one sequence of blocks even if up to a
//! third of them misbehave, and sign each with the circle's threshold key. This crate is the
//! only one that names the consensus library; it knows neither what a
//! transaction is nor where state lives. Its caller hands it a [`Chain`] and
//! an [`EngineConfig`] and gets an [`EngineHandle`].
//!
//! - [`run`]: a validator over TCP, on threads of its own.
//! - `simulation` (feature of that name): the same validator, many at a time,
//!   on a deterministic runtime and a network that fails on purpose.
//! - [`resharing`]: how shares are made jointly and handed on.
//! - [`inspection`]: whether what it stored is still what it wrote.
//! - [`opening`]: how a block is certified before its circle runs.
//! - [`keys`]: key material as bytes. [`certificate`]: what exactly is signed.
//!
//! Validators change at the end of an epoch. The chain's state says who is in
//! office ([`Office`]); `epochs` runs consensus once for each epoch, and
//! `keeper` keeps this validator's share and its part in resharings.

mod application;
mod block;
pub mod certificate;
mod chain;
mod config;
mod delivery;
mod driver;
mod epochs;
mod gossip;
mod handle;
mod handover;
pub mod inspection;
mod keeper;
pub mod keys;
mod lineage;
mod office;
pub mod opening;
pub mod resharing;
#[cfg(feature = "simulation")]
pub mod simulation;
mod stack;
mod storage;
mod tcp;
mod vault;

pub use block::MAX_BLOCK_BYTES;
pub use certificate::Certificate;
pub use chain::{Anchor, Chain};
pub use config::{EngineConfig, GOSSIP_PER_SECOND, MAX_GOSSIP_BYTES, Pacing, Timeouts, Validator};
pub use handle::{EngineError, EngineHandle, HandoverStatus, Status};
pub use office::{Handover, Office, Origin};
pub use tcp::run;
