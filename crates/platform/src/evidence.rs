//! Evidence, whole: what the hardware says, packed with what its vendor says of
//! it. The vendor's word is read from files that an operator refreshes, since a
//! host in a circle need not reach the vendor.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use attest::{
    dcap::{self, Collateral},
    snp,
    tpm::{AttestationKeyCertificate, pack as pack_quote},
};
use tsm::{ReportFiles, TsmError, TsmReport};
use wire::{Digest, Evidence, EvidenceKind};

use crate::tpm::{Tpm, TpmError};

/// Intel's collateral, as a PCCS client answers it (JSON).
pub const COLLATERAL_FILE: &str = "collateral.json";

/// AMD's certificate of this chip's key (VCEK), DER.
pub const ENDORSEMENT_FILE: &str = "vcek.der";

/// AMD's revocation list, DER; it may be missing.
pub const REVOCATIONS_FILE: &str = "crl.der";

/// The registers that a TPM's evidence covers.
const REGISTERS: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/// What makes this machine's evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hardware {
    /// The TEE that this machine is a guest of, with the vendor's files.
    Tee {
        /// The directory that holds [`COLLATERAL_FILE`], or
        /// [`ENDORSEMENT_FILE`] and [`REVOCATIONS_FILE`].
        endorsements: PathBuf,
    },
    /// A TPM.
    Tpm {
        /// Its device, or a socket.
        path: String,
        /// The attestation key's certificate, as an enroller made it.
        certificate: PathBuf,
    },
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The kernel's TEE reports.
    #[error(transparent)]
    Tsm(#[from] TsmError),
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// A file of the vendor's or the enroller's.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file or quote that is not what it should be.
    #[error("{what}: {reason}")]
    Unusable {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// The certificate is for another key than this TPM's.
    #[error("the certificate is for another attestation key than this TPM's")]
    OtherKey,
}

fn read(path: &Path) -> Result<Vec<u8>, EvidenceError> {
    fs::read(path).map_err(|source| EvidenceError::File {
        path: path.to_owned(),
        source,
    })
}

fn unusable(what: &Path) -> impl Fn(String) -> EvidenceError {
    move |reason| EvidenceError::Unusable {
        what: what.display().to_string(),
        reason,
    }
}

impl Hardware {
    /// Has this machine's hardware make evidence that binds `report_data`.
    ///
    /// Blocks for as long as the hardware takes: a second for a TPM.
    ///
    /// Errors: [`EvidenceError`].
    pub fn evidence(&self, report_data: Digest) -> Result<Evidence, EvidenceError> {
        match self {
            Self::Tee { endorsements } => {
                let files = tsm::ConfigFs::at(Path::new(tsm::REPORTS));
                tee_evidence(&files, endorsements, report_data)
            }
            Self::Tpm { path, certificate } => tpm_evidence(path, certificate, report_data),
        }
    }
}

/// Evidence of the TEE whose reports are in `files`.
///
/// Errors: [`EvidenceError`].
pub fn tee_evidence(
    files: &impl ReportFiles,
    endorsements: &Path,
    report_data: Digest,
) -> Result<Evidence, EvidenceError> {
    let report = tsm::report(files, &attest::ReportData::from(report_data).0)?;
    packed_report(&report, endorsements)
}

/// A TEE's report, of whatever machine, with what its vendor says of it.
///
/// Errors: [`EvidenceError`].
pub fn packed_report(report: &TsmReport, endorsements: &Path) -> Result<Evidence, EvidenceError> {
    if report.kind == EvidenceKind::SevSnp {
        let endorsement = read(&endorsements.join(ENDORSEMENT_FILE))?;
        let revocations = read(&endorsements.join(REVOCATIONS_FILE)).ok();
        return Ok(snp::pack(
            &report.report,
            &endorsement,
            revocations.as_deref(),
        ));
    }
    let path = endorsements.join(COLLATERAL_FILE);
    let collateral =
        Collateral::from_json(&read(&path)?).map_err(|error| unusable(&path)(error.to_string()))?;
    dcap::pack(&report.report, collateral).map_err(|error| EvidenceError::Unusable {
        what: "the kernel's quote".to_owned(),
        reason: error.to_string(),
    })
}

fn tpm_evidence(
    path: &str,
    certificate: &Path,
    report_data: Digest,
) -> Result<Evidence, EvidenceError> {
    let certified = AttestationKeyCertificate::decode(&read(certificate)?)
        .map_err(|error| unusable(certificate)(error.to_string()))?;
    let mut tpm = Tpm::open(path)?;
    let key = tpm.attestation_key()?;
    let quote = if key.public == certified.body.attestation_key {
        Ok(tpm.quote(&key, &REGISTERS, &report_data.0)?)
    } else {
        Err(EvidenceError::OtherKey)
    };
    tpm.flush(key)?;
    Ok(pack_quote(&certified, &quote?))
}
