//! AWS Nitro Enclaves: did Amazon's hypervisor sign this document, and about which
//! image?
//!
//! `coset` reads and forms the COSE structure, `webpki` follows the certificates to
//! Amazon's root, aws-lc verifies. What stands outside of the signed payload has one
//! form and so is left out of ours: the algorithm, and COSE's unprotected header.
//!
//! What it trusts is Amazon: the hypervisor that keeps the parent instance out is
//! Amazon's to change, and its operators' word is all there is about it.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use borsh::{BorshDeserialize, BorshSerialize};
use coset::{
    CborSerializable as _, CoseSign1, ProtectedHeader, SignatureContext,
    TaggedCborSerializable as _,
    cbor::{self, value::Value},
    sig_structure_data,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use wire::{Digest, Evidence, EvidenceKind, Measurement};

use crate::{Claims, EvidenceError, Moment, Platform, ReportData, certificate};

const KIND: EvidenceKind = EvidenceKind::AwsNitro;

/// Amazon's root for Nitro Enclaves (G1), DER, as Amazon publishes it.
pub const AWS_ROOT: &[u8] = include_bytes!("../roots/aws-nitro-root.der");

/// The version of the form that this build reads and writes.
const VERSION: u8 = 1;

/// The protected header of every document: the algorithm (1) is ES384 (-35).
const PROTECTED: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

/// Octets of a P-384 signature.
const SIGNATURE_BYTES: usize = 96;

/// Octets of a register: SHA-384.
const REGISTER_BYTES: usize = 48;

/// Certificates above the enclave's, at most; Amazon sends four.
const MAX_AUTHORITIES: usize = 8;

/// The registers that say what runs: the image, its kernel and boot parameters, and
/// the application (AWS Nitro Enclaves User Guide, "Cryptographic attestation").
const CODE_REGISTERS: [u8; 3] = [0, 1, 2];

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct NitroEvidence {
    version: u8,
    /// What is signed: CBOR, with the certificates inside.
    payload: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
}

/// Why a document cannot be packed: the caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an attestation document: {0}")]
pub struct PackError(String);

/// Packs a document as the enclave's security module (`/dev/nsm`) gave it.
///
/// Errors: [`PackError`].
pub fn pack(document: &[u8]) -> Result<Evidence, PackError> {
    let wrong = |reason: &str| PackError(reason.to_owned());
    let parsed = CoseSign1::from_slice(document)
        .or_else(|_| CoseSign1::from_tagged_slice(document))
        .map_err(|error| wrong(&error.to_string()))?;
    if parsed.protected.original_data.as_deref() != Some(&PROTECTED[..]) {
        return Err(wrong("its algorithm is not ES384"));
    }
    let evidence = NitroEvidence {
        version: VERSION,
        payload: parsed.payload.ok_or_else(|| wrong("it has no payload"))?,
        signature: parsed
            .signature
            .try_into()
            .map_err(|_| wrong("its signature is not of 96 bytes"))?,
    };
    Ok(Evidence {
        kind: KIND,
        bytes: borsh::to_vec(&evidence).expect("evidence always encodes"),
    })
}

fn malformed(reason: impl ToString) -> EvidenceError {
    EvidenceError::Malformed {
        kind: KIND,
        reason: reason.to_string(),
    }
}

/// What a document says, before anything of it is believed.
struct Document {
    registers: Vec<(u8, Vec<u8>)>,
    certificate: Vec<u8>,
    /// From the root down.
    authorities: Vec<Vec<u8>>,
    user_data: Option<Vec<u8>>,
}

fn bytes(value: Value) -> Result<Vec<u8>, EvidenceError> {
    value
        .into_bytes()
        .map_err(|_| malformed("a field is not a byte string"))
}

fn registers(value: Value) -> Result<Vec<(u8, Vec<u8>)>, EvidenceError> {
    let entries = value.into_map().map_err(|_| malformed("no registers"))?;
    entries
        .into_iter()
        .map(|(index, value)| {
            let index = index.as_integer().and_then(|index| index.try_into().ok());
            let index = index.ok_or_else(|| malformed("a register has no number"))?;
            Ok((index, bytes(value)?))
        })
        .collect()
}

impl Document {
    fn read(payload: &[u8]) -> Result<Self, EvidenceError> {
        let mut rest = payload;
        let value: Value = cbor::de::from_reader(&mut rest).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(malformed("bytes follow the document"));
        }
        let mut document = Self {
            registers: Vec::new(),
            certificate: Vec::new(),
            authorities: Vec::new(),
            user_data: None,
        };
        let fields = value.into_map().map_err(|_| malformed("not a map"))?;
        for (name, value) in fields {
            match name.as_text() {
                Some("digest") if value.as_text() != Some("SHA384") => {
                    return Err(malformed("its digest is not SHA-384"));
                }
                Some("pcrs") => document.registers = registers(value)?,
                Some("certificate") => document.certificate = bytes(value)?,
                Some("cabundle") => {
                    let authorities = value.into_array().map_err(|_| malformed("no bundle"))?;
                    if authorities.len() > MAX_AUTHORITIES {
                        return Err(malformed("too many certificates"));
                    }
                    document.authorities = authorities
                        .into_iter()
                        .map(bytes)
                        .collect::<Result<_, _>>()?;
                }
                Some("user_data") if !value.is_null() => document.user_data = Some(bytes(value)?),
                // The module's name, its time, a key and a nonce: nothing here rests on
                // them. The time of the certificates, which hold for hours, is checked.
                _ => {}
            }
        }
        Ok(document)
    }

    /// A register that is there once and has a digest.
    fn register(&self, wanted: u8) -> Result<&[u8], EvidenceError> {
        let mut found = self.registers.iter().filter(|(index, _)| *index == wanted);
        match (found.next(), found.next()) {
            (Some((_, value)), None) if value.len() == REGISTER_BYTES => Ok(value),
            _ => Err(malformed(format!("register {wanted} is not there"))),
        }
    }

    /// What the enclave bound to itself; zeros if it bound nothing, which is no
    /// digest that anybody expects.
    fn report_data(&self) -> Result<ReportData, EvidenceError> {
        match &self.user_data {
            None => Ok(ReportData([0; 64])),
            Some(bound) => match bound.as_slice().try_into() {
                Ok(bound) => Ok(ReportData(bound)),
                Err(_) => Err(malformed("its user data is not of 64 bytes")),
            },
        }
    }
}

/// Root -> authorities -> the enclave's certificate, all holding now.
fn check_chain(document: &Document, root: &[u8], moment: Moment) -> Result<(), EvidenceError> {
    let part = "certificate chain";
    let Some((first, between)) = document.authorities.split_first() else {
        return Err(malformed("no certificates"));
    };
    if first != root {
        return Err(EvidenceError::UnknownRoot(KIND));
    }
    let root = CertificateDer::from(root);
    let anchors = [anchor_from_trusted_cert(&root).map_err(malformed)?];
    let between: Vec<CertificateDer<'_>> = between
        .iter()
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    let certificate = CertificateDer::from(document.certificate.as_slice());
    let certificate = EndEntityCert::try_from(&certificate).map_err(malformed)?;
    let now = std::time::Duration::from_millis(moment.time_ms);
    let verified = certificate.verify_for_usage(
        &[webpki::aws_lc_rs::ECDSA_P384_SHA384],
        &anchors,
        &between,
        UnixTime::since_unix_epoch(now),
        // It names no purpose; a certificate that did would have to name this one.
        KeyUsage::client_auth(),
        None,
        None,
    );
    match verified {
        Ok(_) => Ok(()),
        Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
            Err(EvidenceError::OutOfTime { kind: KIND, part })
        }
        Err(_) => Err(EvidenceError::Signature { kind: KIND, part }),
    }
}

/// Verifies Nitro evidence whose size [`crate::verify`] has bounded.
pub(crate) fn verify(bytes: &[u8], root: &[u8], moment: Moment) -> Result<Claims, EvidenceError> {
    let evidence = NitroEvidence::try_from_slice(bytes).map_err(malformed)?;
    if evidence.version != VERSION {
        return Err(malformed("its version is not known here"));
    }
    let document = Document::read(&evidence.payload)?;
    check_chain(&document, root, moment)?;
    let protected = ProtectedHeader {
        original_data: Some(PROTECTED.to_vec()),
        ..ProtectedHeader::default()
    };
    let signed = sig_structure_data(
        SignatureContext::CoseSign1,
        protected,
        None,
        &[],
        &evidence.payload,
    );
    let certificate = certificate::read(&document.certificate).map_err(malformed)?;
    let key = &certificate.public_key().subject_public_key.data;
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key)
        .verify(&signed, &evidence.signature)
        .map_err(|_| EvidenceError::Signature {
            kind: KIND,
            part: "document",
        })?;
    let mut code = Vec::with_capacity(CODE_REGISTERS.len());
    for register in CODE_REGISTERS {
        code.push(document.register(register)?);
    }
    // An enclave in debug mode has zeros in all of them (User Guide, "Where to get an
    // enclave's measurements").
    if code.iter().any(|value| value.iter().all(|byte| *byte == 0)) {
        return Err(EvidenceError::Refused {
            kind: KIND,
            reason: "the enclave was started in debug mode".to_owned(),
        });
    }
    Ok(Claims {
        kind: KIND,
        measurement: Measurement(Digest::tagged("ringfort/measurement/aws-nitro/1", &code).0),
        report_data: document.report_data()?,
        protects_from_host: true,
        platform: Platform::default(),
    })
}
