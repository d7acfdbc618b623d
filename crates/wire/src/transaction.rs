//! Transactions: how they are encoded, identified, signed and checked.
//!
//! [`CheckedTransaction`] is the proof that a transaction decoded within its
//! limits, belongs to this circle and carries its sender's signature. Whether
//! it applies is for the ledger.

use borsh::{BorshDeserialize, BorshSerialize};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::{
    Action, Amount, AnySignature, CircleId, Digest, Height, PublicKey, SigningKey, TransactionId,
    all_verify,
    limits::{MAX_ACTIONS, MAX_TRANSACTION_BYTES},
    signed_digest,
};

/// What a sender signs.
///
/// Source: docs/spec/transactions.md §1.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Transaction {
    /// Version of the form; 1.
    pub version: u8,
    /// The only circle in which it is valid.
    pub circle: CircleId,
    /// The key that signs and whose account pays.
    pub sender: PublicKey,
    /// The account's next number, from 0: a transaction applies at most once.
    pub sequence: u64,
    /// The last height at which it may be applied.
    pub expires_at: Height,
    /// The most that it may cost.
    pub fee_limit: Amount,
    /// What to do, in order: all of it or nothing.
    pub actions: Vec<Action>,
}

/// A transaction with its sender's signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SignedTransaction {
    /// What was signed.
    pub transaction: Transaction,
    /// The sender's signature over the encoded transaction.
    pub signature: AnySignature,
}

/// Why bytes are no valid transaction for this circle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Over [`MAX_TRANSACTION_BYTES`].
    #[error("the transaction has {0} bytes; the limit is {MAX_TRANSACTION_BYTES}")]
    TooLarge(usize),
    /// Not the canonical encoding of a transaction.
    #[error("the bytes are not an encoded transaction: {0}")]
    Malformed(String),
    /// A version this build does not know.
    #[error("transaction version {0} is not known here; this build knows {known}", known = Transaction::VERSION)]
    Version(u8),
    /// Made for another circle.
    #[error("the transaction is for circle {0}, not for this one")]
    OtherCircle(CircleId),
    /// No action, or more than [`MAX_ACTIONS`].
    #[error("a transaction has 1 to {MAX_ACTIONS} actions; this one has {0}")]
    Actions(usize),
    /// The signature is not the sender's.
    #[error("the signature is not the sender's")]
    Signature,
}

impl Transaction {
    /// The version this build writes.
    pub const VERSION: u8 = 1;

    /// The purpose for which a sender signs.
    pub const PURPOSE: &'static str = "ringfort/transaction/1";

    /// What a passkey is given as the challenge, and what a TPM or a smart
    /// card signs the SHA-256 of.
    pub fn challenge(&self) -> Digest {
        let bytes = borsh::to_vec(self).expect("a transaction always encodes");
        signed_digest(Self::PURPOSE, &bytes)
    }

    /// Signs with `key`, whose public half must be the sender.
    pub fn sign(self, key: &SigningKey) -> SignedTransaction {
        let bytes = borsh::to_vec(&self).expect("a transaction always encodes");
        let signature = key.sign(Self::PURPOSE, &bytes);
        SignedTransaction {
            transaction: self,
            signature: signature.into(),
        }
    }
}

impl SignedTransaction {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("a transaction always encodes")
    }

    /// The identifier: SHA-256 over the signed encoding.
    pub fn id(&self) -> TransactionId {
        TransactionId::of_encoded(&self.encode())
    }
}

/// A transaction that decoded within its limits, is for this circle and is
/// signed by its sender. Only [`CheckedTransaction::check`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTransaction {
    signed: SignedTransaction,
    id: TransactionId,
    bytes: usize,
}

impl CheckedTransaction {
    /// Decodes and checks `bytes` for `circle`.
    ///
    /// Errors: [`CheckError`]; the sender's or the peer's fault, never ours.
    pub fn check(bytes: &[u8], circle: CircleId) -> Result<Self, CheckError> {
        let checked = Self::check_form(bytes, circle)?;
        checked.check_signature()?;
        Ok(checked)
    }

    /// Decodes and checks many at once, which costs about half as much for
    /// each as [`CheckedTransaction::check`]; the verdicts are the same.
    ///
    /// Shape:  one result for each of `batch`, in order.
    /// Errors: as there, for each on its own.
    pub fn check_batch(
        batch: &[impl AsRef<[u8]>],
        circle: CircleId,
        entropy: &mut impl CryptoRng,
    ) -> Vec<Result<Self, CheckError>> {
        let mut results: Vec<_> = batch
            .iter()
            .map(|bytes| Self::check_form(bytes.as_ref(), circle))
            .collect();
        let formed: Vec<_> = results.iter().flatten().collect();
        let bodies: Vec<_> = formed.iter().map(|checked| checked.body()).collect();
        let items = formed.iter().zip(&bodies).map(|(checked, body)| {
            let signed = &checked.signed;
            (
                &signed.transaction.sender,
                body.as_slice(),
                &signed.signature,
            )
        });
        if !all_verify(Transaction::PURPOSE, items, entropy) {
            // At least one is bad: find out which.
            for result in &mut results {
                if let Ok(checked) = result
                    && let Err(error) = checked.check_signature()
                {
                    *result = Err(error);
                }
            }
        }
        results
    }

    fn body(&self) -> Vec<u8> {
        borsh::to_vec(&self.signed.transaction).expect("a transaction always encodes")
    }

    fn check_signature(&self) -> Result<(), CheckError> {
        let SignedTransaction {
            transaction,
            signature,
        } = &self.signed;
        signature
            .verify(&transaction.sender, Transaction::PURPOSE, &self.body())
            .map_err(|_| CheckError::Signature)
    }

    /// As [`CheckedTransaction::check`], for bytes whose signature this
    /// process has already checked.
    ///
    /// Errors: as there, but for [`CheckError::Signature`].
    pub fn check_form(bytes: &[u8], circle: CircleId) -> Result<Self, CheckError> {
        if bytes.len() > MAX_TRANSACTION_BYTES {
            return Err(CheckError::TooLarge(bytes.len()));
        }
        let signed = SignedTransaction::try_from_slice(bytes)
            .map_err(|error| CheckError::Malformed(error.to_string()))?;
        let transaction = &signed.transaction;
        if transaction.version != Transaction::VERSION {
            return Err(CheckError::Version(transaction.version));
        }
        if transaction.circle != circle {
            return Err(CheckError::OtherCircle(transaction.circle));
        }
        if transaction.actions.is_empty() || transaction.actions.len() > MAX_ACTIONS {
            return Err(CheckError::Actions(transaction.actions.len()));
        }
        Ok(Self {
            id: TransactionId::of_encoded(bytes),
            bytes: bytes.len(),
            signed,
        })
    }

    /// What was signed.
    pub fn transaction(&self) -> &Transaction {
        &self.signed.transaction
    }

    /// The identifier.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// Bytes of the encoding, which fees are charged for.
    pub fn encoded_bytes(&self) -> usize {
        self.bytes
    }
}
