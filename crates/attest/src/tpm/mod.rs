//! TPM 2.0: what did a machine boot, says a key that a TPM will not part with?
//!
//! Three questions, three files: is a key of the kind whose signatures mean
//! that ([`AttestationKey`]), what does a signature over registers say
//! ([`Quote`]), and who vouches that the key is in a TPM ([`certify`])? Proving
//! that last is interactive (credential activation) and so cannot be repeated
//! by every validator: an enroller does it once and signs a certificate.
//!
//! A TPM says what was started. It does not keep the host out of anything.

mod certificate;
mod endorsement;
mod key;
mod quote;

pub use certificate::{
    AttestationKeyCertificate, CERTIFICATE_PURPOSE, CertificateBody, CertificateError, certify,
};
pub use endorsement::{EndorsementError, EndorsementKey, check_endorsement};
pub use key::{AttestationKey, KeyError};
pub use quote::{Clock, PcrBank, Quote, QuoteError, VerifiedQuote};

use borsh::{BorshDeserialize, BorshSerialize};
use wire::{Digest, Evidence, EvidenceKind, Measurement, PublicKey};

use crate::{Claims, EvidenceError, Moment, Platform, ReportData};

const KIND: EvidenceKind = EvidenceKind::Tpm;

/// The version of the form that this build reads and writes.
const VERSION: u8 = 1;

/// Registers that hold code rather than settings (TCG PC Client Platform
/// Firmware Profile, table 1): firmware, option ROMs, boot loader, Secure Boot
/// policy, and what the boot loader measures of kernel, initramfs and command
/// line. Settings (1, 3, 5, 6) differ between machines that run the same.
pub const BOOT_REGISTERS: [u8; 6] = [0, 2, 4, 7, 8, 9];

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct TpmEvidence {
    version: u8,
    certificate: AttestationKeyCertificate,
    quote: Quote,
}

/// Packs a quote with the certificate of the key that signed it.
pub fn pack(certificate: &AttestationKeyCertificate, quote: &Quote) -> Evidence {
    let evidence = TpmEvidence {
        version: VERSION,
        certificate: certificate.clone(),
        quote: quote.clone(),
    };
    Evidence {
        kind: KIND,
        bytes: borsh::to_vec(&evidence).expect("evidence always encodes"),
    }
}

/// The identity of what a machine booted: [`BOOT_REGISTERS`], in this order.
///
/// Returns none unless `registers` has all of them.
pub fn boot_measurement(registers: &PcrBank) -> Option<Measurement> {
    let mut parts = Vec::with_capacity(BOOT_REGISTERS.len());
    for register in BOOT_REGISTERS {
        parts.push(registers.get(&register)?.as_slice());
    }
    Some(Measurement(
        Digest::tagged("ringfort/measurement/tpm/1", &parts).0,
    ))
}

/// Verifies TPM evidence whose size [`crate::verify`] has bounded.
pub(crate) fn verify(
    bytes: &[u8],
    enrollers: &[PublicKey],
    moment: Moment,
) -> Result<Claims, EvidenceError> {
    let malformed = |reason: String| EvidenceError::Malformed { kind: KIND, reason };
    let evidence =
        TpmEvidence::try_from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    let TpmEvidence {
        version,
        certificate,
        quote,
    } = evidence;
    if version != VERSION {
        return Err(malformed(format!("version {version} is not known here")));
    }
    let body = certificate.check(enrollers, moment.height)?;
    let key = AttestationKey::from_public(&body.attestation_key)
        .map_err(|error| malformed(error.to_string()))?;
    let verified = quote.verify(&key).map_err(|error| match error {
        QuoteError::Signature => EvidenceError::Signature {
            kind: KIND,
            part: "quote",
        },
        error => malformed(error.to_string()),
    })?;
    let refused = |reason: &str| EvidenceError::Refused {
        kind: KIND,
        reason: reason.to_owned(),
    };
    let measurement = boot_measurement(&verified.registers)
        .ok_or_else(|| refused("the quote leaves a boot register out"))?;
    let digest = <[u8; 32]>::try_from(verified.extra_data.as_slice())
        .map_err(|_| refused("the quote binds no digest"))?;
    Ok(Claims {
        kind: KIND,
        measurement,
        report_data: ReportData::from(Digest(digest)),
        protects_from_host: false,
        platform: Platform {
            chip: Some(body.chip),
            ..Platform::default()
        },
    })
}
