//! The two daemons against stock programs, over a ledger in memory.
//!
//! Programs that are not installed fail a test with what to install: a test
//! that quietly did nothing would be none.

mod acme;
mod browsers;
mod certificates;
mod dnssec;
mod encrypted;
mod follow;
// A node with real trees, certificates and HTTP, which lies when it is told to.
#[expect(dead_code, reason = "the client's own tests use the rest of it")]
#[path = "../../../client/tests/client/fake_node.rs"]
mod fake_node;
mod gateway;
mod limits;
mod memory;
mod one_height;
mod programs;
mod real_ledger;
mod registration;
mod resolving;
mod secondaries;
mod server;
mod signing;
mod values;
