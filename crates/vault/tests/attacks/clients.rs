//! What happens to clients that are not what they should be? Each client is a process
//! of its own: this very program, started again with what it is to do.
//!
//! The vault is whichever the program says, so that the same claims are tried against
//! a protected process here and against a trusted application in script/trustzone.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::{fs::PermissionsExt as _, net::UnixListener},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use vault::{
    Certificate, Credential,
    agent::{Agent, Client},
    certify, code_of_files,
    measure::{Caller, MeasureError},
    sign,
};
use wire::{PublicKey, SigningKey};

/// Starts an agent with a vault of its own for an application under a root.
pub type Start = fn(PublicKey, &str) -> io::Result<Agent>;

/// How the program that runs here starts them.
static START: OnceLock<Start> = OnceLock::new();

/// Tells a child what it is to do, and where.
const ROLE: &str = "RINGFORT_VAULT_ROLE";
const SOCKET: &str = "RINGFORT_VAULT_SOCKET";
const CREDENTIAL: &str = "RINGFORT_VAULT_CREDENTIAL";

/// The application whose clients are served.
pub const APPLICATION: &str = "ledgerbook";
const PATIENCE: Duration = Duration::from_secs(30);

/// Code that nobody calls, to be changed.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ringfort_unused(value: u64) -> u64 {
    std::hint::black_box(value).wrapping_mul(0x1234_5678_9abc_def1)
}

/// The application's root.
pub fn root() -> SigningKey {
    SigningKey::ed25519([1; 32])
}

/// An end that never comes.
pub fn far() -> u64 {
    u64::MAX
}

/// A credential for this program, certified by `root` until `not_after_ms`.
pub fn credential(root: &SigningKey, not_after_ms: u64) -> Credential {
    let release = SigningKey::ed25519([2; 32]);
    let certificate = Certificate {
        root: root.public(),
        key: release.public(),
        application: APPLICATION.to_owned(),
        not_after_ms,
    };
    let signature = certify(root, &certificate);
    let own = std::env::current_exe().unwrap();
    let libraries = libraries(&own);
    let libraries: Vec<&Path> = libraries.iter().map(PathBuf::as_path).collect();
    let code = code_of_files(&own, &libraries).unwrap();
    sign(certificate, signature, &release, code)
}

/// The files that this process has code of, besides its program.
fn libraries(own: &Path) -> Vec<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut found: Vec<PathBuf> = maps
        .lines()
        .filter(|line| line.split(' ').nth(1).unwrap().contains('x'))
        .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])))
        .filter(|path| path != own)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// An agent with its socket, for the life of the test.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let (ready, started) = std::sync::mpsc::channel();
        // The protected process ends with the thread that starts it.
        std::thread::spawn(move || {
            let start = START.get().expect("set before the tests run");
            let agent = start(root().public(), APPLICATION).unwrap();
            ready.send(()).unwrap();
            agent.run(&listener).map(|never| match never {})
        });
        started.recv_timeout(PATIENCE).unwrap();
        Self { directory }
    }

    fn command(&self, program: &Path, role: &str, credential: &Credential) -> Command {
        let file = self.directory.path().join("credential");
        fs::write(&file, credential.encode()).unwrap();
        let mut command = Command::new(program);
        command
            .env(ROLE, role)
            .env(SOCKET, self.directory.path().join("socket"))
            .env(CREDENTIAL, file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs this program as a client.
    fn run(&self, role: &str) -> Output {
        let own = std::env::current_exe().unwrap();
        let credential = credential(&root(), far());
        self.command(&own, role, &credential).output().unwrap()
    }

    /// A copy of this program in which unused code differs.
    fn changed_copy(&self) -> PathBuf {
        let path = self.directory.path().join("changed");
        let mut bytes = fs::read("/proc/self/exe").unwrap();
        let at = offset_of_unused();
        bytes[at] ^= 0xff;
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// Where in the program's file the unused code is.
fn offset_of_unused() -> usize {
    let address = ringfort_unused as *const () as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next().unwrap().split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        if (number(start)..number(end)).contains(&address) {
            return address - number(start) + number(fields.nth(1).unwrap());
        }
    }
    panic!("the code is mapped nowhere");
}

fn says(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn refused(output: &Output, why: &str) -> Result<(), Failed> {
    let said = says(output);
    if output.status.success() || !said.contains(why) {
        return Err(format!("not refused with {why:?}: {} {said}", output.status).into());
    }
    // Shown where output is not captured: what the client was told.
    for line in said.lines() {
        println!("  client: {line}");
    }
    Ok(())
}

// What a child does.

fn client() -> io::Result<Client> {
    let path = |name| PathBuf::from(std::env::var_os(name).unwrap());
    Client::connect(&path(SOCKET), &fs::read(path(CREDENTIAL))?)
}

fn use_it(client: &Client) -> io::Result<()> {
    let code = client.authenticate(b"a message")?;
    assert_eq!(code, client.authenticate(b"a message")?);
    assert_ne!(code, client.authenticate(b"another")?);
    Ok(())
}

/// Changes one byte of this process's own code.
fn patch_own_code() {
    let address = ringfort_unused as *const () as usize;
    let page = (address & !4095) as *mut libc::c_void;
    // SAFETY: the pages hold code that nothing runs now (this function lies
    // elsewhere or is only read), and they are made executable again before
    // anything in them could run.
    unsafe {
        let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        assert_eq!(libc::mprotect(page, 8192, all), 0);
        let byte = address as *mut u8;
        byte.write_volatile(byte.read_volatile() ^ 0xff);
        let code = libc::PROT_READ | libc::PROT_EXEC;
        assert_eq!(libc::mprotect(page, 8192, code), 0);
    }
}

fn act(role: &str) -> io::Result<()> {
    match role {
        "honest" => use_it(&client()?),
        "patched" => {
            patch_own_code();
            use_it(&client()?)
        }
        "patched-later" => {
            let client = client()?;
            use_it(&client)?;
            println!("was answered");
            patch_own_code();
            use_it(&client)
        }
        "traced" => {
            // SAFETY: asks the kernel that the parent be this process's tracer.
            let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            assert_eq!(traced, 0);
            use_it(&client()?)
        }
        "idle-then-patched" => {
            let client = client()?;
            println!("was admitted");
            patch_own_code();
            // The agent's timer finds out, without being asked.
            std::thread::sleep(Duration::from_millis(2500));
            use_it(&client)
        }
        "from-memory" => from_memory(),
        "wait" => {
            let mut byte = [0];
            io::stdin().read_exact(&mut byte)
        }
        other => Err(io::Error::other(other.to_owned())),
    }
}

/// Runs a changed copy of this program that has no place in any file system.
fn from_memory() -> io::Result<()> {
    let mut bytes = fs::read("/proc/self/exe")?;
    bytes[offset_of_unused()] ^= 0xff;
    // SAFETY: the name is a C string; the descriptor belongs to nobody else.
    let mut file = unsafe {
        let descriptor = libc::memfd_create(c"program".as_ptr(), 0);
        assert!(descriptor >= 0);
        File::from_raw_fd(descriptor)
    };
    file.write_all(&bytes)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let ended = Command::new(path).env(ROLE, "honest").status()?;
    std::process::exit(ended.code().unwrap_or(9));
}

// The tests.

fn a_signed_application_is_answered() -> Result<(), Failed> {
    let output = Place::new().run("honest");
    if output.status.success() {
        Ok(())
    } else {
        Err(says(&output).into())
    }
}

fn a_changed_copy_on_disk_is_refused() -> Result<(), Failed> {
    let place = Place::new();
    let changed = place.changed_copy();
    let output = place
        .command(&changed, "honest", &credential(&root(), far()))
        .output()?;
    refused(&output, "another program")
}

/// The file is put in the place of the honest one after it was started: what
/// counts is what runs.
fn a_file_that_was_replaced_since_is_not_what_is_measured() -> Result<(), Failed> {
    let place = Place::new();
    let copy = place.directory.path().join("copy");
    fs::copy("/proc/self/exe", &copy)?;
    let mut child = place
        .command(&copy, "wait", &credential(&root(), far()))
        .spawn()?;
    let pid = rustix_pid(&child);
    let before = wait_for(|| Caller::of_pid(pid).ok()?.measure().ok());
    fs::rename(place.changed_copy(), &copy)?;
    let after = Caller::of_pid(pid)?.measure()?;
    end(&mut child);
    assert_eq!(before, after);
    let output = place
        .command(&copy, "honest", &credential(&root(), far()))
        .output()?;
    refused(&output, "another program")
}

fn other_roots_and_times_are_refused() -> Result<(), Failed> {
    let place = Place::new();
    let own = std::env::current_exe()?;
    let foreign = credential(&SigningKey::ed25519([9; 32]), far());
    refused(
        &place.command(&own, "honest", &foreign).output()?,
        "another root",
    )?;
    let expired = credential(&root(), 1_000_000);
    refused(
        &place.command(&own, "honest", &expired).output()?,
        "expired",
    )?;
    // A release key that certifies itself in the root's name.
    let mut forged = credential(&root(), far());
    forged.certificate_signature = certify(&SigningKey::ed25519([2; 32]), &forged.certificate);
    refused(
        &place.command(&own, "honest", &forged).output()?,
        "signature",
    )
}

fn a_preloaded_library_is_refused() -> Result<(), Failed> {
    let place = Place::new();
    let own = std::env::current_exe()?;
    let loaded = libraries(&own);
    let directory = loaded
        .iter()
        .find(|path| path.file_name().is_some_and(|name| name == "libc.so.6"))
        .and_then(|path| path.parent())
        .expect("the C library is loaded");
    let other = ["libresolv.so.2", "libutil.so.1", "librt.so.1"]
        .map(|name| directory.join(name))
        .into_iter()
        .find(|path| path.exists())
        .expect("the C library has more libraries");
    let mut command = place.command(&own, "honest", &credential(&root(), far()));
    refused(&command.env("LD_PRELOAD", other).output()?, "did not sign")
}

fn code_that_is_patched_is_refused() -> Result<(), Failed> {
    let place = Place::new();
    refused(&place.run("patched"), "another program")
}

fn code_that_is_patched_after_a_use_is_refused_at_the_next() -> Result<(), Failed> {
    let output = Place::new().run("patched-later");
    assert!(says(&output).contains("was answered"));
    refused(&output, "another program")
}

fn an_idle_caller_is_measured_again() -> Result<(), Failed> {
    let output = Place::new().run("idle-then-patched");
    assert!(says(&output).contains("was admitted"));
    refused(&output, "another program")
}

fn a_program_from_memory_is_refused() -> Result<(), Failed> {
    refused(&Place::new().run("from-memory"), "from memory")
}

fn a_traced_process_is_refused() -> Result<(), Failed> {
    refused(&Place::new().run("traced"), "traced")
}

/// Another process gets the number of one that was asked about.
fn another_process_of_the_same_number_is_not_measured() -> Result<(), Failed> {
    let place = Place::new();
    let own = std::env::current_exe()?;
    let credential = credential(&root(), far());
    let mut first = place.command(&own, "wait", &credential).spawn()?;
    let pid = rustix_pid(&first);
    let caller = Caller::of_pid(pid)?;
    wait_for(|| caller.measure().ok());
    end(&mut first);
    assert!(matches!(caller.measure(), Err(MeasureError::Gone)));
    let wanted = pid.as_raw_nonzero().get();
    let mut reused = None;
    for _ in 0..200 {
        // proc(5): the next process gets the number after this one, if it is free.
        fs::write("/proc/sys/kernel/ns_last_pid", (wanted - 1).to_string())?;
        let mut child = place.command(&own, "wait", &credential).spawn()?;
        if rustix_pid(&child) == pid {
            reused = Some(child);
            break;
        }
        end(&mut child);
    }
    let mut reused = reused.ok_or("no process got the number again")?;
    let found = caller.measure();
    end(&mut reused);
    assert!(matches!(found, Err(MeasureError::Gone)), "{found:?}");
    Ok(())
}

fn rustix_pid(child: &Child) -> rustix::process::Pid {
    rustix::process::Pid::from_child(child)
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn wait_for<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

type Test = fn() -> Result<(), Failed>;

/// Plays the part that the environment gives, or runs the claims here and `more`
/// against the vaults that `start` starts.
pub fn run(start: Start, more: Vec<Trial>) -> ExitCode {
    START.set(start).expect("set once");
    ringfort_unused(std::process::id().into());
    if let Ok(role) = std::env::var(ROLE) {
        return match act(&role) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(3)
            }
        };
    }
    let tests: [(&str, Test); 11] = [
        (
            "a_signed_application_is_answered",
            a_signed_application_is_answered,
        ),
        (
            "a_changed_copy_on_disk_is_refused",
            a_changed_copy_on_disk_is_refused,
        ),
        (
            "a_file_that_was_replaced_since_is_not_what_is_measured",
            a_file_that_was_replaced_since_is_not_what_is_measured,
        ),
        (
            "other_roots_and_times_are_refused",
            other_roots_and_times_are_refused,
        ),
        (
            "a_preloaded_library_is_refused",
            a_preloaded_library_is_refused,
        ),
        (
            "code_that_is_patched_is_refused",
            code_that_is_patched_is_refused,
        ),
        (
            "code_that_is_patched_after_a_use_is_refused_at_the_next",
            code_that_is_patched_after_a_use_is_refused_at_the_next,
        ),
        (
            "an_idle_caller_is_measured_again",
            an_idle_caller_is_measured_again,
        ),
        (
            "a_program_from_memory_is_refused",
            a_program_from_memory_is_refused,
        ),
        ("a_traced_process_is_refused", a_traced_process_is_refused),
        (
            "another_process_of_the_same_number_is_not_measured",
            another_process_of_the_same_number_is_not_measured,
        ),
    ];
    let trials = tests
        .into_iter()
        .map(|(name, test)| Trial::test(name, test))
        .chain(more)
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
