//! The client against a small node that speaks the API's contract with real
//! proofs, and misbehaves on request.

mod certificate;
mod connect;
mod events;
mod fake_node;
mod names;
mod reads;
mod storage;
mod transactions;
