//! May this enclave have the key? The user's own appraisal, before release.
//!
//! The ledger has appraised the evidence too; this process does so again, by
//! the circle's proven rules of this moment and by the user's own policy. Which
//! code the circle admits is for its members to vote; who does not want to rely
//! on them pins the measurement (`run --measurement`).

use attest::{AppraisalPolicy, Moment, Roots};
use wire::{CircleKind, ContractId, EvidenceKind, Measurement, RequestTerms, record};

/// An enclave that the request's policy accepts; only [`appraise`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appraised {
    kind: EvidenceKind,
    measurement: Measurement,
    protects_from_host: bool,
    context: handshake::Context,
}

/// Why an enclave gets no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceRefused {
    /// The evidence is not genuine.
    #[error("its evidence does not hold: {0}")]
    NotGenuine(#[from] attest::EvidenceError),
    /// The evidence is genuine and not good enough.
    #[error("its evidence is not accepted: {0}")]
    NotAccepted(#[from] attest::AppraisalError),
}

impl Appraised {
    /// The kind of evidence.
    pub fn kind(&self) -> EvidenceKind {
        self.kind
    }

    /// The code that was measured.
    pub fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// Whether the host is kept out; never so for development evidence.
    pub fn protects_from_host(&self) -> bool {
        self.protects_from_host
    }

    /// What the handshake binds.
    pub(crate) fn context(&self) -> &handshake::Context {
        &self.context
    }
}

/// Verifies and appraises the enclave of `contract` for a request with `terms`.
///
/// All inputs come from proven records; `moment` is the proof's block.
///
/// Errors: [`EvidenceRefused`], the first rule that does not hold.
pub fn appraise(
    rules: &record::Rules,
    contract: ContractId,
    terms: &RequestTerms,
    enclave: &record::Enclave,
    moment: Moment,
) -> Result<Appraised, EvidenceRefused> {
    let circle = rules.circle;
    let roots = Roots {
        development: &rules.development_roots,
        tpm: &rules.evidence.tpm_enrollers,
        ..Roots::default()
    };
    let claims = attest::verify(&enclave.evidence, &roots, moment)?;
    let policy = AppraisalPolicy {
        reference_values: &rules.reference_values,
        circle: &rules.evidence.policy,
        accepted_kinds: &terms.evidence,
        report_data: enclave
            .keys
            .report_data(circle, contract, &terms.agreement_key),
        measurement: terms.measurement,
        request: &terms.evidence_policy,
        require_host_protection: rules.kind == CircleKind::Production,
    };
    let result = attest::appraise(&claims, &policy)?;
    Ok(Appraised {
        kind: result.kind,
        measurement: result.measurement,
        protects_from_host: result.protects_from_host,
        context: handshake::Context {
            circle,
            contract,
            evidence: enclave.evidence.digest(),
            payload_sha256: terms.payload.sha256,
            user_agreement: terms.agreement_key,
            enclave_agreement: enclave.keys.agreement,
        },
    })
}
