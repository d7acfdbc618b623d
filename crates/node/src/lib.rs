//! A circle's node: it takes transactions, puts them into blocks with the
//! other validators, applies them to the ledger, stores what follows and
//! proves it to whoever asks.
//!
//! ```text
//!   HTTP ──► api ──► mempool ◄── gossip
//!                      │            ▲
//!                      ▼            ▼
//!             store ◄─ chain ◄──► engine ◄──► other validators
//! ```
//!
//! - [`store`]: one file with the state, its tree and every block;
//! - [`chain`]: what the engine orders: proposes, executes and stores blocks;
//! - [`checkpoint`]: the whole state in chunks that prove themselves, made,
//!   offered, fetched and restored;
//! - [`mempool`]: what waits to be put into a block, and who may wait;
//! - [`api`]: the HTTP interface, version 1;
//! - [`attesting`]: evidence of a validator's code, shown before it lapses;
//! - `healing`: damaged files set aside before a start; `care`: when a running
//!   node stops and starts again by itself;
//! - [`config`]: what a node must be told.
//!
//! Consensus is the engine's and the meaning of transactions the ledger's;
//! this crate holds neither. It is trusted by nobody: a client believes proofs.

pub mod api;
pub mod attesting;
mod care;
pub mod chain;
pub mod checkpoint;
pub mod config;
mod healing;
pub mod mempool;
mod node;
#[cfg(any(test, feature = "simulation"))]
pub mod sample;
mod signatures;
pub mod store;
mod tip;

pub use config::{
    AccessConfig, ConfigError, DiskConfig, EvidenceConfig, HistoryConfig, LogConfig, NodeConfig,
    ValidatorAddress,
};
pub use node::{Node, NodeError, run, run_with};
pub use tip::Tip;
