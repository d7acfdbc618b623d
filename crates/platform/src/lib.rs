//! What this machine's security hardware can say, without vendor libraries.
//!
//! - [`tsm`]: reports of TDX and SEV-SNP guests, through the Linux kernel's
//!   configfs-tsm;
//! - [`tpm`]: a TPM 2.0, through its device or a socket;
//! - [`evidence`]: either, packed with what the vendor says of it;
//! - [`MeasuredFile`]: a program's file, for evidence that no hardware gives.
//!
//! RFC 9334's *attester* side: evidence is made here and judged by `attest`,
//! which takes no I/O. [`tpm::Challenge`] is the one part of the verifier's
//! side that stands here, because it needs entropy.

pub mod evidence;
mod measured;
pub mod tpm;

use std::path::Path;

pub use measured::MeasuredFile;
pub use tsm;

/// The device through which the kernel shares a TPM between processes.
pub const TPM_DEVICE: &str = "/dev/tpmrm0";

/// What a machine could give evidence of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The kernel's TEE report provider, such as `tdx_guest` or `sev_guest`.
    pub tee: Option<String>,
    /// Whether there is a TPM 2.0.
    pub tpm: bool,
}

impl Capabilities {
    /// Looks at this machine.
    pub fn of_this_machine() -> Self {
        Self::of(Path::new(tsm::REPORTS), Path::new(TPM_DEVICE))
    }

    /// Looks at the kernel's report directory and a TPM's device.
    pub fn of(reports: &Path, device: &Path) -> Self {
        Self {
            tee: tsm::provider(&tsm::ConfigFs::at(reports)).ok(),
            tpm: device.exists(),
        }
    }

    /// One sentence for people.
    pub fn sentence(&self) -> String {
        match (&self.tee, self.tpm) {
            (Some(tee), true) => {
                format!("This machine can give TEE evidence ({tee}) and TPM evidence.")
            }
            (Some(tee), false) => format!("This machine can give TEE evidence ({tee}), no TPM's."),
            (None, true) => {
                "This machine can give TPM evidence of what it booted; it has no TEE to keep \
                 its host out."
                    .to_owned()
            }
            (None, false) => {
                "This machine has neither a TEE nor a TPM: it can give development evidence only."
                    .to_owned()
            }
        }
    }
}
