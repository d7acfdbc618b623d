//! `ringfort`: one binary for people and for every daemon of a circle.
//!
//! This file parses the command line, runs one command and turns its end into
//! an exit status. Commands are in `commands`, one file each. This crate alone
//! reads the terminal and the environment; everything beneath it is handed
//! values.

mod arguments;
mod commands;
mod failure;
mod founding;
mod health;
mod parts;
mod passphrase;
mod ports;
mod process;
mod server_key;
mod session;
mod state_directory;
mod supervisor;
mod terminal;
mod tpm_key;
mod typed_name;
mod units;
mod user;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // A reader that goes away (`ringfort ps | head`) is no failure of ours:
    // without this, Rust turns the broken pipe into a panic.
    terminal::exit_quietly_on_broken_pipe();
    let arguments = arguments::Arguments::parse();
    let (session, command) = session::Session::of(arguments);
    match commands::execute(&session, command) {
        Ok(status) => status.into(),
        Err(error) => failure::report(&session.terminal, session.format, &error).into(),
    }
}
