//! Connections of the service's clients, as the host passes them on.
//!
//! A [`ClientStream`] looks like a socket to TLS and HTTP above it. Both
//! directions have a window ([`wire::channel::STREAM_WINDOW`]): a host that
//! sends beyond it breaks the channel's rules, and the enclave never sends
//! beyond what it was credited.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::channel::{EnclaveMessage, MAX_DATA_BYTES, STREAM_WINDOW, StreamId};

use crate::outbox::Outbox;

/// Connections at the same time: their windows fit 256 MiB, and more clients
/// than that wait at the host.
pub const MAX_STREAMS: usize = 1024;

/// Read bytes after which the host is told that it may send as many again.
const CREDIT_STEP: u32 = STREAM_WINDOW / 4;

/// How a host broke the rules of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// The number of an open stream was used for another.
    #[error("stream {0} is open already")]
    OpenTwice(StreamId),
    /// A data message over [`MAX_DATA_BYTES`].
    #[error("a data message on stream {0} is over {MAX_DATA_BYTES} bytes")]
    TooLarge(StreamId),
    /// More bytes than the window.
    #[error("the host sent past the window of stream {0}")]
    PastWindow(StreamId),
    /// More credit than a window.
    #[error("the host credited stream {0} with more than its window")]
    PastCredit(StreamId),
}

/// One direction's queue and the other's credit.
#[derive(Default)]
struct Inner {
    received: VecDeque<Vec<u8>>,
    /// Bytes of the first buffer that were read.
    consumed: usize,
    /// Bytes received and not yet credited back.
    outstanding: u32,
    /// Bytes read and not yet credited back.
    uncredited: u32,
    finished: bool,
    reset: bool,
    credit: u32,
    sent_finish: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

type Shared = Arc<Mutex<Inner>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Inner> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every open stream.
pub struct StreamTable {
    streams: Arc<Mutex<HashMap<StreamId, Shared>>>,
    outbox: Arc<Outbox>,
}

impl StreamTable {
    /// No streams.
    pub fn new(outbox: Arc<Outbox>) -> Self {
        Self {
            streams: Arc::default(),
            outbox,
        }
    }

    fn get(&self, stream: StreamId) -> Option<Shared> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.get(&stream).cloned()
    }

    /// A client connected; none if there are too many, upon which the host is told.
    ///
    /// Errors: [`StreamFault::OpenTwice`].
    pub fn open(&self, stream: StreamId) -> Result<Option<ClientStream>, StreamFault> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let full = streams.len() >= MAX_STREAMS;
        match streams.entry(stream) {
            Entry::Occupied(_) => Err(StreamFault::OpenTwice(stream)),
            Entry::Vacant(_) if full => {
                drop(streams);
                tell(&self.outbox, &EnclaveMessage::Reset { stream });
                Ok(None)
            }
            Entry::Vacant(entry) => {
                let shared: Shared = Arc::new(Mutex::new(Inner {
                    credit: STREAM_WINDOW,
                    ..Inner::default()
                }));
                entry.insert(Arc::clone(&shared));
                Ok(Some(ClientStream {
                    stream,
                    shared,
                    outbox: Arc::clone(&self.outbox),
                    streams: Arc::clone(&self.streams),
                }))
            }
        }
    }

    /// Bytes from a client. Those of a stream that has ended are dropped: the
    /// host may not have heard of its end yet.
    ///
    /// Errors: [`StreamFault::TooLarge`] and [`StreamFault::PastWindow`].
    pub fn data(&self, stream: StreamId, bytes: Vec<u8>) -> Result<(), StreamFault> {
        if bytes.len() > MAX_DATA_BYTES {
            return Err(StreamFault::TooLarge(stream));
        }
        let Some(shared) = self.get(stream) else {
            return Ok(());
        };
        let mut inner = lock(&shared);
        inner.outstanding += bytes.len() as u32;
        if inner.outstanding > STREAM_WINDOW {
            return Err(StreamFault::PastWindow(stream));
        }
        if !bytes.is_empty() && !inner.finished {
            inner.received.push_back(bytes);
        }
        wake(&mut inner.reader);
        Ok(())
    }

    /// A client sends no more.
    pub fn finish(&self, stream: StreamId) {
        if let Some(shared) = self.get(stream) {
            let mut inner = lock(&shared);
            inner.finished = true;
            wake(&mut inner.reader);
        }
    }

    /// A client is gone.
    pub fn reset(&self, stream: StreamId) {
        if let Some(shared) = self.get(stream) {
            let mut inner = lock(&shared);
            inner.reset = true;
            inner.received.clear();
            wake(&mut inner.reader);
            wake(&mut inner.writer);
        }
    }

    /// The host takes more bytes.
    ///
    /// Errors: [`StreamFault::PastCredit`].
    pub fn credit(&self, stream: StreamId, bytes: u32) -> Result<(), StreamFault> {
        let Some(shared) = self.get(stream) else {
            return Ok(());
        };
        let mut inner = lock(&shared);
        match inner.credit.checked_add(bytes) {
            Some(credit) if credit <= STREAM_WINDOW => inner.credit = credit,
            _ => return Err(StreamFault::PastCredit(stream)),
        }
        wake(&mut inner.writer);
        Ok(())
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Sends one of the short messages of streams, which always fit a frame.
fn tell(outbox: &Outbox, message: &EnclaveMessage) {
    outbox.send(message).expect("a short message fits a frame");
}

/// A client's connection; closing it early resets it.
pub struct ClientStream {
    stream: StreamId,
    shared: Shared,
    outbox: Arc<Outbox>,
    streams: Arc<Mutex<HashMap<StreamId, Shared>>>,
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.remove(&self.stream);
        drop(streams);
        let inner = lock(&self.shared);
        let ended = inner.sent_finish && inner.finished;
        if !ended && !inner.reset {
            let stream = self.stream;
            tell(&self.outbox, &EnclaveMessage::Reset { stream });
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.shared);
        if inner.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = buffer.filled().len();
        while buffer.remaining() > 0 {
            let consumed = inner.consumed;
            let Some(first) = inner.received.front() else {
                break;
            };
            let count = (first.len() - consumed).min(buffer.remaining());
            buffer.put_slice(&first[consumed..consumed + count]);
            if consumed + count == first.len() {
                inner.received.pop_front();
                inner.consumed = 0;
            } else {
                inner.consumed += count;
            }
        }
        let read = (buffer.filled().len() - before) as u32;
        if read == 0 {
            if inner.finished || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            inner.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        inner.uncredited += read;
        if inner.uncredited >= CREDIT_STEP && !inner.finished {
            let credit = EnclaveMessage::Credit {
                stream: self.stream,
                bytes: std::mem::take(&mut inner.uncredited),
            };
            if let EnclaveMessage::Credit { bytes, .. } = credit {
                inner.outstanding -= bytes;
            }
            tell(&self.outbox, &credit);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut inner = lock(&self.shared);
        if inner.reset || inner.sent_finish {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if inner.credit == 0 {
            inner.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        std::task::ready!(self.outbox.poll_room(context));
        let count = bytes.len().min(inner.credit as usize).min(MAX_DATA_BYTES);
        inner.credit -= count as u32;
        self.outbox.send_data(self.stream, &bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.shared);
        if !inner.sent_finish && !inner.reset {
            inner.sent_finish = true;
            let stream = self.stream;
            tell(&self.outbox, &EnclaveMessage::Finish { stream });
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn table() -> StreamTable {
        StreamTable::new(Arc::new(Outbox::new()))
    }

    #[tokio::test]
    async fn bytes_come_out_as_they_came_in_and_end_with_a_finish() {
        let table = table();
        let mut stream = table.open(1).unwrap().unwrap();
        table.data(1, b"one ".to_vec()).unwrap();
        table.data(1, b"two".to_vec()).unwrap();
        table.finish(1);
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "one two");
    }

    #[tokio::test]
    async fn a_host_that_sends_past_the_window_is_at_fault() {
        let table = table();
        let mut stream = table.open(1).unwrap().unwrap();
        let chunk = vec![0; MAX_DATA_BYTES];
        let window = STREAM_WINDOW as usize / MAX_DATA_BYTES;
        for _ in 0..window {
            table.data(1, chunk.clone()).unwrap();
        }
        assert_eq!(table.data(1, vec![0]), Err(StreamFault::PastWindow(1)));
        // Reading gives credit back.
        let table = self::table();
        drop(stream);
        stream = table.open(1).unwrap().unwrap();
        for _ in 0..3 * window {
            table.data(1, chunk.clone()).unwrap();
            stream
                .read_exact(&mut vec![0; MAX_DATA_BYTES])
                .await
                .unwrap();
        }
        let long = vec![0; MAX_DATA_BYTES + 1];
        assert_eq!(table.data(1, long), Err(StreamFault::TooLarge(1)));
    }

    #[tokio::test]
    async fn the_enclave_sends_no_more_than_it_was_credited() {
        let table = table();
        let mut stream = table.open(1).unwrap().unwrap();
        stream
            .write_all(&vec![0; STREAM_WINDOW as usize])
            .await
            .unwrap();
        let mut blocked = tokio::spawn(async move {
            stream.write_all(&[0; 10]).await.unwrap();
            stream
        });
        let early = tokio::time::timeout(std::time::Duration::from_millis(20), &mut blocked).await;
        assert!(early.is_err());
        table.credit(1, 10).unwrap();
        let stream = blocked.await.unwrap();
        assert_eq!(
            table.credit(1, STREAM_WINDOW + 1),
            Err(StreamFault::PastCredit(1))
        );
        drop(stream);
        assert_eq!(
            table.credit(1, u32::MAX),
            Ok(()),
            "a closed stream takes anything"
        );
    }

    #[tokio::test]
    async fn a_reset_ends_reads_and_writes() {
        let table = table();
        let mut stream = table.open(1).unwrap().unwrap();
        table.data(1, b"lost".to_vec()).unwrap();
        table.reset(1);
        assert!(stream.read_u8().await.is_err());
        assert!(stream.write_all(b"x").await.is_err());
    }

    #[test]
    fn streams_are_bounded_and_numbered_once() {
        let table = table();
        let streams: Vec<_> = (0..MAX_STREAMS as u32)
            .map(|id| table.open(id).unwrap().unwrap())
            .collect();
        assert!(table.open(u32::MAX).unwrap().is_none());
        assert_eq!(table.open(0).err(), Some(StreamFault::OpenTwice(0)));
        drop(streams);
        assert!(table.open(0).unwrap().is_some());
    }
}
