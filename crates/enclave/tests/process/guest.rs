//! The enclave as the only program of a guest: the image of
//! `script/enclave-guest`, booted by QEMU without hardware's help, spoken to over
//! its one port.
//!
//! Needs `qemu-system-x86_64` and a kernel of Debian's in `/boot` (script/setup).

use std::{
    io::{self, Write},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use wire::{
    Operation, PayloadKind,
    channel::{EnclaveMessage, GUEST_PORT, HostMessage},
};

use crate::{
    host::{Host, Spawned, User, frames, service_bundle},
    service::{certify, get},
};

/// Mebibytes: the payload's 64 and what the guest keeps for itself.
const MEMORY: &str = "640";

/// The three files of an image; what the script printed.
fn image(directory: &Path) -> String {
    let made = Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../script/enclave-guest"
    ))
    .arg(directory)
    .args(["--enclave", env!("CARGO_BIN_EXE_ringfort-enclave")])
    .output()
    .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    String::from_utf8(made.stdout).unwrap()
}

/// A directory that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("ringfort-{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The host's end of the port; dropping it closes it for the reader too.
struct Port(UnixStream);

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A guest without a display, a disk or a network, on an emulated processor.
fn boot(image: &Path) -> Spawned {
    let (near, far) = UnixStream::pair().unwrap();
    let command_line = std::fs::read_to_string(image.join("command-line")).unwrap();
    let port = format!("virtserialport,chardev=channel,nr=1,name={GUEST_PORT}");
    let child = Command::new("qemu-system-x86_64")
        .args(["-no-user-config", "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none"])
        .args(["-machine", "q35,accel=tcg", "-cpu", "max", "-m", MEMORY])
        .arg("-kernel")
        .arg(image.join("kernel"))
        .arg("-initrd")
        .arg(image.join("initramfs"))
        .args(["-append", &command_line])
        .args(["-device", "virtio-serial-pci,max_ports=2"])
        .args(["-chardev", "socket,id=channel,fd=0", "-device", &port])
        .stdin(Stdio::from(OwnedFd::from(far)))
        .stdout(Stdio::null())
        .spawn()
        .expect("qemu-system-x86_64 starts: run script/setup");
    let said = frames(near.try_clone().unwrap());
    (child, Box::new(Port(near)), said)
}

#[test]
fn an_image_is_the_same_bytes_when_it_is_made_again() {
    let (one, two) = (Scratch::new("image-one"), Scratch::new("image-two"));
    assert_eq!(image(&one.0), image(&two.0));
    for name in ["kernel", "initramfs", "command-line"] {
        let read = |scratch: &Scratch| std::fs::read(scratch.0.join(name)).unwrap();
        assert!(read(&one) == read(&two), "{name} differs");
    }
}

#[test]
fn the_only_program_of_a_guest_serves_https_and_switches_it_off() {
    let scratch = Scratch::new("image");
    image(&scratch.0);
    let user = User::with(&service_bundle());
    let mut host = Host::with(boot(&scratch.0), &user, PayloadKind::Service);
    let sentence = host.expect("what the guest is", |message| match message {
        EnclaveMessage::Guest { sentence, report } => {
            assert!(report.is_none(), "there is no TEE here");
            Some(sentence.clone())
        }
        _ => None,
    });
    assert!(sentence.contains("no TEE"), "{sentence}");
    // The sandbox is whole: its kernel has all that it asks for.
    let lacking: Vec<_> = host
        .warnings
        .iter()
        .filter(|one| !one.contains("Landlock is older"))
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");

    host.start(&user, 1);
    let tls = certify(&mut host);
    for stream in 1..3 {
        let response = get(&mut host, &tls, stream, "/in-a-guest");
        assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
        assert!(response.contains("/in-a-guest"), "{response}");
    }
    let stopped = host.operate(&user, 2, Operation::Stop);
    assert_eq!(stopped.outcome, wire::Outcome::Confirmed);
    host.send(&HostMessage::Shutdown);
    assert_eq!(host.wait().code(), Some(0), "the guest switches itself off");
}

#[test]
fn a_guest_whose_host_is_gone_switches_itself_off() {
    let scratch = Scratch::new("image-alone");
    image(&scratch.0);
    let user = User::with(&service_bundle());
    let host = Host::with(boot(&scratch.0), &user, PayloadKind::Service);
    assert_eq!(host.hang_up().code(), Some(0));
}
