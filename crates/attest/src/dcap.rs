//! Intel SGX and TDX: is a DCAP quote genuine, and how does Intel judge the
//! platform?
//!
//! `dcap-qvl` verifies; this file gives it the collateral that came with the
//! quote, the caller's time and the house's primitives, and says what the
//! verified report means here. The quote and its collateral travel as one
//! value, so that every verifier judges the same bytes; what would be
//! redundant in it is left out, so that no bit of it is without effect.

use std::{collections::BTreeSet, ops::RangeInclusive};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use borsh::{BorshDeserialize, BorshSerialize};
use dcap_qvl::{
    QuoteCollateralV3, TcbStatus as IntelStatus,
    config::{Config, CryptoProvider},
    quote::{AuthData, Quote, Report, TDReport10},
    signature::DerSigEncoder,
    verify::{QuoteVerifier, VerifiedReport},
    x509::X509CertBackend,
};
use rustls_pki_types::SignatureVerificationAlgorithm;
use serde::{Deserialize as _, de::IntoDeserializer as _};
use wire::{Digest, Evidence, EvidenceKind, Measurement, TcbStatus};
use x509_parser::{
    asn1_rs::{Any, Sequence},
    error::X509Error,
    pem::Pem,
    prelude::FromDer as _,
    time::ASN1Time,
};

use crate::{Claims, EvidenceError, Moment, Platform, ReportData, certificate, chip_digest};

/// Intel's SGX root certificate, DER, as Intel publishes it.
pub const INTEL_ROOT: &[u8] = include_bytes!("../roots/intel-sgx-root.der");

/// The version of the form that this build reads and writes.
const VERSION: u8 = 1;

/// Certificates between Intel's root and a platform: its own and one authority's.
const PCK_CERTIFICATES: usize = 2;

/// Octets of a quote's header (DCAP quote format, table 3).
const HEADER_BYTES: usize = 48;

/// Octets of an attestation signature and of the key that made it, which
/// precede a quote's certification data.
const SIGNATURE_AND_KEY_BYTES: usize = 128;

/// The certification data that holds a chain of PCK certificates.
const PCK_CHAIN: u16 = 5;

/// What Intel says about platforms: perishable, the same for all of a model.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Collateral {
    /// Security versions and their status, JSON, as Intel signed it.
    pub tcb_info: String,
    /// ECDSA over it, `r` and `s`.
    pub tcb_info_signature: [u8; 64],
    /// The quoting enclave's identity, JSON, as Intel signed it.
    pub qe_identity: String,
    /// ECDSA over it, `r` and `s`.
    pub qe_identity_signature: [u8; 64],
    /// The certificate of the key that signed both, DER.
    pub signing_certificate: Vec<u8>,
    /// The root's revocation list, DER.
    pub root_revocations: Vec<u8>,
    /// The platform authority's revocation list, DER.
    pub platform_revocations: Vec<u8>,
}

/// A statement's date: of its tens of KiB nothing else is wanted here.
#[derive(serde::Deserialize)]
struct Dated<'a> {
    #[serde(rename = "issueDate")]
    issue_date: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct DcapEvidence {
    version: u8,
    /// The quote without its certificates.
    quote: Vec<u8>,
    /// The platform's certificate and its authority's, DER.
    pck_chain: Vec<Vec<u8>>,
    collateral: Collateral,
}

/// Why a quote or collateral cannot be packed: the caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Not a quote, or one that does not carry its certificates.
    #[error("the quote is not one that carries its certificates: {0}")]
    Quote(String),
    /// Not the JSON that a collateral service answers.
    #[error("the collateral does not decode: {0}")]
    Collateral(String),
}

/// The house's primitives for `dcap-qvl`: signatures by aws-lc, which is there
/// for TLS already.
#[derive(Clone, Copy, Debug)]
pub struct Primitives;

impl CryptoProvider for Primitives {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        webpki::aws_lc_rs::ECDSA_P256_SHA256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
        out
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        let mut out = [0; 48];
        out.copy_from_slice(digest::digest(&digest::SHA384, data).as_ref());
        out
    }
}

impl Config for Primitives {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Primitives;
}

fn certificates_of(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    Pem::iter_from_buffer(pem)
        .map(|pem| pem.map(|pem| pem.contents))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

fn pem_of(certificates: &[&[u8]]) -> String {
    certificates
        .iter()
        .map(|der| {
            format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                BASE64.encode(der)
            )
        })
        .collect()
}

/// What the collateral's age is measured by, and what has to hold besides.
struct Times {
    /// When the oldest of the perishable parts was issued, Unix milliseconds: the two
    /// statements and the platforms' revocation list. The root's list, which Intel
    /// renews yearly, only has to hold.
    issued_ms: u64,
    /// When both revocation lists hold, Unix seconds: the verifier looks at their ends alone.
    lists: [RangeInclusive<u64>; 2],
}

fn between(from: ASN1Time, until: ASN1Time) -> Result<RangeInclusive<u64>, String> {
    let seconds =
        |time: ASN1Time| u64::try_from(time.timestamp()).map_err(|error| error.to_string());
    Ok(seconds(from)?..=seconds(until)?)
}

/// When a revocation list of version 2 holds. Its entries are passed over: a list of a
/// vendor has hundreds, and the verifier reads them.
fn list_holds(der: &[u8]) -> Result<RangeInclusive<u64>, String> {
    fn times(der: &[u8]) -> Result<(ASN1Time, ASN1Time), X509Error> {
        let wrong = |_| X509Error::InvalidDate;
        let (_, list) = Sequence::from_der(der).map_err(wrong)?;
        let (_, signed) = Sequence::from_der(&list.content).map_err(wrong)?;
        let (rest, _version) = Any::from_der(&signed.content).map_err(wrong)?;
        let (rest, _algorithm) = Any::from_der(rest).map_err(wrong)?;
        let (rest, _issuer) = Any::from_der(rest).map_err(wrong)?;
        let (rest, this_update) = ASN1Time::from_der(rest)?;
        let (_, next_update) = ASN1Time::from_der(rest)?;
        Ok((this_update, next_update))
    }
    let (this_update, next_update) =
        times(der).map_err(|error| format!("a revocation list: {error}"))?;
    between(this_update, next_update)
}

impl Collateral {
    /// Reads what a collateral service (Intel's PCS through a PCCS client such
    /// as `dcap-qvl`) answers.
    ///
    /// Errors: [`PackError::Collateral`].
    pub fn from_json(json: &[u8]) -> Result<Self, PackError> {
        let wrong = |reason: &str| PackError::Collateral(reason.to_owned());
        let parts: QuoteCollateralV3 =
            serde_json::from_slice(json).map_err(|error| wrong(&error.to_string()))?;
        let signer = |chain: &str| {
            let chain = certificates_of(chain.as_bytes()).map_err(|reason| wrong(&reason))?;
            chain.into_iter().next().ok_or_else(|| wrong("no signer"))
        };
        let signing_certificate = signer(&parts.tcb_info_issuer_chain)?;
        if signer(&parts.qe_identity_issuer_chain)? != signing_certificate {
            return Err(wrong("two signers; Intel has one"));
        }
        let signature = |bytes: Vec<u8>| {
            <[u8; 64]>::try_from(bytes).map_err(|_| wrong("a signature is not of 64 bytes"))
        };
        Ok(Self {
            tcb_info: parts.tcb_info,
            tcb_info_signature: signature(parts.tcb_info_signature)?,
            qe_identity: parts.qe_identity,
            qe_identity_signature: signature(parts.qe_identity_signature)?,
            signing_certificate,
            root_revocations: parts.root_ca_crl,
            platform_revocations: parts.pck_crl,
        })
    }

    /// The times that its parts name and [`QuoteVerifier`] does not check or give.
    fn times(&self) -> Result<Times, String> {
        let date = |json: &str| {
            let dated: Dated<'_> = serde_json::from_str(json).map_err(|error| error.to_string())?;
            let date = chrono::DateTime::parse_from_rfc3339(dated.issue_date);
            let seconds = date.map_err(|error| error.to_string())?.timestamp();
            u64::try_from(seconds).map_err(|error| error.to_string())
        };
        let platform = list_holds(&self.platform_revocations)?;
        let oldest = date(&self.tcb_info)?
            .min(date(&self.qe_identity)?)
            .min(*platform.start());
        Ok(Times {
            issued_ms: oldest.saturating_mul(1000),
            lists: [list_holds(&self.root_revocations)?, platform],
        })
    }

    fn into_parts(self, pck_chain: &[Vec<u8>], root: &[u8]) -> QuoteCollateralV3 {
        let signers = pem_of(&[&self.signing_certificate, root]);
        let platform: Vec<&[u8]> = pck_chain.iter().map(Vec::as_slice).chain([root]).collect();
        QuoteCollateralV3 {
            pck_crl_issuer_chain: String::new(),
            root_ca_crl: self.root_revocations,
            pck_crl: self.platform_revocations,
            tcb_info_issuer_chain: signers.clone(),
            tcb_info: self.tcb_info,
            tcb_info_signature: self.tcb_info_signature.to_vec(),
            qe_identity_issuer_chain: signers,
            qe_identity: self.qe_identity,
            qe_identity_signature: self.qe_identity_signature.to_vec(),
            pck_certificate_chain: Some(pem_of(&platform)),
        }
    }
}

/// Packs a quote, as the platform gave it, with its collateral.
///
/// The certificates inside the quote are signed by nobody in the form in which
/// they stand there (PEM); they are moved out, in their one form (DER).
///
/// Errors: [`PackError::Quote`].
pub fn pack(quote: &[u8], collateral: Collateral) -> Result<Evidence, PackError> {
    let wrong = |reason: String| PackError::Quote(reason);
    let parsed = Quote::parse(quote).map_err(|error| wrong(format!("{error:#}")))?;
    let pem = parsed
        .raw_cert_chain()
        .map_err(|error| wrong(format!("{error:#}")))?;
    // The chain ends with the root, which every verifier has, and a zero byte.
    let text = pem.strip_suffix(&[0]).unwrap_or(pem);
    let mut pck_chain = certificates_of(text).map_err(wrong)?;
    if pck_chain.len() != PCK_CERTIFICATES + 1 {
        return Err(wrong(format!("{} certificates", pck_chain.len())));
    }
    pck_chain.truncate(PCK_CERTIFICATES);
    let kind = if parsed.header.is_sgx() {
        EvidenceKind::SgxDcap
    } else {
        EvidenceKind::TdxDcap
    };
    let quote = without_certificates(quote, &parsed, pem.len())
        .ok_or_else(|| wrong("its lengths disagree".to_owned()))?;
    let evidence = DcapEvidence {
        version: VERSION,
        quote,
        pck_chain,
        collateral,
    };
    Ok(Evidence {
        kind,
        bytes: borsh::to_vec(&evidence).expect("evidence always encodes"),
    })
}

/// `quote` with empty certification data of the innermost level and nothing
/// after it; the signed part is unchanged.
fn without_certificates(quote: &[u8], parsed: &Quote, removed: usize) -> Option<Vec<u8>> {
    fn shorten(bytes: &mut [u8], at: usize, by: usize) -> Option<()> {
        let field: &mut [u8] = bytes.get_mut(at..at + 4)?;
        let length = u32::from_le_bytes(field.try_into().ok()?);
        let shorter = length.checked_sub(u32::try_from(by).ok()?)?;
        field.copy_from_slice(&shorter.to_le_bytes());
        Some(())
    }
    let signed = parsed.signed_length();
    let length_field: [u8; 4] = quote.get(signed..signed + 4)?.try_into().ok()?;
    let end = signed + 4 + usize::try_from(u32::from_le_bytes(length_field)).ok()?;
    let mut packed = quote.get(..end.checked_sub(removed)?)?.to_vec();
    shorten(&mut packed, signed, removed)?;
    if matches!(parsed.auth_data, AuthData::V4(_)) {
        shorten(
            &mut packed,
            signed + 4 + SIGNATURE_AND_KEY_BYTES + 2,
            removed,
        )?;
    }
    let inner = packed.len().checked_sub(4)?;
    shorten(&mut packed, inner, removed)?;
    Some(packed)
}

/// Whether `quote` is in the form that [`pack`] makes: no certificates inside,
/// no byte that nothing reads.
fn is_packed(quote: &[u8], parsed: &Quote) -> bool {
    let Some(length) = quote.get(parsed.signed_length()..parsed.signed_length() + 4) else {
        return false;
    };
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    let authentication = match &parsed.auth_data {
        AuthData::V3(data) => data.qe_auth_data.data.len(),
        AuthData::V4(data) => data.qe_report_data.qe_auth_data.data.len(),
    };
    // Signature, key, the quoting enclave's report and signature, its
    // authentication data and the certificates, each with type and length.
    let inner = 384 + 64 + 2 + authentication + 2 + 4;
    let outer = match &parsed.auth_data {
        AuthData::V3(_) => 0,
        AuthData::V4(data) => {
            if data.certification_data.body.data.len() != inner {
                return false;
            }
            2 + 4
        }
    };
    parsed.inner_cert_type() == PCK_CHAIN
        && parsed.inner_cert_data().is_empty()
        && length == SIGNATURE_AND_KEY_BYTES + outer + inner
        && quote.len() == parsed.signed_length() + 4 + length
}

fn status(status: IntelStatus) -> Option<TcbStatus> {
    Some(match status {
        IntelStatus::UpToDate => TcbStatus::UpToDate,
        IntelStatus::SWHardeningNeeded => TcbStatus::SwHardeningNeeded,
        IntelStatus::ConfigurationNeeded => TcbStatus::ConfigurationNeeded,
        IntelStatus::ConfigurationAndSWHardeningNeeded => {
            TcbStatus::ConfigurationAndSwHardeningNeeded
        }
        IntelStatus::TDRelaunchAdvised => TcbStatus::RelaunchAdvised,
        IntelStatus::TDRelaunchAdvisedConfigurationNeeded => {
            TcbStatus::RelaunchAdvisedConfigurationNeeded
        }
        IntelStatus::OutOfDate => TcbStatus::OutOfDate,
        IntelStatus::OutOfDateConfigurationNeeded => TcbStatus::OutOfDateConfigurationNeeded,
        IntelStatus::Revoked => return None,
    })
}

/// The code of a trust domain: its image, what it measured at run time, and
/// what its owner bound to it.
fn td_measurement(report: &TDReport10) -> Measurement {
    let parts: [&[u8]; 8] = [
        &report.mr_td,
        &report.rt_mr0,
        &report.rt_mr1,
        &report.rt_mr2,
        &report.rt_mr3,
        &report.mr_config_id,
        &report.mr_owner,
        &report.mr_owner_config,
    ];
    Measurement(Digest::tagged("ringfort/measurement/tdx/1", &parts).0)
}

/// Verifies DCAP evidence whose size [`crate::verify`] has bounded.
pub(crate) fn verify(
    kind: EvidenceKind,
    bytes: &[u8],
    root: &[u8],
    moment: Moment,
) -> Result<Claims, EvidenceError> {
    let malformed = |reason: String| EvidenceError::Malformed { kind, reason };
    let refused = |reason: String| EvidenceError::Refused { kind, reason };
    let evidence =
        DcapEvidence::try_from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if evidence.version != VERSION {
        let version = evidence.version;
        return Err(malformed(format!("version {version} is not known here")));
    }
    if evidence.pck_chain.len() != PCK_CERTIFICATES || evidence.quote.len() < HEADER_BYTES {
        return Err(malformed("a part is missing".to_owned()));
    }
    let quote = Quote::parse(&evidence.quote).map_err(|error| malformed(format!("{error:#}")))?;
    if !is_packed(&evidence.quote, &quote) {
        return Err(malformed("the quote is not in its packed form".to_owned()));
    }
    let times = evidence.collateral.times().map_err(malformed)?;
    let anchor = certificate::read(root).map_err(malformed)?;
    let collateral = evidence.collateral.into_parts(&evidence.pck_chain, root);
    let now = moment.time_ms / 1000;
    let verified = QuoteVerifier::<Primitives>::new_with_config(root.to_vec())
        .verify(&evidence.quote, &collateral, now)
        .map_err(|error| refused(format!("{error:#}")))?;
    // No verifier looks at the times of its trust anchor.
    let holds = certificate::holds_at(&anchor, moment.time_ms)
        && times.lists.iter().all(|held| held.contains(&now));
    if !holds {
        let part = "collateral";
        return Err(EvidenceError::OutOfTime { kind, part });
    }
    let age_ms = moment.time_ms.saturating_sub(times.issued_ms);
    claims_of(kind, verified, age_ms)
}

fn claims_of(
    kind: EvidenceKind,
    verified: VerifiedReport,
    age_ms: u64,
) -> Result<Claims, EvidenceError> {
    let refused = |reason: &str| EvidenceError::Refused {
        kind,
        reason: reason.to_owned(),
    };
    let (found, measurement, report_data) = match &verified.report {
        Report::SgxEnclave(report) => (
            EvidenceKind::SgxDcap,
            Measurement(report.mr_enclave),
            report.report_data,
        ),
        report => {
            let td = report.as_td10().ok_or_else(|| refused("no TD report"))?;
            (EvidenceKind::TdxDcap, td_measurement(td), td.report_data)
        }
    };
    if found != kind {
        return Err(refused("the quote is of another kind"));
    }
    let said: Result<IntelStatus, serde::de::value::Error> =
        IntelStatus::deserialize(verified.status.as_str().into_deserializer());
    let said = said.map_err(|_| refused("a status of the platform that is not known here"))?;
    let tcb = status(said).ok_or(EvidenceError::Revoked {
        kind,
        part: "platform",
    })?;
    let advisories: BTreeSet<String> = verified.advisory_ids.into_iter().collect();
    Ok(Claims {
        kind,
        measurement,
        report_data: ReportData(report_data),
        protects_from_host: true,
        platform: Platform {
            tcb: Some(tcb),
            advisories: advisories.into_iter().collect(),
            snp_tcb: None,
            chip: Some(chip_digest("intel", &verified.ppid)),
            collateral_age_ms: Some(age_ms),
            revocation_checked: true,
        },
    })
}
