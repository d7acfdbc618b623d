//! What is inside the sealed messages, and how the data key is wrapped.
//!
//! Plain values with one encoding (borsh). Who may send which, and when, is
//! for `session`.

use aws_lc_rs::aead;
use borsh::{BorshDeserialize, BorshSerialize};
use rand_core::CryptoRng;
use wire::{Digest, Outcome};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::keys::DataKey;

/// Bytes of a challenge: 64 hex digits in the suite's words.
pub const CHALLENGE_BYTES: usize = 32;

/// Bytes of an untruncated response under HMAC-SHA256.
pub const RESPONSE_BYTES: usize = 32;

/// Bytes of a text in an outcome or a completion: what a person reads, well
/// within a sealed message.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// Step 0, user to enclave: QC.
#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) struct ClientChallenge {
    pub challenge: [u8; CHALLENGE_BYTES],
}

/// Step 1, enclave to user: its response, and QS.
#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) struct ServerResponse {
    pub response: [u8; RESPONSE_BYTES],
    pub challenge: [u8; CHALLENGE_BYTES],
}

/// Step 2, user to enclave: its response, and the data key wrapped under it
/// where the operation needs one (seed 000 [0045]).
#[derive(BorshSerialize, BorshDeserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct ClientResponse {
    pub response: [u8; RESPONSE_BYTES],
    pub wrapped: Option<WrappedKey>,
}

/// A data key under a key-encryption key: nonce, ciphertext, tag.
#[derive(Clone, BorshSerialize, BorshDeserialize, Zeroize)]
pub struct WrappedKey([u8; 12 + 32 + 16]);

impl WrappedKey {
    /// Wraps `key` under `kek`, bound to `session`.
    pub fn wrap(
        kek: &[u8; 32],
        session: &[u8; 64],
        key: &DataKey,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let mut wrapped = Self([0; 60]);
        let (nonce, rest) = wrapped.0.split_at_mut(12);
        let (body, tag) = rest.split_at_mut(32);
        rng.fill_bytes(nonce);
        body.copy_from_slice(key.as_bytes());
        let made = cipher(kek)
            .seal_in_place_separate_tag(unique(nonce), aead::Aad::from(*session), body)
            .expect("a key is within what AES-GCM takes");
        tag.copy_from_slice(made.as_ref());
        wrapped
    }

    /// Unwraps into `key`, whose bytes are zero if it fails.
    ///
    /// Errors: none is told apart: another key, another session, changed bytes.
    pub fn unwrap_into(
        &self,
        kek: &[u8; 32],
        session: &[u8; 64],
        key: &mut DataKey,
    ) -> Result<(), NotWrapped> {
        let (nonce, rest) = self.0.split_at(12);
        let (body, tag) = rest.split_at(32);
        cipher(kek)
            .open_separate_gather(
                unique(nonce),
                aead::Aad::from(*session),
                body,
                tag,
                key.as_mut_bytes(),
            )
            .map_err(|_| {
                key.zeroize();
                NotWrapped
            })
    }
}

/// The data key is not wrapped under this key for this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data key is not wrapped under this key for this session")]
pub struct NotWrapped;

fn cipher(kek: &[u8; 32]) -> aead::LessSafeKey {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, kek);
    aead::LessSafeKey::new(key.expect("32 bytes are an AES-256 key"))
}

fn unique(nonce: &[u8]) -> aead::Nonce {
    aead::Nonce::try_assume_unique_for_key(nonce).expect("a nonce has 12 bytes")
}

/// The answer to an operation, as only the user reads it (seed 000 [0057],
/// [0060], [0061]).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OutcomeMessage {
    /// How it ended; equal to what the ledger shows.
    pub outcome: Outcome,
    /// Why, in words; at most [`MAX_MESSAGE_BYTES`].
    pub message: String,
}

/// A job's end, as only the user reads it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Completion {
    /// 0 for success; what the component gave to `wasi:cli/exit`, or 1.
    pub exit_code: u32,
    /// Why the component was stopped, if it was (a trap, a limit); at most
    /// [`MAX_MESSAGE_BYTES`].
    pub error: Option<String>,
    /// SHA-256 of the archive, decrypted.
    pub archive_sha256: Digest,
    /// Its bytes, decrypted.
    pub archive_bytes: u64,
    /// Files in it.
    pub files: u32,
    /// Log records up to here, so that a reader knows whether any is missing.
    pub log_records: u64,
}

/// Cuts `text` to [`MAX_MESSAGE_BYTES`] at a character's boundary.
pub fn limit_message(mut text: String) -> String {
    if text.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entropy;

    #[test]
    fn a_key_unwraps_under_its_kek_and_session_only() {
        let key = DataKey::generate(&mut Entropy);
        let wrapped = WrappedKey::wrap(&[1; 32], &[2; 64], &key, &mut Entropy);
        let mut out = DataKey::from_bytes([0; 32]);
        assert_eq!(wrapped.unwrap_into(&[1; 32], &[2; 64], &mut out), Ok(()));
        assert_eq!(out.as_bytes(), key.as_bytes());
        for (kek, session) in [([9; 32], [2; 64]), ([1; 32], [9; 64])] {
            let refused = wrapped.unwrap_into(&kek, &session, &mut out);
            assert_eq!(refused, Err(NotWrapped));
            assert_eq!(out.as_bytes(), &[0; 32]);
        }
        for at in 0..60 {
            let mut changed = wrapped.clone();
            changed.0[at] ^= 1;
            let refused = changed.unwrap_into(&[1; 32], &[2; 64], &mut out);
            assert_eq!(refused, Err(NotWrapped), "{at}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let text = "ä".repeat(MAX_MESSAGE_BYTES);
        let cut = limit_message(format!("a{text}"));
        assert_eq!(cut.len(), MAX_MESSAGE_BYTES - 1);
        assert_eq!(limit_message("short".to_owned()), "short");
    }
}
