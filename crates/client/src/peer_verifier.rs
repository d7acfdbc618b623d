//! Is the peer of a TLS 1.3 connection the one that is meant, where no
//! certificate authority says so?
//!
//! It is known by its public key, by its certificate's hash, or not at all, for
//! whoever looks at the certificate afterwards. In each case the key that it
//! showed has signed this handshake. Names, dates, issuers and extensions are
//! not looked at.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use wire::{Digest, PublicKey};
use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519},
    prelude::FromDer as _,
    x509::SubjectPublicKeyInfo,
};

/// What the peer must show.
#[derive(Clone, Debug)]
pub enum Expected {
    /// One of these as a raw public key (RFC 7250).
    Keys(Vec<PublicKey>),
    /// A certificate with this SHA-256.
    Certificate(Digest),
    /// Any certificate: what counts is what it holds, which the caller reads.
    AnyCertificate,
}

/// Checks a peer on either side of a handshake.
#[derive(Debug)]
pub struct PeerVerifier {
    expected: Expected,
    provider: Arc<CryptoProvider>,
}

impl PeerVerifier {
    /// Of peers that show `expected`, with the algorithms of `provider`.
    pub fn new(expected: Expected, provider: &Arc<CryptoProvider>) -> Self {
        Self {
            expected,
            provider: Arc::clone(provider),
        }
    }

    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let is_it = match &self.expected {
            Expected::Keys(keys) => key_of(shown).is_some_and(|key| keys.contains(&key)),
            Expected::Certificate(digest) => Digest::of(&[shown]) == *digest,
            Expected::AnyCertificate => true,
        };
        if is_it {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn shows_keys(&self) -> bool {
        matches!(self.expected, Expected::Keys(_))
    }

    /// That the key which was shown signed the handshake, by the key alone: a
    /// verifier of certificates would refuse extensions that it does not know.
    fn check_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let spki = if self.shows_keys() {
            SubjectPublicKeyInfoDer::from(&**shown)
        } else {
            let (_, leaf) =
                X509Certificate::from_der(shown).map_err(|_| CertificateError::BadEncoding)?;
            SubjectPublicKeyInfoDer::from(leaf.public_key().raw.to_vec())
        };
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature_with_raw_key(message, &spki, signed, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// TLS 1.2 is never offered where this is used.
fn too_old() -> rustls::Error {
    rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13.into()
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.shows_keys()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.shows_keys()
    }
}

/// The ledger's form of a SubjectPublicKeyInfo; none for other kinds of keys,
/// and for what is not one in DER and nothing more.
pub fn key_of(spki: &[u8]) -> Option<PublicKey> {
    let (rest, info) = SubjectPublicKeyInfo::from_der(spki).ok()?;
    if !rest.is_empty() || info.subject_public_key.unused_bits != 0 {
        return None;
    }
    let octets: &[u8] = &info.subject_public_key.data;
    let algorithm = &info.algorithm;
    if algorithm.algorithm == OID_SIG_ED25519 {
        let absent = algorithm.parameters.is_none();
        return absent.then_some(PublicKey::Ed25519(octets.try_into().ok()?));
    }
    let curve = algorithm.parameters.as_ref()?.as_oid().ok()?;
    if algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256 {
        return PublicKey::from_p256_point(octets).ok();
    }
    None
}
