//! Ringfort's values: ids, keys, the canonical codec, transactions, records,
//! messages and limits.
//!
//! Everything here is plain data with one encoding (borsh). A value that was
//! decoded is well formed; whether it is *true* is for `proof`, `attest` and
//! `ledger` to say.

mod block;
mod id;

pub use block::{Block, Header};
pub use id::{
    AccountId, Amount, CircleId, ContractId, Digest, Height, LockId, Measurement, OfferId,
    ParseIdError, RequestId, TransactionId,
};
