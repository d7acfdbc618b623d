//! What the payload prints, line by line, sealed to the user.
//!
//! A line is sealed when it ends and goes straight to the outbox; a guest that
//! prints faster than the host takes waits. Records are numbered over the whole
//! life of the enclave: the number is the nonce of its seal.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use handshake::{LogRecord, LogSource, MAX_LOG_TEXT_BYTES, seal_log};
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};
use wire::{ContractId, channel::EnclaveMessage};

use crate::{outbox::Outbox, vault::Vault};

/// Bytes that a guest may print in one call.
const MAX_PRINT_BYTES: usize = 64 * 1024;

/// Seals lines and sends them.
pub struct Logs {
    contract: ContractId,
    vault: Arc<Vault>,
    outbox: Arc<Outbox>,
    next: Mutex<u64>,
}

impl Logs {
    /// Numbers from 0. The derived keys are in the vault before the first line.
    pub fn new(contract: ContractId, vault: Arc<Vault>, outbox: Arc<Outbox>) -> Arc<Self> {
        Arc::new(Self {
            contract,
            vault,
            outbox,
            next: Mutex::new(0),
        })
    }

    /// Records sealed so far.
    pub fn count(&self) -> u64 {
        *lock(&self.next)
    }

    /// Sends one line, without its end, at most [`MAX_LOG_TEXT_BYTES`] of it.
    pub fn line(&self, source: LogSource, text: &[u8]) {
        let text = &text[..text.len().min(MAX_LOG_TEXT_BYTES)];
        // What is no UTF-8 becomes a replacement character of three bytes.
        let mut text = String::from_utf8_lossy(text).into_owned();
        while text.len() > MAX_LOG_TEXT_BYTES {
            text.pop();
        }
        let mut next = lock(&self.next);
        let record = LogRecord {
            sequence: *next,
            time_ms: now_ms(),
            source,
            text,
        };
        let sealed = self
            .vault
            .read(|secrets| seal_log(&secrets.derived, self.contract, &record));
        *next += 1;
        // Sent under the lock, so that records leave in the order of their numbers.
        let message = EnclaveMessage::Log {
            sequence: record.sequence,
            sealed,
        };
        self.outbox
            .send(&message)
            .expect("a sealed log record fits a frame");
    }

    /// The guest's standard output or error.
    pub fn printer(self: &Arc<Self>, source: LogSource) -> Printer {
        Printer(Arc::new(Mutex::new(Partial {
            logs: Arc::clone(self),
            source,
            line: Vec::new(),
        })))
    }
}

/// The host's clock, which nobody vouches for.
fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line that has not ended; what is left is sent when the guest is gone.
struct Partial {
    logs: Arc<Logs>,
    source: LogSource,
    line: Vec<u8>,
}

impl Partial {
    fn print(&mut self, bytes: &[u8]) {
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let ends = pieces.peek().is_some();
            self.extend(piece);
            if ends {
                self.end();
            }
        }
    }

    /// A line over the limit is sent in parts.
    fn extend(&mut self, mut piece: &[u8]) {
        while self.line.len() + piece.len() > MAX_LOG_TEXT_BYTES {
            let (head, rest) = piece.split_at(MAX_LOG_TEXT_BYTES - self.line.len());
            self.line.extend_from_slice(head);
            self.end();
            piece = rest;
        }
        self.line.extend_from_slice(piece);
    }

    fn end(&mut self) {
        self.logs.line(self.source, &self.line);
        self.line.clear();
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.end();
        }
    }
}

/// A guest's standard output or error: every stream of it shares one line.
#[derive(Clone)]
pub struct Printer(Arc<Mutex<Partial>>);

impl Printer {
    fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&lock(&self.0).logs.outbox)
    }
}

impl IsTerminal for Printer {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printer {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Printer {
    async fn ready(&mut self) {
        self.outbox().room().await;
    }
}

impl OutputStream for Printer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        lock(&self.0).print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.outbox().has_room() {
            MAX_PRINT_BYTES
        } else {
            0
        })
    }
}

impl AsyncWrite for Printer {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        std::task::ready!(self.outbox().poll_room(context));
        let bytes = &bytes[..bytes.len().min(MAX_PRINT_BYTES)];
        lock(&self.0).print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use handshake::open_log;
    use wire::channel::{decode_frame, frame_length};

    use super::*;

    const CONTRACT: ContractId = ContractId([1; 32]);

    /// Prints `pieces` and gives the lines that the user would read.
    async fn printed(pieces: &[&[u8]]) -> Vec<String> {
        let vault = Arc::new(Vault::new(crate::vault::Secrets::empty()).unwrap());
        let outbox = Arc::new(Outbox::new());
        let logs = Logs::new(CONTRACT, Arc::clone(&vault), Arc::clone(&outbox));
        let mut printer = logs.printer(LogSource::Stdout);
        for piece in pieces {
            printer.write(Bytes::copy_from_slice(piece)).unwrap();
        }
        drop(printer);
        outbox.close();
        let mut frames = Vec::new();
        outbox.write_to(&mut frames).await.unwrap();
        let mut lines = Vec::new();
        let mut rest = &frames[..];
        while let Some((header, tail)) = rest.split_first_chunk::<4>() {
            let (body, tail) = tail.split_at(frame_length(*header).unwrap());
            rest = tail;
            let EnclaveMessage::Log { sequence, sealed } = decode_frame(body).unwrap() else {
                panic!("another message");
            };
            assert_eq!(sequence, lines.len() as u64);
            let record = vault
                .read(|secrets| open_log(&secrets.derived, CONTRACT, sequence, &sealed))
                .unwrap();
            lines.push(record.text);
        }
        assert_eq!(logs.count(), lines.len() as u64);
        lines
    }

    #[tokio::test]
    async fn lines_are_sent_whole_however_they_are_printed() {
        let lines = printed(&[b"one\ntw", b"o\n\nthr", b"ee"]).await;
        assert_eq!(lines, ["one", "two", "", "three"]);
    }

    #[tokio::test]
    async fn long_lines_and_bytes_that_are_no_text_stay_within_the_limit() {
        let long = vec![b'x'; MAX_LOG_TEXT_BYTES + 1];
        let lines = printed(&[&long, b"\n", &vec![0xff; MAX_LOG_TEXT_BYTES]]).await;
        assert_eq!(lines[0].len(), MAX_LOG_TEXT_BYTES);
        assert_eq!(lines[1], "x");
        assert!(lines[2].len() <= MAX_LOG_TEXT_BYTES && lines[2].starts_with('\u{fffd}'));
    }
}
