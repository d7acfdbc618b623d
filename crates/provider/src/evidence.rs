//! Who makes this host's evidence, and of which code?
//!
//! Development evidence names the enclave's program, or its guest's image. Hardware names what it
//! measured itself, the guest or the boot, and so the offer does too. Nothing
//! is judged here but at the start, so that a host without a chance does not
//! offer.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use attest::{Moment, Roots, development::QuotingKey, tpm::AttestationKeyCertificate};
use platform::{
    evidence::{Hardware, packed_report},
    tsm::TsmReport,
};
use wire::{Digest, Evidence, Height, Measurement, PublicKey, channel::GuestReport};

/// What makes evidence.
pub(crate) enum EvidenceMaker {
    /// A quoting key under a development root, for one program.
    Development(QuotingKey, Measurement),
    /// This machine's TEE or TPM, and what it measured.
    Hardware(Arc<Hardware>, Measurement),
    /// The TEE of each guest, with the vendor's files in a directory, and what
    /// such guests measure to.
    Guest(PathBuf, Measurement),
}

impl EvidenceMaker {
    /// Asks the hardware what it measured.
    ///
    /// Errors: in words; the hardware gives no evidence that verifies now.
    pub(crate) fn of_hardware(hardware: Hardware) -> Result<Self, String> {
        let evidence = hardware
            .evidence(Digest([0; 32]))
            .map_err(|error| error.to_string())?;
        // Whether the circle lists the enroller is the ledger's to say.
        let enroller = match &hardware {
            Hardware::Tee { .. } => None,
            Hardware::Tpm { certificate, .. } => {
                let bytes = std::fs::read(certificate).map_err(|error| error.to_string())?;
                let certificate =
                    AttestationKeyCertificate::decode(&bytes).map_err(|error| error.to_string())?;
                Some(certificate.body.enroller)
            }
        };
        let measurement = measured(&evidence, enroller.as_slice())?;
        Ok(Self::Hardware(Arc::new(hardware), measurement))
    }

    /// Learns from a guest's report what guests of its kind measure to.
    ///
    /// Errors: in words; guests give no evidence that verifies now.
    pub(crate) fn of_guest(report: GuestReport, endorsements: PathBuf) -> Result<Self, String> {
        let evidence = packed(report, &endorsements)?;
        let measurement = measured(&evidence, &[])?;
        Ok(Self::Guest(endorsements, measurement))
    }

    /// The code that its evidence names.
    pub(crate) fn measurement(&self) -> Measurement {
        match self {
            Self::Development(_, measurement)
            | Self::Hardware(_, measurement)
            | Self::Guest(_, measurement) => *measurement,
        }
    }

    /// Makes evidence that binds `report_data`; hardware takes its time on a
    /// thread of its own. `report` is what the enclave's own guest reports.
    ///
    /// Errors: in words.
    pub(crate) async fn make(
        &self,
        report_data: Digest,
        report: Option<GuestReport>,
    ) -> Result<Evidence, String> {
        match self {
            Self::Development(quoting, measurement) => {
                let mut nonce = [0; 32];
                aws_lc_rs::rand::fill(&mut nonce).map_err(|error| error.to_string())?;
                Ok(quoting.quote(*measurement, report_data, nonce))
            }
            Self::Hardware(hardware, _) => {
                let hardware = hardware.clone();
                tokio::task::spawn_blocking(move || hardware.evidence(report_data))
                    .await
                    .map_err(|error| error.to_string())?
                    .map_err(|error| error.to_string())
            }
            Self::Guest(endorsements, _) => packed(
                report.ok_or("the guest has no report of a TEE")?,
                endorsements,
            ),
        }
    }
}

/// A guest's report with what the vendor says of it, from the operator's files.
fn packed(report: GuestReport, endorsements: &Path) -> Result<Evidence, String> {
    let report = TsmReport {
        kind: report.kind,
        report: report.bytes,
        auxiliary: Vec::new(),
    };
    packed_report(&report, endorsements).map_err(|error| error.to_string())
}

/// The code that evidence names, if it verifies now.
fn measured(evidence: &Evidence, enrollers: &[PublicKey]) -> Result<Measurement, String> {
    let roots = Roots {
        tpm: enrollers,
        ..Roots::default()
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| error.to_string())?;
    let moment = Moment {
        height: Height(0),
        time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    };
    let claims = attest::verify(evidence, &roots, moment).map_err(|error| error.to_string())?;
    Ok(claims.measurement)
}
