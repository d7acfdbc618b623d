//! What the enclave does, from its launch to its end: one task that takes every
//! event in turn.
//!
//! Launch → keys → evidence → handshake → payload → outcome → service or job;
//! stop and start repeat the handshake (docs/spec/enclave.md §2). Bytes of
//! clients' connections do not come by here (see `streams`).

mod launched;
mod state;

use std::{sync::Arc, time::Duration};

use sandbox::Sandboxed;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use wire::channel::{EnclaveMessage, HostMessage};

use self::{launched::Launched, state::Prepared};
use crate::{
    host::{FrameReader, ReadError},
    job::JobEnd,
    outbox::Outbox,
    streams::{ClientStream, StreamFault, StreamTable},
    vault::{Secrets, Vault},
};

/// Events that wait, at most: payload frames wait at the pipe beyond that.
const EVENT_QUEUE: usize = 64;

/// Time for the host to take the last frames.
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// The host broke the channel's rules; the words hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A frame breaks the format.
    #[error("a frame is malformed: {0}")]
    Frame(#[from] ReadError),
    /// A stream breaks its rules.
    #[error("a stream is misused: {0}")]
    Stream(#[from] StreamFault),
    /// A message came where it does not belong.
    #[error("{0} came out of order")]
    Order(&'static str),
    /// A message has a value over its limit.
    #[error("{0} is over its limit")]
    Limit(&'static str),
    /// Keys could not be made or agreed on.
    #[error("no keys: {0}")]
    Keys(String),
}

/// What the one task is told.
enum Event {
    /// The host said something.
    Host(HostMessage),
    /// A client of the service connected.
    Connected(ClientStream),
    /// A payload is ready to run, or not.
    Prepared(u32, Result<Prepared, String>),
    /// A job ended; its output was sent.
    JobEnded(u32, JobEnd),
    /// The host broke the rules.
    Fault(Fault),
    /// The host closed the channel.
    Closed,
}

/// How the enclave ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The host asked for it, or is gone.
    Orderly,
    /// The host broke the rules and was told so.
    Faulted,
}

/// Runs an enclave over its channel until the host ends it.
pub async fn run<R, W>(sandboxed: Sandboxed<Secrets>, input: R, output: W) -> End
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let vault = Arc::new(sandboxed.page);
    let outbox = Arc::new(Outbox::new());
    let writer = tokio::spawn({
        let outbox = Arc::clone(&outbox);
        async move { outbox.write_to(output).await }
    });
    let (events, mut queue) = mpsc::channel(EVENT_QUEUE);
    let table = StreamTable::new(Arc::clone(&outbox));
    let reader = tokio::spawn(read(FrameReader::new(input), table, events.clone()));
    let mut enclave = Enclave {
        vault: Arc::clone(&vault),
        outbox: Arc::clone(&outbox),
        warnings: sandboxed.warnings,
        events,
        launched: None,
    };
    let result = enclave.work(&mut queue).await;
    reader.abort();
    enclave.forget().await;
    vault.wipe();
    let end = match result {
        Ok(()) => End::Orderly,
        Err(fault) => {
            enclave.send(&EnclaveMessage::Fault {
                message: fault.to_string(),
            });
            End::Faulted
        }
    };
    outbox.close();
    let _ = tokio::time::timeout(FAREWELL_TIME, writer).await;
    end
}

/// Takes frames off the channel; streams are served at once.
async fn read<R: AsyncRead + Unpin>(
    mut frames: FrameReader<R>,
    table: StreamTable,
    events: mpsc::Sender<Event>,
) {
    loop {
        let event = match next(&mut frames, &table).await {
            Ok(None) => continue,
            Ok(Some(event)) => event,
            Err(fault) => Event::Fault(fault),
        };
        let last = matches!(event, Event::Fault(_) | Event::Closed);
        if events.send(event).await.is_err() || last {
            return;
        }
    }
}

/// Serves one frame; gives the event that it is for the one task, if any.
async fn next<R: AsyncRead + Unpin>(
    frames: &mut FrameReader<R>,
    table: &StreamTable,
) -> Result<Option<Event>, Fault> {
    let Some(message) = frames.next().await? else {
        return Ok(Some(Event::Closed));
    };
    match message {
        HostMessage::Open { stream } => Ok(table.open(stream)?.map(Event::Connected)),
        HostMessage::Data { stream, bytes } => {
            table.data(stream, bytes)?;
            Ok(None)
        }
        HostMessage::Finish { stream } => {
            table.finish(stream);
            Ok(None)
        }
        HostMessage::Reset { stream } => {
            table.reset(stream);
            Ok(None)
        }
        HostMessage::Credit { stream, bytes } => {
            table.credit(stream, bytes)?;
            Ok(None)
        }
        message => Ok(Some(Event::Host(message))),
    }
}

/// The one task's state.
struct Enclave {
    vault: Arc<Vault>,
    outbox: Arc<Outbox>,
    warnings: Vec<String>,
    events: mpsc::Sender<Event>,
    launched: Option<Launched>,
}

impl Enclave {
    /// Takes events until the host ends the enclave.
    ///
    /// Errors: [`Fault`].
    async fn work(&mut self, queue: &mut mpsc::Receiver<Event>) -> Result<(), Fault> {
        while let Some(event) = queue.recv().await {
            match event {
                Event::Host(HostMessage::Shutdown) | Event::Closed => return Ok(()),
                Event::Fault(fault) => return Err(fault),
                Event::Host(HostMessage::Launch(launch)) => {
                    if self.launched.is_some() {
                        return Err(Fault::Order("a second launch"));
                    }
                    let launched = Launched::new(launch, &self.vault, &self.outbox, &self.events)?;
                    let keys = launched.announce(std::mem::take(&mut self.warnings));
                    self.send(&keys);
                    self.launched = Some(launched);
                }
                event => {
                    let launched = self.launched.as_mut();
                    let launched = launched.ok_or(Fault::Order("a message before the launch"))?;
                    launched.take(event).await?;
                }
            }
        }
        Ok(())
    }

    async fn forget(&mut self) {
        if let Some(mut launched) = self.launched.take() {
            launched.stop().await;
        }
    }

    fn send(&self, message: &EnclaveMessage) {
        self.outbox
            .send(message)
            .expect("keys and faults fit a frame");
    }
}
