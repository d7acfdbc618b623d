//! Is an attestation key in the TPM whose maker's certificate is shown?
//! Credential activation (TPM 2.0 Library, part 1, §24), both sides.
//!
//! The verifier encrypts a secret so that only a TPM that holds the
//! endorsement key *and* the named attestation key gives it back. The
//! verifier's side needs entropy and therefore stands here rather than in
//! `attest`.

use attest::{chip_digest, tpm::AttestationKey};
use aws_lc_rs::{
    cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey},
    constant_time::verify_slices_are_equal,
    hmac,
    iv::FixedLength,
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use borsh::{BorshDeserialize, BorshSerialize};
use tpm2_protocol::{
    basic::{TpmBuffer, TpmInt32, TpmUint32},
    data::TpmSe,
    frame::{
        TpmActivateCredentialCommand, TpmActivateCredentialResponse, TpmPolicySecretCommand,
        TpmPolicySecretResponse,
    },
};
use wire::Digest;
use zeroize::Zeroizing;

use super::{
    ENDORSEMENT, LoadedKey, Tpm, TpmError,
    transport::{empty_authorization, session_authorization},
};

/// What is sent to the TPM: useless to every other.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Challenge {
    /// The contents of a `TPM2B_ID_OBJECT`.
    pub credential: Vec<u8>,
    /// The contents of a `TPM2B_ENCRYPTED_SECRET`.
    pub secret: Vec<u8>,
}

/// A challenge with the answer that the verifier keeps.
pub struct IssuedChallenge {
    /// What is sent.
    pub challenge: Challenge,
    answer: Zeroizing<[u8; 32]>,
}

/// Why no challenge can be made: the endorsement key's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endorsement key is not an RSA key that can be encrypted to")]
pub struct ChallengeError;

/// The machine, by its endorsement key (a SubjectPublicKeyInfo, DER).
pub fn endorsement_digest(endorsement_key: &[u8]) -> Digest {
    chip_digest("tpm", endorsement_key)
}

/// The TPM's key derivation, for one block of SHA-256 (part 1, §11.4.10.2).
fn derive(key: &[u8], label: &str, context: &[u8], bits: u32) -> hmac::Tag {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    mac.update(&1u32.to_be_bytes());
    mac.update(label.as_bytes());
    mac.update(&[0]);
    mac.update(context);
    mac.update(&bits.to_be_bytes());
    mac.sign()
}

impl IssuedChallenge {
    /// Makes a challenge for `key` in the TPM of `endorsement_key` (a
    /// SubjectPublicKeyInfo, DER, from a certificate that was checked).
    ///
    /// Errors: [`ChallengeError`].
    pub fn new(endorsement_key: &[u8], key: &AttestationKey) -> Result<Self, ChallengeError> {
        let mut answer = Zeroizing::new([0; 32]);
        let mut seed = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *answer).map_err(|_| ChallengeError)?;
        aws_lc_rs::rand::fill(&mut *seed).map_err(|_| ChallengeError)?;
        let public = PublicEncryptingKey::from_der(endorsement_key).map_err(|_| ChallengeError)?;
        let public = OaepPublicEncryptingKey::new(public).map_err(|_| ChallengeError)?;
        let mut secret = vec![0; public.ciphertext_size()];
        let label = Some(&b"IDENTITY\0"[..]);
        public
            .encrypt(&OAEP_SHA256_MGF1SHA256, &*seed, &mut secret, label)
            .map_err(|_| ChallengeError)?;
        // Encrypt, then authenticate, both under keys of the seed; the name of
        // the attestation key goes into both.
        let storage = derive(&*seed, "STORAGE", key.name(), 128);
        let mut identity = Zeroizing::new(vec![0, 32]);
        identity.extend_from_slice(&*answer);
        let cipher = UnboundCipherKey::new(&AES_128, &storage.as_ref()[..16])
            .and_then(EncryptingKey::cfb128)
            .map_err(|_| ChallengeError)?;
        let zero = EncryptionContext::Iv128(FixedLength::from([0; 16]));
        cipher
            .less_safe_encrypt(&mut identity, zero)
            .map_err(|_| ChallengeError)?;
        let integrity = derive(&*seed, "INTEGRITY", &[], 256);
        let mut mac =
            hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, integrity.as_ref()));
        mac.update(&identity);
        mac.update(key.name());
        let mut credential = vec![0, 32];
        credential.extend_from_slice(mac.sign().as_ref());
        credential.extend_from_slice(&identity);
        Ok(Self {
            challenge: Challenge { credential, secret },
            answer,
        })
    }

    /// Whether `answer` is what only that TPM could give.
    pub fn is_answered_by(&self, answer: &[u8]) -> bool {
        verify_slices_are_equal(&*self.answer, answer).is_ok()
    }
}

impl Tpm {
    /// Answers a challenge for `key`.
    ///
    /// Errors: [`TpmError::Refused`] if it is for another key or another TPM.
    pub fn activate(
        &mut self,
        key: &LoadedKey,
        challenge: &Challenge,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let endorsement = self.endorsement_key()?;
        let session = self.start_session(TpmSe::Policy)?;
        let activated = self.activate_within(session, key, &endorsement, challenge);
        self.flush_handle(session)?;
        self.flush(endorsement)?;
        activated
    }

    fn activate_within(
        &mut self,
        session: TpmUint32,
        key: &LoadedKey,
        endorsement: &LoadedKey,
        challenge: &Challenge,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let wrong = |error| TpmError::malformed("a challenge", error);
        let command = TpmPolicySecretCommand {
            handles: [TpmUint32::from(ENDORSEMENT), session],
            nonce_tpm: Default::default(),
            cp_hash_a: Default::default(),
            policy_ref: Default::default(),
            expiration: TpmInt32::from(0i32),
        };
        self.command::<_, TpmPolicySecretResponse>(&command, &[empty_authorization()])?;
        let command = TpmActivateCredentialCommand {
            handles: [key.handle, endorsement.handle],
            credential_blob: TpmBuffer::try_from(&challenge.credential[..]).map_err(wrong)?,
            secret: TpmBuffer::try_from(&challenge.secret[..]).map_err(wrong)?,
        };
        let authorizations = [empty_authorization(), session_authorization(session)];
        let activated: TpmActivateCredentialResponse = self.command(&command, &authorizations)?;
        Ok(Zeroizing::new(activated.cert_info.to_vec()))
    }
}
