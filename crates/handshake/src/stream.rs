//! The STREAM encryption of payloads and results: AES-256-GCM in chunks.
//!
//! The construction is STREAM of Hoang, Reyhanitabar, Rogaway and Vizár
//! (CRYPTO 2015), as in Tink and age: each chunk's nonce is a prefix, the
//! chunk's number and whether it is the last, so that a stream which was
//! truncated, reordered, extended or joined from two does not open. Each
//! stream has its own key, derived from the caller's by a random salt.
//! Chunks are sealed and opened in place; the wholly general entry points are
//! [`encrypt`], [`decrypt`] and [`Receiver`].

use std::io::{self, Read, Write};

use aws_lc_rs::{aead, digest};
use rand_core::CryptoRng;
use wire::Digest;
use zeroize::Zeroizing;

use crate::keys;

/// What a stream begins with.
const MAGIC: [u8; 8] = *b"ringfort";

/// The version of the header and of the construction.
const VERSION: u8 = 1;

/// Bytes of a header: magic, version, purpose, salt, nonce prefix.
pub const HEADER_BYTES: usize = 8 + 1 + 1 + SALT_BYTES + PREFIX_BYTES;

/// Plaintext bytes of every chunk but the last: large enough that the tag and
/// the call cost under a percent, small enough to stay in a core's cache.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes of a chunk's tag.
pub const TAG_BYTES: usize = 16;

/// Bytes of a whole chunk, encrypted.
pub const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

/// Salt: 32 bytes never repeat by chance.
const SALT_BYTES: usize = 32;

/// The nonce's prefix; a counter of four bytes and the last flag follow.
const PREFIX_BYTES: usize = 7;

/// What a stream carries; a stream of one purpose does not open as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// A payload's bundle, under the user's data key.
    Payload = 0,
    /// A job's output archive, under K_output.
    Output = 1,
}

/// Why a stream does not open.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The first bytes are no header of this version and purpose.
    #[error("the stream's header is not one of this version and purpose")]
    Header,
    /// A chunk is not authentic: the key is another's, or bytes were changed,
    /// cut, added or moved.
    #[error("chunk {0} of the stream is not authentic")]
    Chunk(u64),
    /// The stream ended within its header, or after a chunk that is not the last.
    #[error("the stream ends early")]
    Truncated,
    /// More bytes than the receiver was told of, or more chunks than a counter holds.
    #[error("the stream is too long")]
    TooLong,
    /// The ciphertext could not be read, or the plaintext not written.
    #[error("the stream could not be read or written")]
    Io(#[from] io::Error),
}

/// One direction's key, header and counter.
struct State {
    key: aead::LessSafeKey,
    header: [u8; HEADER_BYTES],
    next: u32,
    ended: bool,
}

impl State {
    fn new(key: &[u8; 32], header: [u8; HEADER_BYTES]) -> Self {
        let mut stream_key = Zeroizing::new([0; 32]);
        let salt = &header[10..10 + SALT_BYTES];
        keys::derive(key, salt, &[b"ringfort/stream/1"], &mut *stream_key);
        let unbound = aead::UnboundKey::new(&aead::AES_256_GCM, &*stream_key)
            .expect("32 bytes are an AES-256 key");
        Self {
            key: aead::LessSafeKey::new(unbound),
            header,
            next: 0,
            ended: false,
        }
    }

    /// The next chunk's nonce and associated data; the counter moves on.
    fn next(
        &mut self,
        last: bool,
    ) -> Result<(aead::Nonce, aead::Aad<[u8; HEADER_BYTES]>), StreamError> {
        if self.ended {
            return Err(StreamError::TooLong);
        }
        let mut nonce = [0; 12];
        nonce[..PREFIX_BYTES].copy_from_slice(&self.header[HEADER_BYTES - PREFIX_BYTES..]);
        nonce[PREFIX_BYTES..11].copy_from_slice(&self.next.to_be_bytes());
        nonce[11] = u8::from(last);
        self.ended = last || self.next == u32::MAX;
        self.next = self.next.wrapping_add(1);
        Ok((
            aead::Nonce::assume_unique_for_key(nonce),
            aead::Aad::from(self.header),
        ))
    }
}

/// Encrypts chunks, in place.
pub struct Encryptor(State);

impl Encryptor {
    /// Begins a stream; the first bytes to send are [`Self::header`].
    pub fn new(key: &[u8; 32], purpose: Purpose, rng: &mut impl CryptoRng) -> Self {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8] = VERSION;
        header[9] = purpose as u8;
        rng.fill_bytes(&mut header[10..]);
        Self(State::new(key, header))
    }

    /// The stream's header.
    pub fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.0.header
    }

    /// Encrypts a chunk in place and gives the tag that follows it.
    ///
    /// Every chunk but the last has [`CHUNK_BYTES`]; the last has at most as
    /// many, and none only if the whole plaintext is empty.
    ///
    /// Errors: [`StreamError::TooLong`] after the last chunk, and for a chunk
    ///         of a length that is not allowed.
    pub fn seal_chunk(
        &mut self,
        chunk: &mut [u8],
        last: bool,
    ) -> Result<[u8; TAG_BYTES], StreamError> {
        if chunk.len() > CHUNK_BYTES || (!last && chunk.len() != CHUNK_BYTES) {
            return Err(StreamError::TooLong);
        }
        let (nonce, aad) = self.0.next(last)?;
        let tag = self
            .0
            .key
            .seal_in_place_separate_tag(nonce, aad, chunk)
            .expect("a chunk is within what AES-GCM takes");
        Ok(tag.as_ref().try_into().expect("a GCM tag has 16 bytes"))
    }
}

/// Decrypts chunks, in place.
pub struct Decryptor(State);

impl Decryptor {
    /// Begins with a stream's header.
    ///
    /// Errors: [`StreamError::Header`].
    pub fn new(
        key: &[u8; 32],
        purpose: Purpose,
        header: &[u8; HEADER_BYTES],
    ) -> Result<Self, StreamError> {
        if header[..8] != MAGIC || header[8] != VERSION || header[9] != purpose as u8 {
            return Err(StreamError::Header);
        }
        Ok(Self(State::new(key, *header)))
    }

    /// Decrypts a chunk with its tag in place; gives how many bytes of
    /// plaintext now stand at its front.
    ///
    /// Errors: [`StreamError::Chunk`]; the bytes are then to be thrown away.
    pub fn open_chunk(&mut self, sealed: &mut [u8], last: bool) -> Result<usize, StreamError> {
        let number = u64::from(self.0.next);
        let short = sealed.len() < TAG_BYTES;
        let wrong =
            sealed.len() > SEALED_CHUNK_BYTES || (!last && sealed.len() != SEALED_CHUNK_BYTES);
        // An empty last chunk is allowed only as the whole of an empty
        // plaintext: every plaintext has one encryption.
        let padded = last && sealed.len() == TAG_BYTES && number > 0;
        if short || wrong || padded {
            return Err(StreamError::Chunk(number));
        }
        let (nonce, aad) = self.0.next(last)?;
        let plain = self.0.key.open_in_place(nonce, aad, sealed);
        Ok(plain.map_err(|_| StreamError::Chunk(number))?.len())
    }
}

/// What was encrypted, as a ledger names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ciphertext {
    /// SHA-256 of the whole stream.
    pub sha256: Digest,
    /// Its bytes.
    pub bytes: u64,
}

/// Bytes of the stream that holds `plaintext` bytes.
pub fn encrypted_bytes(plaintext: u64) -> u64 {
    let chunks = plaintext.div_ceil(CHUNK_BYTES as u64).max(1);
    plaintext + chunks * TAG_BYTES as u64 + HEADER_BYTES as u64
}

/// Fills `buffer` from `reader` as far as there are bytes.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Encrypts everything `reader` has into `writer`.
///
/// Memory: two chunks, wiped at the end.
/// Errors: [`StreamError::Io`]; [`StreamError::TooLong`] past 2^32 chunks.
pub fn encrypt(
    key: &[u8; 32],
    purpose: Purpose,
    mut reader: impl Read,
    mut writer: impl Write,
    rng: &mut impl CryptoRng,
) -> Result<Ciphertext, StreamError> {
    let mut encryptor = Encryptor::new(key, purpose, rng);
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut bytes = HEADER_BYTES as u64;
    hash.update(encryptor.header());
    writer.write_all(encryptor.header())?;
    // Whether a chunk is the last is known only once the next one is read.
    let mut chunk = Zeroizing::new(vec![0; SEALED_CHUNK_BYTES]);
    let mut ahead = Zeroizing::new(vec![0; SEALED_CHUNK_BYTES]);
    let mut length = read_full(&mut reader, &mut chunk[..CHUNK_BYTES])?;
    loop {
        let next = if length == CHUNK_BYTES {
            read_full(&mut reader, &mut ahead[..CHUNK_BYTES])?
        } else {
            0
        };
        let tag = encryptor.seal_chunk(&mut chunk[..length], next == 0)?;
        chunk[length..length + TAG_BYTES].copy_from_slice(&tag);
        let sealed = &chunk[..length + TAG_BYTES];
        hash.update(sealed);
        writer.write_all(sealed)?;
        bytes += sealed.len() as u64;
        if next == 0 {
            break;
        }
        std::mem::swap(&mut chunk, &mut ahead);
        length = next;
    }
    writer.flush()?;
    let sha256 = hash.finish().as_ref().try_into();
    Ok(Ciphertext {
        sha256: Digest(sha256.expect("a SHA-256 digest has 32 bytes")),
        bytes,
    })
}

/// [`encrypt`], from memory into memory.
///
/// Panics past 2^32 chunks, which no memory holds.
pub fn encrypt_to_vec(
    key: &[u8; 32],
    purpose: Purpose,
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Vec<u8> {
    let capacity = usize::try_from(encrypted_bytes(plaintext.len() as u64));
    let mut sealed = Vec::with_capacity(capacity.unwrap_or_default());
    encrypt(key, purpose, plaintext, &mut sealed, rng).expect("a vector takes every byte");
    sealed
}

/// Decrypts the stream that `reader` holds into `writer`; gives the plaintext's
/// bytes.
///
/// Each chunk that reaches the writer is authentic and in its place, but only
/// `Ok` says that the stream is whole.
///
/// Errors: any [`StreamError`].
pub fn decrypt(
    key: &[u8; 32],
    purpose: Purpose,
    mut reader: impl Read,
    mut writer: impl Write,
) -> Result<u64, StreamError> {
    let mut header = [0; HEADER_BYTES];
    if read_full(&mut reader, &mut header)? < HEADER_BYTES {
        return Err(StreamError::Truncated);
    }
    let mut decryptor = Decryptor::new(key, purpose, &header)?;
    let mut chunk = Zeroizing::new(vec![0; SEALED_CHUNK_BYTES]);
    let mut ahead = Zeroizing::new(vec![0; SEALED_CHUNK_BYTES]);
    let mut length = read_full(&mut reader, &mut chunk)?;
    let mut total = 0;
    loop {
        let next = if length == SEALED_CHUNK_BYTES {
            read_full(&mut reader, &mut ahead)?
        } else {
            0
        };
        if length == 0 {
            return Err(StreamError::Truncated);
        }
        let plain = decryptor.open_chunk(&mut chunk[..length], next == 0)?;
        writer.write_all(&chunk[..plain])?;
        total += plain as u64;
        if next == 0 {
            break;
        }
        std::mem::swap(&mut chunk, &mut ahead);
        length = next;
    }
    writer.flush()?;
    Ok(total)
}

/// Takes a stream in pieces of any size and opens it as it comes, in the one
/// buffer that will hold the plaintext.
///
/// Memory: the plaintext once, plus a chunk; wiped on drop.
pub struct Receiver {
    purpose: Purpose,
    header: Vec<u8>,
    decryptor: Option<Decryptor>,
    /// Plaintext, then the bytes of the chunk that is not yet whole.
    buffer: Zeroizing<Vec<u8>>,
    plain: usize,
    expected: u64,
    received: u64,
}

impl Receiver {
    /// Awaits a stream of `bytes` in all; the caller has bounded that number.
    pub fn new(purpose: Purpose, bytes: u64) -> Self {
        let capacity = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(isize::MAX as usize);
        Self {
            purpose,
            header: Vec::with_capacity(HEADER_BYTES),
            decryptor: None,
            // Reserved at once: a vector that grows would leave unwiped
            // copies of plaintext behind.
            buffer: Zeroizing::new(Vec::with_capacity(capacity)),
            plain: 0,
            expected: bytes,
            received: 0,
        }
    }

    /// Bytes that are still to come.
    pub fn missing(&self) -> u64 {
        self.expected - self.received
    }

    /// Takes the next bytes. The key is used when the header is whole, and not
    /// kept: it may stay in the memory where it is safest.
    ///
    /// Errors: any [`StreamError`] but `Io`; the receiver is then of no use.
    pub fn push(&mut self, key: &[u8; 32], mut bytes: &[u8]) -> Result<(), StreamError> {
        if bytes.len() as u64 > self.missing() {
            return Err(StreamError::TooLong);
        }
        self.received += bytes.len() as u64;
        if self.decryptor.is_none() {
            let (head, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.header.len()));
            self.header.extend_from_slice(head);
            bytes = rest;
            let Ok(header) = <[u8; HEADER_BYTES]>::try_from(self.header.as_slice()) else {
                return Ok(());
            };
            self.decryptor = Some(Decryptor::new(key, self.purpose, &header)?);
        }
        while !bytes.is_empty() {
            if self.pending() == SEALED_CHUNK_BYTES {
                self.open(false)?;
            }
            let room = SEALED_CHUNK_BYTES - self.pending();
            let (head, rest) = bytes.split_at(bytes.len().min(room));
            self.buffer.extend_from_slice(head);
            bytes = rest;
        }
        Ok(())
    }

    /// Gives the plaintext, once every byte has come.
    ///
    /// Errors: [`StreamError::Truncated`] and [`StreamError::Chunk`].
    pub fn finish(mut self) -> Result<Zeroizing<Vec<u8>>, StreamError> {
        if self.missing() > 0 || self.pending() == 0 {
            return Err(StreamError::Truncated);
        }
        self.open(true)?;
        Ok(std::mem::take(&mut self.buffer))
    }

    fn pending(&self) -> usize {
        self.buffer.len() - self.plain
    }

    fn open(&mut self, last: bool) -> Result<(), StreamError> {
        let decryptor = self.decryptor.as_mut().ok_or(StreamError::Truncated)?;
        let opened = decryptor.open_chunk(&mut self.buffer[self.plain..], last)?;
        self.plain += opened;
        self.buffer.truncate(self.plain);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
