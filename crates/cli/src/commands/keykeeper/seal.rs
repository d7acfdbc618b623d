//! The key that a keykeeper's state is sealed under, in the host's TPM: given back
//! only while the machine is what it was when it was sealed.
//!
//! It keeps the state from who has the disk, also with the machine around it and
//! another system started on it; not from root on the system that it was sealed on.

use std::path::Path;

use anyhow::Context as _;
use borsh::{BorshDeserialize, BorshSerialize};
use keyhost::Files;
use platform::{
    TPM_DEVICE,
    tpm::{Sealed, Tpm, TpmError},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::failure::Advice;

/// A sealed key with what the registers held is below this.
const MAX_SEALED_BYTES: u64 = 16 * 1024;

/// TPM_RC_POLICY_FAIL, of the first session of a command (part 2, §6.6.3).
const POLICY_FAIL: u32 = 0x99d;

/// To which TPM and registers the sealing key is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmSeal {
    /// A device, or the socket of a software TPM.
    #[serde(default = "device")]
    pub tpm: String,
    /// SHA-256 registers that must be what they were.
    #[serde(default = "registers")]
    pub registers: Vec<u8>,
}

fn device() -> String {
    TPM_DEVICE.to_owned()
}

/// Firmware and its configuration, what it loads, the boot loader or kernel, secure
/// boot, and what those load: initramfs and command line (TCG PC Client Platform
/// Firmware Profile, §3.3.4). IMA's register moves all the time and cannot be one.
fn registers() -> Vec<u8> {
    vec![0, 2, 4, 7, 9]
}

/// What is on disk: of use with this TPM alone.
#[derive(BorshSerialize, BorshDeserialize)]
struct Kept {
    sealed: Sealed,
    /// What each register held, to tell people which one moved.
    held: Vec<(u8, [u8; 32])>,
}

impl TpmSeal {
    fn open(&self) -> anyhow::Result<Tpm> {
        Tpm::open(&self.tpm).with_context(|| format!("open the TPM at {}", self.tpm))
    }

    /// The sealing key. At the first time it is made and sealed; one that was in a file
    /// is sealed and its file removed.
    ///
    /// Errors: the TPM's and the file system's; advice if the registers moved.
    pub fn sealing_key(&self, files: &Files) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        let path = files.directory().join("sealing.tpm");
        if path.exists() {
            return unseal(&mut self.open()?, &path);
        }
        if self.registers.is_empty() || self.registers.iter().any(|register| *register > 23) {
            return Err(Advice::new(
                "[seal] names no registers, or one that a TPM does not have",
                "leave `registers` out for the usual ones; they are 0 to 23",
            )
            .into());
        }
        // Made in a file, or taken from one that is there; the file goes once the key
        // has come back out of the TPM.
        let key = files.sealing_key().context("make the sealing key")?;
        let mut tpm = self.open()?;
        let held = tpm.read_registers(&self.registers)?.into_iter().collect();
        let sealed = tpm
            .seal(&self.registers, &key[..])
            .context("seal the key in the TPM")?;
        let kept = borsh::to_vec(&Kept { sealed, held })?;
        files
            .replace(&path, &kept)
            .with_context(|| format!("write {}", path.display()))?;
        if *unseal(&mut tpm, &path)? != *key {
            anyhow::bail!("the TPM gives another key back than it was given");
        }
        files.forget_sealing_key().context("remove sealing.key")?;
        Ok(key)
    }
}

fn unseal(tpm: &mut Tpm, path: &Path) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let length = std::fs::metadata(path)?.len();
    let bytes = if length <= MAX_SEALED_BYTES {
        std::fs::read(path).with_context(|| format!("read {}", path.display()))?
    } else {
        Vec::new()
    };
    let kept = Kept::try_from_slice(&bytes)
        .with_context(|| format!("{} is no sealed key", path.display()))?;
    let opened = match tpm.unseal(&kept.sealed) {
        Ok(opened) => opened,
        Err(TpmError::Refused {
            code: POLICY_FAIL, ..
        }) => return Err(moved(tpm, &kept)),
        Err(error) => {
            return Err(anyhow::Error::new(error)
                .context("open the sealed key: was it sealed by this TPM?"));
        }
    };
    let mut key = Zeroizing::new([0; 32]);
    if opened.len() != key.len() {
        anyhow::bail!("{} holds no key of 32 bytes", path.display());
    }
    key.copy_from_slice(&opened);
    Ok(key)
}

/// Which registers moved, and what to do about it.
fn moved(tpm: &mut Tpm, kept: &Kept) -> anyhow::Error {
    let registers: Vec<u8> = kept.held.iter().map(|(register, _)| *register).collect();
    let now = tpm.read_registers(&registers).unwrap_or_default();
    let differ: Vec<String> = kept
        .held
        .iter()
        .filter(|(register, value)| now.get(register) != Some(value))
        .map(|(register, _)| register.to_string())
        .collect();
    Advice::new(
        format!(
            "the TPM refuses the sealing key: register {} is not what it was, so firmware, \
             boot loader, kernel, initramfs or command line are others",
            differ.join(", ")
        ),
        "start what ran before; if the change is yours, this share is lost: have the members \
         vote for keykeepers without it (`ringfort key keepers`) and begin anew in an empty \
         data_dir, or restore it (`ringfort key recover`)",
    )
    .into()
}
