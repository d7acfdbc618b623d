//! The one way out: frames to the host, batched.
//!
//! Whoever has something to say encodes its frame at the end of one buffer; a
//! single task writes whatever is there in one call. The buffer is bounded by
//! its users: streams and outputs wait while it is full, and the rest is little
//! by its nature.

use std::{
    io,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{io::AsyncWriteExt as _, sync::Notify};
use wire::channel::{EnclaveMessage, FrameError, StreamId, encode_frame};

/// Bytes in the buffer above which bulk senders wait: a few pipes full.
const HIGH_WATER_BYTES: usize = 1024 * 1024;

/// Borsh's index of [`EnclaveMessage::Data`], whose frame is written without
/// first copying the bytes into a message; a test holds it to that.
const DATA_VARIANT: u8 = 8;

/// Frames on their way to the host.
pub struct Outbox {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    waiting: Vec<Waker>,
    closed: bool,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State::default()),
            filled: Notify::new(),
        }
    }

    /// Sends a message.
    ///
    /// Errors: [`FrameError::TooLarge`]; nothing is sent.
    pub fn send(&self, message: &EnclaveMessage) -> Result<(), FrameError> {
        let mut state = self.lock();
        encode_frame(message, &mut state.buffer)?;
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Sends bytes of a stream: at most [`wire::channel::MAX_DATA_BYTES`].
    pub fn send_data(&self, stream: StreamId, bytes: &[u8]) {
        let mut state = self.lock();
        let buffer = &mut state.buffer;
        buffer.extend_from_slice(&((1 + 4 + 4 + bytes.len()) as u32).to_le_bytes());
        buffer.push(DATA_VARIANT);
        buffer.extend_from_slice(&stream.to_le_bytes());
        buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        buffer.extend_from_slice(bytes);
        drop(state);
        self.filled.notify_one();
    }

    /// Ready when there is room for more.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.closed || state.buffer.len() < HIGH_WATER_BYTES {
            return Poll::Ready(());
        }
        if !state
            .waiting
            .iter()
            .any(|waker| waker.will_wake(context.waker()))
        {
            state.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until there is room for more.
    pub async fn room(&self) {
        std::future::poll_fn(|context| self.poll_room(context)).await;
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.lock().buffer.len() < HIGH_WATER_BYTES
    }

    /// Sends no more once what is there is written; [`Self::write_to`] then ends.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Writes frames to `pipe` until the outbox is closed and empty.
    ///
    /// Errors: those of the pipe; the host is gone.
    pub async fn write_to(&self, mut pipe: impl tokio::io::AsyncWrite + Unpin) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            let closed = {
                let mut state = self.lock();
                std::mem::swap(&mut state.buffer, &mut batch);
                for waker in state.waiting.drain(..) {
                    waker.wake();
                }
                state.closed
            };
            if batch.is_empty() {
                if closed {
                    return pipe.flush().await;
                }
                self.filled.notified().await;
                continue;
            }
            pipe.write_all(&batch).await?;
            batch.clear();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_frame_is_that_of_the_message() {
        let outbox = Outbox::new();
        outbox.send_data(7, b"bytes");
        let mut expected = Vec::new();
        let message = EnclaveMessage::Data {
            stream: 7,
            bytes: b"bytes".to_vec(),
        };
        encode_frame(&message, &mut expected).unwrap();
        assert_eq!(outbox.lock().buffer, expected);
    }

    #[tokio::test]
    async fn everything_said_before_the_close_is_written() {
        let outbox = Outbox::new();
        outbox.send(&EnclaveMessage::FetchPayload).unwrap();
        outbox.send(&EnclaveMessage::Finish { stream: 1 }).unwrap();
        outbox.close();
        let mut written = Vec::new();
        outbox.write_to(&mut written).await.unwrap();
        let mut expected = Vec::new();
        encode_frame(&EnclaveMessage::FetchPayload, &mut expected).unwrap();
        encode_frame(&EnclaveMessage::Finish { stream: 1 }, &mut expected).unwrap();
        assert_eq!(written, expected);
    }

    #[tokio::test]
    async fn a_full_outbox_makes_bulk_senders_wait_until_it_is_written() {
        let outbox = std::sync::Arc::new(Outbox::new());
        while outbox.has_room() {
            outbox.send_data(1, &[0; 60_000]);
        }
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let writer = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.write_to(tokio::io::sink()).await }
        });
        waiting.await.unwrap();
        outbox.close();
        writer.await.unwrap().unwrap();
    }
}
