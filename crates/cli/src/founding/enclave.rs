//! Which enclave program does a circle admit, and is it still the one it has?
//!
//! The genesis admits one program by its SHA-256, or one guest whose only program
//! that is. The circle keeps a copy of its own, so that rebuilding this product
//! does not take its enclaves away.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use platform::MeasuredFile;
use provider::{GUEST_OWN_MIB, GuestConfig, GuestImage};
use wire::{Measurement, Resources};

use crate::{
    failure::Advice,
    session::Session,
    state_directory::{Embedded, StateDirectory},
};

/// The program's file name.
const NAME: &str = "ringfort-enclave";

/// The file name of the keykeeper's program.
const KEYKEEPER_NAME: &str = "ringfort-keykeeper";

/// The parts of a guest's image, as `script/enclave-guest` names them.
const GUEST_FILES: [&str; 3] = ["kernel", "initramfs", "command-line"];

/// A guest's memory: what an embedded circle's guests offer to a replica
/// ([`GUEST_REPLICA_LIMIT`]) and what they keep. Taken as it is used.
const GUEST_MEMORY_MIB: u32 = 1024;

/// The most that one replica may ask of a guest in an embedded circle.
pub const GUEST_REPLICA_LIMIT: Resources = Resources {
    cpu_milli: 1000,
    memory_mib: GUEST_MEMORY_MIB - GUEST_OWN_MIB,
    storage_mib: 256,
};

/// What a new circle's providers launch.
pub enum Program {
    /// A process of this program.
    Process(PathBuf),
    /// A guest, from the image in this directory.
    Guest(PathBuf),
}

impl Program {
    /// Gives the circle at `state` a copy of its own; what that measures to.
    ///
    /// Errors: a file cannot be copied; guests cannot be launched here.
    pub fn copy_into(&self, state: &StateDirectory) -> anyhow::Result<Measurement> {
        let copy = |from: &Path, to: &Path| -> anyhow::Result<()> {
            std::fs::create_dir_all(to.parent().unwrap_or(state.root()))?;
            std::fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
            Ok(())
        };
        match self {
            Self::Process(path) => {
                copy(path, &state.enclave())?;
                measure(&state.enclave())
            }
            Self::Guest(directory) => {
                // First, so that what is missing is told with what to do.
                measure_guest(directory)?;
                for name in GUEST_FILES {
                    copy(&directory.join(name), &state.guest().join(name))?;
                }
                measure_guest(&state.guest())
            }
        }
    }
}

/// How the guest whose image is in `directory` is launched: emulated, so that it
/// runs on every machine, slowly.
pub fn guest(directory: &Path) -> GuestConfig {
    let [kernel, initramfs, command_line] = GUEST_FILES.map(|name| directory.join(name));
    GuestConfig {
        kernel,
        initramfs,
        command_line,
        qemu: "qemu-system-x86_64".into(),
        memory_mib: GUEST_MEMORY_MIB,
        processors: 1,
        arguments: ["-machine", "q35,accel=tcg", "-cpu", "max"]
            .map(str::to_owned)
            .to_vec(),
    }
}

/// What development evidence names for the guest whose image is in `directory`.
///
/// Errors: a file cannot be used; there is no QEMU.
pub fn measure_guest(directory: &Path) -> anyhow::Result<Measurement> {
    match GuestImage::open(guest(directory)) {
        Ok(image) => Ok(image.measurement()),
        Err(error) => Err(Advice::new(
            error.to_string(),
            "`script/enclave-guest DIRECTORY` makes an image; script/setup installs QEMU",
        )
        .into()),
    }
}

/// The enclave program: `given`, or the one beside this program.
///
/// Errors: there is none.
pub fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()
            .context("find our own program")?
            .with_file_name(NAME),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Advice::new(
        format!("there is no enclave program at {}", path.display()),
        "build it with `cargo build -p enclave`, or name one with --enclave FILE",
    )
    .into())
}

/// The keykeeper's program: the one beside this program; none if it was not built.
///
/// Errors: this program does not know where it is.
pub fn find_keykeeper() -> anyhow::Result<Option<PathBuf>> {
    let path = std::env::current_exe()
        .context("find our own program")?
        .with_file_name(KEYKEEPER_NAME);
    Ok(path.is_file().then_some(path))
}

/// SHA-256 of the program: what development evidence measures.
///
/// Errors: the file cannot be read.
pub fn measure(path: &Path) -> anyhow::Result<Measurement> {
    let measured =
        MeasuredFile::open(path).with_context(|| format!("measure {}", path.display()))?;
    Ok(measured.measurement)
}

/// Checks that the circle's copy is what its genesis admits.
///
/// Errors: it is gone or was changed.
pub fn check_copy(state: &StateDirectory, embedded: &Embedded) -> anyhow::Result<()> {
    let (path, what) = if embedded.guest {
        (state.guest(), "guest image")
    } else {
        (state.enclave(), "enclave program")
    };
    let advice = "put the program back whose SHA-256 the genesis admits, or make a new circle: \
                  `ringfort down --purge`, then `ringfort up`";
    if !path.exists() {
        let text = format!("the circle's {what} {} is gone", path.display());
        return Err(Advice::new(text, advice).into());
    }
    let measured = if embedded.guest {
        measure_guest(&path)?
    } else {
        measure(&path)?
    };
    if measured != embedded.measurement {
        let text = format!(
            "the circle's {what} {} was changed: it measures {}, and the genesis admits {}",
            path.display(),
            measured,
            embedded.measurement
        );
        return Err(Advice::new(text, advice).into());
    }
    Ok(())
}

/// Says that the program found beside this one is not the circle's; refuses it if it was asked for.
///
/// Errors: `asked` for a program that the genesis does not admit.
pub fn compare(
    session: &Session,
    found: Measurement,
    admitted: Measurement,
    asked: bool,
) -> anyhow::Result<()> {
    if found == admitted {
        return Ok(());
    }
    let anew = "to use the new one, make a new circle: `ringfort down --purge`, then `ringfort up`";
    let text = format!(
        "the enclave program was rebuilt since this circle was made: it measures {}…, and the \
         genesis admits {}…",
        found.short(),
        admitted.short()
    );
    if asked {
        return Err(Advice::new(text, format!("leave the option out to go on; {anew}")).into());
    }
    session.terminal.note(&format!(
        "{text}; the circle goes on with its own copy; {anew}"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_absent_copy_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(directory.path());
        std::fs::create_dir_all(state.enclave().parent().unwrap()).unwrap();
        std::fs::write(state.enclave(), b"program").unwrap();
        let mut embedded = Embedded {
            base_port: 40_000,
            validators: 4,
            providers: 2,
            keykeepers: 3,
            guest: false,
            measurement: measure(&state.enclave()).unwrap(),
        };
        check_copy(&state, &embedded).unwrap();
        embedded.measurement.0[0] ^= 1;
        let error = check_copy(&state, &embedded).unwrap_err().to_string();
        assert!(error.contains("was changed"), "{error}");
        std::fs::remove_file(state.enclave()).unwrap();
        let error = check_copy(&state, &embedded).unwrap_err().to_string();
        assert!(error.contains("is gone"), "{error}");
    }
}
