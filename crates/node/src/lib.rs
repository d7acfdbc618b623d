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
//! - [`config`]: what a node must be told.
//!
//! Consensus is the engine's and the meaning of transactions the ledger's;
//! this crate holds neither. It is trusted by nobody: a client believes proofs.

pub mod api;
pub mod chain;
pub mod checkpoint;
pub mod config;
pub mod mempool;
mod node;
#[cfg(any(test, feature = "simulation"))]
pub mod sample;
mod signatures;
pub mod store;
mod tip;

pub use config::{ConfigError, HistoryConfig, LogConfig, NodeConfig, ValidatorAddress};
pub use node::{Node, NodeError, run};
pub use tip::Tip;
