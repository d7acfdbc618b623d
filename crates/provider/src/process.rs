//! Launching an enclave and hearing from it.
//!
//! What is executed is the very file that was measured, whatever its path
//! names later. Enclaves are started from a thread of their own that lives as
//! long as this process, since an enclave asks the kernel to end it with the
//! thread that made it.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot},
};
use wire::{
    Beat, ContractId, Digest, EnclaveKeys, HandshakeStep, LabelName, Measurement, Outcome,
    Signature,
    channel::{EnclaveMessage, HostMessage},
};

use crate::{
    channel::{Incoming, Outbox, read_frames},
    contract_files::ContractFiles,
    label_keys::Ask,
    sealed_log::SealedLog,
    streams::Streams,
};

/// Messages of the protocol that may wait for the host: an enclave says a
/// handful for each operation.
const MAX_WAITING_MESSAGES: usize = 256;

/// A pipe's buffer: one large read instead of sixteen.
const PIPE_BYTES: usize = 1024 * 1024;

/// How long an enclave may take to wipe itself and exit.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// The enclave's program: opened, and measured through the same descriptor.
pub struct EnclaveBinary {
    file: File,
    measurement: Measurement,
}

impl EnclaveBinary {
    /// SHA-256 of the program.
    pub fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// Opens and measures the program at `path`.
    ///
    /// Errors: the file system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
        file.rewind()?;
        Ok(Self {
            file,
            measurement: Measurement(hasher.finalize().into()),
        })
    }
}

/// The thread from which enclaves are started.
pub struct Launcher {
    requests: std::sync::mpsc::Sender<oneshot::Sender<io::Result<Child>>>,
    measurement: Measurement,
}

impl Launcher {
    /// Starts the thread. Children belong to the current tokio runtime.
    ///
    /// Errors: the thread cannot be made.
    pub fn start(binary: EnclaveBinary, diagnostics: bool) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let measurement = binary.measurement;
        let (requests, incoming) = std::sync::mpsc::channel::<oneshot::Sender<_>>();
        std::thread::Builder::new()
            .name("launcher".to_owned())
            .spawn(move || {
                let _runtime = runtime.enter();
                for reply in incoming {
                    let _ = reply.send(spawn(&binary, diagnostics));
                }
            })?;
        Ok(Self {
            requests,
            measurement,
        })
    }

    /// SHA-256 of the program that is launched.
    pub fn measurement(&self) -> Measurement {
        self.measurement
    }

    async fn launch(&self) -> io::Result<Child> {
        let (reply, launched) = oneshot::channel();
        let gone = || io::Error::other("the launcher is gone");
        self.requests.send(reply).map_err(|_| gone())?;
        launched.await.map_err(|_| gone())?
    }
}

fn spawn(binary: &EnclaveBinary, diagnostics: bool) -> io::Result<Child> {
    // The descriptor is closed by the very exec that resolves this path.
    let mut command =
        std::process::Command::new(format!("/proc/self/fd/{}", binary.file.as_raw_fd()));
    command
        .arg0("ringfort-enclave")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(if diagnostics {
            Stdio::inherit()
        } else {
            Stdio::null()
        });
    let child = Command::from(command).kill_on_drop(true).spawn()?;
    // Best effort: an unprivileged process may have used up its share.
    if let Some(pipe) = &child.stdin {
        let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
    }
    if let Some(pipe) = &child.stdout {
        let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
    }
    Ok(child)
}

/// What an enclave says to its host's state machine. Traffic, logs and output
/// go their own ways.
#[derive(Debug)]
pub enum FromEnclave {
    /// The keys it made.
    Keys {
        /// Public keys.
        keys: EnclaveKeys,
        /// What is to be quoted.
        report_data: Digest,
    },
    /// A step of a handshake, for the ledger.
    Handshake {
        /// The operation's number.
        operation: u32,
        /// Which step.
        step: HandshakeStep,
        /// Sealed to the user.
        sealed: Vec<u8>,
        /// By the enclave.
        signature: Signature,
    },
    /// It wants the payload.
    FetchPayload,
    /// An operation's outcome, for the ledger.
    Outcome {
        /// The operation's number.
        operation: u32,
        /// How it ended.
        outcome: Outcome,
        /// Sealed to the user.
        sealed: Vec<u8>,
        /// By the enclave.
        signature: Signature,
    },
    /// A job's end, for the ledger.
    Completed {
        /// Sealed to the user.
        sealed: Vec<u8>,
        /// SHA-256 of the output's ciphertext.
        output_sha256: Digest,
        /// Its bytes.
        output_bytes: u64,
        /// By the enclave.
        signature: Signature,
    },
    /// Its payload is to have the key of a label.
    LabelWanted {
        /// The number of the wish.
        wish: u32,
        /// The label.
        label: LabelName,
    },
    /// What to ask the keykeepers.
    KeyRequest {
        /// The number of the wish.
        wish: u32,
        /// The request.
        ask: Ask,
    },
    /// It has the key.
    KeyCombined {
        /// The number of the wish.
        wish: u32,
    },
    /// It ended; why, if that is known.
    Gone(String),
}

/// A running enclave.
pub struct EnclaveProcess {
    /// Frames to it.
    pub outbox: Arc<Outbox>,
    /// Its clients' connections.
    pub streams: Arc<Streams>,
    /// What it says.
    pub messages: mpsc::Receiver<FromEnclave>,
}

/// Where an enclave's bytes go that are not for the state machine.
#[derive(Clone)]
pub struct Sinks {
    /// Its contract.
    pub contract: ContractId,
    /// Its log.
    pub log: Arc<SealedLog>,
    /// Its files.
    pub files: Arc<ContractFiles>,
    /// Its signs of life.
    pub beats: mpsc::UnboundedSender<Beat>,
}

impl EnclaveProcess {
    /// Launches an enclave.
    ///
    /// Errors: the system refuses.
    pub async fn launch(launcher: &Launcher, sinks: Sinks) -> io::Result<Self> {
        let mut child = launcher.launch().await?;
        let missing = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let outbox = Arc::new(Outbox::default());
        let streams = Arc::new(Streams::new(outbox.clone()));
        let (to_host, messages) = mpsc::channel(MAX_WAITING_MESSAGES);
        tokio::spawn(run(
            child,
            stdin,
            stdout,
            outbox.clone(),
            streams.clone(),
            sinks,
            to_host,
        ));
        Ok(Self {
            outbox,
            streams,
            messages,
        })
    }

    /// Asks the enclave to wipe itself and exit; it is killed if it does not.
    pub fn shut_down(&self) {
        let _ = self.outbox.send(&HostMessage::Shutdown);
        self.outbox.close();
    }
}

/// Carries frames until either side ends, then sees the process out.
async fn run(
    mut child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    outbox: Arc<Outbox>,
    streams: Arc<Streams>,
    sinks: Sinks,
    to_host: mpsc::Sender<FromEnclave>,
) {
    let reading = read_frames(stdout, |incoming| {
        receive(incoming, &streams, &sinks, &to_host)
    });
    let ended = tokio::select! {
        read = reading => match read {
            Ok(()) => "it closed its pipe".to_owned(),
            Err(error) => format!("its frames are not acceptable: {error}"),
        },
        written = outbox.write_to(stdin) => match written {
            // Told to shut down: it has what it needs to exit.
            Ok(()) => "it was shut down".to_owned(),
            Err(error) => format!("its pipe broke: {error}"),
        },
    };
    outbox.close();
    streams.reset_all();
    let status = match tokio::time::timeout(EXIT_GRACE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            let _ = child.start_kill();
            child.wait().await
        }
    };
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    let _ = to_host
        .send(FromEnclave::Gone(format!("{ended}; {status}")))
        .await;
}

/// Takes one frame. Files are written here: they are short appends to the
/// page cache, and the pipe must not run ahead of them.
fn receive(
    incoming: Incoming<'_>,
    streams: &Streams,
    sinks: &Sinks,
    to_host: &mpsc::Sender<FromEnclave>,
) -> io::Result<()> {
    let message = match incoming {
        Incoming::Data(stream, bytes) => {
            streams.data(stream, bytes);
            return Ok(());
        }
        Incoming::Message(message) => message,
    };
    let forward = match message {
        EnclaveMessage::Data { stream, bytes } => {
            streams.data(stream, &bytes);
            return Ok(());
        }
        EnclaveMessage::Finish { stream } => {
            streams.finish(stream);
            return Ok(());
        }
        EnclaveMessage::Reset { stream } => {
            streams.reset(stream);
            return Ok(());
        }
        EnclaveMessage::Credit { stream, bytes } => {
            streams.credit(stream, bytes);
            return Ok(());
        }
        EnclaveMessage::Log { sequence, sealed } => return sinks.log.append(sequence, &sealed),
        EnclaveMessage::Output { bytes } => return sinks.files.append_output(&bytes),
        EnclaveMessage::Beat {
            height,
            block,
            signature,
        } => {
            let _ = sinks.beats.send(Beat {
                contract: sinks.contract,
                height,
                block,
                signature,
            });
            return Ok(());
        }
        EnclaveMessage::Fault { message } => return Err(io::Error::other(message)),
        EnclaveMessage::Keys {
            keys,
            report_data,
            warnings,
        } => {
            for warning in warnings {
                tracing::warn!(contract = %sinks.contract, warning, "enclave");
            }
            FromEnclave::Keys { keys, report_data }
        }
        EnclaveMessage::Handshake {
            operation,
            step,
            sealed,
            signature,
        } => FromEnclave::Handshake {
            operation,
            step,
            sealed,
            signature,
        },
        EnclaveMessage::LabelWanted { wish, label } => FromEnclave::LabelWanted { wish, label },
        EnclaveMessage::KeyRequest {
            wish,
            epoch,
            one_time_key,
            report_data,
        } => FromEnclave::KeyRequest {
            wish,
            ask: Ask {
                epoch,
                one_time_key,
                report_data,
            },
        },
        EnclaveMessage::KeyCombined { wish } => FromEnclave::KeyCombined { wish },
        EnclaveMessage::FetchPayload => FromEnclave::FetchPayload,
        EnclaveMessage::Outcome {
            operation,
            outcome,
            sealed,
            signature,
        } => FromEnclave::Outcome {
            operation,
            outcome,
            sealed,
            signature,
        },
        EnclaveMessage::Completed {
            sealed,
            output_sha256,
            output_bytes,
            signature,
        } => FromEnclave::Completed {
            sealed,
            output_sha256,
            output_bytes,
            signature,
        },
    };
    to_host
        .try_send(forward)
        .map_err(|_| io::Error::other("it says more than its host can take"))
}

#[cfg(test)]
mod tests;
