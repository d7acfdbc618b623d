//! What does the enclave do when it is the only program of a guest?
//!
//! The kernel starts it as the first process. It mounts what the kernel offers
//! as files, loads the modules of its image, opens the one port to the host and
//! starts itself once more, as the enclave proper, between two pipes: so the
//! sandbox, the vault and the filter of system calls are what they are elsewhere,
//! and hold in a process that is not root. Then it carries frames ([`relay`]),
//! has the TEE, if there is one, report what the enclave wants quoted, and
//! switches the guest off when either side is gone.
//!
//! It is part of what is measured. It trusts its image and kernel, and of the
//! host nothing: bytes from the port go to the enclave unread. It holds no
//! secret: keys are made in the child, which is not its to read either.

mod relay;

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use nix::{
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};
use wire::{
    Digest,
    channel::{EnclaveMessage, GUEST_PORT, GuestReport},
};

/// Where the image has its kernel modules, and the list of them in the order in
/// which they are loaded.
const MODULES: &str = "/modules";
const MODULES_ORDER: &str = "/modules/order";

/// Where the kernel lists virtio-serial ports, and where their devices are.
const PORTS: &str = "/sys/class/virtio-ports";
const DEVICES: &str = "/dev";

/// How long the port may take to appear after its modules were loaded, and the
/// host to take up its end: an emulated machine on a busy host takes seconds.
const PORT_TIME: Duration = Duration::from_secs(60);

/// The pause between two looks for the port.
const PAUSE: Duration = Duration::from_millis(10);

/// How long the enclave may take to wipe itself after the host has gone; its
/// memory goes with the guest in any case.
const WIPE_TIME: Duration = Duration::from_secs(5);

/// The user and group of the enclave: none that owns anything. A process that
/// is not root has no way to its parent, should its other walls fail.
const NOBODY: u32 = 65534;

/// Why a guest cannot be one.
#[derive(Debug, thiserror::Error)]
enum GuestError {
    /// A file system of the kernel's is not there.
    #[error("{0} cannot be mounted")]
    Mount(&'static str, #[source] nix::Error),
    /// There is no port to the host; what went wrong before, in words.
    #[error("there is no port {GUEST_PORT}; {0}")]
    NoPort(String),
    /// The port or the enclave's own program cannot be used.
    #[error("{0}")]
    Io(&'static str, #[source] io::Error),
}

/// What happens while frames are carried.
enum Turn {
    /// The host has closed its end.
    HostGone,
    /// The enclave has closed its output: it ends, or has ended.
    EnclaveDone,
}

/// Whether this process is the first of its machine.
pub fn is_first_process() -> bool {
    std::process::id() == 1
}

/// Serves as the guest's first process, and switches the guest off at the end.
pub fn run() -> ! {
    if let Err(error) = serve() {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        eprintln!(
            "ringfort-enclave: guest: {error}: {}",
            cause.unwrap_or_default()
        );
    }
    let refused = reboot(RebootMode::RB_POWER_OFF);
    eprintln!("ringfort-enclave: guest: it cannot be switched off: {refused:?}");
    // The end of the first process is the kernel's end too: it panics.
    std::process::exit(1)
}

fn serve() -> Result<(), GuestError> {
    mount_all()?;
    let refused = load_modules();
    // Without its module there is no such directory, and no TEE.
    let _ = mount_one("configfs", "/sys/kernel/config");
    let tee = Tee::of_this_guest();
    let port = open_port().ok_or_else(|| GuestError::NoPort(refused.join("; ")))?;
    let mut child = start_enclave()?;
    let turns = carry(port, &mut child, tee)?;
    see_out(&turns, &mut child);
    Ok(())
}

fn mount_one(kind: &'static str, at: &str) -> Result<(), GuestError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some(kind), at, Some(kind), flags, None::<&str>)
        .map_err(|error| GuestError::Mount(kind, error))
}

/// The kernel's own file systems; their directories are in the image.
fn mount_all() -> Result<(), GuestError> {
    mount_one("devtmpfs", "/dev")?;
    mount_one("proc", "/proc")?;
    mount_one("sysfs", "/sys")
}

/// Loads every module of the image's list; gives what was refused, in words. A
/// machine without the device refuses a module, which is no fault.
fn load_modules() -> Vec<String> {
    let order = match fs::read_to_string(MODULES_ORDER) {
        Ok(order) => order,
        Err(error) => return vec![format!("{MODULES_ORDER}: {error}")],
    };
    let load = |name: &str| -> io::Result<()> {
        let module = File::open(Path::new(MODULES).join(name))?;
        Ok(finit_module(&module, c"", ModuleInitFlags::empty())?)
    };
    let refused = |name| load(name).err().map(|error| format!("{name}: {error}"));
    order.lines().filter_map(refused).collect()
}

/// The device of the port by its name; none if it does not appear in time.
fn open_port() -> Option<File> {
    let deadline = Instant::now() + PORT_TIME;
    loop {
        let device = port_device(Path::new(PORTS));
        let port = device.and_then(|device| {
            let path = Path::new(DEVICES).join(device);
            File::options().read(true).write(true).open(path).ok()
        });
        if port.is_some() || Instant::now() > deadline {
            return port;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Which of the ports listed in `ports` has the name.
fn port_device(ports: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(ports).ok()?;
    entries.flatten().find_map(|entry| {
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim_end() == GUEST_PORT).then(|| PathBuf::from(entry.file_name()))
    })
}

/// The enclave proper: this very program, as nobody, between two pipes.
fn start_enclave() -> Result<Child, GuestError> {
    Command::new("/proc/self/exe")
        .arg0("ringfort-enclave")
        .env_clear()
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| GuestError::Io("the enclave cannot be started", error))
}

/// Begins to carry frames, on a thread for each direction.
fn carry(port: File, child: &mut Child, tee: Option<Tee>) -> Result<Receiver<Turn>, GuestError> {
    let failed = |error| GuestError::Io("the channel cannot be carried", error);
    let missing = || failed(io::Error::other("a pipe is missing"));
    let input = child.stdin.take().ok_or_else(missing)?;
    let output = child.stdout.take().ok_or_else(missing)?;
    let from_host = port.try_clone().map_err(failed)?;
    let (turn, turns) = channel();
    let host_gone = turn.clone();
    std::thread::Builder::new()
        .name("from-host".to_owned())
        .spawn(move || {
            if let Err(error) = relay::to_enclave(from_host, input, PORT_TIME) {
                eprintln!("ringfort-enclave: guest: towards the enclave: {error}");
            }
            let _ = host_gone.send(Turn::HostGone);
        })
        .map_err(failed)?;
    std::thread::Builder::new()
        .name("to-host".to_owned())
        .spawn(move || {
            if let Err(error) = speak(port, output, tee) {
                eprintln!("ringfort-enclave: guest: towards the host: {error}");
            }
            let _ = turn.send(Turn::EnclaveDone);
        })
        .map_err(failed)?;
    Ok(turns)
}

/// Says what this guest is, then passes on what the enclave says.
fn speak(mut port: File, output: impl io::Read, tee: Option<Tee>) -> io::Result<()> {
    let sentence = match &tee {
        Some(tee) => format!("This guest's evidence is its TEE's ({}).", tee.provider),
        None => {
            "This guest has no TEE: evidence is its host's, and so is all that it holds.".to_owned()
        }
    };
    let report = |report_data: Digest| tee.as_ref().map(|tee| tee.report(report_data));
    let hello = EnclaveMessage::Guest {
        sentence,
        report: report(Digest([0; 32])),
    };
    relay::send(&hello, &mut port)?;
    relay::to_host(output, port, report)
}

/// Waits until the guest is of no more use.
fn see_out(turns: &Receiver<Turn>, child: &mut Child) {
    if let Ok(Turn::HostGone) = turns.recv() {
        // The enclave has heard the end of its input, and wipes itself.
        match turns.recv_timeout(WIPE_TIME) {
            Ok(_) | Err(RecvTimeoutError::Disconnected) => (),
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
            }
        }
    }
    let _ = child.kill();
    match child.wait() {
        Ok(status) => eprintln!("ringfort-enclave: guest: the enclave ended: {status}"),
        Err(error) => eprintln!("ringfort-enclave: guest: the enclave is lost: {error}"),
    }
}

/// The TEE that this guest runs in.
struct Tee {
    files: tsm::ConfigFs,
    provider: String,
}

impl Tee {
    fn of_this_guest() -> Option<Self> {
        let files = tsm::ConfigFs::at(Path::new(tsm::REPORTS));
        let provider = tsm::provider(&files).ok()?;
        Some(Self { files, provider })
    }

    /// A report over 64 bytes: the data, then zeros (docs/spec/evidence.md §2).
    fn report(&self, report_data: Digest) -> Result<GuestReport, String> {
        let mut field = [0; 64];
        field[..32].copy_from_slice(&report_data.0);
        let made = tsm::report(&self.files, &field).map_err(|error| error.to_string())?;
        Ok(GuestReport {
            kind: made.kind,
            bytes: made.report,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_by_its_name_whatever_its_number() {
        let directory = std::env::temp_dir().join(format!("ringfort-ports-{}", std::process::id()));
        for (device, name) in [("vport0p1", "other"), ("vport2p9", GUEST_PORT)] {
            fs::create_dir_all(directory.join(device)).unwrap();
            fs::write(directory.join(device).join("name"), format!("{name}\n")).unwrap();
        }
        assert_eq!(port_device(&directory), Some(PathBuf::from("vport2p9")));
        fs::remove_dir_all(directory.join("vport2p9")).unwrap();
        assert_eq!(port_device(&directory), None);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(port_device(&directory), None);
    }
}
