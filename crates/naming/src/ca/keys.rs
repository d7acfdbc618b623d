//! The authority's private keys, behind a seam: whoever signs asks for a
//! signature by one of them and never sees it.
//!
//! [`HeldKeys`] are a [`KeyHolder`]'s: they come of the key of a label.
//! [`FileKeys`] keeps one key in a file and derives all others from it, where
//! there is no holder. Either way one secret continues the authority on any
//! machine.

use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    encoding::{AsBigEndian as _, EcPrivateKeyBin},
    hkdf,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use wire::DomainName;
use zeroize::Zeroizing;

use super::authority::AuthorityError;
use crate::held::{self, KeyHolder};

/// Which key signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The root's.
    Root,
    /// That of a registered name's intermediate.
    Intermediate(DomainName),
}

/// The keys of an authority.
pub trait AuthorityKeys: fmt::Debug + Send + Sync + 'static {
    /// The public key of `signer`: a P-256 point, uncompressed (SEC 1).
    ///
    /// Errors: [`AuthorityError`].
    fn public(&self, signer: &Signer) -> Result<Vec<u8>, AuthorityError>;

    /// An ECDSA signature over SHA-256 of `message`, DER.
    ///
    /// Errors: [`AuthorityError`].
    fn sign(&self, signer: &Signer, message: &[u8]) -> Result<Vec<u8>, AuthorityError>;

    /// A secret for `purpose` that only holders of these keys can make.
    ///
    /// Errors: [`AuthorityError`].
    fn secret(&self, purpose: &str) -> Result<Zeroizing<[u8; 32]>, AuthorityError>;
}

/// Keys that another process holds.
#[derive(Debug)]
pub struct HeldKeys(pub Arc<dyn KeyHolder>);

fn context(signer: &Signer) -> String {
    match signer {
        Signer::Root => held::ROOT_KEY.to_owned(),
        Signer::Intermediate(domain) => held::intermediate_key(domain),
    }
}

impl AuthorityKeys for HeldKeys {
    fn public(&self, signer: &Signer) -> Result<Vec<u8>, AuthorityError> {
        Ok(self.0.point(&context(signer))?.to_vec())
    }

    fn sign(&self, signer: &Signer, message: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        let fixed = self.0.sign(&context(signer), message)?;
        let signature =
            p256::ecdsa::Signature::from_slice(&fixed).map_err(|_| AuthorityError::Key)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn secret(&self, purpose: &str) -> Result<Zeroizing<[u8; 32]>, AuthorityError> {
        Ok(self.0.secret(&held::authority_secret(purpose))?)
    }
}

/// Keys derived from one P-256 key in a file.
///
/// Shape: PKCS #8, PEM, mode 0600; made the first time, never overwritten.
pub struct FileKeys {
    root: EcdsaKeyPair,
    derive: hkdf::Prk,
}

impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKeys")
    }
}

/// The length of what is derived.
struct Thirty2;

impl hkdf::KeyType for Thirty2 {
    fn len(&self) -> usize {
        32
    }
}

impl FileKeys {
    /// Opens the keys of `path`, or makes the file.
    ///
    /// Errors: [`AuthorityError::Exposed`], [`AuthorityError::File`],
    ///         [`AuthorityError::Crypto`], [`AuthorityError::Key`].
    pub fn open(path: &Path) -> Result<Self, AuthorityError> {
        let pair = open_pair(path)?;
        let der = Zeroizing::new(pair.serialize_der());
        let root = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der)
            .map_err(|_| AuthorityError::Key)?;
        let scalar: EcPrivateKeyBin<'_> = root
            .private_key()
            .as_be_bytes()
            .map_err(|_| AuthorityError::Key)?;
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"ringfort/ca/1");
        let derive = salt.extract(scalar.as_ref());
        Ok(Self { root, derive })
    }

    fn pair(&self, domain: &DomainName) -> Result<EcdsaKeyPair, AuthorityError> {
        // One scalar in 2^32 is out of range, so that the second try is never seen.
        for attempt in 0..4u8 {
            let scalar = self.expand(&[b"intermediate", domain.as_str().as_bytes(), &[attempt]])?;
            let Ok(secret) = p256::ecdsa::SigningKey::from_slice(&*scalar) else {
                continue;
            };
            let point = secret.verifying_key().to_sec1_point(false);
            return EcdsaKeyPair::from_private_key_and_public_key(
                &ECDSA_P256_SHA256_ASN1_SIGNING,
                &*scalar,
                point.as_bytes(),
            )
            .map_err(|_| AuthorityError::Key);
        }
        Err(AuthorityError::Key)
    }

    /// HKDF-Expand with each part of the information after its length.
    fn expand(&self, parts: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, AuthorityError> {
        let mut info = Vec::new();
        for part in parts {
            info.extend_from_slice(&(part.len() as u64).to_be_bytes());
            info.extend_from_slice(part);
        }
        let mut out = Zeroizing::new([0; 32]);
        self.derive
            .expand(&[info.as_slice()], Thirty2)
            .and_then(|okm| okm.fill(&mut *out))
            .map_err(|_| AuthorityError::Key)?;
        Ok(out)
    }
}

impl AuthorityKeys for FileKeys {
    fn public(&self, signer: &Signer) -> Result<Vec<u8>, AuthorityError> {
        Ok(match signer {
            Signer::Root => self.root.public_key().as_ref().to_vec(),
            Signer::Intermediate(domain) => self.pair(domain)?.public_key().as_ref().to_vec(),
        })
    }

    fn sign(&self, signer: &Signer, message: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        let random = SystemRandom::new();
        let signature = match signer {
            Signer::Root => self.root.sign(&random, message),
            Signer::Intermediate(domain) => self.pair(domain)?.sign(&random, message),
        };
        let signature = signature.map_err(|_| AuthorityError::Key)?;
        Ok(signature.as_ref().to_vec())
    }

    fn secret(&self, purpose: &str) -> Result<Zeroizing<[u8; 32]>, AuthorityError> {
        self.expand(&[b"secret", purpose.as_bytes()])
    }
}

/// One key of an authority, as the X.509 library asks for it.
pub(super) struct KeyOf {
    keys: Arc<dyn AuthorityKeys>,
    signer: Signer,
    point: Vec<u8>,
}

impl KeyOf {
    pub(super) fn new(
        keys: &Arc<dyn AuthorityKeys>,
        signer: Signer,
    ) -> Result<Self, AuthorityError> {
        let point = keys.public(&signer)?;
        Ok(Self {
            keys: Arc::clone(keys),
            signer,
            point,
        })
    }
}

impl rcgen::PublicKeyData for KeyOf {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for KeyOf {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.keys
            .sign(&self.signer, message)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

fn open_pair(path: &Path) -> Result<KeyPair, AuthorityError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            return Err(AuthorityError::Exposed {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto("key"))?;
            write_new(path, key.serialize_pem().as_bytes(), 0o600)?;
        }
        Err(source) => return Err(file(path)(source)),
    }
    // What was written is read back: a key that was lost to the disk must not
    // sign anything.
    let pem = Zeroizing::new(fs::read_to_string(path).map_err(file(path))?);
    KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ECDSA_P256_SHA256).map_err(crypto("key"))
}

/// Writes a file that must not exist, whole or not at all.
pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AuthorityError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(file(directory))?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.new", std::process::id()));
    let partial = PathBuf::from(partial);
    let written = write_then_link(&partial, path, bytes, mode);
    // Whether it was linked or not, the second name goes.
    let removed = fs::remove_file(&partial);
    written.map_err(file(path))?;
    removed.map_err(file(&partial))?;
    fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(file(directory))
}

fn write_then_link(partial: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut opened = options.open(partial)?;
    opened.write_all(bytes)?;
    opened.sync_all()?;
    // Unlike a rename, a link fails where a file stands already.
    fs::hard_link(partial, path)
}

pub(super) fn file(path: &Path) -> impl Fn(io::Error) -> AuthorityError + '_ {
    move |source| AuthorityError::File {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn crypto(what: &'static str) -> impl Fn(rcgen::Error) -> AuthorityError {
    move |source| AuthorityError::Crypto { what, source }
}
