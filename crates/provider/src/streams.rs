//! Many clients' connections over one channel, each with credit of its own.
//!
//! A side sends on a stream only what the other has room for, so that one slow
//! client holds up nobody else, and neither side's memory depends on the
//! other's behaviour.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, tcp},
    sync::Notify,
};
use wire::channel::{HostMessage, MAX_DATA_BYTES, STREAM_WINDOW, StreamId};

use crate::channel::{Closed, Outbox};

/// Streams of one enclave at the same time: at a window each way, the most
/// memory that an enclave's clients can hold.
pub const MAX_STREAMS: usize = 1024;

/// One read of a client's connection: two TLS records.
const READ_BYTES: usize = 32 * 1024;

/// Read buffers that are kept for the next reads of one enclave's streams.
const SPARE_BUFFERS: usize = 16;

/// A stream's write buffer above this is given back when it is empty.
const KEEP_BYTES: usize = 16 * 1024;

/// The streams of one enclave.
pub struct Streams {
    outbox: Arc<Outbox>,
    open: Mutex<HashMap<StreamId, Arc<Stream>>>,
    next: AtomicU32,
    spare: Mutex<Vec<Vec<u8>>>,
    /// Bytes carried to and from clients.
    carried: AtomicU64,
}

/// Why a connection was not carried to its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamFailure {
    /// The enclave has as many streams as it may.
    #[error("the enclave has {MAX_STREAMS} connections already")]
    Full,
    /// The enclave is gone.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The enclave dropped the connection.
    #[error("the enclave dropped the connection")]
    Reset,
    /// Nothing was sent either way for too long.
    #[error("the connection was idle for {0:?}")]
    Idle(Duration),
    /// The client's connection failed.
    #[error("the client's connection failed")]
    Client(#[from] std::io::Error),
}

struct Stream {
    id: StreamId,
    state: Mutex<State>,
    /// Something from the enclave waits for the client.
    arrived: Notify,
    /// The enclave has room for more.
    credited: Notify,
    /// Counts bytes both ways, for the idle limit.
    activity: AtomicU64,
}

struct State {
    inbound: Vec<u8>,
    /// What the enclave may still send.
    window: u32,
    /// What may still be sent to the enclave.
    credit: u32,
    finished: bool,
    reset: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Streams {
    /// No streams yet, over `outbox`.
    pub fn new(outbox: Arc<Outbox>) -> Self {
        Self {
            outbox,
            open: Mutex::default(),
            next: AtomicU32::new(0),
            spare: Mutex::default(),
            carried: AtomicU64::new(0),
        }
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        lock(&self.open).len()
    }

    /// Bytes carried so far, both ways.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// The enclave sent bytes.
    pub fn data(&self, id: StreamId, bytes: &[u8]) {
        let Some(stream) = self.find(id) else { return };
        let mut state = lock(&stream.state);
        let length = bytes.len() as u32;
        if length > state.window {
            // It was told what it may send.
            state.reset = true;
        } else {
            state.window -= length;
            state.inbound.extend_from_slice(bytes);
        }
        drop(state);
        stream
            .activity
            .fetch_add(u64::from(length), Ordering::Relaxed);
        stream.arrived.notify_one();
    }

    /// The enclave sends no more on a stream.
    pub fn finish(&self, id: StreamId) {
        if let Some(stream) = self.find(id) {
            lock(&stream.state).finished = true;
            stream.arrived.notify_one();
        }
    }

    /// The enclave drops a stream.
    pub fn reset(&self, id: StreamId) {
        if let Some(stream) = self.find(id) {
            stream.drop_it();
        }
    }

    /// The enclave has room for more.
    pub fn credit(&self, id: StreamId, bytes: u32) {
        if let Some(stream) = self.find(id) {
            let mut state = lock(&stream.state);
            // More credit than a window was never taken.
            state.credit = state.credit.saturating_add(bytes).min(STREAM_WINDOW);
            drop(state);
            stream.credited.notify_one();
        }
    }

    /// The enclave is gone: every stream is dropped.
    pub fn reset_all(&self) {
        let streams: Vec<_> = lock(&self.open).values().cloned().collect();
        for stream in streams {
            stream.drop_it();
        }
    }

    fn find(&self, id: StreamId) -> Option<Arc<Stream>> {
        lock(&self.open).get(&id).cloned()
    }

    fn open(&self) -> Result<Arc<Stream>, StreamFailure> {
        let mut open = lock(&self.open);
        if open.len() >= MAX_STREAMS {
            return Err(StreamFailure::Full);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let stream = Arc::new(Stream {
            id,
            state: Mutex::new(State {
                inbound: Vec::new(),
                window: STREAM_WINDOW,
                credit: STREAM_WINDOW,
                finished: false,
                reset: false,
            }),
            arrived: Notify::new(),
            credited: Notify::new(),
            activity: AtomicU64::new(0),
        });
        // Numbers are not used twice: four thousand million connections later
        // the enclave takes no more, and its contract is long over.
        if open.insert(id, stream.clone()).is_some() || id == u32::MAX {
            return Err(StreamFailure::Full);
        }
        drop(open);
        self.outbox.send(&HostMessage::Open { stream: id })?;
        Ok(stream)
    }

    /// Carries a client's connection to the enclave and back until both sides
    /// are done. `first` are bytes that were already read from it.
    ///
    /// Errors: [`StreamFailure`]; both sides have then been told.
    pub async fn carry(
        &self,
        client: TcpStream,
        first: Vec<u8>,
        idle: Duration,
    ) -> Result<(), StreamFailure> {
        let stream = self.open()?;
        let (reader, writer) = client.into_split();
        let both = async {
            tokio::try_join!(
                self.upstream(&stream, reader, first),
                self.downstream(&stream, writer)
            )
        };
        let outcome = tokio::select! {
            carried = both => carried.map(|_| ()),
            () = stream.idle(idle) => Err(StreamFailure::Idle(idle)),
        };
        lock(&self.open).remove(&stream.id);
        if outcome.is_err() {
            let _ = self.outbox.send(&HostMessage::Reset { stream: stream.id });
        }
        outcome
    }

    /// From the client to the enclave.
    async fn upstream(
        &self,
        stream: &Stream,
        reader: tcp::OwnedReadHalf,
        first: Vec<u8>,
    ) -> Result<(), StreamFailure> {
        let mut sent = 0;
        while sent < first.len() {
            let credit = stream.some_credit().await?;
            let end = first.len().min(sent + credit.min(MAX_DATA_BYTES));
            self.send(stream, &first[sent..end]).await?;
            sent = end;
        }
        drop(first);
        loop {
            let credit = stream.some_credit().await?;
            // A connection that waits holds no buffer.
            reader.readable().await?;
            let mut buffer = self.take_buffer();
            let limit = credit.min(READ_BYTES);
            let read = match reader.try_read(&mut buffer[..limit]) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.give_buffer(buffer);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if read == 0 {
                self.give_buffer(buffer);
                self.outbox
                    .send(&HostMessage::Finish { stream: stream.id })?;
                return Ok(());
            }
            self.send(stream, &buffer[..read]).await?;
            self.give_buffer(buffer);
        }
    }

    async fn send(&self, stream: &Stream, bytes: &[u8]) -> Result<(), StreamFailure> {
        self.outbox.room().await?;
        let length = bytes.len() as u32;
        lock(&stream.state).credit -= length;
        stream
            .activity
            .fetch_add(u64::from(length), Ordering::Relaxed);
        self.carried.fetch_add(u64::from(length), Ordering::Relaxed);
        self.outbox.send_data(stream.id, bytes)?;
        Ok(())
    }

    /// From the enclave to the client.
    async fn downstream(
        &self,
        stream: &Stream,
        mut writer: tcp::OwnedWriteHalf,
    ) -> Result<(), StreamFailure> {
        let mut batch = Vec::new();
        loop {
            let finished = stream.take(&mut batch).await?;
            if !batch.is_empty() {
                writer.write_all(&batch).await?;
                let bytes = batch.len() as u32;
                lock(&stream.state).window += bytes;
                self.carried.fetch_add(u64::from(bytes), Ordering::Relaxed);
                if !finished {
                    let stream = stream.id;
                    self.outbox.send(&HostMessage::Credit { stream, bytes })?;
                }
                batch.clear();
                batch.shrink_to(KEEP_BYTES);
            }
            if finished {
                writer.shutdown().await?;
                return Ok(());
            }
        }
    }

    fn take_buffer(&self) -> Vec<u8> {
        lock(&self.spare)
            .pop()
            .unwrap_or_else(|| vec![0; READ_BYTES])
    }

    fn give_buffer(&self, buffer: Vec<u8>) {
        let mut spare = lock(&self.spare);
        if spare.len() < SPARE_BUFFERS {
            spare.push(buffer);
        }
    }
}

impl Stream {
    fn drop_it(&self) {
        lock(&self.state).reset = true;
        self.arrived.notify_one();
        self.credited.notify_one();
    }

    /// Waits until something may be sent; how much.
    async fn some_credit(&self) -> Result<usize, StreamFailure> {
        loop {
            {
                let state = lock(&self.state);
                if state.reset {
                    return Err(StreamFailure::Reset);
                }
                if state.credit > 0 {
                    return Ok(state.credit as usize);
                }
            }
            self.credited.notified().await;
        }
    }

    /// Waits for bytes from the enclave and moves all of them into `batch`,
    /// which is empty; whether they are the last.
    async fn take(&self, batch: &mut Vec<u8>) -> Result<bool, StreamFailure> {
        loop {
            {
                let mut state = lock(&self.state);
                if state.reset {
                    return Err(StreamFailure::Reset);
                }
                if !state.inbound.is_empty() || state.finished {
                    std::mem::swap(&mut state.inbound, batch);
                    return Ok(state.finished);
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Returns once no byte was carried for `limit`.
    async fn idle(&self, limit: Duration) {
        let mut before = self.activity.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(limit).await;
            let now = self.activity.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    }
}
