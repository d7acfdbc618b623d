//! `ringfort-keykeeper`: a keykeeper on standard input and output.
//!
//! Takes no arguments and no environment. Exits with 0 when its host ended it,
//! 1 when it could not protect itself, 2 when the host broke the channel's rules
//! or the state does not open.

use std::process::ExitCode;

use keykeeper::protected::{Resting, serve};

fn main() -> ExitCode {
    // A panic's message could quote what it tripped over; its place cannot.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("panic at {:?}", panic.location());
    }));
    let sandboxed = match sandbox::enter(Resting::empty) {
        Ok(sandboxed) => sandboxed,
        Err(error) => {
            eprintln!("ringfort-keykeeper: {error}");
            return ExitCode::from(1);
        }
    };
    let sandbox::Sandboxed { page, warnings } = sandboxed;
    match serve(page, warnings, std::io::stdin(), std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfort-keykeeper: {error}");
            ExitCode::from(2)
        }
    }
}
