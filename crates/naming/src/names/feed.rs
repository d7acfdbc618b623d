//! What a zone signer tells name servers, and in which octets: docs/spec/dns.md §9.
//!
//! A feed is a stream of frames over TCP. It needs neither secrecy nor trust:
//! a name server verifies each proof under the circle's key and each signature
//! under the keys that the circle proved. A broken feed costs freshness.

use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use wire::{DomainName, Height};

use super::{dnssec::LabelSignatures, signer::signing::ZoneSignatures};

/// What either side says first: the protocol and its version.
pub const GREETING: &[u8; 24] = b"ringfort zone feed 1\r\n\r\n";

/// The most octets of one frame: the largest proof, which is of a name whose
/// every record set is full (2 MiB), and room around it.
pub const MAX_FRAME_OCTETS: usize = 4 * 1024 * 1024;

/// Octets at which a frame of several items is cut: small enough to be
/// verified without a pause that anyone notices.
const FRAME_OCTETS: usize = 256 * 1024;

/// The most octets of one version: every signature of some million names.
pub const MAX_VERSION_OCTETS: usize = 1024 * 1024 * 1024;

/// One message of a feed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Frame {
    /// Proofs of entries that changed, encoded as nodes give them.
    Proofs(Vec<Vec<u8>>),
    /// Signatures of a zone.
    Signatures(DomainName, Vec<LabelSignatures>),
    /// The version is complete.
    Commit(Commit),
}

/// What a version's frames were of.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Commit {
    /// The height up to which the ledger's changes are in it.
    pub height: Height,
    /// Whether it holds every signature, and no proof, rather than what changed.
    pub whole: bool,
    /// The serial of each signed zone.
    pub serials: Vec<(DomainName, u32)>,
}

/// Everything from one commit to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Proofs of the entries that changed.
    pub proofs: Vec<Vec<u8>>,
    /// New signatures; serials are the commit's.
    pub signatures: Vec<(DomainName, Vec<LabelSignatures>)>,
    /// What it is of.
    pub commit: Commit,
}

/// A version as it was read: its signatures stay in the octets they came in,
/// which are a third of what they are decoded.
#[derive(Debug)]
pub struct Received {
    /// Proofs of the entries that changed.
    pub proofs: Vec<Vec<u8>>,
    /// New signatures.
    pub signatures: Vec<SignatureFrame>,
    /// What it is of.
    pub commit: Commit,
}

/// A frame of signatures, which was seen to decode.
#[derive(Debug)]
pub struct SignatureFrame(Box<[u8]>);

impl SignatureFrame {
    /// The zone and its signatures.
    pub fn open(&self) -> Option<(DomainName, Vec<LabelSignatures>)> {
        match decode(&self.0) {
            Ok(Frame::Signatures(apex, labels)) => Some((apex, labels)),
            _ => None,
        }
    }
}

/// Why a feed ended.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The connection.
    #[error("the zone signer's feed broke")]
    Broken(#[from] io::Error),
    /// The other side speaks something else.
    #[error("what answers is no zone signer of this version")]
    Greeting,
    /// A frame or version over its limit.
    #[error("the zone signer sent more than a version may hold")]
    TooLarge,
    /// A frame that does not decode.
    #[error("the zone signer sent a frame that does not decode")]
    Malformed(#[source] io::Error),
}

impl Version {
    /// The version in frames, each encoded with its length before it.
    pub fn encode(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for proofs in cut(&self.proofs, Vec::len) {
            frames.push(framed(&Frame::Proofs(proofs.to_vec())));
        }
        for (apex, labels) in &self.signatures {
            let size = |label: &LabelSignatures| {
                let sets = label.sets.iter();
                label.label.len()
                    + sets
                        .map(|set| set.owner.len() + 16 + 80 * set.signatures.len())
                        .sum::<usize>()
            };
            for labels in cut(labels, size) {
                frames.push(framed(&Frame::Signatures(apex.clone(), labels.to_vec())));
            }
        }
        frames.push(framed(&Frame::Commit(self.commit.clone())));
        frames
    }

    /// The version at `height` with these proofs and signatures.
    pub fn new(
        height: Height,
        whole: bool,
        proofs: Vec<Vec<u8>>,
        zones: Vec<ZoneSignatures>,
    ) -> Self {
        let serials = zones
            .iter()
            .map(|zone| (zone.apex.clone(), zone.serial))
            .collect();
        Self {
            proofs,
            signatures: zones
                .into_iter()
                .map(|zone| (zone.apex, zone.labels))
                .collect(),
            commit: Commit {
                height,
                whole,
                serials,
            },
        }
    }
}

/// Cuts a list into parts of about [`FRAME_OCTETS`].
fn cut<T>(all: &[T], size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut parts, mut rest, mut octets, mut count) = (Vec::new(), all, 0, 0);
    for item in all {
        let more = size(item);
        if count > 0 && octets + more > FRAME_OCTETS {
            let (part, after) = rest.split_at(count);
            parts.push(part);
            (rest, octets, count) = (after, 0, 0);
        }
        octets += more;
        count += 1;
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

fn framed(frame: &Frame) -> Vec<u8> {
    let mut octets = vec![0; 4];
    // Encoding into a vector does not fail.
    let _ = frame.serialize(&mut octets);
    let length = (octets.len() - 4) as u32;
    octets[..4].copy_from_slice(&length.to_be_bytes());
    octets
}

/// Decodes one frame's octets, without its length.
///
/// Errors: [`FeedError::Malformed`], [`FeedError::TooLarge`].
pub fn decode(octets: &[u8]) -> Result<Frame, FeedError> {
    if octets.len() > MAX_FRAME_OCTETS {
        return Err(FeedError::TooLarge);
    }
    // Lists grow with what is there, so that a claimed length costs nothing.
    Frame::try_from_slice(octets).map_err(FeedError::Malformed)
}

/// Reads a signer's feed.
pub struct Reader<S> {
    stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    /// Greets the signer.
    ///
    /// Errors: [`FeedError::Greeting`], [`FeedError::Broken`].
    pub async fn begin(mut stream: S) -> Result<Self, FeedError> {
        stream.write_all(GREETING).await?;
        let mut theirs = [0; GREETING.len()];
        stream.read_exact(&mut theirs).await?;
        if theirs != *GREETING {
            return Err(FeedError::Greeting);
        }
        Ok(Self { stream })
    }

    /// The next version, whole.
    ///
    /// Errors: [`FeedError`]; nothing can be read after one.
    pub async fn version(&mut self) -> Result<Received, FeedError> {
        let (mut proofs, mut signatures, mut octets) = (Vec::new(), Vec::new(), 0);
        loop {
            let length = self.stream.read_u32().await? as usize;
            octets += length;
            if length > MAX_FRAME_OCTETS || octets > MAX_VERSION_OCTETS {
                return Err(FeedError::TooLarge);
            }
            let mut frame = Vec::new();
            let mut part = (&mut self.stream).take(length as u64);
            if part.read_to_end(&mut frame).await? != length {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            match decode(&frame)? {
                Frame::Proofs(more) => proofs.extend(more),
                Frame::Signatures(..) => signatures.push(SignatureFrame(frame.into())),
                Frame::Commit(commit) => {
                    return Ok(Received {
                        proofs,
                        signatures,
                        commit,
                    });
                }
            }
        }
    }
}

/// What a feed's decoder makes of arbitrary octets, for fuzzing: what it
/// takes, it writes the same way.
pub fn fuzz(data: &[u8]) {
    if let Ok(frame) = decode(data) {
        assert_eq!(framed(&frame)[4..], *data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::dnssec::{SetSignatures, Signature};

    fn version(labels: usize) -> Version {
        let label = |index: usize| LabelSignatures {
            label: index.to_string().into_bytes(),
            sets: vec![SetSignatures {
                owner: b"\x03www".to_vec(),
                rtype: 1,
                signatures: vec![Signature {
                    key_tag: 7,
                    inception: 1,
                    expiration: 2,
                    octets: [9; 64],
                }],
            }],
        };
        let apex: DomainName = "internal".parse().unwrap();
        Version {
            proofs: vec![vec![1; 2_000_000], vec![2; 10], vec![3; 300_000]],
            signatures: vec![(apex.clone(), (0..labels).map(label).collect())],
            commit: Commit {
                height: Height(9),
                whole: false,
                serials: vec![(apex, 9)],
            },
        }
    }

    #[tokio::test]
    async fn a_version_crosses_in_bounded_frames() {
        let sent = version(10_000);
        let frames = sent.encode();
        assert!(frames.len() > 5);
        assert!(
            frames
                .iter()
                .all(|frame| frame.len() <= MAX_FRAME_OCTETS + 4)
        );
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let writing = tokio::spawn(async move {
            theirs.write_all(GREETING).await.unwrap();
            for frame in frames {
                theirs.write_all(&frame).await.unwrap();
            }
            theirs
        });
        let mut reader = Reader::begin(ours).await.unwrap();
        let received = reader.version().await.unwrap();
        let frames = received.signatures.iter();
        let labels = frames.flat_map(|frame| frame.open().unwrap().1);
        assert_eq!(labels.collect::<Vec<_>>(), sent.signatures[0].1);
        assert_eq!(received.proofs, sent.proofs);
        assert_eq!(received.commit, sent.commit);
        drop(writing.await.unwrap());
        assert!(matches!(reader.version().await, Err(FeedError::Broken(_))));
    }

    #[tokio::test]
    async fn refuses_another_greeting_and_a_frame_over_the_limit() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        theirs
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        assert!(matches!(
            Reader::begin(ours).await,
            Err(FeedError::Greeting)
        ));
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        theirs.write_all(GREETING).await.unwrap();
        theirs.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        let mut reader = Reader::begin(ours).await.unwrap();
        assert!(matches!(reader.version().await, Err(FeedError::TooLarge)));
    }

    #[test]
    fn a_claimed_length_costs_no_memory_and_damage_is_refused() {
        let frame = framed(&Frame::Commit(version(0).commit));
        assert!(decode(&frame[4..]).is_ok());
        for cut in 4..frame.len() {
            assert!(decode(&frame[4..cut]).is_err());
        }
        assert!(decode(&[0, 255, 255, 255, 255]).is_err());
        let trailing = [&frame[4..], &[0]].concat();
        assert!(decode(&trailing).is_err());
    }
}
