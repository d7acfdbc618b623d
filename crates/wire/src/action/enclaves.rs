//! Actions on enclaves: their keys and evidence, and certificates for them.
//!
//! Words follow RFC 9334: an enclave is the attester, the ledger the verifier.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::CertificateSerial;
use crate::{CircleId, ContractId, Digest, PublicKey};

/// A kind of evidence; its verifier is in `attest`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum EvidenceKind {
    /// Signed under development roots: real cryptography, no protection.
    Development = 0,
    /// A TPM 2.0 quote with boot and IMA logs.
    Tpm = 1,
    /// Intel SGX, DCAP.
    SgxDcap = 2,
    /// Intel TDX, DCAP.
    TdxDcap = 3,
    /// AMD SEV-SNP.
    SevSnp = 4,
    /// AWS Nitro Enclaves.
    AwsNitro = 5,
}

impl EvidenceKind {
    /// The kind's name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Tpm => "tpm",
            Self::SgxDcap => "sgx-dcap",
            Self::TdxDcap => "tdx-dcap",
            Self::SevSnp => "sev-snp",
            Self::AwsNitro => "aws-nitro",
        }
    }
}

/// Evidence as the attester gave it: opaque here, read by `attest`.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Evidence {
    /// Which verifier reads it.
    pub kind: EvidenceKind,
    /// Its bytes; at most [`crate::limits::MAX_EVIDENCE_BYTES`].
    #[serde(with = "hex::serde")]
    pub bytes: Vec<u8>,
}

impl Evidence {
    /// The digest that the handshake binds.
    pub fn digest(&self) -> Digest {
        Digest::tagged("ringfort/evidence/1", &[&[self.kind as u8], &self.bytes])
    }
}

/// The keys an enclave made for one contract; none ever leaves it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct EnclaveKeys {
    /// Signs messages, outcomes and heartbeats.
    pub signing: PublicKey,
    /// X25519 (RFC 7748): key agreement with the user (seed 000 [0050]).
    #[serde(with = "hex::serde")]
    pub agreement: [u8; 32],
    /// A PKCS #10 request (DER) for the service's name, signed by its TLS key;
    /// empty for a payload without a name.
    #[serde(with = "hex::serde")]
    pub certificate_request: Vec<u8>,
    /// SHA-256 of the TLS key's SubjectPublicKeyInfo (a TLSA 3 1 1 record's
    /// data, RFC 6698); zero for a payload without a name.
    pub tls_key: Digest,
}

impl EnclaveKeys {
    /// The report data that evidence must carry: it ties the keys to one
    /// circle, one contract and one user, so that evidence cannot be replayed
    /// for another.
    pub fn report_data(
        &self,
        circle: CircleId,
        contract: ContractId,
        user_agreement: &[u8; 32],
    ) -> Digest {
        let keys = borsh::to_vec(self).expect("keys always encode");
        Digest::tagged(
            "ringfort/enclave-report-data/1",
            &[&circle.0, &contract.0, user_agreement, &keys],
        )
    }
}

/// Registers an enclave for a contract (seed 000 [0051]); sent by its provider.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RegisterEnclave {
    /// The contract it was launched for.
    pub contract: ContractId,
    /// Its public keys.
    pub keys: EnclaveKeys,
    /// Evidence whose report data is [`EnclaveKeys::report_data`].
    pub evidence: Evidence,
}

/// Records a certificate that one of the circle's authorities issued, so that
/// the ledger is its own transparency log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct IssueCertificate {
    /// The contract whose enclave holds the key.
    pub contract: ContractId,
    /// The leaf's serial number.
    pub serial: CertificateSerial,
    /// The leaf certificate, DER.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
    /// When it ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
}
