//! Whole circles: real processes on real ports, driven through the one binary
//! that people use. One program, so that it is compiled and linked once; each
//! module is a part of what a circle does.

mod browsers;
mod delegation;
mod escrow;
mod faults;
mod founding;
mod guest;
mod handshake;
mod harness;
mod job;
mod keys;
mod label_keys;
mod life;
mod listen;
mod market;
mod master_secret;
mod members;
mod names;
mod owner_api;
mod parent;
mod real;
mod recovery;
mod secrets;
mod service;
mod state;
mod storage;
mod tpm;
mod zone_file;
