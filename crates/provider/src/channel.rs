//! Frames to and from one enclave over a pair of pipes.
//!
//! Written for throughput: frames are appended to one buffer that a writer
//! flushes whole, and data frames are parsed in place, so that a byte of a
//! client's connection is copied twice and no frame allocates. The enclave is
//! not trusted with the host's memory: every buffer has a bound.

use std::sync::Mutex;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::Notify,
};
use wire::channel::{
    EnclaveMessage, FrameError, HostMessage, MAX_DATA_BYTES, StreamId, decode_frame, encode_frame,
    frame_length,
};

/// Bytes waiting for the pipe beyond which senders of data wait.
const HIGH_WATER: usize = 4 * 1024 * 1024;

/// One read of the pipe: a pipe's own buffer after it was enlarged.
const READ_BYTES: usize = 1024 * 1024;

/// Buffers larger than this are given back when they are empty.
const KEEP_BYTES: usize = 1024 * 1024;

/// Where borsh puts [`EnclaveMessage::Data`] and [`HostMessage::Data`] among
/// the variants; a test holds both to the derived encoding.
const ENCLAVE_DATA: u8 = 8;
const HOST_DATA: u8 = 7;

/// The channel to the enclave is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the enclave is gone")]
pub struct Closed;

/// Frames on their way to the enclave.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<Pending>,
    /// Tells the writer that there is something to write.
    filled: Notify,
    /// Tells senders of data that there is room.
    drained: Notify,
}

#[derive(Default)]
struct Pending {
    buffer: Vec<u8>,
    closed: bool,
}

impl Outbox {
    /// Queues a message.
    ///
    /// Errors: [`Closed`]. A message over the frame limit is our own fault and
    ///         is not sent; callers bound what they put in.
    pub fn send(&self, message: &HostMessage) -> Result<(), Closed> {
        self.append(|buffer| {
            if let Err(error) = encode_frame(message, buffer) {
                tracing::error!(%error, "a frame to the enclave was not sent");
            }
        })
    }

    /// Queues bytes of a stream without copying them more than once.
    ///
    /// Shape:  at most [`MAX_DATA_BYTES`].
    /// Errors: [`Closed`].
    pub fn send_data(&self, stream: StreamId, bytes: &[u8]) -> Result<(), Closed> {
        debug_assert!(bytes.len() <= MAX_DATA_BYTES);
        self.append(|buffer| write_data_frame(stream, bytes, buffer))
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Closed> {
        let mut pending = self.lock();
        if pending.closed {
            return Err(Closed);
        }
        let was_empty = pending.buffer.is_empty();
        write(&mut pending.buffer);
        drop(pending);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits until the pipe has caught up.
    ///
    /// Errors: [`Closed`].
    pub async fn room(&self) -> Result<(), Closed> {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            {
                let pending = self.lock();
                if pending.closed {
                    return Err(Closed);
                }
                if pending.buffer.len() < HIGH_WATER {
                    return Ok(());
                }
            }
            drained.await;
        }
    }

    /// Refuses further messages; what is queued is still written.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Writes queued frames until the outbox is closed and empty.
    ///
    /// Errors: the pipe's; the outbox is then closed.
    pub async fn write_to(&self, mut pipe: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut batch = Vec::new();
        loop {
            let closed = {
                let mut pending = self.lock();
                std::mem::swap(&mut pending.buffer, &mut batch);
                pending.closed
            };
            if batch.is_empty() {
                if closed {
                    return pipe.shutdown().await;
                }
                self.filled.notified().await;
                continue;
            }
            self.drained.notify_waiters();
            let written = async {
                pipe.write_all(&batch).await?;
                pipe.flush().await
            };
            if let Err(error) = written.await {
                self.close();
                return Err(error);
            }
            batch.clear();
            batch.shrink_to(KEEP_BYTES);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        // A panic while appending leaves at worst a frame cut short, which the
        // enclave refuses.
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The frame of a [`HostMessage::Data`], without making the message.
fn write_data_frame(stream: StreamId, bytes: &[u8], buffer: &mut Vec<u8>) {
    let length = (1 + 4 + 4 + bytes.len()) as u32;
    buffer.reserve(4 + length as usize);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.push(HOST_DATA);
    buffer.extend_from_slice(&stream.to_le_bytes());
    buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    buffer.extend_from_slice(bytes);
}

/// A frame from the enclave.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// Bytes of a stream, where they lie in the read buffer.
    Data(StreamId, &'a [u8]),
    /// Anything else.
    Message(EnclaveMessage),
}

/// Reads frames until the pipe ends and hands each to `receive`.
///
/// Errors: the pipe's, or [`FrameError`] as invalid data; the enclave is then
///         to be shut down.
pub async fn read_frames(
    mut pipe: impl AsyncRead + Unpin,
    mut receive: impl FnMut(Incoming<'_>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut filled = 0;
    loop {
        let read = pipe.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return if filled == 0 {
                Ok(())
            } else {
                Err(std::io::ErrorKind::UnexpectedEof.into())
            };
        }
        filled += read;
        let mut start = 0;
        let missing = loop {
            let rest = &buffer[start..filled];
            let Some(header) = rest.first_chunk::<4>() else {
                break 4 - rest.len();
            };
            let length = frame_length(*header).map_err(invalid)?;
            let Some(body) = rest.get(4..4 + length) else {
                break 4 + length - rest.len();
            };
            receive(parse(body).map_err(invalid)?)?;
            start += 4 + length;
        };
        buffer.copy_within(start..filled, 0);
        filled -= start;
        // Room for the rest of the frame that has begun: bounded by the frame limit.
        if buffer.len() < filled + missing {
            buffer.resize(filled + missing, 0);
        }
    }
}

fn invalid(error: FrameError) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error)
}

fn parse(body: &[u8]) -> Result<Incoming<'_>, FrameError> {
    if let Some((&ENCLAVE_DATA, rest)) = body.split_first() {
        if let Some((head, bytes)) = rest.split_at_checked(8) {
            let stream = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            if length == bytes.len() && length <= MAX_DATA_BYTES {
                return Ok(Incoming::Data(stream, bytes));
            }
        }
        return Err(FrameError::Malformed(
            "a data message is cut or too long".to_owned(),
        ));
    }
    decode_frame(body).map(Incoming::Message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn data_frames_are_what_the_codec_derives() {
        for bytes in [vec![], vec![1, 2, 3], vec![7; MAX_DATA_BYTES]] {
            let mut ours = Vec::new();
            write_data_frame(0x0102_0304, &bytes, &mut ours);
            let message = HostMessage::Data {
                stream: 0x0102_0304,
                bytes: bytes.clone(),
            };
            let mut derived = Vec::new();
            encode_frame(&message, &mut derived).unwrap();
            assert_eq!(ours, derived);

            let message = EnclaveMessage::Data {
                stream: 9,
                bytes: bytes.clone(),
            };
            let mut frame = Vec::new();
            encode_frame(&message, &mut frame).unwrap();
            assert_eq!(parse(&frame[4..]).unwrap(), Incoming::Data(9, &bytes));
        }
    }

    #[test]
    fn refuses_a_data_message_that_is_cut_or_too_long() {
        let mut frame = Vec::new();
        let bytes = vec![0; MAX_DATA_BYTES + 1];
        encode_frame(&EnclaveMessage::Data { stream: 1, bytes }, &mut frame).unwrap();
        assert!(parse(&frame[4..]).is_err());
        assert!(parse(&[ENCLAVE_DATA, 1, 0, 0, 0, 9, 0, 0, 0, 1]).is_err());
        assert!(parse(&[ENCLAVE_DATA, 1]).is_err());
        assert!(parse(&[200]).is_err());
        assert!(parse(&[]).is_err());
    }

    fn messages() -> impl Strategy<Value = Vec<EnclaveMessage>> {
        let data = (any::<u32>(), prop::collection::vec(any::<u8>(), 0..5000))
            .prop_map(|(stream, bytes)| EnclaveMessage::Data { stream, bytes });
        let credit = (any::<u32>(), any::<u32>())
            .prop_map(|(stream, bytes)| EnclaveMessage::Credit { stream, bytes });
        let log = (any::<u64>(), prop::collection::vec(any::<u8>(), 0..400))
            .prop_map(|(sequence, sealed)| EnclaveMessage::Log { sequence, sealed });
        prop::collection::vec(prop_oneof![data, credit, log], 0..40)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn frames_arrive_whole_and_in_order_however_they_are_cut(
            messages in messages(),
            pipe_bytes in 1usize..3000,
        ) {
            let mut bytes = Vec::new();
            for message in &messages {
                encode_frame(message, &mut bytes).unwrap();
            }
            let received = runtime().block_on(async {
                let (mut near, far) = tokio::io::duplex(pipe_bytes);
                let mut received = Vec::new();
                let write = async move {
                    near.write_all(&bytes).await.unwrap();
                    drop(near);
                };
                let read = read_frames(far, |incoming| {
                    received.push(match incoming {
                        Incoming::Data(stream, bytes) => EnclaveMessage::Data {
                            stream,
                            bytes: bytes.to_vec(),
                        },
                        Incoming::Message(message) => message,
                    });
                    Ok(())
                });
                let ((), read) = tokio::join!(write, read);
                read.unwrap();
                received
            });
            prop_assert_eq!(received, messages);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = runtime().block_on(read_frames(&bytes[..], |_| Ok(())));
        }
    }

    #[tokio::test]
    async fn a_slow_pipe_makes_senders_wait_and_loses_nothing() {
        let outbox = std::sync::Arc::new(Outbox::default());
        let (near, mut far) = tokio::io::duplex(1024);
        let writer = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.write_to(near).await }
        });
        let total = 12 * 1024 * 1024usize;
        let sender = tokio::spawn({
            let outbox = outbox.clone();
            async move {
                let chunk = vec![5u8; MAX_DATA_BYTES];
                for _ in 0..total / MAX_DATA_BYTES {
                    outbox.room().await.unwrap();
                    outbox.send_data(1, &chunk).unwrap();
                    assert!(outbox.lock().buffer.len() <= HIGH_WATER + 2 * MAX_DATA_BYTES);
                }
                outbox.close();
            }
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        sender.await.unwrap();
        writer.await.unwrap().unwrap();
        assert_eq!(
            received.len(),
            total / MAX_DATA_BYTES * (MAX_DATA_BYTES + 13)
        );
        assert_eq!(outbox.send(&HostMessage::Shutdown), Err(Closed));
    }
}
