//! What does one proof show, and how is it written in few bytes?
//!
//! The encoding leaves out what its reader can compute: the header's state
//! root follows from the entry and the path, the key's hash from the key, and
//! an empty sibling is one bit. What it does not leave out is covered by the
//! circle's signature, so that a proof with any bit changed is refused.

use std::io::{Error, ErrorKind, Read, Result as IoResult, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use wire::{CircleId, CircleKey, Digest, HeaderSummary, Height, record};

use crate::{Certificate, Path, ProofError, certificate::SIGNATURE_BYTES, varint, verify_header};

/// A state key: a prefix and a few ids, or a prefix and a name (255 bytes).
pub const MAX_KEY_BYTES: usize = 512;

/// A state value: the largest is a name whose every record set is full
/// (64 sets of 16 records of 1 KiB, and their frames).
pub const MAX_VALUE_BYTES: usize = 2 * 1024 * 1024;

/// An encoded proof: key, value, 256 siblings, header and certificate.
pub const MAX_PROOF_BYTES: usize = MAX_KEY_BYTES + MAX_VALUE_BYTES + 16 * 1024;

/// That one key had one value, or none, in the state after one block.
///
/// Shape:  borsh as in docs/spec/proofs.md §1; below 1 KB for a small record
///         among a million keys.
/// Errors: decoding refuses what is over a limit, before it allocates, and
///         every form but the canonical one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What the circle certified of the block. The state root is not encoded: a
    /// decoded proof has the root that its path leads to.
    pub header: HeaderSummary,
    /// The circle's signature over the header.
    pub certificate: Certificate,
    /// The state key ([`wire::state_key`]).
    pub key: Vec<u8>,
    /// The stored record, or none if there is none.
    pub value: Option<Vec<u8>>,
    /// What stands between the entry and the state root.
    pub path: Path,
}

/// A header whose signature by a circle was verified; [`Proof::verify_after`]
/// alone makes it.
#[derive(Clone, Copy, Debug)]
pub struct CertifiedHeader {
    header: HeaderSummary,
    certificate: Certificate,
    key: CircleKey,
}

impl CertifiedHeader {
    fn is_of(&self, proof: &Proof, key: &CircleKey) -> bool {
        self.key == *key && self.header == proof.header && self.certificate == proof.certificate
    }
}

impl Proof {
    /// Checks the proof under the circle's key.
    ///
    /// Errors: [`ProofError`], naming the first thing that does not hold.
    /// Source: docs/spec/proofs.md §3.
    pub fn verify(&self, circle_key: &CircleKey) -> Result<Proven, ProofError> {
        self.verify_after(circle_key, &mut None)
    }

    /// Checks the proof under the circle's key, but for the signature over a
    /// header that is the one in `known`: many proofs of one block have one
    /// header, whose signature costs a hundred times what the path does.
    ///
    /// Shape:  `known` becomes this proof's header if the proof holds.
    /// Errors: as [`Proof::verify`].
    pub fn verify_after(
        &self,
        circle_key: &CircleKey,
        known: &mut Option<CertifiedHeader>,
    ) -> Result<Proven, ProofError> {
        check_size("key", self.key.len(), MAX_KEY_BYTES)?;
        let value_bytes = self.value.as_ref().map_or(0, Vec::len);
        check_size("value", value_bytes, MAX_VALUE_BYTES)?;
        if self.path.root(&self.key, self.value.as_deref())? != self.header.state_root {
            return Err(ProofError::StateRoot);
        }
        if !known
            .as_ref()
            .is_some_and(|known| known.is_of(self, circle_key))
        {
            verify_header(&self.header, &self.certificate, circle_key)?;
            *known = Some(CertifiedHeader {
                header: self.header,
                certificate: self.certificate,
                key: *circle_key,
            });
        }
        Ok(Proven {
            circle: self.header.circle,
            height: self.header.height,
            time_ms: self.header.time_ms,
            header_digest: self.header.digest(),
            key: self.key.clone(),
            value: self.value.clone(),
        })
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a proof always encodes")
    }

    /// Reads the canonical encoding.
    ///
    /// Errors: `InvalidData`, `UnexpectedEof`; the fault of whoever sent it.
    pub fn decode(bytes: &[u8]) -> IoResult<Self> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(invalid("a proof is over its limit"));
        }
        Self::try_from_slice(bytes)
    }
}

fn check_size(what: &'static str, bytes: usize, limit: usize) -> Result<(), ProofError> {
    if bytes > limit {
        return Err(ProofError::TooLarge { what, bytes, limit });
    }
    Ok(())
}

fn invalid(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}

impl BorshSerialize for Proof {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        let header = &self.header;
        header.version.serialize(writer)?;
        header.circle.serialize(writer)?;
        varint::write(header.height.0, writer)?;
        header.time_ms.serialize(writer)?;
        header.links.serialize(writer)?;
        let certificate = &self.certificate;
        varint::write(certificate.epoch, writer)?;
        varint::write(certificate.view, writer)?;
        varint::write(certificate.parent_view, writer)?;
        writer.write_all(&certificate.signature)?;
        write_bytes(&self.key, writer)?;
        match &self.value {
            None => writer.write_all(&[0])?,
            Some(value) => {
                writer.write_all(&[1])?;
                write_bytes(value, writer)?;
            }
        }
        self.path.serialize(writer)
    }
}

impl BorshDeserialize for Proof {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let mut header = HeaderSummary {
            version: u8::deserialize_reader(reader)?,
            circle: CircleId::deserialize_reader(reader)?,
            height: Height(varint::read(reader)?),
            time_ms: u64::deserialize_reader(reader)?,
            links: Digest::deserialize_reader(reader)?,
            state_root: Digest::default(),
        };
        let certificate = Certificate {
            epoch: varint::read(reader)?,
            view: varint::read(reader)?,
            parent_view: varint::read(reader)?,
            signature: <[u8; SIGNATURE_BYTES]>::deserialize_reader(reader)?,
        };
        let key = read_bytes(reader, MAX_KEY_BYTES)?;
        let value = match u8::deserialize_reader(reader)? {
            0 => None,
            1 => Some(read_bytes(reader, MAX_VALUE_BYTES)?),
            _ => return Err(invalid("a value is marked by 0 or 1")),
        };
        let path = Path::deserialize_reader(reader)?;
        header.state_root = path
            .root(&key, value.as_deref())
            .map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        Ok(Self {
            header,
            certificate,
            key,
            value,
            path,
        })
    }
}

fn write_bytes<W: Write>(bytes: &[u8], writer: &mut W) -> IoResult<()> {
    varint::write(bytes.len() as u64, writer)?;
    writer.write_all(bytes)
}

/// Reads a length and that many bytes.
///
/// The vector grows with what arrives, so that a claimed length costs nothing.
fn read_bytes<R: Read>(reader: &mut R, limit: usize) -> IoResult<Vec<u8>> {
    let length = varint::read(reader)?;
    if length > limit as u64 {
        return Err(invalid("a key or value is over its limit"));
    }
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length {
        Ok(bytes)
    } else {
        Err(ErrorKind::UnexpectedEof.into())
    }
}

/// An entry of a circle's state that was proven under the circle's key.
///
/// Only [`Proof::verify`] makes one. It was true at [`Proven::height`];
/// whether that is recent enough is for its holder to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    circle: CircleId,
    height: Height,
    time_ms: u64,
    header_digest: Digest,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Proven {
    /// The circle that the header names.
    pub fn circle(&self) -> CircleId {
        self.circle
    }

    /// The block after which the entry was so.
    pub fn height(&self) -> Height {
        self.height
    }

    /// That block's time, Unix milliseconds.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The digest of that block's header.
    pub fn header_digest(&self) -> Digest {
        self.header_digest
    }

    /// The state key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The stored bytes, or none if the key was absent.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The stored record, or none if the key was absent.
    ///
    /// Errors: [`record::RecordError`] if the bytes are another record, or a
    ///         newer version of it.
    pub fn record<T: BorshDeserialize>(&self) -> Result<Option<T>, record::RecordError> {
        self.value.as_deref().map(record::decode).transpose()
    }
}
