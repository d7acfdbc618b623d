//! What does evidence say, once it is known to be genuine?
//!
//! Trusts the roots it is handed; leaves to [`crate::appraise`] whether the
//! claims are good enough.

use wire::{
    Digest, Evidence, EvidenceKind, Height, Measurement, PublicKey, limits::MAX_EVIDENCE_BYTES,
};

use crate::development;

/// The roots of trust, by kind of evidence.
///
/// Shape: one list for each kind that this build verifies, in any order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Roots<'a> {
    /// Keys that certify development quoting keys; empty in a production circle.
    pub development: &'a [PublicKey],
}

/// When evidence is verified, as the caller's ledger or clock has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The height, for certificates of this circle's own making.
    pub height: Height,
    /// Unix milliseconds, for certificates of hardware vendors.
    pub time_ms: u64,
}

/// What genuine evidence says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The kind of evidence.
    pub kind: EvidenceKind,
    /// SHA-256 of the code that was measured.
    pub measurement: Measurement,
    /// What the attester bound to itself ([`wire::EnclaveKeys::report_data`]).
    pub report_data: Digest,
    /// Whether the host is kept out of the attester's memory.
    pub protects_from_host: bool,
}

/// Why evidence says nothing: the attester's or its host's fault, never ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Over [`MAX_EVIDENCE_BYTES`].
    #[error("evidence of {0} bytes is over the limit of {MAX_EVIDENCE_BYTES}")]
    TooLarge(usize),
    /// A kind for which this build has no verifier.
    #[error("this build has no verifier for {} evidence", .0.name())]
    Unsupported(EvidenceKind),
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
    /// The quoting key's certificate has expired.
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
}

/// Checks that `evidence` is genuine and says what it claims.
///
/// Errors: [`EvidenceError`], the first rule that does not hold.
/// Source: docs/spec/evidence.md.
pub fn verify(
    evidence: &Evidence,
    roots: &Roots<'_>,
    moment: Moment,
) -> Result<Claims, EvidenceError> {
    if evidence.bytes.len() > MAX_EVIDENCE_BYTES {
        return Err(EvidenceError::TooLarge(evidence.bytes.len()));
    }
    match evidence.kind {
        EvidenceKind::Development => {
            development::verify(&evidence.bytes, roots.development, moment)
        }
        EvidenceKind::Tpm
        | EvidenceKind::SgxDcap
        | EvidenceKind::TdxDcap
        | EvidenceKind::SevSnp => Err(EvidenceError::Unsupported(evidence.kind)),
    }
}
