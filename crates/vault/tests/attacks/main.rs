//! A real protected process, a real agent, and clients that are not what they
//! should be.

#![allow(unsafe_code)]

mod clients;

use std::{path::Path, process::ExitCode};

use vault::agent::Agent;

fn main() -> ExitCode {
    let start: clients::Start = |root, application| {
        let program = Path::new(env!("CARGO_BIN_EXE_ringfort-vault"));
        Agent::start(program, root, application)
    };
    clients::run(start, Vec::new())
}
