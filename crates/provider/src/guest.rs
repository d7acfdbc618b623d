//! How is an enclave launched as the only program of a guest?
//!
//! QEMU starts a kernel, an initramfs and a command line (`script/enclave-guest`
//! makes them) with one virtio-serial port and nothing else: no disk, no network
//! device, no display, no monitor. The port's other end is a socket that QEMU
//! inherits as its standard input, so that no path names it and nobody else can
//! connect. When this process ends, the guest finds its port closed and switches
//! itself off.
//!
//! Without a TEE this is a development form: the host reads the guest's memory.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd as _, fd::OwnedFd, unix::net::UnixStream as SystemStream},
    path::{Path, PathBuf},
    process::Stdio,
};

use platform::MeasuredFile;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
};
use wire::{Digest, Measurement, channel::GUEST_PORT};

use crate::config::GuestConfig;

/// The kernel's own limit on x86 (COMMAND_LINE_SIZE).
const MAX_COMMAND_LINE_BYTES: usize = 2048;

/// What the digest of a guest begins with.
const MEASUREMENT_TAG: &str = "ringfort/measurement/guest/1";

/// All that a guest starts from: opened, and measured through the same descriptors.
pub struct GuestImage {
    kernel: File,
    initramfs: File,
    command_line: String,
    measurement: Measurement,
    config: GuestConfig,
}

/// Why guests cannot be launched.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A file of the image.
    #[error("the guest's {what} {path} cannot be used: {reason}")]
    File {
        /// Which part.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// QEMU.
    #[error("the guest's machine {qemu} cannot be started: {source}")]
    Machine {
        /// The program.
        qemu: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl GuestImage {
    /// Opens and measures the image, and sees whether there is a QEMU.
    ///
    /// Errors: [`GuestError`].
    pub fn open(config: GuestConfig) -> Result<Self, GuestError> {
        let file = |what, path: &Path| {
            MeasuredFile::open(path).map_err(|error| unusable(what, path)(error.to_string()))
        };
        let kernel = file("kernel", &config.kernel)?;
        let initramfs = file("initramfs", &config.initramfs)?;
        let command_line = read_command_line(&config.command_line)?;
        let line_sha256 = Digest::of(&[command_line.as_bytes()]).0;
        let parts: [&[u8]; 3] = [
            &kernel.measurement.0,
            &initramfs.measurement.0,
            &line_sha256,
        ];
        let measurement = Measurement(Digest::tagged(MEASUREMENT_TAG, &parts).0);
        std::process::Command::new(&config.qemu)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|source| GuestError::Machine {
                qemu: config.qemu.clone(),
                source,
            })?;
        Ok(Self {
            kernel: kernel.file,
            initramfs: initramfs.file,
            command_line,
            measurement,
            config,
        })
    }

    /// A digest of the kernel's, the initramfs's and the command line's SHA-256
    /// (docs/spec/enclave.md §8).
    pub fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// Starts a guest; gives its machine's process and the channel.
    ///
    /// Errors: the system's.
    pub(crate) fn spawn(&self, stderr: Stdio) -> io::Result<(Child, UnixStream)> {
        let (near, far) = SystemStream::pair()?;
        near.set_nonblocking(true)?;
        let child = Command::new(&self.config.qemu)
            .args(self.arguments())
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(far)))
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()?;
        Ok((child, UnixStream::from_std(near)?))
    }

    /// QEMU's arguments, without the program.
    fn arguments(&self) -> Vec<String> {
        // The files that were measured, whatever their paths name by now.
        let own = std::process::id();
        let opened = |file: &File| format!("/proc/{own}/fd/{}", file.as_raw_fd());
        let mut arguments: Vec<String> = ["-no-user-config", "-nodefaults", "-no-reboot"]
            .into_iter()
            .chain(["-display", "none", "-monitor", "none"])
            .map(str::to_owned)
            .collect();
        let mut add = |name: &str, value: String| {
            arguments.extend([name.to_owned(), value]);
        };
        add("-m", self.config.memory_mib.to_string());
        add("-smp", self.config.processors.to_string());
        add("-kernel", opened(&self.kernel));
        add("-initrd", opened(&self.initramfs));
        add("-append", self.command_line.clone());
        add("-device", "virtio-serial-pci,max_ports=2".to_owned());
        add("-chardev", "socket,id=channel,fd=0".to_owned());
        let port = format!("virtserialport,chardev=channel,nr=1,name={GUEST_PORT}");
        add("-device", port);
        arguments.extend(self.config.arguments.iter().cloned());
        arguments
    }
}

/// One line that the kernel takes whole: what it hears is what was measured.
fn read_command_line(path: &Path) -> Result<String, GuestError> {
    let refuse = unusable("command line", path);
    let line = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    if line.len() >= MAX_COMMAND_LINE_BYTES {
        return Err(refuse(format!(
            "{} bytes; the kernel takes fewer than {MAX_COMMAND_LINE_BYTES}",
            line.len()
        )));
    }
    if line.contains(['\n', '\0']) {
        return Err(refuse("it is not one line".to_owned()));
    }
    Ok(line)
}

fn unusable<'a>(what: &'static str, path: &'a Path) -> impl Fn(String) -> GuestError + 'a {
    move |reason| GuestError::File {
        what,
        path: path.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let files = Self(tempfile::tempdir().unwrap());
            files.write("kernel", b"k");
            files.write("initramfs", b"i");
            files.write("command-line", b"panic=-1");
            files
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            std::fs::write(self.0.path().join(name), bytes).unwrap();
        }

        fn open(&self) -> Result<GuestImage, GuestError> {
            GuestImage::open(GuestConfig {
                kernel: self.0.path().join("kernel"),
                initramfs: self.0.path().join("initramfs"),
                command_line: self.0.path().join("command-line"),
                qemu: "true".into(),
                memory_mib: 512,
                processors: 1,
                arguments: vec!["-machine".to_owned(), "q35".to_owned()],
            })
        }
    }

    #[test]
    fn every_part_of_the_image_is_measured() {
        let files = Files::new();
        let mut seen = vec![files.open().unwrap().measurement()];
        for name in ["kernel", "initramfs", "command-line"] {
            files.write(name, b"other");
            seen.push(files.open().unwrap().measurement());
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn a_guest_has_one_port_and_what_the_operator_adds() {
        let arguments = Files::new().open().unwrap().arguments();
        assert!(arguments.ends_with(&["-machine".to_owned(), "q35".to_owned()]));
        let devices = arguments.iter().filter(|one| *one == "-device").count();
        assert_eq!(devices, 2, "{arguments:?}");
        assert!(!arguments.iter().any(|one| one.contains("net")));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let files = Files::new();
        files.write("command-line", b"one\ntwo");
        let error = files.open().err().unwrap().to_string();
        assert!(error.contains("command-line") && error.contains("one line"));
        files.write("command-line", &[b'a'; MAX_COMMAND_LINE_BYTES]);
        assert!(files.open().is_err());
        files.write("command-line", b"");
        std::fs::remove_file(files.0.path().join("kernel")).unwrap();
        let error = files.open().err().unwrap().to_string();
        assert!(error.contains("the guest's kernel"), "{error}");
        files.write("kernel", b"k");
        let mut config = files.open().unwrap().config;
        config.qemu = "/nowhere/qemu".into();
        let error = GuestImage::open(config).err().unwrap().to_string();
        assert!(error.contains("/nowhere/qemu"), "{error}");
    }
}
