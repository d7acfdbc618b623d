//! A software TPM beside a test: swtpm, which nobody here wrote.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::wait_for;

/// A software TPM that ends with the test.
pub struct Tpm {
    directory: tempfile::TempDir,
    process: Child,
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Tpm {
    /// A new one, switched on.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = Self::spawn(&directory);
        Self { directory, process }
    }

    fn spawn(directory: &tempfile::TempDir) -> Child {
        let at = |name: &str| directory.path().join(name).display().to_string();
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg(format!("--tpmstate=dir={}", directory.path().display()))
            .arg(format!("--server=type=unixio,path={}", at("socket")))
            .arg(format!("--ctrl=type=unixio,path={}", at("socket.ctrl")))
            .stdin(Stdio::null())
            .spawn()
            .expect("swtpm is installed: script/setup");
        wait_for("the TPM listens", || {
            directory.path().join("socket").exists().then_some(())
        });
        process
    }

    /// `--key`'s value for the key called `label`, in this TPM once it listens:
    /// swtpm may end with the connection of the command before.
    pub fn key(&mut self, label: &str) -> String {
        self.restart();
        let socket = self.directory.path().join("socket");
        format!("tpm:{label}@{}", socket.display())
    }

    fn restart(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        for socket in ["socket", "socket.ctrl"] {
            let _ = std::fs::remove_file(self.directory.path().join(socket));
        }
        self.process = Self::spawn(&self.directory);
    }

    /// With all registers as at its first start.
    pub fn switched_off_and_on(mut self) -> Self {
        self.restart();
        self
    }

    /// Where its sockets and its state are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The socket that stands for `/dev/tpmrm0`.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Extends a SHA-256 register, as firmware does with what it loads.
    pub fn extend(&mut self, register: u8) {
        // TPM2_PCR_Extend with an empty password (TPM 2.0 Library, part 3, §22.2).
        let mut command = vec![0x80, 0x02, 0, 0, 0, 65, 0, 0, 0x01, 0x82];
        command.extend([0, 0, 0, register]);
        command.extend([0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0]);
        command.extend([0, 0, 0, 1, 0x00, 0x0b]);
        command.extend([7; 32]);
        assert_eq!(command.len(), 65);
        let mut socket = UnixStream::connect(self.socket()).unwrap();
        socket.write_all(&command).unwrap();
        let mut answer = [0; 10];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(answer[6..], [0; 4], "TPM_RC_SUCCESS");
    }
}
