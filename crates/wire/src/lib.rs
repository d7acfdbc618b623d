//! Ringfort's values: ids, keys, the canonical codec, transactions, records,
//! messages and limits.
//!
//! Everything here is plain data with one encoding (borsh). A value that was
//! decoded is well formed; whether it is *true* is for `proof`, `attest` and
//! `ledger` to say.

mod action;
mod block;
pub mod bytes;
pub mod channel;
mod domain_name;
mod evidence_policy;
mod genesis;
pub mod limits;
pub mod match_report;
mod receipt;
pub mod record;
mod recovery;
mod relative_name;
mod signature_list;
pub mod state_key;
mod transaction;
mod webauthn;

pub use action::*;
pub use block::{Block, Header, HeaderSummary};
pub use domain_name::{DomainName, MAX_LABEL_BYTES, MAX_NAME_BYTES, ParseNameError};
pub use evidence_policy::{EvidencePolicy, EvidenceRules, MAX_ADVISORY_BYTES, SnpTcb, TcbStatus};
pub use genesis::{
    CircleKey, CircleKind, Genesis, GenesisError, Parameters, ParseCircleKeyError, ReferenceValue,
    Validator,
};
pub use key::{
    AccountId, Amount, BadSignature, CircleId, ContractId, Digest, Height, KeyRequestId, LockId,
    Measurement, OfferId, ParseIdError, ParseKeyError, ProposalId, PublicKey, RequestId, Signature,
    SigningKey, TransactionId, signed_digest,
};
pub use receipt::{Event, Receipt, Reject, TransactionResult};
pub use recovery::{Origin, RefoundingVote};
pub use relative_name::RelativeName;
pub use signature_list::all_verify;
pub use transaction::{CheckError, CheckedTransaction, SignedTransaction, Transaction};
pub use webauthn::{AnySignature, Assertion};
