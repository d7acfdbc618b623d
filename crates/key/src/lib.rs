//! Digests, ids, keys and signatures: what every other value is made of.
//!
//! Nothing here needs a standard library or an operating system, so that a
//! trusted application (`optee/vault-ta`) checks
//! signatures with the same code as everything else. `wire` exports all of it again;
//! within the workspace it is used from there.

#![no_std]

extern crate alloc;

mod id;
mod key;

pub use id::{
    AccountId, Amount, CircleId, ContractId, Digest, Height, KeyRequestId, LockId, Measurement,
    OfferId, ParseIdError, ProposalId, RequestId, TransactionId,
};
pub use key::{
    BadSignature, ParseKeyError, PublicKey, Signature, SigningKey, signed_digest, verify_p256,
};
