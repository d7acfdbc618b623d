//! What does a certificate prove by itself? The proof that it carries in an
//! extension is checked under the circle's key, and nothing else is asked: no
//! root, no authority, no network.
//!
//! Source: docs/spec/certificates.md §5.

use proof::{Proof, ProofError};
use wire::{
    CertifiedName, CircleId, CircleKey, Digest, Height, PublicKey, record::Grant, state_key,
};
use x509_parser::{
    certificate::X509Certificate,
    der_parser::oid::Oid,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
};

/// The extension that holds a proof: an OCTET STRING with an encoded
/// [`proof::Proof`] of a [`Grant`], not critical.
///
/// The arc 2.25 belongs to UUIDs read as integers. This integer is below 2^31,
/// because libraries in wide use refuse a certificate with a longer arc in any
/// of its identifiers, and no UUID of RFC 9562 but the nil one is so small.
pub const PROOF_EXTENSION: &[u64] = &[2, 25, 1_733_401_219, 1];

/// The longest extension that is read.
const MAX_EXTENSION_BYTES: usize = 8 * 1024;

/// What a certificate's own proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenCertificate {
    /// The circle.
    pub circle: CircleId,
    /// The names, exactly those of the certificate.
    pub names: Vec<CertifiedName>,
    /// The owner of the registered name that they belong to.
    pub owner: PublicKey,
    /// SHA-256 of the certificate's SubjectPublicKeyInfo.
    pub key: Digest,
    /// The height at which the ledger held this.
    pub height: Height,
    /// The time in that height's header, Unix milliseconds.
    pub time_ms: u64,
    /// When the certificate ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
    /// Octets of the proof.
    pub proof_bytes: usize,
}

/// Why a certificate proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum CertificateProofError {
    /// Not one certificate in DER.
    #[error("the certificate does not decode")]
    Malformed,
    /// There is no proof in it.
    #[error("the certificate carries no proof")]
    Absent,
    /// What stands in the extension is no proof.
    #[error("the certificate's proof does not decode")]
    Proof,
    /// The proof does not hold under the circle's key.
    #[error("the certificate's proof does not hold")]
    NotProven(#[from] ProofError),
    /// It proves something else than a grant.
    #[error("the certificate's proof is not of a grant")]
    OtherRecord,
    /// The ledger granted it for another key.
    #[error("the ledger granted another key than the certificate's")]
    OtherKey,
    /// The ledger granted it for other names.
    #[error("the ledger granted other names than the certificate's")]
    OtherNames,
}

/// The first certificate of a file, DER: of PEM or of DER itself.
///
/// Errors: [`CertificateProofError::Malformed`].
pub fn read(file: &[u8]) -> Result<Vec<u8>, CertificateProofError> {
    // A DER certificate is a SEQUENCE.
    if file.first() == Some(&0x30) {
        return Ok(file.to_vec());
    }
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(file).map_err(|_| CertificateProofError::Malformed)?;
    Ok(pem.contents)
}

/// Checks the proof in a certificate (DER) under the circle's key.
///
/// It was true at [`ProvenCertificate::height`]; whether that is recent enough,
/// and whether the certificate's dates hold, is for the caller to judge.
///
/// Errors: [`CertificateProofError`], naming the first thing that does not hold.
pub fn verify(
    der: &[u8],
    circle_key: &CircleKey,
) -> Result<ProvenCertificate, CertificateProofError> {
    let (rest, leaf) =
        X509Certificate::from_der(der).map_err(|_| CertificateProofError::Malformed)?;
    if !rest.is_empty() {
        return Err(CertificateProofError::Malformed);
    }
    let bytes = extension(&leaf)?;
    let proof = Proof::decode(bytes).map_err(|_| CertificateProofError::Proof)?;
    let proven = proof.verify(circle_key)?;
    let id: Option<[u8; 32]> = proven
        .key()
        .strip_prefix(state_key::GRANTS)
        .and_then(|id| id.try_into().ok());
    let grant: Option<Grant> = proven.record().ok().flatten();
    let (Some(_), Some(grant)) = (id, grant) else {
        return Err(CertificateProofError::OtherRecord);
    };
    let key = Digest::of(&[leaf.public_key().raw]);
    if grant.key != key {
        return Err(CertificateProofError::OtherKey);
    }
    if names(&leaf)? != grant.names {
        return Err(CertificateProofError::OtherNames);
    }
    let not_after = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0);
    Ok(ProvenCertificate {
        circle: proven.circle(),
        names: grant.names,
        owner: grant.owner,
        key,
        height: proven.height(),
        time_ms: proven.time_ms(),
        not_after_ms: not_after.saturating_mul(1000),
        proof_bytes: bytes.len(),
    })
}

/// The proof within the certificate's one extension of ours.
fn extension<'a>(leaf: &X509Certificate<'a>) -> Result<&'a [u8], CertificateProofError> {
    let oid = Oid::from(PROOF_EXTENSION).map_err(|_| CertificateProofError::Absent)?;
    let mut ours = leaf
        .extensions()
        .iter()
        .filter(|extension| extension.oid == oid);
    let (Some(extension), None) = (ours.next(), ours.next()) else {
        return Err(CertificateProofError::Absent);
    };
    if extension.value.len() > MAX_EXTENSION_BYTES {
        return Err(CertificateProofError::Proof);
    }
    let (rest, value) = x509_parser::der_parser::parse_der(extension.value)
        .map_err(|_| CertificateProofError::Proof)?;
    match value.content {
        x509_parser::der_parser::ber::BerObjectContent::OctetString(bytes) if rest.is_empty() => {
            Ok(bytes)
        }
        _ => Err(CertificateProofError::Proof),
    }
}

/// The certificate's names, ascending; every one must be a DNS name.
fn names(leaf: &X509Certificate<'_>) -> Result<Vec<CertifiedName>, CertificateProofError> {
    let mut lists =
        leaf.extensions()
            .iter()
            .filter_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            });
    let (Some(list), None) = (lists.next(), lists.next()) else {
        return Err(CertificateProofError::OtherNames);
    };
    let mut names = list
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => name.parse().ok(),
            _ => None,
        })
        .collect::<Option<Vec<CertifiedName>>>()
        .ok_or(CertificateProofError::OtherNames)?;
    names.sort_unstable();
    Ok(names)
}
