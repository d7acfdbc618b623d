//! What client and agent say, and the frames in which they and a protected process
//! say it: those of `wire::channel`; each message has one answer.

use std::io::{self, Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use wire::channel::{decode_frame, encode_frame};

/// A frame, at most: a credential or a message.
const MAX_FRAME_BYTES: usize = 64 * 1024;

/// From a client: first the credential, then messages.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum FromClient {
    /// An encoded credential.
    Present(Vec<u8>),
    /// A message to authenticate.
    Authenticate(Vec<u8>),
}

/// To a client.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ToClient {
    /// It is admitted.
    Admitted,
    /// HMAC-SHA256 over the message.
    Code([u8; 32]),
    /// It is not answered.
    Refused(String),
}

/// Writes one frame.
///
/// Errors: the pipe's.
pub fn write<T: BorshSerialize>(mut to: impl Write, message: &T) -> io::Result<()> {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame).map_err(io::Error::other)?;
    to.write_all(&frame)?;
    to.flush()
}

/// Reads one frame; none at the end.
///
/// Errors: the pipe's; a frame that is too long or does not decode.
pub fn read<T: BorshDeserialize>(mut from: impl Read) -> io::Result<Option<T>> {
    let mut header = [0; 4];
    match from.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::other("a frame is over its limit"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    decode_frame(&body).map(Some).map_err(io::Error::other)
}
