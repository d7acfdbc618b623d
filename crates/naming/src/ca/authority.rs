//! The authority's root, intermediates, leaves and revocation lists.
//!
//! The root is constrained to the circle's apexes and each intermediate to one
//! registered name: whoever trusts the root trusts it for `*.internal` and
//! nothing else, and what an intermediate signs by mistake holds for nobody
//! else's name.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CidrSubnet,
    CrlDistributionPoint, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, NameConstraints,
    PublicKeyData as _, RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use time::OffsetDateTime;
use wire::{CertificateSerial, CertifiedName, CircleId, Digest, DomainName, record::Revocation};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
};
use zeroize::Zeroizing;

use super::{
    keys::{AuthorityKeys, FileKeys, KeyOf, Signer, crypto, file, write_new},
    request::CheckedRequest,
};

/// How long a root holds: longer than the machines on which it is installed,
/// because nobody likes to install one twice.
const ROOT_YEARS: u64 = 10;

/// How long an intermediate holds: many leaves' lives, so that making one is
/// rare, and short enough that a list of revoked ones stays empty.
const INTERMEDIATE_DAYS: u64 = 90;

/// How far before its making a root or an intermediate begins to hold, for
/// machines whose clocks are behind.
const AUTHORITY_BACKDATE_MS: u64 = DAY_MS;

/// How far before its making a leaf begins to hold, likewise.
pub const LEAF_BACKDATE_MS: u64 = 5 * 60 * 1000;

/// How long a revocation list holds: a verifier that cannot fetch a newer one
/// goes on for a day, well below a leaf's own life.
const REVOCATION_LIST_MS: u64 = DAY_MS;

/// The longest common name (RFC 5280 appendix A.1, ub-common-name).
const MAX_COMMON_NAME: usize = 64;

/// The longest proof that a leaf carries: a certificate stays within one
/// initial flight of TCP with its chain. A longer one is left out.
const MAX_PROOF_BYTES: usize = 2 * 1024;

/// The host that alone may stand in an e-mail address under a root of ours:
/// RFC 2606 §2 promises that there is none.
const NO_MAIL_HOST: &str = "invalid";

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const YEAR_MS: u64 = 365 * DAY_MS;

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
    /// A private key could not be derived or used.
    #[error("a key of the authority cannot be used")]
    Key,
    /// The holder of its keys does not serve.
    #[error(transparent)]
    Holder(#[from] crate::held::HolderFailed),
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
    /// Its serial number.
    pub serial: CertificateSerial,
    /// When it ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
}

/// An intermediate certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedIntermediate {
    /// Its octets, DER.
    pub der: Vec<u8>,
    /// When it ceases to hold, Unix milliseconds.
    pub not_after_ms: u64,
}

/// A certificate authority: its keys and its self-signed root.
#[derive(Debug)]
pub struct Authority {
    keys: Arc<dyn AuthorityKeys>,
    roots_pem: String,
    root_der: Vec<u8>,
    apexes: Vec<DomainName>,
    circle: CircleId,
    /// Where revocation lists are fetched, without a slash at the end.
    url: Option<String>,
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
        let keys = Arc::new(FileKeys::open(key_path)?);
        Self::with_keys(keys, roots_path, circle, apexes, now_ms)
    }

    /// As [`Authority::open`], with keys that are held elsewhere.
    ///
    /// Errors: [`AuthorityError`].
    pub fn with_keys(
        keys: Arc<dyn AuthorityKeys>,
        roots_path: &Path,
        circle: CircleId,
        apexes: &[DomainName],
        now_ms: u64,
    ) -> Result<Self, AuthorityError> {
        let key = KeyOf::new(&keys, Signer::Root)?;
        let roots_pem = match fs::read_to_string(roots_path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let params = root_params(&key, circle, apexes, now_ms)?;
                let root = params.self_signed(&key).map_err(crypto("root"))?;
                write_new(roots_path, root.pem().as_bytes(), 0o644)?;
                root.pem()
            }
            Err(source) => return Err(file(roots_path)(source)),
        };
        let other = || AuthorityError::OtherRoot {
            path: roots_path.to_owned(),
        };
        let root_der = root_of(&roots_pem, &key, apexes).ok_or_else(other)?;
        Ok(Self {
            keys,
            roots_pem,
            root_der,
            apexes: apexes.to_vec(),
            circle,
            url: None,
        })
    }

    /// Has certificates name `url` as the place of revocation lists.
    #[must_use]
    pub fn with_url(mut self, url: Option<String>) -> Self {
        self.url = url.map(|url| url.trim_end_matches('/').to_owned());
        self
    }

    /// The root certificate, PEM: what a client installs.
    pub fn roots_pem(&self) -> &str {
        &self.roots_pem
    }

    /// The root certificate, DER.
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// The apexes that the root is constrained to.
    pub fn apexes(&self) -> &[DomainName] {
        &self.apexes
    }

    /// The circle.
    pub fn circle(&self) -> CircleId {
        self.circle
    }

    /// Whether `name` lies beneath an apex of the root's constraints.
    pub fn covers(&self, name: &DomainName) -> bool {
        self.apexes
            .iter()
            .any(|apex| name.prefix_under(apex).is_some())
    }

    /// The name that is registered at or above `name`, if one is.
    pub fn registered_above(&self, name: &DomainName) -> Option<DomainName> {
        name.registered_under(&self.apexes)
    }

    /// A secret for `purpose` that every machine with this authority's keys has.
    ///
    /// Errors: [`AuthorityError::Key`].
    pub fn secret(&self, purpose: &str) -> Result<Zeroizing<[u8; 32]>, AuthorityError> {
        self.keys.secret(purpose)
    }

    /// Signs the intermediate of a registered name. Every one of the same name
    /// has the same key and subject: any of them completes any leaf's chain.
    ///
    /// Units:  `time_ms` is the ledger's time, Unix milliseconds.
    /// Errors: those of [`Authority::issue`].
    /// Source: docs/spec/certificates.md §2.
    pub fn intermediate(
        &self,
        domain: &DomainName,
        time_ms: u64,
    ) -> Result<IssuedIntermediate, AuthorityError> {
        let key = KeyOf::new(&self.keys, Signer::Intermediate(domain.clone()))?;
        let mut params = intermediate_params(&key, domain);
        let not_after_ms = time_ms.saturating_add(INTERMEDIATE_DAYS * DAY_MS) / 1000 * 1000;
        params.serial_number = Some(SerialNumber::from_slice(&serial()?.0));
        params.not_before = date(time_ms.saturating_sub(AUTHORITY_BACKDATE_MS))?;
        params.not_after = date(not_after_ms)?;
        params.use_authority_key_identifier_extension = true;
        params.crl_distribution_points = self.distribution_points("root");
        let root = KeyOf::new(&self.keys, Signer::Root)?;
        let issuer = Issuer::from_ca_cert_pem(&self.roots_pem, root).map_err(crypto("root"))?;
        let signed = params
            .signed_by(&key, &issuer)
            .map_err(crypto("intermediate"))?;
        Ok(IssuedIntermediate {
            der: signed.der().to_vec(),
            not_after_ms,
        })
    }

    /// Signs a leaf for a request whose names are at or beneath `domain`.
    ///
    /// Shape:  `proof` is the ledger's proof of the grant, encoded; over its
    ///         limit it is left out.
    /// Units:  `time_ms` is the ledger's time, Unix milliseconds; `validity_ms`
    ///         is from then on.
    /// Errors: [`AuthorityError::Crypto`], [`AuthorityError::Entropy`],
    ///         [`AuthorityError::Date`]; none of them is the requester's fault.
    /// Source: docs/spec/certificates.md §3.
    pub fn issue(
        &self,
        domain: &DomainName,
        request: &CheckedRequest,
        time_ms: u64,
        validity_ms: u64,
        proof: Option<&[u8]>,
    ) -> Result<Issued, AuthorityError> {
        let issuer = self.issuer(domain)?;
        let list = domain.as_str();
        self.leaf(&issuer, list, request, (time_ms, validity_ms), proof)
    }

    /// Signs a leaf with the root itself, for a name of the circle's own that
    /// nobody can register and that so has no intermediate: a name server's.
    ///
    /// Errors: those of [`Authority::issue`].
    pub fn issue_from_root(
        &self,
        request: &CheckedRequest,
        time_ms: u64,
        validity_ms: u64,
    ) -> Result<Issued, AuthorityError> {
        let root = KeyOf::new(&self.keys, Signer::Root)?;
        let issuer = Issuer::from_ca_cert_pem(&self.roots_pem, root).map_err(crypto("root"))?;
        self.leaf(&issuer, "root", request, (time_ms, validity_ms), None)
    }

    fn leaf(
        &self,
        issuer: &Issuer<'static, KeyOf>,
        list: &str,
        request: &CheckedRequest,
        (time_ms, validity_ms): (u64, u64),
        proof: Option<&[u8]>,
    ) -> Result<Issued, AuthorityError> {
        let serial = serial()?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&serial.0));
        params.not_before = date(time_ms.saturating_sub(LEAF_BACKDATE_MS))?;
        // Certificates hold whole seconds, and the ledger is told the same.
        let not_after_ms = time_ms.saturating_add(validity_ms) / 1000 * 1000;
        params.not_after = date(not_after_ms)?;
        params.distinguished_name = DistinguishedName::new();
        // Nothing reads the common name but people; without one, the subject
        // alternative name is critical (RFC 5280 §4.2.1.6).
        let first = request.names().first().map(CertifiedName::to_string);
        if let Some(name) = first.filter(|name| name.len() <= MAX_COMMON_NAME) {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = request
            .names()
            .iter()
            .map(|name| Ok(SanType::DnsName(name.to_string().try_into()?)))
            .collect::<Result<_, rcgen::Error>>()
            .map_err(crypto("name"))?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.crl_distribution_points = self.distribution_points(list);
        if let Some(proof) = proof.filter(|proof| proof.len() <= MAX_PROOF_BYTES) {
            let content = yasna::construct_der(|writer| writer.write_bytes(proof));
            let oid = client::certificate::PROOF_EXTENSION;
            params.custom_extensions = vec![CustomExtension::from_oid_content(oid, content)];
        }
        let leaf = params
            .signed_by(request.key(), issuer)
            .map_err(crypto("certificate"))?;
        Ok(Issued {
            der: leaf.der().to_vec(),
            serial,
            not_after_ms,
        })
    }

    /// Signs the list of revoked leaves of a registered name; of intermediates
    /// for none.
    ///
    /// Shape:  DER. Two lists of one `number` are equal in what they revoke.
    /// Units:  `time_ms` is Unix milliseconds.
    /// Errors: those of [`Authority::issue`].
    /// Source: docs/spec/certificates.md §6.
    pub fn revocation_list(
        &self,
        domain: Option<&DomainName>,
        revoked: &[(CertificateSerial, Revocation)],
        number: u64,
        time_ms: u64,
    ) -> Result<Vec<u8>, AuthorityError> {
        let revoked_certs = revoked
            .iter()
            .map(|(serial, revocation)| {
                Ok(RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&serial.0),
                    revocation_time: date(revocation.time_ms)?,
                    reason_code: reason(revocation.reason),
                    invalidity_date: None,
                })
            })
            .collect::<Result<_, AuthorityError>>()?;
        let params = CertificateRevocationListParams {
            this_update: date(time_ms.saturating_sub(LEAF_BACKDATE_MS))?,
            next_update: date(time_ms.saturating_add(REVOCATION_LIST_MS))?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = match domain {
            Some(domain) => params.signed_by(&self.issuer(domain)?),
            None => {
                let root = KeyOf::new(&self.keys, Signer::Root)?;
                let issuer =
                    Issuer::from_ca_cert_pem(&self.roots_pem, root).map_err(crypto("root"))?;
                params.signed_by(&issuer)
            }
        };
        let signed = signed.map_err(crypto("revocation list"))?;
        Ok(signed.der().to_vec())
    }

    fn issuer(&self, domain: &DomainName) -> Result<Issuer<'static, KeyOf>, AuthorityError> {
        let key = KeyOf::new(&self.keys, Signer::Intermediate(domain.clone()))?;
        let params = intermediate_params(&key, domain);
        Ok(Issuer::new(params, key))
    }

    fn distribution_points(&self, list: &str) -> Vec<CrlDistributionPoint> {
        let url = self.url.as_ref();
        url.map(|url| CrlDistributionPoint {
            uris: vec![format!("{url}/crl/{list}.crl")],
        })
        .into_iter()
        .collect()
    }
}

/// RFC 5280 §5.3.1; none for "unspecified", which is not written.
fn reason(number: u8) -> Option<RevocationReason> {
    match number {
        1 => Some(RevocationReason::KeyCompromise),
        3 => Some(RevocationReason::AffiliationChanged),
        4 => Some(RevocationReason::Superseded),
        5 => Some(RevocationReason::CessationOfOperation),
        9 => Some(RevocationReason::PrivilegeWithdrawn),
        _ => None,
    }
}

fn root_params(
    key: &KeyOf,
    circle: CircleId,
    apexes: &[DomainName],
    now_ms: u64,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial()?.0));
    params.not_before = date(now_ms.saturating_sub(AUTHORITY_BACKDATE_MS))?;
    params.not_after = date(now_ms.saturating_add(ROOT_YEARS * YEAR_MS))?;
    // The key is part of the name, so that the roots of two authorities of one
    // circle are never taken for one another.
    let key_id = key_id(key);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("Ringfort circle {} CA {key_id}", circle.short()),
    );
    // Intermediates, and leaves beneath them, and nothing further.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(constraints(apexes));
    Ok(params)
}

fn intermediate_params(key: &KeyOf, domain: &DomainName) -> CertificateParams {
    let mut params = CertificateParams::default();
    let full = format!("Ringfort {domain} CA {}", key_id(key));
    let common = if full.len() <= MAX_COMMON_NAME {
        full
    } else {
        let short = Digest::of(&[domain.as_str().as_bytes()]).short();
        format!("Ringfort name {short} CA {}", key_id(key))
    };
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.name_constraints = Some(constraints(std::slice::from_ref(domain)));
    params
}

/// The first eight hex digits of SHA-256 of the SubjectPublicKeyInfo.
fn key_id(key: &KeyOf) -> String {
    Digest::of(&[&key.subject_public_key_info()]).short()
}

/// What may be certified: names at or beneath `domains`, and no other form of
/// name. RFC 5280 §4.2.1.10 leaves every form that is not mentioned open.
fn constraints(domains: &[DomainName]) -> NameConstraints {
    let mut permitted: Vec<GeneralSubtree> = domains
        .iter()
        .map(|domain| GeneralSubtree::DnsName(domain.to_string()))
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

/// The root in `pem`, DER, if it is that of `key`, permits exactly `apexes`
/// and may sign intermediates.
fn root_of(pem: &str, key: &KeyOf, apexes: &[DomainName]) -> Option<Vec<u8>> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let (_, root) = X509Certificate::from_der(&pem.contents).ok()?;
    let depth = root.basic_constraints().ok()??.value.path_len_constraint;
    if root.public_key().raw != key.subject_public_key_info() || depth != Some(1) {
        return None;
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
    (permitted == wanted).then(|| pem.contents.clone())
}

/// A serial number: 126 random bits, where CAs must have 64 (CA/Browser Forum
/// BR §7.1), and never negative or shortened.
fn serial() -> Result<CertificateSerial, AuthorityError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Entropy)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(CertificateSerial(bytes))
}

fn date(ms: u64) -> Result<OffsetDateTime, AuthorityError> {
    let seconds = i64::try_from(ms / 1000).map_err(|_| AuthorityError::Date(ms))?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Date(ms))
}
