//! An enclave's certificate request: what of it may end up in a certificate.
//!
//! The request (PKCS #10) comes from an enclave through a provider nobody
//! trusts. What it asks for is not granted but compared: the name is the
//! ledger's, the key is the one that the enclave's evidence covers, and every
//! other wish is passed over.

use rcgen::SubjectPublicKeyInfo;
use wire::{Digest, DomainName};
use x509_parser::{
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256},
    prelude::FromDer as _,
    x509::X509Version,
};

/// A request that may be granted. Only [`CheckedRequest::check`] makes one.
#[derive(Clone, Debug)]
pub struct CheckedRequest {
    name: DomainName,
    key: SubjectPublicKeyInfo,
    key_digest: Digest,
}

/// Why a request is not granted; the enclave or its provider is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not one PKCS #10 request of version 1 in DER.
    #[error("the certificate request does not decode")]
    Malformed,
    /// Not an ECDSA key on P-256, which is what browsers take.
    #[error("the requested key is not ECDSA on P-256")]
    Key,
    /// Not signed by the key it is for.
    #[error("the certificate request is not signed by its own key")]
    Signature,
    /// Another key than the one that the evidence covers.
    #[error("the requested key is not the one in the enclave's evidence")]
    OtherKey,
    /// No name, several, or another one.
    #[error("the certificate request is not for {0} alone")]
    Names(DomainName),
}

impl CheckedRequest {
    /// Checks the request in `der` for a certificate for `name`.
    ///
    /// Shape:  `tls_key` is SHA-256 of the SubjectPublicKeyInfo that the
    ///         enclave's evidence covers.
    /// Errors: [`RequestError`].
    /// Source: docs/spec/certificates.md §3.
    pub fn check(der: &[u8], name: &DomainName, tls_key: Digest) -> Result<Self, RequestError> {
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| RequestError::Malformed)?;
        let info = &request.certification_request_info;
        // RFC 2986 §4.1: version 1 is written 0.
        if !rest.is_empty() || info.version != X509Version::V1 {
            return Err(RequestError::Malformed);
        }
        let algorithm = &info.subject_pki.algorithm;
        let curve = algorithm
            .parameters
            .as_ref()
            .and_then(|parameters| parameters.as_oid().ok());
        if algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_EC_P256) {
            return Err(RequestError::Key);
        }
        if request.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256 {
            return Err(RequestError::Signature);
        }
        request
            .verify_signature()
            .map_err(|_| RequestError::Signature)?;
        if Digest::of(&[info.subject_pki.raw]) != tls_key {
            return Err(RequestError::OtherKey);
        }
        if !asks_for(&request, name) {
            return Err(RequestError::Names(name.clone()));
        }
        let key =
            SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|_| RequestError::Key)?;
        Ok(Self {
            name: name.clone(),
            key,
            key_digest: tls_key,
        })
    }

    /// The name to certify.
    pub fn name(&self) -> &DomainName {
        &self.name
    }

    /// The key to certify.
    pub fn key(&self) -> &SubjectPublicKeyInfo {
        &self.key
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo.
    pub fn key_digest(&self) -> Digest {
        self.key_digest
    }
}

/// Whether the request's subject alternative names are exactly `name`.
fn asks_for(request: &X509CertificationRequest<'_>, name: &DomainName) -> bool {
    let extensions: Vec<_> = request
        .certification_request_info
        .iter_attributes()
        .filter_map(|attribute| match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(asked) => Some(&asked.extensions),
            _ => None,
        })
        .flatten()
        .collect();
    let mut names = extensions
        .iter()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
    let (Some(asked), None) = (names.next(), names.next()) else {
        return false;
    };
    matches!(asked.as_slice(), [GeneralName::DNSName(only)] if *only == name.as_str())
}
