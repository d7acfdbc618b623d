//! Who makes this host's evidence, and of which code?
//!
//! Development evidence names the enclave's program. Hardware names what it
//! measured itself, the guest or the boot, and so the offer does too. Nothing
//! is judged here but at the start, so that a host without a chance does not
//! offer.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use attest::{Moment, Roots, development::QuotingKey, tpm::AttestationKeyCertificate};
use platform::evidence::Hardware;
use wire::{Digest, Evidence, Height, Measurement};

/// What makes evidence.
pub(crate) enum EvidenceMaker {
    /// A quoting key under a development root, for one program.
    Development(QuotingKey, Measurement),
    /// This machine's TEE or TPM, and what it measured.
    Hardware(Arc<Hardware>, Measurement),
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
        let roots = Roots {
            tpm: enroller.as_slice(),
            ..Roots::default()
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(|error| error.to_string())?;
        let moment = Moment {
            height: Height(0),
            time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        };
        let claims =
            attest::verify(&evidence, &roots, moment).map_err(|error| error.to_string())?;
        Ok(Self::Hardware(Arc::new(hardware), claims.measurement))
    }

    /// The code that its evidence names.
    pub(crate) fn measurement(&self) -> Measurement {
        match self {
            Self::Development(_, measurement) | Self::Hardware(_, measurement) => *measurement,
        }
    }

    /// Makes evidence that binds `report_data`; hardware takes its time on a
    /// thread of its own.
    ///
    /// Errors: in words.
    pub(crate) async fn make(&self, report_data: Digest) -> Result<Evidence, String> {
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
        }
    }
}
