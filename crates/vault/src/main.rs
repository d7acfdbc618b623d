//! `ringfort-vault`: a protected process that answers one application's clients.
//!
//! Takes no arguments and no environment; speaks to its agent on standard input
//! and output. Exits with 0 when the agent ended it, 1 when it could not protect
//! itself, 2 when the agent broke the channel's rules.

use std::process::ExitCode;

use vault::protected::serve;

fn main() -> ExitCode {
    // A panic's message could quote what it tripped over; its place cannot.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("panic at {:?}", panic.location());
    }));
    let sandboxed = match sandbox::enter(|| [0u8; 32]) {
        Ok(sandboxed) => sandboxed,
        Err(error) => {
            eprintln!("ringfort-vault: {error}");
            return ExitCode::from(1);
        }
    };
    let sandbox::Sandboxed { page, warnings } = sandboxed;
    let ended = serve(&page, warnings, std::io::stdin(), std::io::stdout());
    page.wipe();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfort-vault: {error}");
            ExitCode::from(2)
        }
    }
}
