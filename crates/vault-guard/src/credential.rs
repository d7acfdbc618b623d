//! What does an application's author say that its code is, and who says that
//! this is the author?

use alloc::{string::String, vec::Vec};

use borsh::{BorshDeserialize, BorshSerialize};
use key::{Digest, PublicKey, Signature, SigningKey};

/// An encoded credential, at most: 64 code digests and some keys take 3 KiB.
pub const MAX_CREDENTIAL_BYTES: usize = 4096;

/// Libraries of one application, at most.
const MAX_CODES: usize = 64;

/// The application's name, at most.
const MAX_NAME_BYTES: usize = 64;

const CERTIFICATE: &str = "ringfort/application-certificate/1";
const CODE: &str = "ringfort/application-code/1";

/// Why a credential is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Bytes that are no credential.
    #[error("the credential does not decode")]
    Malformed,
    /// The sub-certificate is of another root.
    #[error("the sub-certificate is of another root")]
    Foreign,
    /// The sub-certificate is for another application.
    #[error("the sub-certificate is for another application")]
    OtherApplication,
    /// The sub-certificate has run out.
    #[error("the sub-certificate has expired")]
    Expired,
    /// The root did not sign the sub-certificate, or its key not the code.
    #[error("a signature does not verify")]
    Signature,
}

/// What an author's root says of a release key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// The application's root.
    pub root: PublicKey,
    /// The release key.
    pub key: PublicKey,
    /// The application.
    pub application: String,
    /// Until when, Unix milliseconds.
    pub not_after_ms: u64,
}

/// An application's code: SHA-256 over each executable segment as it lies in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Code {
    /// The program's own; all of it must be there.
    pub program: Vec<Digest>,
    /// What may be there besides: the dynamic loader and libraries.
    pub libraries: Vec<Digest>,
}

impl Code {
    fn is_within_limits(&self) -> bool {
        !self.program.is_empty() && self.program.len() + self.libraries.len() <= MAX_CODES
    }
}

/// What an application shows.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Credential {
    /// The sub-certificate.
    pub certificate: Certificate,
    /// The root's signature on it.
    pub certificate_signature: Signature,
    /// The code.
    pub code: Code,
    /// The release key's signature on it.
    pub code_signature: Signature,
}

/// Certifies a release key under `root`.
pub fn certify(root: &SigningKey, certificate: &Certificate) -> Signature {
    root.sign(CERTIFICATE, &bytes(certificate))
}

/// Signs code with a certified release key.
pub fn sign(
    certificate: Certificate,
    certificate_signature: Signature,
    key: &SigningKey,
    code: Code,
) -> Credential {
    Credential {
        code_signature: key.sign(CODE, &bytes(&code)),
        certificate,
        certificate_signature,
        code,
    }
}

fn bytes(value: &impl BorshSerialize) -> Vec<u8> {
    borsh::to_vec(value).expect("a credential's parts always encode")
}

impl Credential {
    /// Reads a credential.
    ///
    /// Errors: [`CredentialError::Malformed`].
    pub fn decode(encoded: &[u8]) -> Result<Self, CredentialError> {
        let refused = CredentialError::Malformed;
        if encoded.len() > MAX_CREDENTIAL_BYTES {
            return Err(refused);
        }
        let credential = Self::try_from_slice(encoded).map_err(|_| refused)?;
        let named = credential.certificate.application.len() <= MAX_NAME_BYTES;
        if named && credential.code.is_within_limits() {
            Ok(credential)
        } else {
            Err(refused)
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        bytes(self)
    }

    /// The code that `root` vouches for at `now_ms`, for `application`.
    ///
    /// Errors: [`CredentialError`].
    pub fn verify(
        &self,
        root: &PublicKey,
        application: &str,
        now_ms: u64,
    ) -> Result<&Code, CredentialError> {
        let certificate = &self.certificate;
        if certificate.root != *root {
            return Err(CredentialError::Foreign);
        }
        root.verify(
            CERTIFICATE,
            &bytes(certificate),
            &self.certificate_signature,
        )
        .map_err(|_| CredentialError::Signature)?;
        if certificate.application != application {
            return Err(CredentialError::OtherApplication);
        }
        if now_ms > certificate.not_after_ms {
            return Err(CredentialError::Expired);
        }
        certificate
            .key
            .verify(CODE, &bytes(&self.code), &self.code_signature)
            .map_err(|_| CredentialError::Signature)?;
        Ok(&self.code)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned as _, vec};

    use super::*;

    fn credential(not_after_ms: u64) -> Credential {
        let (root, release) = (SigningKey::ed25519([1; 32]), SigningKey::ed25519([2; 32]));
        let certificate = Certificate {
            root: root.public(),
            key: release.public(),
            application: "ledgerbook".to_owned(),
            not_after_ms,
        };
        let signature = certify(&root, &certificate);
        let code = Code {
            program: vec![Digest([7; 32])],
            libraries: vec![Digest([8; 32])],
        };
        sign(certificate, signature, &release, code)
    }

    #[test]
    fn a_credential_holds_for_its_root_application_and_time_only() {
        let good = credential(1000);
        let root = good.certificate.root;
        assert_eq!(good.verify(&root, "ledgerbook", 1000), Ok(&good.code));
        let other = SigningKey::ed25519([3; 32]).public();
        for (refused, why) in [
            (
                good.verify(&other, "ledgerbook", 1000),
                CredentialError::Foreign,
            ),
            (
                good.verify(&root, "other", 1000),
                CredentialError::OtherApplication,
            ),
            (
                good.verify(&root, "ledgerbook", 1001),
                CredentialError::Expired,
            ),
        ] {
            assert_eq!(refused, Err(why));
        }
    }

    #[test]
    fn no_changed_byte_of_a_credential_is_accepted() {
        let good = credential(1000);
        let root = good.certificate.root;
        let encoded = good.encode();
        assert_eq!(Credential::decode(&encoded).unwrap(), good);
        for at in 0..encoded.len() {
            let mut changed = encoded.clone();
            changed[at] ^= 1;
            if let Ok(changed) = Credential::decode(&changed) {
                assert!(changed.verify(&root, "ledgerbook", 1000).is_err(), "{at}");
            }
        }
        assert!(Credential::decode(&[0; MAX_CREDENTIAL_BYTES + 1]).is_err());
    }
}
