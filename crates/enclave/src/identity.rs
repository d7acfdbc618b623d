//! The keys that an enclave makes for one launch, and what it signs with them.
//!
//! The private halves rest in the vault; a signing key is made from there for
//! each use and wiped by its library. Nothing here leaves the process but
//! public keys, a certificate request and signatures.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use handshake::Entropy;
use rcgen::PublicKeyData as _;
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, Signer, SigningKey},
};
use wire::{Digest, DomainName, EnclaveKeys, Signature};

use crate::vault::Vault;

/// Why no keys were made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// aws-lc gave no P-256 key.
    #[error("no TLS key could be made")]
    TlsKey(#[from] aws_lc_rs::error::Unspecified),
    /// The certificate request could not be written.
    #[error("no certificate request could be made")]
    Request(#[from] rcgen::Error),
}

/// Why a certificate is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No leaf, or not a certificate.
    #[error("the chain has no certificate that can be read")]
    Malformed,
    /// The leaf certifies another key.
    #[error("the certificate is for another key")]
    OtherKey,
}

/// Makes the keys of a launch in the vault and gives their public halves.
///
/// Errors: [`IdentityError`].
pub fn make_keys(
    vault: &Arc<Vault>,
    name: Option<&DomainName>,
) -> Result<(EnclaveKeys, Option<TlsKey>), IdentityError> {
    use handshake::rand_core::Rng as _;
    vault.write(|secrets| {
        Entropy.fill_bytes(&mut secrets.signing_seed);
        Entropy.fill_bytes(secrets.agreement.as_mut_bytes());
    });
    let (signing, agreement) = vault.read(|secrets| {
        let signing = wire::SigningKey::ed25519(secrets.signing_seed).public();
        (signing, secrets.agreement.public())
    });
    let mut keys = EnclaveKeys {
        signing,
        agreement,
        certificate_request: Vec::new(),
        tls_key: Digest([0; 32]),
    };
    let Some(name) = name else {
        return Ok((keys, None));
    };
    let tls_key = TlsKey::generate(vault)?;
    let mut parameters = rcgen::CertificateParams::new(vec![name.as_str().to_owned()])?;
    // The name is in the alternative names, where clients look (RFC 9525 §2);
    // the library's default common name would be its own.
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    let request = parameters.serialize_request(&tls_key)?;
    keys.certificate_request = request.der().to_vec();
    keys.tls_key = Digest::of(&[&tls_key.subject_public_key_info()]);
    Ok((keys, Some(tls_key)))
}

/// Signs `message` for `purpose` with the enclave's signing key.
pub fn sign(vault: &Vault, purpose: &str, message: &[u8]) -> Signature {
    vault.read(|secrets| wire::SigningKey::ed25519(secrets.signing_seed).sign(purpose, message))
}

/// The service's TLS key: its private half is in the vault.
#[derive(Clone)]
pub struct TlsKey {
    vault: Arc<Vault>,
    /// The uncompressed point.
    public: Vec<u8>,
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsKey(..)")
    }
}

impl TlsKey {
    fn generate(vault: &Arc<Vault>) -> Result<Self, IdentityError> {
        // The document wipes itself on drop.
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref())
            .map_err(|_| aws_lc_rs::error::Unspecified)?;
        vault.write(|secrets| secrets.set_tls_key(pkcs8.as_ref()));
        Ok(Self {
            vault: Arc::clone(vault),
            public: pair.public_key().as_ref().to_vec(),
        })
    }

    /// ECDSA over SHA-256, as ASN.1; fails once the vault is wiped.
    fn ecdsa(&self, message: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let pair = self.vault.read(|secrets| {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, secrets.tls_key())
        });
        let pair = pair.map_err(|_| aws_lc_rs::error::Unspecified)?;
        let signature = pair.sign(&SystemRandom::new(), message)?;
        Ok(signature.as_ref().to_vec())
    }

    /// Takes the certificate chain for this key: DER, leaf first.
    ///
    /// Errors: [`CertificateError`]. Whether clients trust the chain is theirs to say.
    pub fn certify(
        &self,
        chain: Vec<Vec<u8>>,
    ) -> Result<Arc<dyn ResolvesServerCert>, CertificateError> {
        use x509_parser::prelude::FromDer as _;
        let leaf = chain.first().ok_or(CertificateError::Malformed)?;
        let (rest, leaf) = x509_parser::certificate::X509Certificate::from_der(leaf)
            .map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        if leaf.public_key().raw != self.subject_public_key_info() {
            return Err(CertificateError::OtherKey);
        }
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let key = CertifiedKey::new(chain, Arc::new(self.clone()));
        Ok(Arc::new(OneCertificate(Arc::new(key))))
    }
}

impl rcgen::PublicKeyData for TlsKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.ecdsa(message)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.ecdsa(message)
            .map_err(|_| rustls::Error::General("the TLS key is gone".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

/// Serves its one certificate whatever name the client asks for: the host
/// routed the connection here, and the client checks the name.
#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Arc<Vault> {
        Arc::new(Vault::new(crate::vault::Secrets::empty()).unwrap())
    }

    #[test]
    fn the_request_is_for_the_name_and_the_key_in_the_digest() {
        use x509_parser::prelude::FromDer as _;
        let vault = vault();
        let name: DomainName = "hello.internal".parse().unwrap();
        let (keys, tls_key) = make_keys(&vault, Some(&name)).unwrap();
        let (_, request) = x509_parser::certification_request::X509CertificationRequest::from_der(
            &keys.certificate_request,
        )
        .unwrap();
        let information = &request.certification_request_info;
        assert_eq!(keys.tls_key, Digest::of(&[information.subject_pki.raw]));
        let names: Vec<String> = request
            .requested_extensions()
            .unwrap()
            .filter_map(|extension| match extension {
                x509_parser::extensions::ParsedExtension::SubjectAlternativeName(names) => {
                    Some(names.general_names.iter().map(ToString::to_string))
                }
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(names, ["DNSName(hello.internal)"]);
        assert!(tls_key.is_some());
    }

    #[test]
    fn a_payload_without_a_name_has_no_request() {
        let (keys, tls_key) = make_keys(&vault(), None).unwrap();
        assert!(keys.certificate_request.is_empty() && tls_key.is_none());
        assert_eq!(keys.tls_key, Digest([0; 32]));
    }

    #[test]
    fn signatures_are_of_the_public_key_and_end_with_the_vault() {
        let vault = vault();
        let (keys, _) = make_keys(&vault, None).unwrap();
        let signature = sign(&vault, "purpose", b"message");
        assert!(
            keys.signing
                .verify("purpose", b"message", &signature)
                .is_ok()
        );
        vault.wipe();
        let signature = sign(&vault, "purpose", b"message");
        assert!(
            keys.signing
                .verify("purpose", b"message", &signature)
                .is_err()
        );
    }

    #[test]
    fn only_a_certificate_for_its_own_key_is_taken() {
        let vault = vault();
        let name: DomainName = "hello.internal".parse().unwrap();
        let (_, tls_key) = make_keys(&vault, Some(&name)).unwrap();
        let tls_key = tls_key.unwrap();
        let parameters = rcgen::CertificateParams::new(vec![name.as_str().to_owned()]).unwrap();
        let own = parameters.self_signed(&tls_key).unwrap().der().to_vec();
        assert!(tls_key.certify(vec![own]).is_ok());
        let other = rcgen::KeyPair::generate().unwrap();
        let other = parameters.self_signed(&other).unwrap().der().to_vec();
        assert!(matches!(
            tls_key.certify(vec![other]),
            Err(CertificateError::OtherKey)
        ));
        for bad in [vec![], vec![vec![1, 2, 3]]] {
            assert!(matches!(
                tls_key.certify(bad),
                Err(CertificateError::Malformed)
            ));
        }
    }
}
