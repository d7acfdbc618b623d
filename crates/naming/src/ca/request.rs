//! A certificate request (PKCS #10): what of it may end up in a certificate.
//!
//! A request comes from an enclave through a provider nobody trusts, or from
//! an ACME client. What it asks for is not granted but compared: the names are
//! the ledger's, the key is the one that was granted, and every other wish is
//! passed over.

use rcgen::SubjectPublicKeyInfo;
use wire::{CertifiedName, Digest, DomainName};
use x509_parser::{
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
        OID_SIG_ECDSA_WITH_SHA256,
    },
    prelude::FromDer as _,
    public_key::PublicKey,
    x509::X509Version,
};

/// The least bits of an RSA key (CA/Browser Forum BR §6.1.5).
const MIN_RSA_BITS: usize = 2048;

/// The most bits of an RSA key: beyond, verifying is an attack on clients.
const MAX_RSA_BITS: usize = 4096;

/// A request that may be granted. Only its checks make one.
#[derive(Clone, Debug)]
pub struct CheckedRequest {
    names: Vec<CertifiedName>,
    key: SubjectPublicKeyInfo,
    key_digest: Digest,
}

/// Why a request is not granted; the enclave or its provider is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not one PKCS #10 request of version 1 in DER.
    #[error("the certificate request does not decode")]
    Malformed,
    /// Not a key that browsers take.
    #[error("the requested key is not ECDSA on P-256 or P-384, or RSA of 2048 to 4096 bits")]
    Key,
    /// Not signed by the key it is for.
    #[error("the certificate request is not signed by its own key")]
    Signature,
    /// Another key than the one that was granted.
    #[error("the requested key is not the one in the enclave's evidence")]
    OtherKey,
    /// No name, several, or another one.
    #[error("the certificate request is not for {0} alone")]
    Names(DomainName),
    /// Other names than those of the order.
    #[error("the certificate request is not for the order's names")]
    OrderNames,
}

impl CheckedRequest {
    /// Checks an enclave's request in `der` for a certificate for `name`.
    ///
    /// Shape:  `tls_key` is SHA-256 of the SubjectPublicKeyInfo that the
    ///         enclave's evidence covers, ECDSA on P-256.
    /// Errors: [`RequestError`].
    /// Source: docs/spec/certificates.md §4.
    pub fn check(der: &[u8], name: &DomainName, tls_key: Digest) -> Result<Self, RequestError> {
        let own = |error| match error {
            RequestError::OrderNames => RequestError::Names(name.clone()),
            other => other,
        };
        let (checked, raw_names, p256) = parse(der).map_err(own)?;
        if !p256 {
            return Err(RequestError::Key);
        }
        if checked.key_digest != tls_key {
            return Err(RequestError::OtherKey);
        }
        if raw_names != [name.as_str()] {
            return Err(RequestError::Names(name.clone()));
        }
        let names = vec![CertifiedName {
            name: name.clone(),
            wildcard: false,
        }];
        Ok(Self { names, ..checked })
    }

    /// Checks an ACME client's request for exactly `names`, in any order.
    ///
    /// Errors: [`RequestError`].
    /// Source: RFC 8555 §7.4.
    pub fn for_order(der: &[u8], names: &[CertifiedName]) -> Result<Self, RequestError> {
        let (checked, raw_names, _) = parse(der)?;
        let mut asked = raw_names
            .iter()
            .map(|name| name.to_ascii_lowercase().parse::<CertifiedName>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| RequestError::OrderNames)?;
        asked.sort_unstable();
        asked.dedup();
        if asked != names {
            return Err(RequestError::OrderNames);
        }
        let names = asked;
        Ok(Self { names, ..checked })
    }

    /// The names to certify, ascending.
    pub fn names(&self) -> &[CertifiedName] {
        &self.names
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

/// A request without its names, its DNS names, and whether its key is P-256.
fn parse(der: &[u8]) -> Result<(CheckedRequest, Vec<String>, bool), RequestError> {
    let (rest, request) =
        X509CertificationRequest::from_der(der).map_err(|_| RequestError::Malformed)?;
    let info = &request.certification_request_info;
    // RFC 2986 §4.1: version 1 is written 0.
    if !rest.is_empty() || info.version != X509Version::V1 {
        return Err(RequestError::Malformed);
    }
    let p256 = check_key(&request)?;
    request
        .verify_signature()
        .map_err(|_| RequestError::Signature)?;
    let key =
        SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|_| RequestError::Key)?;
    let names = dns_names(&request).ok_or(RequestError::OrderNames)?;
    let checked = CheckedRequest {
        names: Vec::new(),
        key,
        key_digest: Digest::of(&[info.subject_pki.raw]),
    };
    Ok((checked, names, p256))
}

/// Whether the key is P-256; refuses one of a kind that is not certified.
fn check_key(request: &X509CertificationRequest<'_>) -> Result<bool, RequestError> {
    let info = &request.certification_request_info.subject_pki;
    let algorithm = &info.algorithm;
    if algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        let Ok(PublicKey::RSA(key)) = info.parsed() else {
            return Err(RequestError::Key);
        };
        let fits = (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&key.key_size());
        return if fits {
            Ok(false)
        } else {
            Err(RequestError::Key)
        };
    }
    if algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return Err(RequestError::Key);
    }
    let curve = algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.as_oid().ok());
    if curve == Some(OID_EC_P256) {
        // One key, one way to sign with it.
        let signature = &request.signature_algorithm.algorithm;
        return if *signature == OID_SIG_ECDSA_WITH_SHA256 {
            Ok(true)
        } else {
            Err(RequestError::Signature)
        };
    }
    if curve == Some(OID_NIST_EC_P384) {
        Ok(false)
    } else {
        Err(RequestError::Key)
    }
}

/// The request's subject alternative names, if all are DNS names and there is
/// one list of them; none if there are others or several lists.
fn dns_names(request: &X509CertificationRequest<'_>) -> Option<Vec<String>> {
    let extensions: Vec<_> = request
        .certification_request_info
        .iter_attributes()
        .filter_map(|attribute| match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(asked) => Some(&asked.extensions),
            _ => None,
        })
        .flatten()
        .collect();
    let mut lists = extensions
        .iter()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
    let (Some(asked), None) = (lists.next(), lists.next()) else {
        return Some(Vec::new());
    };
    asked
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}
