//! `ringfort-enclave`: an enclave on standard input and output.
//!
//! Takes no arguments and no environment. Exits with 0 when its host ended it,
//! 1 when it could not protect itself, 2 when the host broke the channel's rules.
//!
//! As the first process of a machine it is that machine's only program: it then
//! carries the channel between a port and itself as a child (`enclave::guest`).

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd},
    process::ExitCode,
};

use enclave::{End, guest, run, vault::Secrets};
use tokio::net::unix::pipe;

/// Threads that work: what the smallest offer has in processors, so that one
/// busy guest does not keep others waiting.
const WORKERS: usize = 2;

/// Bytes of the channel's pipes, where the host's limit allows it: a batch of
/// frames then costs one call.
const PIPE_BYTES: usize = 1024 * 1024;

fn main() -> ExitCode {
    // A panic's message could quote what it tripped over; its place cannot.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("panic at {:?}", panic.location());
    }));
    if guest::is_first_process() {
        guest::run();
    }
    let sandboxed = match sandbox::enter(Secrets::empty) {
        Ok(sandboxed) => sandboxed,
        Err(error) => {
            eprintln!("ringfort-enclave: {error}");
            return ExitCode::from(1);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build();
    let end = runtime.and_then(|runtime| {
        let end = runtime.block_on(async {
            let (input, output) = channel()?;
            // The work runs on a worker: the main thread's own loop is slower.
            let work = tokio::spawn(run(sandboxed, input, output));
            work.await.map_err(io::Error::other)
        });
        // A compiler that is still at work is not waited for.
        runtime.shutdown_background();
        end
    });
    match end {
        Ok(End::Orderly) => ExitCode::SUCCESS,
        Ok(End::Faulted) => ExitCode::from(2),
        Err(error) => {
            eprintln!("ringfort-enclave: the channel failed: {error}");
            ExitCode::from(1)
        }
    }
}

/// Standard input and output, as pipes.
#[allow(unsafe_code)]
fn channel() -> io::Result<(pipe::Receiver, pipe::Sender)> {
    // SAFETY: descriptors 0 and 1 are open from the start of the process, and
    // nothing else here uses or closes them: the standard library's handles are
    // not touched.
    let (input, output) = unsafe { (OwnedFd::from_raw_fd(0), OwnedFd::from_raw_fd(1)) };
    for end in [&input, &output] {
        // Fails for what is no pipe; the runtime's own check would ask for a
        // file's metadata, which the sandbox refuses.
        rustix::pipe::fcntl_getpipe_size(end)?;
        // A smaller pipe works as well.
        let _ = rustix::pipe::fcntl_setpipe_size(end, PIPE_BYTES);
        let flags = rustix::fs::fcntl_getfl(end)?;
        rustix::fs::fcntl_setfl(end, flags | rustix::fs::OFlags::NONBLOCK)?;
    }
    Ok((
        pipe::Receiver::from_owned_fd_unchecked(input)?,
        pipe::Sender::from_owned_fd_unchecked(output)?,
    ))
}
