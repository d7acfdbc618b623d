//! Hearing from an enclave, from its launch to its end.

use std::{io, sync::Arc};

use tokio::sync::mpsc;
use wire::{
    Beat, ContractId, Digest, EnclaveKeys, HandshakeStep, LabelName, Outcome, Signature,
    channel::{EnclaveMessage, GuestReport, HostMessage},
};

use crate::{
    channel::{Incoming, Outbox, read_frames},
    contract_files::ContractFiles,
    label_keys::Ask,
    launcher::{Launched, Launcher},
    sealed_log::SealedLog,
    streams::Streams,
};

/// Messages of the protocol that may wait for the host: an enclave says a
/// handful for each operation.
const MAX_WAITING_MESSAGES: usize = 256;

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
        /// What the enclave's own TEE reports over it.
        report: Option<GuestReport>,
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
        let launched = launcher.launch().await?;
        let outbox = Arc::new(Outbox::default());
        let streams = Arc::new(Streams::new(outbox.clone()));
        let (to_host, messages) = mpsc::channel(MAX_WAITING_MESSAGES);
        tokio::spawn(run(
            launched,
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
    launched: Launched,
    outbox: Arc<Outbox>,
    streams: Arc<Streams>,
    sinks: Sinks,
    to_host: mpsc::Sender<FromEnclave>,
) {
    let Launched {
        mut child,
        input,
        output,
        exit_grace,
    } = launched;
    let mut reported = None;
    let reading = read_frames(output, |incoming| {
        receive(incoming, &mut reported, &streams, &sinks, &to_host)
    });
    let ended = tokio::select! {
        read = reading => match read {
            Ok(()) => "it closed its pipe".to_owned(),
            Err(error) => format!("its frames are not acceptable: {error}"),
        },
        written = outbox.write_to(input) => match written {
            // Told to shut down: it has what it needs to exit.
            Ok(()) => "it was shut down".to_owned(),
            Err(error) => format!("its pipe broke: {error}"),
        },
    };
    outbox.close();
    streams.reset_all();
    let status = match tokio::time::timeout(exit_grace, child.wait()).await {
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

/// The report that a guest made over `report_data`, if it did.
fn take_report(
    reported: &mut Option<(Digest, GuestReport)>,
    report_data: Digest,
) -> Option<GuestReport> {
    reported
        .take_if(|(over, _)| *over == report_data)
        .map(|(_, report)| report)
}

/// Takes one frame. Files are written here: they are short appends to the
/// page cache, and the pipe must not run ahead of them.
fn receive(
    incoming: Incoming<'_>,
    reported: &mut Option<(Digest, GuestReport)>,
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
            FromEnclave::Keys {
                keys,
                report_data,
                report: take_report(reported, report_data),
            }
        }
        EnclaveMessage::Guest { sentence, .. } => {
            tracing::info!(contract = %sinks.contract, sentence, "guest");
            return Ok(());
        }
        EnclaveMessage::Report {
            report_data,
            report,
        } => {
            match report {
                Ok(report) => *reported = Some((report_data, report)),
                Err(reason) => {
                    tracing::warn!(contract = %sinks.contract, reason, "the guest's TEE refused");
                }
            }
            return Ok(());
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
                report: take_report(reported, report_data),
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
