//! Actions of the market: offers, requests, contracts, and the messages of
//! procedures 100 and 200 (seed 000).

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    Amount, ContractId, Digest, DomainName, EvidenceKind, EvidencePolicy, Height, Measurement,
    OfferId, RequestId, Signature,
};

/// Hardware, per replica or in all (seed 000 [0027], [0028]).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Resources {
    /// Thousandths of a processor.
    pub cpu_milli: u32,
    /// MiB of memory.
    pub memory_mib: u32,
    /// MiB of storage.
    pub storage_mib: u32,
}

impl Resources {
    /// Whether every part of `self` fits within `capacity`.
    pub fn fits(&self, capacity: &Self) -> bool {
        self.cpu_milli <= capacity.cpu_milli
            && self.memory_mib <= capacity.memory_mib
            && self.storage_mib <= capacity.storage_mib
    }

    /// The sum, unless a part leaves 32 bits.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        Some(Self {
            cpu_milli: self.cpu_milli.checked_add(other.cpu_milli)?,
            memory_mib: self.memory_mib.checked_add(other.memory_mib)?,
            storage_mib: self.storage_mib.checked_add(other.storage_mib)?,
        })
    }

    /// The difference, unless a part is negative.
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        Some(Self {
            cpu_milli: self.cpu_milli.checked_sub(other.cpu_milli)?,
            memory_mib: self.memory_mib.checked_sub(other.memory_mib)?,
            storage_mib: self.storage_mib.checked_sub(other.storage_mib)?,
        })
    }
}

/// What a payload is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum PayloadKind {
    /// A component that exports `wasi:http/incoming-handler`.
    Service = 0,
    /// A component that exports `wasi:cli/run`.
    Job = 1,
}

/// How payloads, logs and results are encrypted.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum CipherSuite {
    /// AES-256-GCM in the STREAM construction, 64 KiB chunks.
    Aes256GcmStream = 0,
}

/// Where a provider's services and its control interface are reached.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ServiceEndpoint {
    /// Addresses for A and AAAA records.
    pub addresses: Vec<IpAddr>,
    /// The TCP port on which services answer TLS.
    pub port: u16,
    /// Base URL at which ciphertext of logs and results is fetched.
    pub control: String,
}

/// Everything an offer says (seed 000 [0028], claims 1 and 3).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct OfferTerms {
    /// Hardware in all.
    pub capacity: Resources,
    /// The most that one replica may ask for.
    pub replica_limit: Resources,
    /// Replicas at the same time.
    pub concurrency: u16,
    /// The least that a replica pays for a block.
    pub min_price: Amount,
    /// The shortest contract taken, in blocks.
    pub min_duration: u64,
    /// The longest contract taken, in blocks.
    pub max_duration: u64,
    /// Where the hardware stands: regions from large to small, joined by `/`
    /// (`eu/de/fra1`).
    pub location: String,
    /// Encryption it can do.
    pub encryption: Vec<CipherSuite>,
    /// Evidence its enclaves can give.
    pub evidence: Vec<EvidenceKind>,
    /// Payloads it can run.
    pub payload_kinds: Vec<PayloadKind>,
    /// Host technologies (seed 000: hypervisor-specific technologies), for
    /// instance `wasmtime`.
    pub technologies: Vec<String>,
    /// SHA-256 of the enclave's code that it launches.
    pub measurement: Measurement,
    /// Where its services are reached.
    pub endpoint: ServiceEndpoint,
    /// The last height at which the offer can be matched.
    pub expires_at: Height,
}

/// Offers capacity.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PostOffer {
    /// What is offered.
    pub terms: OfferTerms,
}

/// Takes an offer back.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct WithdrawOffer {
    /// Which offer; the sender posted it.
    pub offer: OfferId,
}

/// An encrypted payload or result: where it is and what it must hash to
/// (seed 000 [0066]).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PayloadReference {
    /// URLs of mirrors, in the order in which to try them.
    pub locations: Vec<String>,
    /// SHA-256 of the ciphertext.
    pub sha256: Digest,
    /// Bytes of the ciphertext.
    pub bytes: u64,
    /// How it is encrypted.
    pub cipher: CipherSuite,
}

/// Everything a request says (seed 000 [0027], claims 1, 3 and 4).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RequestTerms {
    /// Hardware that each replica needs.
    pub resources: Resources,
    /// The payload concurrency value (seed 000, claim 4): replicas to keep running.
    pub replicas: u16,
    /// Whether no two replicas may run at one provider; if not, the market
    /// still spreads them where it can.
    pub require_spread: bool,
    /// Blocks of service to pay each replica for, at most.
    pub duration: u64,
    /// The most that a replica pays for a block.
    pub max_price: Amount,
    /// Funds for all replicas, moved into escrow.
    pub escrow: Amount,
    /// The region that must hold the hardware; empty for any
    /// (`eu` admits `eu/de/fra1`).
    pub location: String,
    /// Encryption it requires.
    pub encryption: Vec<CipherSuite>,
    /// Kinds of evidence it accepts; any one suffices.
    pub evidence: Vec<EvidenceKind>,
    /// Host technologies it requires, all of them.
    pub technologies: Vec<String>,
    /// Enclave code it accepts; none for whatever the circle admits.
    pub measurement: Option<Measurement>,
    /// What its enclaves' evidence must show besides.
    pub evidence_policy: EvidencePolicy,
    /// What to run.
    pub payload_kind: PayloadKind,
    /// Where the encrypted payload is.
    pub payload: PayloadReference,
    /// The user's X25519 key for this request (seed 000 [0038]).
    #[serde(with = "hex::serde")]
    pub agreement_key: [u8; 32],
    /// The name at which a service is reached; the sender's key owns it.
    pub name: Option<DomainName>,
    /// The last height at which unmatched replicas wait for an offer.
    pub match_until: Height,
}

/// Asks for a payload to be run.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PostRequest {
    /// What is asked for.
    pub terms: RequestTerms,
}

/// Adds to a request's escrow.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct FundRequest {
    /// Which request; anyone may pay.
    pub request: RequestId,
    /// How much; not zero.
    pub amount: Amount,
}

/// An operational request (seed 000 [0039]).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Operation {
    /// Decrypt and run.
    Start = 0,
    /// Cease to run and forget the key.
    Stop = 1,
}

/// Opens a request's next operation on every live replica.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Operate {
    /// Which request; the sender posted it.
    pub request: RequestId,
    /// What to do.
    pub operation: Operation,
}

/// Ends a request.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct CloseRequest {
    /// Which request; the sender posted it.
    pub request: RequestId,
}

/// A step of the mutual challenge-response; they are taken in this order.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum HandshakeStep {
    /// User to enclave: the client challenge (seed 000 [0041]).
    ClientChallenge = 0,
    /// Enclave to user: server response and server challenge ([0053]).
    ServerResponse = 1,
    /// User to enclave: client response and wrapped key ([0045]).
    ClientResponse = 2,
}

/// A sealed message between the user and the enclave of a contract.
///
/// The user's steps are authentic by the transaction; the enclave's carry its
/// own signature, because the provider that sends them is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct HandshakeMessage {
    /// Which contract.
    pub contract: ContractId,
    /// The operation's number within the contract, from 1.
    pub operation: u32,
    /// Which step.
    pub step: HandshakeStep,
    /// The message, sealed to its receiver.
    #[serde(with = "hex::serde")]
    pub sealed: Vec<u8>,
    /// The enclave's signature over [`HandshakeMessage::signed_bytes`];
    /// present in [`HandshakeStep::ServerResponse`] and only there.
    pub signature: Option<Signature>,
}

impl HandshakeMessage {
    /// The purpose for which an enclave signs its messages.
    pub const PURPOSE: &'static str = "ringfort/handshake-message/1";

    /// What the enclave signs.
    pub fn signed_bytes(
        contract: ContractId,
        operation: u32,
        step: HandshakeStep,
        sealed: &[u8],
    ) -> Vec<u8> {
        borsh::to_vec(&(contract, operation, step, sealed)).expect("a message always encodes")
    }
}

/// How an operation ended, as everyone may see it; the message is sealed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outcome {
    /// Done (seed 000 [0060]).
    Confirmed = 0,
    /// The client response was wrong ([0057]).
    Rejected = 1,
    /// It was right, and the operation failed ([0061]).
    Error = 2,
}

/// The enclave's answer to an operation.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PostOutcome {
    /// Which contract.
    pub contract: ContractId,
    /// The operation's number.
    pub operation: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// The message, sealed to the user.
    #[serde(with = "hex::serde")]
    pub sealed: Vec<u8>,
    /// The enclave's signature over [`PostOutcome::signed_bytes`].
    pub signature: Signature,
}

impl PostOutcome {
    /// The purpose for which an enclave signs outcomes.
    pub const PURPOSE: &'static str = "ringfort/outcome/1";

    /// What the enclave signs.
    pub fn signed_bytes(
        contract: ContractId,
        operation: u32,
        outcome: Outcome,
        sealed: &[u8],
    ) -> Vec<u8> {
        borsh::to_vec(&(contract, operation, outcome, sealed)).expect("an outcome always encodes")
    }
}

/// One enclave's sign of life, bound to a block so that none can be made ahead.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Beat {
    /// Which contract.
    pub contract: ContractId,
    /// A recent height: service up to it is claimed.
    pub height: Height,
    /// The digest of that height's header.
    pub block: Digest,
    /// The enclave's signature over [`Beat::signed_bytes`].
    pub signature: Signature,
}

impl Beat {
    /// The purpose for which an enclave signs heartbeats.
    pub const PURPOSE: &'static str = "ringfort/heartbeat/1";

    /// What the enclave signs.
    pub fn signed_bytes(contract: ContractId, height: Height, block: Digest) -> Vec<u8> {
        borsh::to_vec(&(contract, height, block)).expect("a heartbeat always encodes")
    }
}

/// Signs of life from enclaves of the sender.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Heartbeat {
    /// One for each contract.
    pub beats: Vec<Beat>,
}

/// A job's end.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct CompleteJob {
    /// Which contract.
    pub contract: ContractId,
    /// Exit status and hashes, sealed to the user.
    #[serde(with = "hex::serde")]
    pub sealed: Vec<u8>,
    /// Where the encrypted output is.
    pub output: PayloadReference,
    /// The enclave's signature over [`CompleteJob::signed_bytes`].
    pub signature: Signature,
}

impl CompleteJob {
    /// The purpose for which an enclave signs completions.
    pub const PURPOSE: &'static str = "ringfort/complete-job/1";

    /// What the enclave signs; locations are the provider's to choose.
    pub fn signed_bytes(
        contract: ContractId,
        sealed: &[u8],
        output_sha256: Digest,
        output_bytes: u64,
    ) -> Vec<u8> {
        borsh::to_vec(&(contract, sealed, output_sha256, output_bytes))
            .expect("a completion always encodes")
    }
}

/// Why a contract or a request ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum EndReason {
    /// The user closed the request.
    UserClosed = 0,
    /// Every block that was asked for was served.
    DurationServed = 1,
    /// The escrow holds less than one block's price.
    EscrowEmpty = 2,
    /// The job ran to its end.
    Completed = 3,
    /// No heartbeat within the circle's limit.
    ProviderSilent = 4,
    /// A step of the handshake did not come in time.
    HandshakeTimeout = 5,
    /// No mirror gave the payload.
    PayloadUnavailable = 6,
    /// Every mirror gave bytes that do not hash to what the request says.
    PayloadCorrupt = 7,
    /// The enclave refused the user's response.
    ResponseRejected = 8,
    /// The payload decrypted and did not run.
    PayloadFailed = 9,
    /// The provider could not launch an enclave.
    LaunchFailed = 10,
    /// The provider ended the contract.
    ProviderWithdrew = 11,
    /// No offer fitted in time.
    NoOffer = 12,
    /// Replacements ran out.
    TooManyFailures = 13,
}

impl EndReason {
    /// The reason in a sentence's words, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::UserClosed => "closed by its user",
            Self::DurationServed => "served for its whole duration",
            Self::EscrowEmpty => "the escrow is empty",
            Self::Completed => "the job ran to its end",
            Self::ProviderSilent => "the provider fell silent",
            Self::HandshakeTimeout => "a step of the handshake did not come in time",
            Self::PayloadUnavailable => "no mirror gave the payload",
            Self::PayloadCorrupt => "every mirror gave a payload whose hash is wrong",
            Self::ResponseRejected => "the enclave rejected the user's response",
            Self::PayloadFailed => "the payload did not run",
            Self::LaunchFailed => "the provider could not launch an enclave",
            Self::ProviderWithdrew => "ended by the provider",
            Self::NoOffer => "no offer fitted in time",
            Self::TooManyFailures => "too many replacements failed",
        }
    }

    /// Whether a provider may give this reason in [`EndContract`].
    pub fn is_providers(self) -> bool {
        matches!(
            self,
            Self::PayloadUnavailable
                | Self::PayloadCorrupt
                | Self::LaunchFailed
                | Self::PayloadFailed
                | Self::ProviderWithdrew
        )
    }
}

/// A provider ends a contract of its own.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct EndContract {
    /// Which contract.
    pub contract: ContractId,
    /// Why; one for which [`EndReason::is_providers`] holds.
    pub reason: EndReason,
}
