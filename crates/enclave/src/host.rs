//! Frames from the host, checked for size before anything is allocated for them.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use wire::channel::{FrameError, HostMessage, decode_frame, frame_length};

/// Bytes read at once: several data messages, so that a busy channel costs few
/// calls.
const READ_BYTES: usize = 256 * 1024;

/// Why no further frame can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A frame breaks the format.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The channel ended within a frame, or failed.
    #[error("the channel failed")]
    Io(#[from] std::io::Error),
}

/// Reads frames from a pipe.
pub struct FrameReader<R> {
    pipe: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were given out already.
    start: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that has read nothing.
    pub fn new(pipe: R) -> Self {
        Self {
            pipe,
            buffer: Vec::with_capacity(2 * READ_BYTES),
            start: 0,
        }
    }

    /// The next message; none once the host has closed the channel.
    ///
    /// Errors: [`ReadError`]; the reader is then of no use.
    pub async fn next(&mut self) -> Result<Option<HostMessage>, ReadError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.reserve(READ_BYTES);
            if self.pipe.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// A message that is in the buffer whole.
    fn take(&mut self) -> Result<Option<HostMessage>, ReadError> {
        let bytes = &self.buffer[self.start..];
        let Some((header, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = frame_length(*header)?;
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = decode_frame(body)?;
        self.start += 4 + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::{Digest, Height, channel::encode_frame, limits::MAX_FRAME_BYTES};

    use super::*;

    async fn read_all(bytes: &[u8]) -> Result<Vec<HostMessage>, ReadError> {
        let mut reader = FrameReader::new(bytes);
        let mut messages = Vec::new();
        while let Some(message) = reader.next().await? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn frames_come_out_in_order_and_a_large_one_too() {
        let messages = vec![
            HostMessage::Tick {
                height: Height(1),
                block: Digest([2; 32]),
            },
            HostMessage::Payload {
                bytes: vec![3; MAX_FRAME_BYTES - 100],
            },
            HostMessage::Shutdown,
        ];
        let mut bytes = Vec::new();
        for message in &messages {
            encode_frame(message, &mut bytes).unwrap();
        }
        assert_eq!(read_all(&bytes).await.unwrap(), messages);
    }

    #[tokio::test]
    async fn refuses_large_cut_and_malformed_frames() {
        let large = (MAX_FRAME_BYTES as u32 + 1).to_le_bytes();
        assert!(matches!(
            read_all(&large).await,
            Err(ReadError::Frame(FrameError::TooLarge(_)))
        ));
        assert!(matches!(
            read_all(&[1, 0, 0, 0]).await,
            Err(ReadError::Io(_))
        ));
        assert!(matches!(
            read_all(&[1, 0, 0, 0, 0xff]).await,
            Err(ReadError::Frame(FrameError::Malformed(_)))
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read_all(&bytes));
        }
    }
}
