//! The certificate authority's key and root, and what it signs.
//!
//! The root is constrained to the circle's apexes: whoever trusts it trusts it
//! for `*.internal` and nothing else, so that installing it risks no other
//! name, and neither does the loss of its key. The key is made once, written
//! once and never overwritten.

use std::{
    fs, io,
    io::Write as _,
    net::IpAddr,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, SerialNumber,
};
use time::OffsetDateTime;
use wire::{CircleId, Digest, DomainName};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
};

use super::request::CheckedRequest;

/// How long a root holds: longer than the machines on which it is installed,
/// because nobody likes to install one twice.
const ROOT_YEARS: u64 = 10;

/// How far before its making a root begins to hold, for machines whose clocks
/// are behind.
const ROOT_BACKDATE_MS: u64 = 24 * 60 * 60 * 1000;

/// How far before its making a leaf begins to hold, likewise.
pub const LEAF_BACKDATE_MS: u64 = 5 * 60 * 1000;

/// Octets of a leaf's serial number: 126 random bits, where CAs must have 64
/// (CA/Browser Forum BR §7.1), and never negative or shortened.
const SERIAL_BYTES: usize = 16;

/// The longest common name (RFC 5280 appendix A.1, ub-common-name).
const MAX_COMMON_NAME: usize = 64;

/// The host that alone may stand in an e-mail address under a root of ours:
/// RFC 2606 §2 promises that there is none.
const NO_MAIL_HOST: &str = "invalid";

const YEAR_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// Why the authority's key or root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
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
    /// The key or a certificate could not be made or read.
    #[error("cannot make or read the {what}")]
    Crypto {
        /// Of what.
        what: &'static str,
        /// Why.
        source: rcgen::Error,
    },
    /// The root on disk is of another key or for other apexes.
    #[error(
        "{path} is not the root of this key for these apexes: move it away to have it made again"
    )]
    OtherRoot {
        /// Which.
        path: PathBuf,
    },
    /// The operating system gave no entropy.
    #[error("no entropy for a serial number")]
    Entropy,
    /// A date that certificates cannot hold.
    #[error("{0} ms is no date")]
    Date(u64),
}

/// A leaf certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its octets, DER.
    pub der: Vec<u8>,
    /// When it ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
}

/// A certificate authority: a key and its self-signed root.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots_pem: String,
    apexes: Vec<DomainName>,
}

impl Authority {
    /// Opens the authority of `circle`, or makes it the first time.
    ///
    /// Shape:  `key_path` is a PKCS #8 file (PEM, mode 0600); `roots_path` the
    ///         root certificate (PEM). Neither is ever overwritten; a root
    ///         that is missing is made again from the key.
    /// Units:  `now_ms` is Unix time in milliseconds.
    /// Errors: [`AuthorityError`].
    pub fn open(
        key_path: &Path,
        roots_path: &Path,
        circle: CircleId,
        apexes: &[DomainName],
        now_ms: u64,
    ) -> Result<Self, AuthorityError> {
        let key = open_key(key_path)?;
        let params = root_params(&key, circle, apexes, now_ms)?;
        let roots_pem = match fs::read_to_string(roots_path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let root = params.self_signed(&key).map_err(crypto("root"))?;
                write_new(roots_path, root.pem().as_bytes(), 0o644)?;
                root.pem()
            }
            Err(source) => return Err(file(roots_path)(source)),
        };
        if !is_root_of(&roots_pem, &key, apexes) {
            return Err(AuthorityError::OtherRoot {
                path: roots_path.to_owned(),
            });
        }
        let issuer = Issuer::from_ca_cert_pem(&roots_pem, key).map_err(crypto("root"))?;
        Ok(Self {
            issuer,
            roots_pem,
            apexes: apexes.to_vec(),
        })
    }

    /// The root certificate, PEM: what a client installs.
    pub fn roots_pem(&self) -> &str {
        &self.roots_pem
    }

    /// Whether `name` lies beneath an apex of the root's constraints.
    pub fn covers(&self, name: &DomainName) -> bool {
        self.apexes
            .iter()
            .any(|apex| name.prefix_under(apex).is_some())
    }

    /// Signs a leaf.
    ///
    /// Units:  `time_ms` is the ledger's time, Unix milliseconds; `validity_ms`
    ///         is from then on.
    /// Errors: [`AuthorityError::Crypto`], [`AuthorityError::Entropy`],
    ///         [`AuthorityError::Date`]; none of them is the requester's fault.
    /// Source: docs/spec/certificates.md §2.
    pub fn issue(
        &self,
        request: &CheckedRequest,
        time_ms: u64,
        validity_ms: u64,
    ) -> Result<Issued, AuthorityError> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial()?);
        params.not_before = date(time_ms.saturating_sub(LEAF_BACKDATE_MS))?;
        // Certificates hold whole seconds, and the ledger is told the same.
        let not_after_ms = time_ms.saturating_add(validity_ms) / 1000 * 1000;
        params.not_after = date(not_after_ms)?;
        params.distinguished_name = DistinguishedName::new();
        let name = request.name().as_str();
        // Nothing reads the common name but people; without one, the subject
        // alternative name is critical (RFC 5280 §4.2.1.6).
        if name.len() <= MAX_COMMON_NAME {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let text = name.try_into().map_err(crypto("name"))?;
        params.subject_alt_names = vec![SanType::DnsName(text)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params
            .signed_by(request.key(), &self.issuer)
            .map_err(crypto("certificate"))?;
        Ok(Issued {
            der: leaf.der().to_vec(),
            not_after_ms,
        })
    }
}

fn root_params(
    key: &KeyPair,
    circle: CircleId,
    apexes: &[DomainName],
    now_ms: u64,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial()?);
    params.not_before = date(now_ms.saturating_sub(ROOT_BACKDATE_MS))?;
    params.not_after = date(now_ms.saturating_add(ROOT_YEARS * YEAR_MS))?;
    // The key is part of the name, so that the roots of two authorities of one
    // circle are never taken for one another.
    let key_id = Digest::of(&[&key.subject_public_key_info()]).short();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("Ringfort circle {} CA {key_id}", circle.short()),
    );
    // Leaves only: the root signs no other authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(constraints(apexes));
    Ok(params)
}

/// What the root may certify: names beneath the apexes, and no other form of
/// name. RFC 5280 §4.2.1.10 leaves every form that is not mentioned open.
fn constraints(apexes: &[DomainName]) -> NameConstraints {
    let mut permitted: Vec<GeneralSubtree> = apexes
        .iter()
        .map(|apex| GeneralSubtree::DnsName(apex.to_string()))
        .collect();
    // "No mail at all" has no spelling that every verifier reads alike: a
    // permitted host that cannot exist does.
    permitted.push(GeneralSubtree::Rfc822Name(NO_MAIL_HOST.to_owned()));
    let excluded = [[0; 4].into(), [0; 16].into()]
        .map(|any: IpAddr| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(any, 0)));
    NameConstraints {
        permitted_subtrees: permitted,
        excluded_subtrees: excluded.into(),
    }
}

/// Whether `pem` holds the root of `key` and permits exactly `apexes`.
fn is_root_of(pem: &str, key: &KeyPair, apexes: &[DomainName]) -> bool {
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pem.as_bytes()) else {
        return false;
    };
    let Ok((_, root)) = X509Certificate::from_der(&pem.contents) else {
        return false;
    };
    if root.public_key().raw != key.subject_public_key_info() {
        return false;
    }
    let mut permitted: Vec<&str> = root
        .extensions()
        .iter()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::NameConstraints(constraints) => {
                constraints.permitted_subtrees.as_ref()
            }
            _ => None,
        })
        .flatten()
        .filter_map(|subtree| match subtree.base {
            GeneralName::DNSName(name) => Some(name),
            _ => None,
        })
        .collect();
    let mut wanted: Vec<&str> = apexes.iter().map(DomainName::as_str).collect();
    permitted.sort_unstable();
    wanted.sort_unstable();
    permitted == wanted
}

fn open_key(path: &Path) -> Result<KeyPair, AuthorityError> {
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
    let pem = fs::read_to_string(path).map_err(file(path))?;
    KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ECDSA_P256_SHA256).map_err(crypto("key"))
}

/// Writes a file that must not exist, whole or not at all.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AuthorityError> {
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

fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; SERIAL_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Entropy)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn date(ms: u64) -> Result<OffsetDateTime, AuthorityError> {
    let seconds = i64::try_from(ms / 1000).map_err(|_| AuthorityError::Date(ms))?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Date(ms))
}

fn file(path: &Path) -> impl Fn(io::Error) -> AuthorityError + '_ {
    move |source| AuthorityError::File {
        path: path.to_owned(),
        source,
    }
}

fn crypto(what: &'static str) -> impl Fn(rcgen::Error) -> AuthorityError {
    move |source| AuthorityError::Crypto { what, source }
}
