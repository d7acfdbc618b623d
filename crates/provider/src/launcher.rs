//! How is an enclave started: as a process, or as a guest?
//!
//! What is executed is the very file that was measured, whatever its path
//! names later. Enclaves are started from a thread of their own that lives as
//! long as this process, since an enclave asks the kernel to end it with the
//! thread that made it.

use std::{io, process::Stdio, time::Duration};

use platform::MeasuredFile;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    process::{Child, Command},
    sync::oneshot,
};
use wire::{
    Measurement,
    channel::{EnclaveMessage, GuestReport, decode_frame, frame_length},
};

use crate::guest::GuestImage;

/// A pipe's buffer: one large read instead of sixteen.
const PIPE_BYTES: usize = 1024 * 1024;

/// How long an enclave may take to wipe itself and exit.
pub(crate) const EXIT_GRACE: Duration = Duration::from_secs(5);

/// How much longer a guest may take: its first process waits as long for the
/// enclave, and an emulated machine takes a second to be switched off.
const POWER_OFF_TIME: Duration = Duration::from_secs(10);

/// How long a guest may take to begin: emulated, on busy processors, ten times
/// what it takes on idle ones.
const BOOT_TIME: Duration = Duration::from_secs(120);

/// What is launched for each contract.
pub enum Program {
    /// A process of this machine.
    Process(MeasuredFile),
    /// A guest of this machine.
    Guest(GuestImage),
}

impl Program {
    /// What development evidence measures: SHA-256 of the process's program, or
    /// a digest of all that a guest starts from.
    pub fn measurement(&self) -> Measurement {
        match self {
            Self::Process(binary) => binary.measurement,
            Self::Guest(image) => image.measurement(),
        }
    }
}

/// An enclave that has just been started.
pub(crate) struct Launched {
    /// Its process, or its machine's.
    pub(crate) child: Child,
    /// Frames to it.
    pub(crate) input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Frames from it.
    pub(crate) output: Box<dyn AsyncRead + Send + Unpin>,
    /// How long it may take to end.
    pub(crate) exit_grace: Duration,
}

/// The thread from which enclaves are started.
pub struct Launcher {
    requests: std::sync::mpsc::Sender<oneshot::Sender<io::Result<Launched>>>,
    measurement: Measurement,
    boot_time: Duration,
}

impl Launcher {
    /// Starts the thread. Children belong to the current tokio runtime.
    ///
    /// Errors: the thread cannot be made.
    pub fn start(program: Program, diagnostics: bool) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let measurement = program.measurement();
        let boot_time = match &program {
            Program::Process(_) => Duration::ZERO,
            Program::Guest(_) => BOOT_TIME,
        };
        let (requests, incoming) = std::sync::mpsc::channel::<oneshot::Sender<_>>();
        std::thread::Builder::new()
            .name("launcher".to_owned())
            .spawn(move || {
                let _runtime = runtime.enter();
                for reply in incoming {
                    let _ = reply.send(spawn(&program, diagnostics));
                }
            })?;
        Ok(Self {
            requests,
            measurement,
            boot_time,
        })
    }

    /// What development evidence measures of what is launched.
    pub fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// How long what is launched may take until the enclave runs.
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    pub(crate) async fn launch(&self) -> io::Result<Launched> {
        let (reply, launched) = oneshot::channel();
        let gone = || io::Error::other("the launcher is gone");
        self.requests.send(reply).map_err(|_| gone())?;
        launched.await.map_err(|_| gone())?
    }

    /// Starts a guest, hears what its TEE reports over zeros, and ends it.
    ///
    /// Errors: in words: it does not start in time, or has no TEE.
    pub(crate) async fn first_report(&self) -> Result<GuestReport, String> {
        let launched = self.launch().await.map_err(|error| error.to_string())?;
        // Dropping the guest at the end ends it.
        match tokio::time::timeout(self.boot_time, first_message(launched.output)).await {
            Ok(Ok(EnclaveMessage::Guest {
                report: Some(report),
                ..
            })) => report,
            Ok(Ok(EnclaveMessage::Guest { sentence, .. })) => Err(sentence),
            Ok(Ok(_)) => Err("the image's first process is no guest's".to_owned()),
            Ok(Err(error)) => Err(format!("a guest did not begin: {error}")),
            Err(_) => Err(format!("a guest did not begin within {:?}", self.boot_time)),
        }
    }
}

async fn first_message(mut output: impl AsyncRead + Unpin) -> io::Result<EnclaveMessage> {
    let mut header = [0; 4];
    output.read_exact(&mut header).await?;
    let mut body = vec![0; frame_length(header).map_err(io::Error::other)?];
    output.read_exact(&mut body).await?;
    decode_frame(&body).map_err(io::Error::other)
}

fn spawn(program: &Program, diagnostics: bool) -> io::Result<Launched> {
    let stderr = if diagnostics {
        Stdio::inherit()
    } else {
        Stdio::null()
    };
    match program {
        Program::Process(binary) => spawn_process(binary, stderr),
        Program::Guest(image) => {
            let (child, channel) = image.spawn(stderr)?;
            let (output, input) = channel.into_split();
            Ok(Launched {
                child,
                input: Box::new(input),
                output: Box::new(output),
                exit_grace: EXIT_GRACE + POWER_OFF_TIME,
            })
        }
    }
}

fn spawn_process(binary: &MeasuredFile, stderr: Stdio) -> io::Result<Launched> {
    let mut command = binary.command("ringfort-enclave");
    command.stderr(stderr);
    let mut child = Command::from(command).kill_on_drop(true).spawn()?;
    let missing = || io::Error::other("a pipe is missing");
    let input = child.stdin.take().ok_or_else(missing)?;
    let output = child.stdout.take().ok_or_else(missing)?;
    // Best effort: an unprivileged process may have used up its share.
    let _ = rustix::pipe::fcntl_setpipe_size(&input, PIPE_BYTES);
    let _ = rustix::pipe::fcntl_setpipe_size(&output, PIPE_BYTES);
    Ok(Launched {
        child,
        input: Box::new(input),
        output: Box::new(output),
        exit_grace: EXIT_GRACE,
    })
}
