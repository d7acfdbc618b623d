//! Records: the values that the ledger's state holds under [`crate::state_key`].
//!
//! Every record is stored as borsh after one version byte ([`encode`],
//! [`decode`]). A record is true only with a proof; this file gives its form.

mod names;
mod notary;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

pub use names::{
    AddressOwners, Bid, Commitment, Name, NameEndpoint, NameStatus, Recovery, RecoveryVote,
    ReleaseReason, Released,
};
pub use notary::Notarisation;

use crate::{
    AccountId, Amount, CircleId, CircleKind, Condition, ContractId, Digest, DomainName,
    EnclaveKeys, EndReason, Evidence, EvidenceKind, EvidenceRules, Genesis, HandshakeStep, Height,
    Measurement, NameServerTerms, OfferId, OfferTerms, Operation, Outcome, Parameters,
    PayloadReference, PublicKey, ReferenceValue, RequestId, RequestTerms, Resources, SetZone,
    Signature, TcbStatus,
};

/// The version byte before every stored record.
pub const RECORD_VERSION: u8 = 1;

/// A stored record did not decode: the store is damaged or the version is newer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stored record does not decode as {wanted}: {reason}")]
pub struct RecordError {
    wanted: &'static str,
    reason: String,
}

/// Encodes a record for the state.
pub fn encode<T: BorshSerialize>(record: &T) -> Vec<u8> {
    let mut bytes = vec![RECORD_VERSION];
    record
        .serialize(&mut bytes)
        .expect("a record always encodes");
    bytes
}

/// Decodes a record of the state.
///
/// Errors: [`RecordError`] for another version, wrong or trailing bytes.
pub fn decode<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, RecordError> {
    let error = |reason: String| RecordError {
        wanted: std::any::type_name::<T>(),
        reason,
    };
    match bytes.split_first() {
        Some((&RECORD_VERSION, rest)) => {
            T::try_from_slice(rest).map_err(|source| error(source.to_string()))
        }
        Some((version, _)) => Err(error(format!("record version {version}"))),
        None => Err(error("no bytes".to_owned())),
    }
}

/// The circle, as every client may prove it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct CircleRecord {
    /// The genesis, whole; its digest is the circle's id.
    pub genesis: Genesis,
}

/// The circle's rules in force: what its members decided, without the
/// accounts that a genesis lists.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Rules {
    /// The circle.
    pub circle: CircleId,
    /// Whether development evidence may be admitted.
    pub kind: CircleKind,
    /// The validators' reward accounts, in the order of their shares.
    pub validators: Vec<AccountId>,
    /// Apexes beneath which names are registered.
    pub apexes: Vec<DomainName>,
    /// Accounts that may record certificates.
    pub certificate_authorities: Vec<AccountId>,
    /// Accounts that may set a zone's keys.
    pub zone_signers: Vec<AccountId>,
    /// Accounts that may answer DNS in the circle's name.
    pub name_servers: Vec<AccountId>,
    /// Roots of development evidence.
    pub development_roots: Vec<PublicKey>,
    /// Enclave code that is admitted.
    pub reference_values: Vec<ReferenceValue>,
    /// What evidence must show besides.
    pub evidence: EvidenceRules,
    /// The rules in numbers.
    pub parameters: Parameters,
}

/// The digest of a recent header, against which heartbeats are checked.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct RecentHeader {
    /// [`crate::Header::digest`].
    pub digest: Digest,
}

/// Where the market's matching stands.
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
pub struct Market {
    /// The last height at which an offer was posted or gained room.
    pub room_at: Height,
    /// The request after which the next block's matching goes on; none to
    /// begin with the first.
    pub resume_after: Option<RequestId>,
}

/// A request's search for offers, the value of [`crate::state_key::unmatched`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Search {
    /// The last height at which it goes on.
    pub until: Height,
    /// The height at which the present pass over the offers began; none
    /// between passes.
    pub began_at: Option<Height>,
    /// The replica, and the price and offer after which the pass goes on.
    pub resume: Option<(u16, Amount, OfferId)>,
    /// When the last pass that found nothing began: the search sleeps until
    /// an offer gains room after it.
    pub fruitless_at: Option<Height>,
}

/// An account.
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
pub struct Account {
    /// What it may spend.
    pub balance: Amount,
    /// The sequence of its next transaction.
    pub sequence: u64,
}

/// Fees and rent gathered since the last payment to the validators.
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
pub struct Pool {
    /// What will be shared out.
    pub balance: Amount,
}

/// Locked funds.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Lock {
    /// How much.
    pub amount: Amount,
    /// What must hold for it to be spent.
    pub condition: Condition,
    /// When it was locked.
    pub locked_at: Height,
}

/// An offer and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Offer {
    /// Who offers.
    pub provider: AccountId,
    /// What is offered.
    pub terms: OfferTerms,
    /// Capacity not taken by live contracts.
    pub free: Resources,
    /// Live contracts.
    pub live: u16,
    /// The provider's deposit, returned when the offer and its contracts have ended.
    pub deposit: Amount,
    /// Whether it can still be matched.
    pub open: bool,
    /// When it was posted.
    pub posted_at: Height,
}

/// What a request's user last asked for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum RequestStatus {
    /// Replicas are to run.
    Started,
    /// Replicas are to stand still.
    Stopped,
    /// Over; the rest of the escrow went back.
    Closed(EndReason),
}

/// What the faults of a request's contracts have in common.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// There was none.
    None,
    /// Each had this reason.
    Only(EndReason),
    /// They had several.
    Mixed,
}

/// A request and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Request {
    /// Who asks and pays.
    pub user: AccountId,
    /// The user's key, for whoever must check what the user signed.
    pub user_key: PublicKey,
    /// What is asked for.
    pub terms: RequestTerms,
    /// Where it stands.
    pub status: RequestStatus,
    /// Funds left for its replicas.
    pub escrow: Amount,
    /// Paid to providers so far.
    pub paid: Amount,
    /// One entry for each replica: its live contract, if it has one.
    pub replicas: Vec<Option<ContractId>>,
    /// For each replica, blocks of service paid for, over all its contracts.
    pub served: Vec<u64>,
    /// Contracts that ended by a fault and were or will be replaced.
    pub replacements: u16,
    /// Providers that failed it, ascending; they are not matched again.
    pub excluded: Vec<AccountId>,
    /// For each replica, whether it was served for its whole duration or ran
    /// its job to the end.
    pub finished: Vec<bool>,
    /// Contracts made for it so far; the next one's `attempt`.
    pub attempts: u16,
    /// The reason that every fault so far had, while they all had the same.
    pub fault: Fault,
    /// When it was posted.
    pub posted_at: Height,
}

/// How far a contract's current operation has come.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The provider is to register an enclave.
    AwaitingEnclave,
    /// The user is to challenge.
    AwaitingChallenge,
    /// The enclave is to respond.
    AwaitingServerResponse,
    /// The user is to respond.
    AwaitingClientResponse,
    /// The enclave is to report the outcome.
    AwaitingOutcome,
    /// The operation is over.
    Done,
}

/// Whether a contract's payload runs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ContractStatus {
    /// It has not run yet.
    Starting,
    /// It runs, and is paid for.
    Running,
    /// It was stopped; nothing is paid.
    Stopped,
    /// Over, and why.
    Ended(EndReason),
}

/// A binding contract for one replica.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Contract {
    /// The request it serves.
    pub request: RequestId,
    /// Which replica of it, from 0.
    pub replica: u16,
    /// The offer it was matched with.
    pub offer: OfferId,
    /// The user's account.
    pub user: AccountId,
    /// The provider's account.
    pub provider: AccountId,
    /// Price of a block.
    pub price: Amount,
    /// Hardware set aside.
    pub resources: Resources,
    /// When it was made.
    pub matched_at: Height,
    /// Whether its payload runs.
    pub status: ContractStatus,
    /// The current operation's number, from 1.
    pub operation: u32,
    /// What the current operation is.
    pub operation_kind: Operation,
    /// How far the current operation has come.
    pub stage: Stage,
    /// When the next step, or the next heartbeat, is overdue; none when nothing is awaited.
    pub deadline: Option<Height>,
    /// Served and paid up to this height; meaningful while running.
    pub settled_at: Height,
    /// Blocks paid for.
    pub served: u64,
    /// Paid to the provider.
    pub paid: Amount,
}

/// What the ledger's verifier concluded about evidence (RFC 9334: attestation result).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AttestationResult {
    /// The kind of evidence.
    pub kind: EvidenceKind,
    /// The code it measured.
    pub measurement: Measurement,
    /// Whether the evidence protects the payload from the host; never so for
    /// development evidence.
    pub protects_from_host: bool,
    /// What the vendor says of the platform; none for kinds without a vendor's word.
    pub tcb: Option<TcbStatus>,
    /// The machine, as a digest of its chip's identity; none where the
    /// evidence does not tell machines apart.
    pub chip: Option<Digest>,
    /// How old the vendor's collateral was, milliseconds; none for kinds without.
    pub collateral_age_ms: Option<u64>,
}

/// A registered enclave.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Enclave {
    /// Its public keys.
    pub keys: EnclaveKeys,
    /// The evidence it gave.
    pub evidence: Evidence,
    /// What the ledger concluded.
    pub result: AttestationResult,
    /// When it was registered.
    pub registered_at: Height,
}

/// A sealed message that was accepted; kept so that a replay is seen and each
/// side can read what the other wrote.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Message {
    /// The sealed bytes.
    #[serde(with = "hex::serde")]
    pub sealed: Vec<u8>,
    /// The enclave's signature, on its own messages.
    pub signature: Option<Signature>,
    /// When it was accepted.
    pub posted_at: Height,
}

/// The outcome of one operation.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// How it ended.
    pub outcome: Outcome,
    /// The message, sealed to the user.
    #[serde(with = "hex::serde")]
    pub sealed: Vec<u8>,
    /// The enclave's signature.
    pub signature: Signature,
    /// When it was accepted.
    pub posted_at: Height,
}

/// A job's end.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Completion {
    /// Exit status and hashes, sealed to the user.
    #[serde(with = "hex::serde")]
    pub sealed: Vec<u8>,
    /// Where the encrypted output is.
    pub output: PayloadReference,
    /// The enclave's signature.
    pub signature: Signature,
    /// When it was accepted.
    pub completed_at: Height,
}

/// A certificate that was issued for a contract's enclave.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Certificate {
    /// The name it is for.
    pub name: DomainName,
    /// The leaf, DER.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
    /// When it ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
    /// The authority that issued it.
    pub authority: AccountId,
    /// When it was recorded.
    pub issued_at: Height,
}

/// What a zone signer last said of an apex.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Zone {
    /// What was said.
    pub zone: SetZone,
    /// Who said it.
    pub signer: AccountId,
    /// When.
    pub changed_at: Height,
}

/// A name server of the circle.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameServer {
    /// What it said.
    pub terms: NameServerTerms,
    /// When it said so.
    pub changed_at: Height,
    /// The certificate for its key; none until an authority issued one.
    pub certificate: Option<NameServerCertificate>,
}

/// A certificate of a name server.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct NameServerCertificate {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// When it ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
    /// Who issued it.
    pub authority: AccountId,
    /// When it was recorded.
    pub issued_at: Height,
}

/// Which step of which operation a message record belongs to.
pub type MessagePosition = (ContractId, u32, HandshakeStep);
