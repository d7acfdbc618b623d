//! The one channel between a host and the enclave it launched.
//!
//! Frames of a length (four bytes, little-endian) and a borsh message, over a
//! pair of pipes. The enclave trusts nothing it reads here; the host learns
//! from it only ciphertext, signatures and traffic that is already encrypted.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    CircleId, ContractId, Digest, DomainName, EnclaveKeys, Evidence, EvidenceKind, HandshakeStep,
    Height, KeyRequestId, LabelName, Operation, Outcome, PayloadKind, Resources, Signature,
    limits::MAX_FRAME_BYTES,
};

/// A connection of a client of the service, numbered by the host.
pub type StreamId = u32;

/// Bytes that either side may send on a stream before it hears [`HostMessage::Credit`]
/// or [`EnclaveMessage::Credit`].
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// The most bytes of one data message.
pub const MAX_DATA_BYTES: usize = 64 * 1024;

/// The name of the one virtio-serial port by which a guest speaks to its host.
pub const GUEST_PORT: &str = "ringfort.channel";

/// Bytes of a reason that the host gives, at most: a line of a log.
pub const MAX_REASON_BYTES: usize = 512;

/// What the enclave is launched for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Launch {
    /// The circle.
    pub circle: CircleId,
    /// The contract.
    pub contract: ContractId,
    /// The user's X25519 key, from the request; bound into the report data.
    pub user_agreement: [u8; 32],
    /// What will be run.
    pub payload_kind: PayloadKind,
    /// SHA-256 of the encrypted payload.
    pub payload_sha256: Digest,
    /// Bytes of the encrypted payload.
    pub payload_bytes: u64,
    /// Hardware set aside.
    pub resources: Resources,
    /// The service's name, for its certificate.
    pub name: Option<DomainName>,
}

/// From the host to the enclave.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum HostMessage {
    /// First of all: what this enclave is for.
    Launch(Launch),
    /// The evidence that the host's quoting service made over the enclave's
    /// report data: the enclave binds it into the handshake.
    Evidence(Evidence),
    /// A step of the user's, from the ledger.
    Handshake {
        /// The operation's number.
        operation: u32,
        /// What the operation is.
        kind: Operation,
        /// Which step.
        step: HandshakeStep,
        /// The sealed message.
        sealed: Vec<u8>,
    },
    /// The next bytes of the encrypted payload, after [`EnclaveMessage::FetchPayload`].
    Payload {
        /// The bytes; in order, each byte once.
        bytes: Vec<u8>,
    },
    /// The certificate chain for the TLS key: DER, leaf first.
    Certificate {
        /// The chain.
        chain: Vec<Vec<u8>>,
    },
    /// Asks for a sign of life.
    Tick {
        /// A recent height.
        height: Height,
        /// The digest of its header.
        block: Digest,
    },
    /// A client connected.
    Open {
        /// The stream's number; not used before.
        stream: StreamId,
    },
    /// Bytes from the client.
    Data {
        /// The stream.
        stream: StreamId,
        /// At most [`MAX_DATA_BYTES`].
        bytes: Vec<u8>,
    },
    /// The client sends no more.
    Finish {
        /// The stream.
        stream: StreamId,
    },
    /// The client is gone.
    Reset {
        /// The stream.
        stream: StreamId,
    },
    /// The enclave may send this many more bytes on the stream.
    Credit {
        /// The stream.
        stream: StreamId,
        /// Bytes.
        bytes: u32,
    },
    /// Wipe everything and exit.
    Shutdown,
    /// Answers [`EnclaveMessage::LabelWanted`]: how the label and its keykeepers
    /// stand. The enclave believes none of it that matters (docs/spec/enclave.md §7).
    LabelState {
        /// The number of the wish.
        wish: u32,
        /// The label's present epoch.
        epoch: u64,
        /// The digest of a recent header.
        block: Digest,
        /// The committee in office, as the ledger has it.
        sharing: Vec<u8>,
    },
    /// A keykeeper's answer.
    KeyAnswer {
        /// The number of the wish.
        wish: u32,
        /// The request's id.
        request: KeyRequestId,
        /// The keykeeper's Ed25519 key.
        keeper: [u8; 32],
        /// The sealed share.
        sealed: Vec<u8>,
    },
    /// There will be no key.
    KeyRefused {
        /// The number of the wish.
        wish: u32,
        /// Why, for the user; at most [`MAX_REASON_BYTES`].
        reason: String,
    },
}

/// From the enclave to the host.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum EnclaveMessage {
    /// The keys it made for this launch, and the report data to be quoted.
    Keys {
        /// Public keys.
        keys: EnclaveKeys,
        /// [`EnclaveKeys::report_data`].
        report_data: Digest,
        /// Sandbox measures that this kernel does not offer, for the host's log.
        warnings: Vec<String>,
    },
    /// The server response, for the ledger.
    Handshake {
        /// The operation's number.
        operation: u32,
        /// Which step.
        step: HandshakeStep,
        /// Sealed to the user.
        sealed: Vec<u8>,
        /// By the enclave's signing key.
        signature: Signature,
    },
    /// The user released the key: send the encrypted payload.
    FetchPayload,
    /// The operation's outcome, for the ledger.
    Outcome {
        /// The operation's number.
        operation: u32,
        /// How it ended.
        outcome: Outcome,
        /// Sealed to the user.
        sealed: Vec<u8>,
        /// By the enclave's signing key.
        signature: Signature,
    },
    /// A sign of life, while the payload runs.
    Beat {
        /// The height of the tick.
        height: Height,
        /// Its block.
        block: Digest,
        /// By the enclave's signing key.
        signature: Signature,
    },
    /// A log record, sealed to the user; numbered from 0.
    Log {
        /// Its number.
        sequence: u64,
        /// Sealed bytes.
        sealed: Vec<u8>,
    },
    /// The next bytes of a job's encrypted output.
    Output {
        /// The bytes; in order.
        bytes: Vec<u8>,
    },
    /// The job ended; all its output was sent.
    Completed {
        /// Exit status and hashes, sealed to the user.
        sealed: Vec<u8>,
        /// SHA-256 of the encrypted output.
        output_sha256: Digest,
        /// Its bytes.
        output_bytes: u64,
        /// By the enclave's signing key.
        signature: Signature,
    },
    /// Bytes to the client.
    Data {
        /// The stream.
        stream: StreamId,
        /// At most [`MAX_DATA_BYTES`].
        bytes: Vec<u8>,
    },
    /// No more bytes to the client.
    Finish {
        /// The stream.
        stream: StreamId,
    },
    /// The connection is to be dropped.
    Reset {
        /// The stream.
        stream: StreamId,
    },
    /// The host may send this many more bytes on the stream.
    Credit {
        /// The stream.
        stream: StreamId,
        /// Bytes.
        bytes: u32,
    },
    /// The host broke the channel's rules; the enclave exits after this.
    Fault {
        /// What was wrong; holds no secret.
        message: String,
    },
    /// The payload is to have the key of a label.
    LabelWanted {
        /// The number of the wish, from 1.
        wish: u32,
        /// The label.
        label: LabelName,
    },
    /// Ask the keykeepers, with evidence over the report data.
    KeyRequest {
        /// The number of the wish.
        wish: u32,
        /// The epoch that is asked for.
        epoch: u64,
        /// An X25519 key made for this request.
        one_time_key: [u8; 32],
        /// [`crate::RequestKey::report_data`].
        report_data: Digest,
    },
    /// The key is there: no more answers are needed.
    KeyCombined {
        /// The number of the wish.
        wish: u32,
    },
    /// Of a guest's first process, before all else: the guest runs, and this is
    /// what it can say of itself (docs/spec/enclave.md §8).
    Guest {
        /// One sentence, for the host's log.
        sentence: String,
        /// Where there is a TEE: its report over zeros, by which the host learns
        /// what the guest measures to, or why there is none.
        report: Option<Result<GuestReport, String>>,
    },
    /// Of a guest's first process, where it has a TEE: before each message that
    /// names `report_data`.
    Report {
        /// What the report is over.
        report_data: Digest,
        /// What the TEE signed, or why it did not.
        report: Result<GuestReport, String>,
    },
}

/// A TEE's report as the guest's kernel gave it. What the vendor says of it is
/// the host's to add.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GuestReport {
    /// Which kind of evidence it is the raw part of.
    pub kind: EvidenceKind,
    /// A TDX quote or an SEV-SNP attestation report.
    pub bytes: Vec<u8>,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Over [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    /// The message does not decode.
    #[error("the frame does not decode: {0}")]
    Malformed(String),
}

/// Appends the frame of `message` to `out`.
///
/// Errors: [`FrameError::TooLarge`]; `out` is unchanged.
pub fn encode_frame<T: BorshSerialize>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    message.serialize(out).expect("a message always encodes");
    let length = out.len() - start - 4;
    if length > MAX_FRAME_BYTES {
        out.truncate(start);
        return Err(FrameError::TooLarge(length));
    }
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// The length of the frame that follows a header.
///
/// Errors: [`FrameError::TooLarge`], before anything is allocated for it.
pub fn frame_length(header: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_FRAME_BYTES {
        Err(FrameError::TooLarge(length))
    } else {
        Ok(length)
    }
}

/// Decodes a frame's body.
///
/// Errors: [`FrameError::Malformed`].
pub fn decode_frame<T: BorshDeserialize>(body: &[u8]) -> Result<T, FrameError> {
    T::try_from_slice(body).map_err(|error| FrameError::Malformed(error.to_string()))
}
