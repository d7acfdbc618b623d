//! Records: the values that the ledger's state holds under [`crate::state_key`].
//!
//! Every record is stored as borsh after one version byte ([`encode`],
//! [`decode`]). A record is true only with a proof; this file gives its form.

mod hosts;
mod keys;
mod names;
mod notary;
mod own_answer;
mod validator;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

pub use hosts::HostAppraisal;
pub use keys::{
    EscrowHolder, EscrowHolders, KeyAnswer, KeyCommittee, KeyEscrow, KeyMessage, KeyOutcome,
    KeyRequest, KeyRound, Keykeeper, Label,
};
pub use names::{
    AddressOwners, Bid, Commitment, Name, NameEndpoint, NameStatus, NameUpdates, Recovery,
    RecoveryVote, ReleaseReason, Released,
};
pub use notary::Notarisation;
pub use own_answer::{MAX_ALIASES, OwnAnswer};
pub use validator::{Seat, ValidatorEvidence};

use crate::{
    AccountId, Amount, CertificateSerial, CertifiedName, Change, CircleId, CircleKind, Condition,
    ContractId, Digest, DomainName, EnclaveKeys, EndReason, Evidence, EvidenceKind, EvidenceRules,
    Genesis, HandshakeStep, Height, Measurement, MemberTerms, NameServerTerms, OfferId, OfferTerms,
    Operation, Outcome, Parameters, PayloadReference, Policy, PublicKey, ReferenceValue, RequestId,
    RequestTerms, Resources, SetZone, Signature, Subject, TcbStatus, Validation, ValidatorPolicy,
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
    /// How kinds of change are decided, ascending; by majority where none is listed.
    pub policies: Vec<(Subject, Policy)>,
    /// The version of the rules themselves.
    pub version: u32,
    /// The version that will follow, and from which height on.
    pub upgrade: Option<(u32, Height)>,
    /// What validators must show.
    pub validator_policy: ValidatorPolicy,
    /// When that was voted.
    pub validator_policy_since: Height,
}

impl Rules {
    /// The rules that a genesis founds a circle with; `version` is that of the
    /// ledger's rules themselves.
    pub fn founding(genesis: &Genesis, version: u32) -> Self {
        let validators = genesis.validators.iter();
        Self {
            circle: genesis.circle(),
            kind: genesis.kind,
            validators: validators
                .map(|validator| validator.key.account())
                .collect(),
            apexes: genesis.apexes.clone(),
            certificate_authorities: genesis.certificate_authorities.clone(),
            zone_signers: genesis.zone_signers.clone(),
            name_servers: genesis.name_servers.clone(),
            development_roots: genesis.development_roots.clone(),
            reference_values: genesis.reference_values.clone(),
            evidence: genesis.evidence.clone(),
            parameters: genesis.parameters.clone(),
            policies: Vec::new(),
            version,
            upgrade: None,
            validator_policy: ValidatorPolicy::default(),
            validator_policy_since: Height(0),
        }
    }

    /// How a kind of change is decided.
    pub fn policy(&self, subject: Subject) -> Policy {
        self.policies
            .iter()
            .find(|(listed, _)| *listed == subject)
            .map_or(Policy::Majority, |(_, policy)| *policy)
    }
}

/// A member of the circle.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Member {
    /// The key of its account, with which it votes.
    pub key: PublicKey,
    /// Everything else about it.
    pub terms: MemberTerms,
    /// Since when it is a member.
    pub since: Height,
}

/// What became of a proposal.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ProposalStatus {
    /// It can be voted on.
    Open,
    /// It was decided for and took effect.
    Enacted {
        /// When.
        at: Height,
    },
    /// It was decided against.
    Refused {
        /// When.
        at: Height,
    },
}

/// A change that members vote on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Proposal {
    /// What would change.
    pub change: Change,
    /// Who proposed it.
    pub proposer: AccountId,
    /// By which policy it is decided: the one in force when it was proposed.
    pub policy: Policy,
    /// The last height at which it can be voted on; once decided, the last at
    /// which it is kept.
    pub until: Height,
    /// Votes, ascending by account; one of a member each.
    pub votes: Vec<(AccountId, bool)>,
    /// What became of it.
    pub status: ProposalStatus,
}

/// A resharing of the circle's key that is under way.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Resharing {
    /// Its number; never used twice.
    pub round: u64,
    /// Who is to validate, ascending by key.
    pub target: Vec<Seat>,
    /// When it began.
    pub began_at: Height,
}

/// How the last resharing ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ResharingOutcome {
    /// The new committee took office.
    Adopted,
    /// Too few good dealings: the committee stayed.
    TooFewDealings,
    /// Shares of members that did not answer became public, so the new
    /// committee was not adopted: the old one stayed, with shares of its own.
    SharesRevealed,
}

/// The epoch, its committee, and what prepares the next.
///
/// Shape:  epoch `n` has the heights from `n * epoch_length` to the last
///         before the next.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number.
    pub number: u64,
    /// The validators in office, ascending by key.
    pub committee: Vec<Seat>,
    /// The public side of their shares, as the engine encodes it.
    #[serde(with = "hex::serde")]
    pub sharing: Vec<u8>,
    /// The first epoch of this sharing.
    pub sharing_since: u64,
    /// The resharing that made it, and the sharing before; none of a genesis'.
    /// With the dealings, which are kept while this sharing is in office, a
    /// validator that was down at the epoch's end finds its share.
    pub reshared_from: Option<(u64, Vec<u8>)>,
    /// The number of the next resharing.
    pub next_round: u64,
    /// The resharing that is under way.
    pub resharing: Option<Resharing>,
    /// How the last one ended.
    pub last_outcome: Option<ResharingOutcome>,
    /// Validators that did not answer a resharing, and the epoch from which
    /// they are asked again; ascending.
    pub resting: Vec<(PublicKey, u64)>,
    /// Since when members want another sharing, whoever is to validate; none once
    /// a resharing that began later was adopted.
    pub reshare_since: Option<Height>,
}

/// A validator's dealing.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Dealing {
    /// What it dealt, as the engine encodes it.
    #[serde(with = "hex::serde")]
    pub dealing: Vec<u8>,
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
    /// Once it is closed: when the ledger begins to forget it.
    pub forget_at: Option<Height>,
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
    /// The time of the block since which the next step is awaited, Unix milliseconds.
    pub awaited_since_ms: u64,
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

/// An authority's root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PublishedAuthority {
    /// The root certificate, DER.
    #[serde(with = "hex::serde")]
    pub root: Vec<u8>,
    /// When it was published.
    pub published_at: Height,
}

/// The intermediate with which an authority signs a registered name's leaves.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Intermediate {
    /// The certificate, DER.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
    /// When it ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
    /// When it was published.
    pub published_at: Height,
}

/// An ACME account.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AcmeAccount {
    /// Its key now, canonical JWK; empty once it is deactivated.
    #[serde(with = "hex::serde")]
    pub key: Vec<u8>,
    /// The name owner it acts for.
    pub owner: Option<PublicKey>,
    /// Orders that have not been forgotten.
    pub orders: u32,
    /// When it was opened.
    pub opened_at: Height,
}

/// Where an ACME order stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum AcmeOrderStatus {
    /// Names wait for validation.
    Pending,
    /// Every name is validated.
    Ready,
    /// The key is fixed; the certificate is being made.
    Processing {
        /// SHA-256 of the SubjectPublicKeyInfo.
        key: Digest,
    },
    /// The certificate is logged.
    Valid {
        /// Its serial number.
        serial: CertificateSerial,
    },
    /// A validation failed.
    Invalid {
        /// Of which name, from 0.
        name: u8,
    },
}

/// An ACME order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct AcmeOrder {
    /// Who ordered.
    pub account: Digest,
    /// The registered name that all its names belong to.
    pub domain: DomainName,
    /// Whose it was when the order was opened; the order ends when it changes.
    pub owner: PublicKey,
    /// When that name was registered, likewise.
    pub registered_at: Height,
    /// The names, ascending.
    pub names: Vec<CertifiedName>,
    /// One entry for each: how it was validated.
    pub validations: Vec<Option<Validation>>,
    /// Where it stands.
    pub status: AcmeOrderStatus,
    /// When it is forgotten, Unix milliseconds.
    pub expires_ms: u64,
    /// When it was opened.
    pub opened_at: Height,
}

/// What the ledger granted: that a key may be certified for names. Small, so
/// that its proof travels within the certificate.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Grant {
    /// The names, ascending.
    pub names: Vec<CertifiedName>,
    /// The owner of the registered name that they belong to.
    pub owner: PublicKey,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub key: Digest,
    /// When it was granted.
    pub granted_at: Height,
}

/// What a certificate was issued for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum IssuedFor {
    /// The enclave of a contract.
    Contract(ContractId),
    /// An ACME order, by an account.
    Order {
        /// The order.
        order: Digest,
        /// Its account.
        account: Digest,
    },
}

/// Why and when a certificate was revoked.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Revocation {
    /// RFC 5280 §5.3.1.
    pub reason: u8,
    /// The block's time, Unix milliseconds.
    pub time_ms: u64,
}

/// An entry of the certificate log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct LoggedCertificate {
    /// The names it may hold, ascending.
    pub names: Vec<CertifiedName>,
    /// The leaf, DER.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
    /// When it ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
    /// The authority that issued it.
    pub authority: AccountId,
    /// What for.
    pub issued_for: IssuedFor,
    /// Whether it was revoked.
    pub revoked: Option<Revocation>,
    /// When it was logged.
    pub logged_at: Height,
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
