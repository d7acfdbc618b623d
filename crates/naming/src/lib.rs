//! Ringfort's names for stock clients (seed 002): authoritative DNS for the
//! circle's apexes, and the circle's certificate authority.
//!
//! Both daemons follow the ledger through proofs alone: they hold the circle's
//! constant key and trust no node. A stock resolver and a stock browser then
//! need nothing but an address and a root certificate.

pub mod ca;
pub mod delegation;
pub mod held;
pub mod ledger;
pub mod names;
pub mod owner_api;
pub mod presentation;
mod remote;
