//! Development evidence: real signatures under development roots, and no
//! protection from the host whatever.
//!
//! A development root signs the certificate of a quoting key; the quoting key,
//! held by a provider's daemon, signs the code's measurement and the enclave's
//! report data. Whoever holds the quoting key can claim anything, which is why
//! a production circle lists no development root and why
//! [`Claims::protects_from_host`] is false.

use borsh::{BorshDeserialize, BorshSerialize};
use wire::{Digest, Evidence, EvidenceKind, Height, Measurement, PublicKey, Signature, SigningKey};

use crate::{Claims, EvidenceError, Moment, Platform, ReportData};

/// The purpose for which a root signs a quoting key's certificate.
pub const CERTIFICATE_PURPOSE: &str = "ringfort/development-certificate/1";

/// The purpose for which a quoting key signs a quote.
pub const QUOTE_PURPOSE: &str = "ringfort/development-quote/1";

/// Octets of a certificate's label: a host's name fits.
pub const MAX_CERTIFICATE_LABEL_BYTES: usize = 64;

/// The version of the form that this build reads and writes.
const VERSION: u8 = 1;

/// What a root says of a quoting key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CertificateBody {
    /// The root that signs.
    pub root: PublicKey,
    /// The key that may quote.
    pub quoting: PublicKey,
    /// The last height at which the certificate holds; none for ever.
    pub not_after: Option<Height>,
    /// Who holds the key, for people.
    pub label: String,
}

/// A quoting key's certificate: made by [`certify`], kept beside the key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct QuotingCertificate {
    /// What the root says.
    pub body: CertificateBody,
    /// The root's signature over the encoded body.
    pub signature: Signature,
}

/// What a quoting key says of an enclave.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Quote {
    measurement: Measurement,
    report_data: Digest,
    /// Makes two quotes over the same enclave differ; freshness comes from
    /// the report data, which binds the contract.
    nonce: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct DevelopmentEvidence {
    version: u8,
    certificate: QuotingCertificate,
    quote: Quote,
    signature: Signature,
}

/// Why a certificate or a quoting key cannot be made: the caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotingKeyError {
    /// The label is over [`MAX_CERTIFICATE_LABEL_BYTES`].
    #[error("a certificate's label has at most {MAX_CERTIFICATE_LABEL_BYTES} octets")]
    LabelTooLong,
    /// The certificate is for another key.
    #[error("the certificate is for another quoting key")]
    OtherKey,
    /// The certificate's signature does not verify.
    #[error("the certificate is not signed by its root")]
    Signature,
}

fn encode<T: BorshSerialize>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).expect("evidence always encodes")
}

/// Certifies `quoting` under `root`.
///
/// Units:  `not_after` is the last height at which the certificate holds.
/// Errors: [`QuotingKeyError::LabelTooLong`].
pub fn certify(
    root: &SigningKey,
    quoting: PublicKey,
    not_after: Option<Height>,
    label: &str,
) -> Result<QuotingCertificate, QuotingKeyError> {
    if label.len() > MAX_CERTIFICATE_LABEL_BYTES {
        return Err(QuotingKeyError::LabelTooLong);
    }
    let body = CertificateBody {
        root: root.public(),
        quoting,
        not_after,
        label: label.to_owned(),
    };
    let signature = root.sign(CERTIFICATE_PURPOSE, &encode(&body));
    Ok(QuotingCertificate { body, signature })
}

impl QuotingCertificate {
    /// The encoding in which it is kept in a file.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads [`QuotingCertificate::encode`]'s form; the signature is checked
    /// by [`QuotingKey::new`] and by [`crate::verify`].
    ///
    /// Errors: [`EvidenceError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        Self::try_from_slice(bytes).map_err(|error| malformed(error.to_string()))
    }

    fn is_signed(&self) -> bool {
        self.body
            .root
            .verify(CERTIFICATE_PURPOSE, &encode(&self.body), &self.signature)
            .is_ok()
    }
}

/// A quoting key with its certificate: what a provider's daemon holds to make
/// development evidence.
pub struct QuotingKey {
    key: SigningKey,
    certificate: QuotingCertificate,
}

impl QuotingKey {
    /// Pairs `key` with its certificate.
    ///
    /// Errors: [`QuotingKeyError`] if the certificate is for another key or
    /// is not signed by its root.
    pub fn new(key: SigningKey, certificate: QuotingCertificate) -> Result<Self, QuotingKeyError> {
        if certificate.body.quoting != key.public() {
            return Err(QuotingKeyError::OtherKey);
        }
        if !certificate.is_signed() {
            return Err(QuotingKeyError::Signature);
        }
        Ok(Self { key, certificate })
    }

    /// The certificate.
    pub fn certificate(&self) -> &QuotingCertificate {
        &self.certificate
    }

    /// Makes evidence of the code `measurement` and the enclave's `report_data`.
    ///
    /// Shape: `nonce` is 32 bytes of the caller's entropy.
    pub fn quote(
        &self,
        measurement: Measurement,
        report_data: Digest,
        nonce: [u8; 32],
    ) -> Evidence {
        let quote = Quote {
            measurement,
            report_data,
            nonce,
        };
        let signature = self.key.sign(QUOTE_PURPOSE, &encode(&quote));
        Evidence {
            kind: EvidenceKind::Development,
            bytes: encode(&DevelopmentEvidence {
                version: VERSION,
                certificate: self.certificate.clone(),
                quote,
                signature,
            }),
        }
    }
}

fn malformed(reason: String) -> EvidenceError {
    EvidenceError::Malformed {
        kind: EvidenceKind::Development,
        reason,
    }
}

fn bad_signature(part: &'static str) -> EvidenceError {
    EvidenceError::Signature {
        kind: EvidenceKind::Development,
        part,
    }
}

/// Verifies development evidence whose size [`crate::verify`] has bounded.
pub(crate) fn verify(
    bytes: &[u8],
    roots: &[PublicKey],
    moment: Moment,
) -> Result<Claims, EvidenceError> {
    let evidence =
        DevelopmentEvidence::try_from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    let DevelopmentEvidence {
        version,
        certificate,
        quote,
        signature,
    } = evidence;
    if version != VERSION {
        return Err(malformed(format!("version {version} is not known here")));
    }
    if certificate.body.label.len() > MAX_CERTIFICATE_LABEL_BYTES {
        return Err(malformed("the label is too long".to_owned()));
    }
    if !roots.contains(&certificate.body.root) {
        return Err(EvidenceError::UnknownRoot(EvidenceKind::Development));
    }
    if !certificate.is_signed() {
        return Err(bad_signature("certificate"));
    }
    if let Some(not_after) = certificate
        .body
        .not_after
        .filter(|last| *last < moment.height)
    {
        return Err(EvidenceError::Expired { not_after });
    }
    certificate
        .body
        .quoting
        .verify(QUOTE_PURPOSE, &encode(&quote), &signature)
        .map_err(|_| bad_signature("quote"))?;
    Ok(Claims {
        kind: EvidenceKind::Development,
        measurement: quote.measurement,
        report_data: ReportData::from(quote.report_data),
        protects_from_host: false,
        platform: Platform::default(),
    })
}
