//! What does a TPM's signature over its registers say?
//!
//! Trusts the key; whether it is in a TPM is for its certificate to say.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use borsh::{BorshDeserialize, BorshSerialize};
use tpm2_protocol::{
    TpmUnmarshal as _,
    data::{TpmAlgId, TpmsAttest, TpmuAttest},
};

use super::AttestationKey;

/// Octets of a `TPMS_ATTEST` or `TPMT_SIGNATURE`: an RSA-4096 signature fits.
const MAX_STRUCTURE_BYTES: usize = 1024;

/// Platform configuration registers of a TPM (PC Client platforms).
const REGISTERS: u8 = 24;

/// Registers of the SHA-256 bank, by number.
pub type PcrBank = BTreeMap<u8, [u8; 32]>;

/// A quote as a TPM gave it, with the registers it covers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Quote {
    /// What was signed: a `TPMS_ATTEST`.
    pub attested: Vec<u8>,
    /// A `TPMT_SIGNATURE` over it.
    pub signature: Vec<u8>,
    /// The registers that it covers, as read beside it.
    pub registers: PcrBank,
}

/// A TPM's clock when it quoted: tells restarts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds for which the TPM has been powered.
    pub milliseconds: u64,
    /// Resets of the machine: another number is another boot.
    pub resets: u32,
    /// Resumes since the last reset.
    pub restarts: u32,
}

/// What a quote says, once its signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedQuote {
    /// What the asker had bound to it: a nonce or a digest.
    pub extra_data: Vec<u8>,
    /// The registers.
    pub registers: PcrBank,
    /// The TPM's clock.
    pub clock: Clock,
    /// The TPM's firmware, as its maker counts.
    pub firmware: u64,
}

/// Why a quote says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// Not a quote, or not of the SHA-256 bank alone.
    #[error("not a quote of the SHA-256 bank: {0}")]
    Malformed(String),
    /// The key did not sign it.
    #[error("the quote is not signed by the attestation key")]
    Signature,
    /// The registers beside it are not those that it covers.
    #[error("the registers are not those that the quote covers")]
    Registers,
}

impl Quote {
    /// Checks the signature and that the registers are those it covers.
    ///
    /// Errors: [`QuoteError`].
    pub fn verify(&self, key: &AttestationKey) -> Result<VerifiedQuote, QuoteError> {
        if self.attested.len() > MAX_STRUCTURE_BYTES || self.signature.len() > MAX_STRUCTURE_BYTES {
            return Err(QuoteError::Malformed("it is too large".to_owned()));
        }
        if !key.has_signed(&self.attested, &self.signature) {
            return Err(QuoteError::Signature);
        }
        let attest = match TpmsAttest::unmarshal(&self.attested) {
            Ok((attest, [])) => attest,
            Ok(_) => return Err(QuoteError::Malformed("bytes follow it".to_owned())),
            Err(error) => return Err(QuoteError::Malformed(format!("{error:?}"))),
        };
        let TpmuAttest::Quote(quoted) = &attest.attested else {
            return Err(QuoteError::Malformed(
                "it attests to something else".to_owned(),
            ));
        };
        let [selection] = &quoted.pcr_select[..] else {
            return Err(QuoteError::Malformed("it covers several banks".to_owned()));
        };
        if selection.hash != TpmAlgId::Sha256 {
            return Err(QuoteError::Malformed("it covers another bank".to_owned()));
        }
        let bitmap: &[u8] = &selection.pcr_select;
        let selected = (0..REGISTERS).filter(|register| {
            let octet = bitmap.get(usize::from(register / 8)).copied().unwrap_or(0);
            octet >> (register % 8) & 1 == 1
        });
        if !selected.eq(self.registers.keys().copied()) {
            return Err(QuoteError::Registers);
        }
        let mut context = digest::Context::new(&digest::SHA256);
        for value in self.registers.values() {
            context.update(value);
        }
        if context.finish().as_ref() != &quoted.pcr_digest[..] {
            return Err(QuoteError::Registers);
        }
        let clock = &attest.clock_info;
        Ok(VerifiedQuote {
            extra_data: attest.extra_data.to_vec(),
            registers: self.registers.clone(),
            clock: Clock {
                milliseconds: clock.clock.value(),
                resets: clock.reset_count.value(),
                restarts: clock.restart_count.value(),
            },
            firmware: attest.firmware_version.value(),
        })
    }
}
