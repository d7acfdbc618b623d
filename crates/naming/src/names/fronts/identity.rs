//! The key and certificate under which the server proves who it is over TLS.
//!
//! The key is made once and stays; certificates come and go. Before the first
//! one, handshakes fail: an answer from a server that nobody vouches for would
//! be worth no more than one over UDP.

use std::{
    fmt, fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use wire::Digest;
use zeroize::Zeroizing;

/// The longest chain of certificates taken from a file.
const MAX_CHAIN: usize = 10;

/// Why the server's identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file can be read by others.
    #[error("{path} can be read by others: `chmod 600` it, and consider whether it leaked")]
    Exposed {
        /// Which.
        path: PathBuf,
    },
    /// It holds no key that we can use: P-256, PKCS #8, PEM.
    #[error("{path} holds no P-256 key in PKCS #8 (PEM)")]
    Key {
        /// Which.
        path: PathBuf,
    },
    /// It holds no chain of certificates.
    #[error("{path} holds no certificates (PEM)")]
    Chain {
        /// Which.
        path: PathBuf,
    },
    /// The certificate is not one for the key.
    #[error("the certificate is not for the name server's key")]
    OtherKey(#[source] rustls::Error),
    /// A key or a request could not be made.
    #[error("cannot make a key or a request")]
    Make(#[source] rcgen::Error),
    /// TLS could not be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// The server's key, and the certificate it shows.
pub struct Identity {
    key: KeyPair,
    certified: ArcSwapOption<CertifiedKey>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("key", &self.key_digest())
            .field("certified", &self.is_certified())
            .finish()
    }
}

impl Identity {
    /// Opens the key at `path`, or makes it the first time; it is never
    /// overwritten.
    ///
    /// Errors: [`IdentityError`].
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::File {
            path: path.to_owned(),
            source,
        };
        if !path.try_exists().map_err(failed)? {
            let key =
                KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::Make)?;
            let pem = Zeroizing::new(key.serialize_pem());
            write_secret(path, pem.as_bytes()).map_err(failed)?;
        }
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed {
                path: path.to_owned(),
            });
        }
        let pem = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
        let key = KeyPair::from_pem_and_sign_algo(&pem, &PKCS_ECDSA_P256_SHA256);
        let key = key.map_err(|_| IdentityError::Key {
            path: path.to_owned(),
        })?;
        Ok(Self {
            key,
            certified: ArcSwapOption::empty(),
        })
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo: what TLSA 3 1 1 holds.
    pub fn key_digest(&self) -> Digest {
        Digest::of(&[&self.key.subject_public_key_info()])
    }

    /// The key, to sign requests with.
    pub(in crate::names) fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Whether there is a certificate to show.
    pub fn is_certified(&self) -> bool {
        self.certified.load().is_some()
    }

    /// Shows `chain` from the next handshake on: the server's certificate,
    /// DER, and those that lead to its root.
    ///
    /// Errors: [`IdentityError::OtherKey`].
    pub fn certify(&self, chain: Vec<Vec<u8>>) -> Result<(), IdentityError> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let key = aws_lc_rs::sign::any_ecdsa_type(&key).map_err(IdentityError::Tls)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(IdentityError::OtherKey)?;
        self.certified.store(Some(Arc::new(certified)));
        Ok(())
    }

    /// Shows the certificates of a file (PEM), the server's first.
    ///
    /// Errors: [`IdentityError`].
    pub fn certify_from(&self, path: &Path) -> Result<(), IdentityError> {
        let unreadable = |_| IdentityError::Chain {
            path: path.to_owned(),
        };
        let chain: Vec<Vec<u8>> = CertificateDer::pem_file_iter(path)
            .map_err(unreadable)?
            .take(MAX_CHAIN)
            .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        self.certify(chain)
    }

    /// TLS with this identity for clients that speak one of `protocols`, or
    /// say nothing of it.
    ///
    /// Errors: [`IdentityError::Tls`].
    pub(super) fn tls(
        self: &Arc<Self>,
        protocols: &[&[u8]],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Result<ServerConfig, IdentityError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let shown = Arc::new(Shown(Arc::clone(self)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(IdentityError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(shown);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(IdentityError::Tls)?;
        Ok(config)
    }
}

/// One certificate for whatever name or address a client knows us by.
#[derive(Debug)]
struct Shown(Arc<Identity>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.certified.load_full()
    }
}

fn write_secret(path: &Path, octets: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    io::Write::write_all(&mut file, octets)?;
    file.sync_all()
}
