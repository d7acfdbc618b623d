//! AMD SEV-SNP: is an attestation report genuine, and of which machine?
//!
//! `sev` reads the report; the signature over its raw bytes and the chain from
//! AMD's roots are checked with the house's primitives. The `sev` crate's own
//! verifier signs what it re-encoded, and so would pass over bits that it does
//! not know.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use borsh::{BorshDeserialize, BorshSerialize};
use sev::{
    firmware::{guest::AttestationReport, host::TcbVersion},
    parser::ByteParser as _,
};
use wire::{Digest, Evidence, EvidenceKind, Measurement, SnpTcb};
use x509_parser::{
    certificate::X509Certificate,
    der_parser::{Oid, oid},
};

use crate::{Claims, EvidenceError, Moment, Platform, ReportData, certificate, chip_digest};

const KIND: EvidenceKind = EvidenceKind::SevSnp;

/// The version of the form that this build reads and writes.
const VERSION: u8 = 1;

/// Octets of a report (SEV-SNP firmware ABI, table 23).
const REPORT_BYTES: usize = 1184;

/// Octets of a report that are signed.
const SIGNED_BYTES: usize = 0x2A0;

/// Octets of each of a signature's two numbers, little-endian, zero-extended.
const SCALAR_BYTES: usize = 72;

/// Octets of a P-384 scalar.
const P384_BYTES: usize = 48;

/// The algorithm of every report: ECDSA, P-384, SHA-384.
const ECDSA_P384_SHA384: u32 = 1;

/// AMD's roots for one generation of processors.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// AMD's name of it, with which a chip certificate's product name begins.
    pub name: &'a str,
    /// The root's certificate (ARK), DER.
    pub root: &'a [u8],
    /// The certificate of the key that signs chips' keys (ASK) or a cloud's
    /// (ASVK), DER; a product stands once for each.
    pub signer: &'a [u8],
}

/// The generations that AMD publishes roots for and that have SEV-SNP.
pub const PRODUCTS: &[Product<'static>] = &[
    Product {
        name: "Milan",
        root: include_bytes!("../roots/amd-milan-ark.der"),
        signer: include_bytes!("../roots/amd-milan-ask.der"),
    },
    Product {
        name: "Genoa",
        root: include_bytes!("../roots/amd-genoa-ark.der"),
        signer: include_bytes!("../roots/amd-genoa-ask.der"),
    },
    Product {
        name: "Turin",
        root: include_bytes!("../roots/amd-turin-ark.der"),
        signer: include_bytes!("../roots/amd-turin-ask.der"),
    },
];

// AMD, "VCEK Certificate and KDS Interface Specification" (57230), table 8.
const PRODUCT_NAME: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.2);
const BOOTLOADER_SPL: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.1);
const TEE_SPL: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.2);
const SNP_SPL: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.3);
const MICROCODE_SPL: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.8);
const FMC_SPL: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.9);
const HARDWARE_ID: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.4);

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct SnpEvidence {
    version: u8,
    report: Vec<u8>,
    /// The key that signed the report: a chip's (VCEK) or one that AMD loaded
    /// for a cloud (VLEK); DER.
    endorsement: Vec<u8>,
    /// What AMD revoked, DER; optional because a circle without a way out
    /// cannot fetch it.
    revocations: Option<Vec<u8>>,
}

/// Packs a report with the certificate of the key that signed it and, if
/// there is one, AMD's revocation list.
///
/// Shape: `report` as the firmware gave it; the others DER.
pub fn pack(report: &[u8], endorsement: &[u8], revocations: Option<&[u8]>) -> Evidence {
    let evidence = SnpEvidence {
        version: VERSION,
        report: report.to_vec(),
        endorsement: endorsement.to_vec(),
        revocations: revocations.map(<[u8]>::to_vec),
    };
    Evidence {
        kind: KIND,
        bytes: borsh::to_vec(&evidence).expect("evidence always encodes"),
    }
}

fn malformed(reason: impl ToString) -> EvidenceError {
    EvidenceError::Malformed {
        kind: KIND,
        reason: reason.to_string(),
    }
}

fn refused(reason: impl ToString) -> EvidenceError {
    EvidenceError::Refused {
        kind: KIND,
        reason: reason.to_string(),
    }
}

fn bad_signature(part: &'static str) -> EvidenceError {
    EvidenceError::Signature { kind: KIND, part }
}

/// The contents of an extension that stands once in `certificate`.
fn extension<'a>(certificate: &'a X509Certificate<'_>, oid: &Oid<'_>) -> Option<&'a [u8]> {
    let found = certificate.get_extension_unique(oid).ok()??;
    Some(found.value)
}

/// A security version: a DER INTEGER below 256.
fn version_of(certificate: &X509Certificate<'_>, oid: &Oid<'_>) -> Result<u8, EvidenceError> {
    match extension(certificate, oid) {
        Some([0x02, 0x01, value @ 0..=0x7f]) => Ok(*value),
        Some([0x02, 0x02, 0x00, value @ 0x80..=0xff]) => Ok(*value),
        _ => Err(malformed("the certificate lacks a security version")),
    }
}

/// The text of AMD's product name (IA5String), such as `Milan-B0`.
fn product_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    match extension(certificate, &PRODUCT_NAME)? {
        [0x16, length, text @ ..] if usize::from(*length) == text.len() => {
            std::str::from_utf8(text).ok()
        }
        _ => None,
    }
}

/// Verifies SEV-SNP evidence whose size [`crate::verify`] has bounded.
pub(crate) fn verify(
    bytes: &[u8],
    products: &[Product<'_>],
    moment: Moment,
) -> Result<Claims, EvidenceError> {
    let evidence = SnpEvidence::try_from_slice(bytes).map_err(malformed)?;
    if evidence.version != VERSION {
        return Err(malformed("its version is not known here"));
    }
    if evidence.report.len() != REPORT_BYTES {
        return Err(malformed("a report has 1184 bytes"));
    }
    let endorsement = certificate::read(&evidence.endorsement).map_err(malformed)?;
    let product = products
        .iter()
        .find(|product| {
            let named = product_name(&endorsement);
            named.is_some_and(|name| name.starts_with(product.name))
                && certificate::read(product.signer)
                    .is_ok_and(|signer| signer.subject() == endorsement.issuer())
        })
        .ok_or(EvidenceError::UnknownRoot(KIND))?;
    let lists = evidence.revocations.as_deref();
    check_chain(&endorsement, product, lists, moment)?;
    check_signature(&evidence.report, &endorsement)?;
    let report = AttestationReport::from_bytes(&evidence.report).map_err(malformed)?;
    check_report(&report)?;
    let endorsed = endorsed_tcb(&endorsement, &report)?;
    Ok(Claims {
        kind: KIND,
        measurement: Measurement(
            Digest::tagged("ringfort/measurement/sev-snp/1", &[&report.measurement]).0,
        ),
        report_data: ReportData(report.report_data),
        protects_from_host: true,
        platform: Platform {
            tcb: None,
            advisories: Vec::new(),
            snp_tcb: Some(endorsed),
            chip: chip_of(&report, &endorsement)?,
            collateral_age_ms: None,
            revocation_checked: lists.is_some(),
        },
    })
}

/// ARK -> ASK -> endorsement key, all holding now, none revoked.
fn check_chain(
    endorsement: &X509Certificate<'_>,
    product: &Product<'_>,
    list: Option<&[u8]>,
    moment: Moment,
) -> Result<(), EvidenceError> {
    let root = certificate::read(product.root).map_err(malformed)?;
    let signer = certificate::read(product.signer).map_err(malformed)?;
    if !certificate::is_signed_by(&signer, &root) {
        return Err(bad_signature("signer's certificate"));
    }
    if !certificate::is_signed_by(endorsement, &signer) {
        return Err(bad_signature("endorsement key's certificate"));
    }
    let chain = [
        ("root", &root),
        ("signer's certificate", &signer),
        ("endorsement key's certificate", endorsement),
    ];
    for (part, certificate) in chain {
        if !certificate::holds_at(certificate, moment.time_ms) {
            return Err(EvidenceError::OutOfTime { kind: KIND, part });
        }
    }
    let Some(list) = list else {
        return Ok(());
    };
    let list = certificate::read_list(list).map_err(malformed)?;
    if !certificate::is_list_of(&list, &root) {
        return Err(bad_signature("revocation list"));
    }
    if !certificate::list_holds_at(&list, moment.time_ms) {
        let part = "revocation list";
        return Err(EvidenceError::OutOfTime { kind: KIND, part });
    }
    for (part, certificate) in chain {
        if certificate::revokes(&list, certificate) {
            return Err(EvidenceError::Revoked { kind: KIND, part });
        }
    }
    Ok(())
}

/// The endorsement key signed these very bytes, and the signature has no room
/// for others.
fn check_signature(report: &[u8], endorsement: &X509Certificate<'_>) -> Result<(), EvidenceError> {
    let (signed, rest) = report.split_at(SIGNED_BYTES);
    let (scalars, padding) = rest.split_at(2 * SCALAR_BYTES);
    if padding.iter().any(|byte| *byte != 0) {
        return Err(malformed("bytes follow the report's signature"));
    }
    let mut signature = Vec::with_capacity(2 * P384_BYTES);
    for scalar in scalars.chunks(SCALAR_BYTES) {
        let (value, zeros) = scalar.split_at(P384_BYTES);
        if zeros.iter().any(|byte| *byte != 0) {
            return Err(malformed("the report's signature is too large"));
        }
        signature.extend(value.iter().rev());
    }
    let key = &endorsement.public_key().subject_public_key.data;
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key)
        .verify(signed, &signature)
        .map_err(|_| bad_signature("report"))
}

/// The firmware's word is worth something: the guest cannot be debugged or
/// migrated, and it was the guest's most privileged code that asked.
fn check_report(report: &AttestationReport) -> Result<(), EvidenceError> {
    if report.sig_algo != ECDSA_P384_SHA384 {
        return Err(malformed("the signature algorithm is not known here"));
    }
    if report.policy.debug_allowed() {
        return Err(refused("the guest may be debugged"));
    }
    if report.policy.migrate_ma_allowed() {
        return Err(refused("the guest may be handed to a migration agent"));
    }
    // A level above 3 would be the hypervisor asking in the guest's stead.
    if report.vmpl != 0 {
        return Err(refused("it was not asked for at the guest's level 0"));
    }
    Ok(())
}

fn tcb_of(version: &TcbVersion) -> SnpTcb {
    SnpTcb {
        fmc: version.fmc.unwrap_or(0),
        bootloader: version.bootloader,
        tee: version.tee,
        snp: version.snp,
        microcode: version.microcode,
    }
}

/// The security versions that the endorsement key was derived from, which
/// must be the reported ones, and no newer than what the platform runs.
fn endorsed_tcb(
    endorsement: &X509Certificate<'_>,
    report: &AttestationReport,
) -> Result<SnpTcb, EvidenceError> {
    let fmc = match report.reported_tcb.fmc {
        Some(_) => version_of(endorsement, &FMC_SPL)?,
        None => 0,
    };
    let endorsed = SnpTcb {
        fmc,
        bootloader: version_of(endorsement, &BOOTLOADER_SPL)?,
        tee: version_of(endorsement, &TEE_SPL)?,
        snp: version_of(endorsement, &SNP_SPL)?,
        microcode: version_of(endorsement, &MICROCODE_SPL)?,
    };
    if endorsed != tcb_of(&report.reported_tcb) {
        return Err(refused(
            "the endorsement key is for other security versions",
        ));
    }
    if !tcb_of(&report.current_tcb).is_at_least(&endorsed) {
        return Err(refused("the platform runs older firmware than it reports"));
    }
    Ok(endorsed)
}

/// The chip that signed: none for a key that AMD loaded for a whole cloud.
fn chip_of(
    report: &AttestationReport,
    endorsement: &X509Certificate<'_>,
) -> Result<Option<Digest>, EvidenceError> {
    /// The signing key's number in `KEY_INFO` (firmware ABI, table 23).
    const CHIPS_KEY: u32 = 0;
    const LOADED_KEY: u32 = 1;
    match (
        report.key_info.signing_key(),
        extension(endorsement, &HARDWARE_ID),
    ) {
        (CHIPS_KEY, Some(hardware)) => {
            // A report pads a shorter identity (Turin: 8 bytes) with zeros.
            let (identity, zeros) = report.chip_id.split_at(hardware.len().min(64));
            if identity != hardware || zeros.iter().any(|byte| *byte != 0) {
                return Err(refused("the endorsement key is another chip's"));
            }
            Ok(Some(chip_digest("amd", hardware)))
        }
        (LOADED_KEY, None) => Ok(None),
        _ => Err(refused("the endorsement key is not of the reported kind")),
    }
}
