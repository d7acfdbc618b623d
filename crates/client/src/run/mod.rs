//! The user's side of a confidential run (seed 000, procedures 100 and 300).
//!
//! [`User::submit`] encrypts, uploads and posts; [`User::follow`] answers the
//! enclaves until the payload runs or has ended; [`User::operate`] stops and
//! starts it. Everything can be broken off and taken up again by the request's
//! id: secrets are in the wallet before anything is sent, and what was done is
//! read from the ledger with proof.
//!
//! The data key is released to an enclave alone whose evidence this process
//! has verified itself, against the request's policy and the circle's
//! reference values.

mod evidence;
mod exchange;
mod follow;
mod lock;
mod logs;
mod name;
mod replicas;
mod results;
mod submit;

pub use evidence::{Appraised, EvidenceRefused, appraise};
pub use follow::{Followed, Until};
pub use lock::RequestLock;
pub use logs::{LogCursor, LogPage, SealedPage, SealedRecord};
pub use name::Registration;
pub use replicas::{ReplicaView, RequestView};
pub use results::JobResult;
pub use submit::{RunSpec, Submitted};

pub(crate) use exchange::{Progress, Tracked};

use std::sync::Arc;

use serde::Serialize;
use wire::{
    Amount, ContractId, Digest, DomainName, EndReason, EvidenceKind, Height, Measurement, OfferId,
    Operation, Outcome, PayloadKind, RequestId, TransactionId,
};

use crate::{
    account::{Account, AccountError},
    error::ClientError,
    payload::PayloadError,
    sealed_file::SealedFileError,
    storage::{ObjectStorage, StorageError},
    wallet::Wallet,
};

/// A user: an account, its wallet and its stores. Clones share all three.
#[derive(Clone)]
pub struct User {
    pub(crate) account: Account,
    pub(crate) wallet: Wallet,
    pub(crate) storage: ObjectStorage,
    pub(crate) http: reqwest::Client,
}

/// Hears of every step as it is taken.
pub type Observer = Arc<dyn Fn(Step) + Send + Sync>;

/// One step of a run, with where it is recorded.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was done.
    #[serde(flatten)]
    pub kind: StepKind,
    /// The request, once it has an id.
    pub request: Option<RequestId>,
    /// The contract, for a step of one replica.
    pub contract: Option<ContractId>,
    /// The replica, for a step of one.
    pub replica: Option<u16>,
    /// The transaction that recorded it.
    pub transaction: Option<TransactionId>,
    /// The block that recorded it.
    pub height: Option<Height>,
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum StepKind {
    /// The program was read and packed.
    Prepared {
        /// What it is.
        kind: PayloadKind,
        /// Bytes of the component.
        component_bytes: u64,
        /// Whether it was a core module and was adapted.
        adapted: bool,
    },
    /// The payload was encrypted under a new key (seed 000 \[0036\]).
    Encrypted {
        /// SHA-256 of the ciphertext.
        sha256: Digest,
        /// Its bytes.
        bytes: u64,
    },
    /// The ciphertext is in every mirror (\[0037\], \[0065\]).
    Uploaded {
        /// Where.
        locations: Vec<String>,
    },
    /// The request's secrets are on this machine's disk.
    SecretsKept,
    /// A name was committed to.
    NameCommitted {
        /// The name.
        name: DomainName,
    },
    /// A name was registered.
    NameRegistered {
        /// The name.
        name: DomainName,
        /// What rent is drawn from.
        deposit: Amount,
    },
    /// The request is on the ledger (\[0039\], \[0066\]).
    Posted {
        /// Funds set aside.
        escrow: Amount,
    },
    /// A replica was matched with an offer.
    Matched {
        /// The offer.
        offer: OfferId,
        /// The provider's account.
        provider: wire::AccountId,
        /// Price of a block.
        price: Amount,
    },
    /// The enclave's evidence was verified and accepted by this process.
    EvidenceAccepted {
        /// Its kind.
        evidence: EvidenceKind,
        /// The code it measured.
        measurement: Measurement,
        /// Whether the host is kept out. `false` is development evidence: the
        /// provider could read the payload.
        protects_from_host: bool,
    },
    /// The key was not released, and will not be.
    KeyWithheld {
        /// Why.
        reason: String,
    },
    /// The client challenge is on the ledger (\[0041\]).
    Challenged {
        /// The operation's number.
        operation: u32,
    },
    /// The server response was right; the client response and, for a start,
    /// the wrapped key are on the ledger (\[0044\], \[0045\]).
    Responded {
        /// The operation's number.
        operation: u32,
        /// What the operation is.
        kind: Operation,
    },
    /// The enclave answered the operation (\[0046\]).
    Answered {
        /// What the operation was.
        kind: Operation,
        /// How it ended.
        outcome: Outcome,
        /// The enclave's own words.
        message: String,
    },
    /// The name's certificate was issued to the enclave.
    Certified {
        /// The name.
        name: DomainName,
    },
    /// A contract ended.
    ContractEnded {
        /// Why.
        reason: EndReason,
        /// Paid to its provider in all.
        paid: Amount,
    },
    /// The job ran to its end.
    Completed {
        /// Its exit status.
        exit_code: u32,
        /// What the enclave says went wrong, if anything.
        error: Option<String>,
    },
    /// The request ended.
    Closed {
        /// Why.
        reason: EndReason,
    },
    /// An operation was asked for on every live replica.
    Operated {
        /// What.
        kind: Operation,
    },
    /// Someone on this machine answers for this request already.
    Deferred,
}

/// A run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The program is no payload.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The ledger could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A transaction was not applied.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The wallet failed.
    #[error(transparent)]
    Wallet(#[from] SealedFileError),
    /// A local file failed.
    #[error("{path} cannot be read or written")]
    Local {
        /// Which file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The name belongs to somebody else.
    #[error("the name {0} belongs to another key")]
    NameTaken(DomainName),
    /// The name's rent is not paid.
    #[error("the name {0} is suspended: renew it first")]
    NameSuspended(DomainName),
    /// No mirror was given.
    #[error("a payload needs at least one mirror: give a file:, s3: or other URL to upload to")]
    NoMirrors,
    /// A field of the request is out of range.
    #[error("{0}")]
    Terms(String),
    /// The ledger has no such request.
    #[error("there is no request {0}")]
    NoRequest(RequestId),
    /// The request is another account's.
    #[error("request {0} was posted by another account")]
    NotOwn(RequestId),
    /// The wallet lacks the request's secrets.
    #[error("this wallet holds no secrets of request {0}: it was posted from elsewhere")]
    NoSecrets(RequestId),
    /// Somebody on this machine works on the request.
    #[error("another process on this machine is working on request {0}")]
    Locked(RequestId),
    /// The request ended before it came to what was waited for.
    #[error("request {request} ended: {}", reason.describe())]
    Ended {
        /// Which request.
        request: RequestId,
        /// Why.
        reason: EndReason,
    },
    /// The enclave or its host broke the handshake.
    #[error("the handshake with contract {contract} failed: {reason}")]
    Handshake {
        /// Which contract.
        contract: ContractId,
        /// Why.
        reason: String,
    },
    /// A provider's control interface failed.
    #[error("the provider's control interface at {url} failed: {reason}")]
    Control {
        /// Its address.
        url: String,
        /// Why.
        reason: String,
    },
    /// There is no result.
    #[error("request {0} has no result: it is no job, or its job has not ended")]
    NoResult(RequestId),
    /// The result is not what its enclave said.
    #[error("the result of contract {contract} is damaged: {reason}")]
    Result {
        /// Which contract.
        contract: ContractId,
        /// What is wrong.
        reason: String,
    },
}

impl User {
    /// A user of `account` with the wallet and stores given.
    ///
    /// Errors: the HTTP client for providers' control interfaces cannot be set up.
    pub fn new(
        account: Account,
        wallet: Wallet,
        storage: ObjectStorage,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            account,
            wallet,
            storage,
            http: crate::transport::http_client(false)?,
        })
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The wallet.
    pub fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// The stores.
    pub fn storage(&self) -> &ObjectStorage {
        &self.storage
    }

    pub(crate) fn client(&self) -> &crate::ledger::Client {
        self.account.client()
    }
}
