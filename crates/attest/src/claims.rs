//! What does evidence say, once it is known to be genuine?
//!
//! Trusts the roots it is handed; leaves to [`crate::appraise`] whether the
//! claims are good enough.

use wire::{
    Digest, Evidence, EvidenceKind, Height, Measurement, PublicKey, SnpTcb, TcbStatus,
    limits::MAX_EVIDENCE_BYTES,
};

use crate::{dcap, development, nitro, snp, tpm};

/// The roots of trust, by kind of evidence.
///
/// Shape: one list for each kind, in any order. The default trusts the
/// hardware vendors and nobody else.
#[derive(Clone, Copy, Debug)]
pub struct Roots<'a> {
    /// Keys that certify development quoting keys; empty in a production circle.
    pub development: &'a [PublicKey],
    /// Keys that certify TPM attestation keys, after credential activation.
    pub tpm: &'a [PublicKey],
    /// Intel's SGX root certificate, DER.
    pub intel: &'a [u8],
    /// AMD's roots, one for each generation of processors.
    pub amd: &'a [snp::Product<'a>],
    /// Amazon's root certificate for Nitro Enclaves, DER.
    pub aws: &'a [u8],
}

impl Default for Roots<'_> {
    fn default() -> Self {
        Self {
            development: &[],
            tpm: &[],
            intel: dcap::INTEL_ROOT,
            amd: snp::PRODUCTS,
            aws: nitro::AWS_ROOT,
        }
    }
}

/// When evidence is verified, as the caller's ledger or clock has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The height, for certificates of this circle's own making.
    pub height: Height,
    /// Unix milliseconds, for certificates of hardware vendors.
    pub time_ms: u64,
}

/// What an attester binds to itself: 64 bytes in every TEE. Ours is a digest
/// and 32 zero bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportData(pub [u8; 64]);

impl From<Digest> for ReportData {
    fn from(digest: Digest) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&digest.0);
        Self(bytes)
    }
}

/// What genuine evidence says of the machine beneath the code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// The vendor's judgement; none for kinds without one.
    pub tcb: Option<TcbStatus>,
    /// Advisories that apply, as the vendor names them; ascending.
    pub advisories: Vec<String>,
    /// An AMD platform's security versions.
    pub snp_tcb: Option<SnpTcb>,
    /// The machine: a digest of its chip's identity ([`chip_digest`]).
    pub chip: Option<Digest>,
    /// How old the oldest of the vendor's perishable statements is, milliseconds.
    pub collateral_age_ms: Option<u64>,
    /// Whether the vendor's revocation list was consulted.
    pub revocation_checked: bool,
}

/// What genuine evidence says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The kind of evidence.
    pub kind: EvidenceKind,
    /// The code that was measured; how it is formed is the kind's.
    pub measurement: Measurement,
    /// What the attester bound to itself ([`wire::EnclaveKeys::report_data`]).
    pub report_data: ReportData,
    /// Whether the host is kept out of the attester's memory.
    pub protects_from_host: bool,
    /// The machine beneath.
    pub platform: Platform,
}

/// Why evidence says nothing: the attester's or its host's fault, never ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Over [`MAX_EVIDENCE_BYTES`].
    #[error("evidence of {0} bytes is over the limit of {MAX_EVIDENCE_BYTES}")]
    TooLarge(usize),
    /// Not the canonical encoding of its kind.
    #[error("the {} evidence does not decode: {reason}", kind.name())]
    Malformed {
        /// The kind that it claims to be.
        kind: EvidenceKind,
        /// What the decoder met.
        reason: String,
    },
    /// The certificate chain does not end at a root that was handed in.
    #[error("the {} evidence is certified by a root that is not trusted here", .0.name())]
    UnknownRoot(EvidenceKind),
    /// The certificate of the key that quotes has expired.
    #[error("the quoting key's certificate held until height {not_after}")]
    Expired {
        /// The last height at which it held.
        not_after: Height,
    },
    /// A signature of the chain does not verify.
    #[error("the {part} of the {} evidence is not signed by its signer", kind.name())]
    Signature {
        /// The kind of evidence.
        kind: EvidenceKind,
        /// Which part.
        part: &'static str,
    },
    /// A certificate or list does not hold at this moment.
    #[error("the {part} of the {} evidence does not hold now", kind.name())]
    OutOfTime {
        /// The kind of evidence.
        kind: EvidenceKind,
        /// Which part.
        part: &'static str,
    },
    /// A certificate of the chain was revoked by its issuer.
    #[error("the {part} of the {} evidence was revoked", kind.name())]
    Revoked {
        /// The kind of evidence.
        kind: EvidenceKind,
        /// Which part.
        part: &'static str,
    },
    /// The parts are signed and do not belong together, or the attester runs
    /// in a way in which its word is worth nothing (debugging, for instance).
    #[error("the {} evidence is refused: {reason}", kind.name())]
    Refused {
        /// The kind of evidence.
        kind: EvidenceKind,
        /// Which rule does not hold.
        reason: String,
    },
}

/// The digest by which a machine is known.
///
/// Shape: `vendor` is one word; `identity` is what the vendor tells chips
/// apart by (Intel's PPID, AMD's chip id, a TPM's endorsement key).
pub fn chip_digest(vendor: &str, identity: &[u8]) -> Digest {
    Digest::tagged("ringfort/chip/1", &[vendor.as_bytes(), identity])
}

/// Checks that `evidence` is genuine and says what it claims.
///
/// Pure: the same arguments have the same result on every machine, so that
/// validators agree.
///
/// Errors: [`EvidenceError`], the first rule that does not hold.
/// Source: docs/spec/evidence.md.
pub fn verify(
    evidence: &Evidence,
    roots: &Roots<'_>,
    moment: Moment,
) -> Result<Claims, EvidenceError> {
    let Evidence { kind, bytes } = evidence;
    if bytes.len() > MAX_EVIDENCE_BYTES {
        return Err(EvidenceError::TooLarge(bytes.len()));
    }
    match kind {
        EvidenceKind::Development => development::verify(bytes, roots.development, moment),
        EvidenceKind::Tpm => tpm::verify(bytes, roots.tpm, moment),
        EvidenceKind::SgxDcap | EvidenceKind::TdxDcap => {
            dcap::verify(*kind, bytes, roots.intel, moment)
        }
        EvidenceKind::SevSnp => snp::verify(bytes, roots.amd, moment),
        EvidenceKind::AwsNitro => nitro::verify(bytes, roots.aws, moment),
    }
}
