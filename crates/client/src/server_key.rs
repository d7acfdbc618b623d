//! The key by which a server is known on the ledger (docs/spec/connect.md §1):
//! from a file, or held by something that signs with it, such as a TPM.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    encoding::{AsBigEndian as _, Curve25519SeedBin, EcPrivateKeyBin},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    crypto::aws_lc_rs as provider,
    pki_types::{
        CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, alg_id, pem::PemObject as _,
    },
    sign::{CertifiedKey, Signer, SigningKey as TlsKey, public_key_to_spki},
};
use wire::{PublicKey, Signature, SigningKey};

use crate::peer_verifier::key_of;

/// Why a server's key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeyError {
    /// A private key that is none, or of another kind.
    #[error("the private key is not Ed25519 or ECDSA on P-256 in PKCS #8")]
    PrivateKey,
    /// What holds the key gave a public key that TLS cannot show.
    #[error("the public key is not ECDSA on P-256")]
    PublicKey,
}

/// Who holds a P-256 key and signs with it.
pub trait KeyHolder: fmt::Debug + Send + Sync {
    /// The public key, [`PublicKey::P256`].
    fn public(&self) -> PublicKey;

    /// The ECDSA signature over SHA-256 of `message`.
    ///
    /// Errors: why there is none, for a log.
    fn sign(&self, message: &[u8]) -> Result<Signature, String>;
}

/// A server's key, as TLS shows and uses it.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    certified: Arc<CertifiedKey>,
    public: PublicKey,
}

impl ServerIdentity {
    /// Of a private key.
    ///
    /// Errors: [`ServerKeyError::PrivateKey`].
    pub fn of(private_key: &PrivateKeyDer<'_>) -> Result<Self, ServerKeyError> {
        let wrong = || ServerKeyError::PrivateKey;
        let signing = provider::sign::any_supported_type(private_key)
            .map_err(|_| ServerKeyError::PrivateKey)?;
        let spki = signing.public_key().ok_or_else(wrong)?.into_owned();
        let public = key_of(&spki).ok_or_else(wrong)?;
        Ok(Self::new(signing, &spki, public))
    }

    /// Of a key that `holder` keeps.
    ///
    /// Errors: [`ServerKeyError::PublicKey`].
    pub fn held(holder: Arc<dyn KeyHolder>) -> Result<Self, ServerKeyError> {
        let public = holder.public();
        let coordinates = match (public, public.dns_form()) {
            (PublicKey::P256(_), Some((_, coordinates))) => coordinates,
            _ => return Err(ServerKeyError::PublicKey),
        };
        // SEC 1 §2.3.3: an uncompressed point, which every peer reads.
        let point = [&[4], coordinates.as_slice()].concat();
        let spki = public_key_to_spki(&alg_id::ECDSA_P256, point);
        let signing = Arc::new(HeldKey {
            holder,
            spki: spki.clone(),
        });
        Ok(Self::new(signing, &spki, public))
    }

    fn new(
        signing: Arc<dyn TlsKey>,
        spki: &SubjectPublicKeyInfoDer<'_>,
        public: PublicKey,
    ) -> Self {
        let shown = CertificateDer::from(spki.to_vec());
        Self {
            certified: Arc::new(CertifiedKey::new(vec![shown], signing)),
            public,
        }
    }

    /// The key that must stand on the ledger.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// As a raw public key (RFC 7250).
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// With a certificate chain instead, whose first certificate is this key's.
    pub(crate) fn with_chain(&self, chain: Vec<CertificateDer<'static>>) -> Arc<CertifiedKey> {
        Arc::new(CertifiedKey::new(chain, Arc::clone(&self.certified.key)))
    }
}

/// Reads a PKCS #8 key, PEM.
///
/// Errors: [`ServerKeyError::PrivateKey`].
pub fn read_private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, ServerKeyError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| ServerKeyError::PrivateKey)
}

/// The key as the ledger's signatures use it, for what a server asks of an
/// authority (docs/spec/acme.md §2).
///
/// Errors: [`ServerKeyError::PrivateKey`].
pub fn signing_key(private_key: &PrivateKeyDer<'_>) -> Result<SigningKey, ServerKeyError> {
    let PrivateKeyDer::Pkcs8(der) = private_key else {
        return Err(ServerKeyError::PrivateKey);
    };
    let der = der.secret_pkcs8_der();
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        let seed: Curve25519SeedBin<'_> = pair
            .seed()
            .and_then(|seed| seed.as_be_bytes())
            .map_err(|_| ServerKeyError::PrivateKey)?;
        let seed = <[u8; 32]>::try_from(seed.as_ref()).map_err(|_| ServerKeyError::PrivateKey)?;
        return Ok(SigningKey::ed25519(seed));
    }
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der)
        .map_err(|_| ServerKeyError::PrivateKey)?;
    let scalar: EcPrivateKeyBin<'_> = pair
        .private_key()
        .as_be_bytes()
        .map_err(|_| ServerKeyError::PrivateKey)?;
    <[u8; 32]>::try_from(scalar.as_ref())
        .ok()
        .and_then(SigningKey::p256)
        .ok_or(ServerKeyError::PrivateKey)
}

/// A held key in rustls' terms.
#[derive(Debug)]
struct HeldKey {
    holder: Arc<dyn KeyHolder>,
    spki: SubjectPublicKeyInfoDer<'static>,
}

impl TlsKey for HeldKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(HeldSigner(Arc::clone(&self.holder))) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.spki.clone())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

#[derive(Debug)]
struct HeldSigner(Arc<dyn KeyHolder>);

impl Signer for HeldSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature = self.0.sign(message).map_err(rustls::Error::General)?;
        signature
            .to_p256_der()
            .ok_or_else(|| rustls::Error::General("the signature is not of P-256".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
