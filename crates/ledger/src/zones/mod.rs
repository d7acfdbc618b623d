//! Zones: the keys, name servers and times of the circle's apexes.
//!
//! What stands here is what a name server may believe a signature by: a key
//! that is not on the ledger signs nothing.
//!
//! Source: docs/spec/dns.md §8.

mod set;

pub(crate) use set::set;
