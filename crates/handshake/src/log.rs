//! Log records, sealed one by one so that they can be read as they come.
//!
//! AES-256-GCM under K_log; the record's number is the nonce and the contract
//! the associated data, so that a record that was changed, renumbered or taken
//! from another contract does not open. A host can withhold records; the
//! reader sees the gap in the numbers.

use aws_lc_rs::aead;
use borsh::{BorshDeserialize, BorshSerialize};
use wire::ContractId;

use crate::keys::DerivedKeys;

/// Bytes of a record's text, at most: longer lines are cut by their writer.
pub const MAX_LOG_TEXT_BYTES: usize = 16 * 1024;

/// Bytes of a sealed record, at most: text, number, time, source and tag.
pub const MAX_SEALED_LOG_BYTES: usize = MAX_LOG_TEXT_BYTES + 64;

/// Who wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum LogSource {
    /// The payload's standard output.
    Stdout = 0,
    /// The payload's standard error.
    Stderr = 1,
    /// The enclave itself.
    Enclave = 2,
}

/// A line of log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LogRecord {
    /// Its number within the enclave's life, from 0 without gaps.
    pub sequence: u64,
    /// Unix milliseconds by the host's clock, which nobody vouches for.
    pub time_ms: u64,
    /// Who wrote it.
    pub source: LogSource,
    /// The line, without its end; at most [`MAX_LOG_TEXT_BYTES`].
    pub text: String,
}

/// Why a record does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Over [`MAX_SEALED_LOG_BYTES`].
    #[error("the log record is over the limit")]
    TooLarge,
    /// Not sealed under this contract's key and this number.
    #[error("log record {0} is not authentic")]
    NotAuthentic(u64),
    /// Authentic, and not of this form.
    #[error("log record {0} does not decode")]
    Malformed(u64),
}

fn key(keys: &DerivedKeys) -> aead::LessSafeKey {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, keys.log());
    aead::LessSafeKey::new(key.expect("32 bytes are an AES-256 key"))
}

fn nonce(sequence: u64) -> aead::Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&sequence.to_be_bytes());
    aead::Nonce::assume_unique_for_key(nonce)
}

/// Seals a record. A number is used once in an enclave's life: it is the nonce.
pub fn seal_log(keys: &DerivedKeys, contract: ContractId, record: &LogRecord) -> Vec<u8> {
    let mut bytes = borsh::to_vec(record).expect("a record always encodes");
    key(keys)
        .seal_in_place_append_tag(
            nonce(record.sequence),
            aead::Aad::from(contract.0),
            &mut bytes,
        )
        .expect("a record is within what AES-GCM takes");
    bytes
}

/// Opens the record that is said to be number `sequence`.
///
/// Errors: [`LogError`].
pub fn open_log(
    keys: &DerivedKeys,
    contract: ContractId,
    sequence: u64,
    sealed: &[u8],
) -> Result<LogRecord, LogError> {
    if sealed.len() > MAX_SEALED_LOG_BYTES {
        return Err(LogError::TooLarge);
    }
    let mut bytes = sealed.to_vec();
    let plain = key(keys)
        .open_in_place(nonce(sequence), aead::Aad::from(contract.0), &mut bytes)
        .map_err(|_| LogError::NotAuthentic(sequence))?;
    let record = LogRecord::try_from_slice(plain).map_err(|_| LogError::Malformed(sequence))?;
    if record.sequence == sequence {
        Ok(record)
    } else {
        Err(LogError::Malformed(sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgreementSecret, Context, Entropy};
    use wire::{CircleId, Digest};

    fn keys() -> DerivedKeys {
        let user = AgreementSecret::generate(&mut Entropy);
        let enclave = AgreementSecret::generate(&mut Entropy);
        let context = Context {
            circle: CircleId([1; 32]),
            contract: CONTRACT,
            evidence: Digest([3; 32]),
            payload_sha256: Digest([4; 32]),
            user_agreement: user.public(),
            enclave_agreement: enclave.public(),
        };
        DerivedKeys::for_user(&context, &user).unwrap()
    }

    const CONTRACT: ContractId = ContractId([2; 32]);

    #[test]
    fn a_record_opens_under_its_key_contract_and_number_only() {
        let keys = keys();
        let record = LogRecord {
            sequence: 7,
            time_ms: 1_700_000_000_000,
            source: LogSource::Stderr,
            text: "a line".to_owned(),
        };
        let sealed = seal_log(&keys, CONTRACT, &record);
        assert_eq!(open_log(&keys, CONTRACT, 7, &sealed), Ok(record));
        let refused = Err(LogError::NotAuthentic(8));
        assert_eq!(open_log(&keys, CONTRACT, 8, &sealed), refused);
        let other = ContractId([9; 32]);
        assert!(open_log(&keys, other, 7, &sealed).is_err());
        assert!(open_log(&self::keys(), CONTRACT, 7, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open_log(&keys, CONTRACT, 7, &changed).is_err(), "{at}");
        }
    }

    #[test]
    fn a_record_of_the_longest_text_is_within_the_limit() {
        let keys = keys();
        let record = LogRecord {
            sequence: u64::MAX,
            time_ms: u64::MAX,
            source: LogSource::Stdout,
            text: "x".repeat(MAX_LOG_TEXT_BYTES),
        };
        let sealed = seal_log(&keys, CONTRACT, &record);
        assert!(sealed.len() <= MAX_SEALED_LOG_BYTES);
        assert_eq!(open_log(&keys, CONTRACT, u64::MAX, &sealed), Ok(record));
        let long = vec![0; MAX_SEALED_LOG_BYTES + 1];
        assert_eq!(open_log(&keys, CONTRACT, 0, &long), Err(LogError::TooLarge));
    }
}
