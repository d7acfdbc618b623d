//! The real binary as a child process, driven as a provider drives it, with a
//! real user on the other side of the handshake.

mod guest;
mod host;
mod job;
mod label_keys;
mod misuse;
mod secrets;
mod service;
