//! What a protected process gives up before it reads its first byte from the
//! host, and the page of memory in which its secrets rest.
//!
//! Against what it runs: if its walls fail (WebAssembly's, say), the process behind
//! them has no files, no network, no other processes and no way to get them. Against
//! the host's other users: its memory is not theirs to read. Against the host's
//! root and its kernel a plain process has no defence; that is what evidence
//! from real hardware is for (docs/spec/enclave.md §6).
//!
//! The order matters: what opens files comes first, what forbids it last, and
//! all of it before a second thread exists.

#![allow(unsafe_code)]

mod memory;
mod syscalls;

use std::{fs, io};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

use zeroize::Zeroize;

pub use memory::{NoMemory, Protection, SecretPage};
pub use syscalls::{Rule, rules};

/// The newest rules that Landlock is asked for; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V6;

/// Why the process cannot protect itself.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A limit, flag or descriptor could not be given up.
    #[error("the process could not give up {0}")]
    GiveUp(&'static str, #[source] io::Error),
    /// There is no memory for keys.
    #[error("there is no memory for keys")]
    Memory(#[from] NoMemory),
    /// The kernel refuses the system-call filter.
    #[error("the kernel does not take the system-call filter")]
    Filter(#[from] seccompiler::Error),
    /// The filter was not built.
    #[error("the system-call filter is malformed")]
    Rules(#[from] seccompiler::BackendError),
}

/// Proof that the sandbox stands, with what it lacks here.
pub struct Sandboxed<T: 'static> {
    /// Memory for keys.
    pub page: SecretPage<T>,
    /// Measures that this kernel does not offer, for the host's log.
    pub warnings: Vec<String>,
}

/// Enters the sandbox, with a page of secrets that begins as `empty`. The
/// process has one thread and has read nothing.
///
/// Errors: [`SandboxError`]; the process must end.
pub fn enter<T: Zeroize + 'static>(
    empty: impl FnOnce() -> T,
) -> Result<Sandboxed<T>, SandboxError> {
    let mut warnings = Vec::new();
    empty_environment();
    if has_swap() {
        warnings.push("swap is on: pages of the payload may reach the host's disk".to_owned());
    }
    hide_from_others()?;
    let page = SecretPage::new(empty())?;
    if page.protection() == Protection::Locked {
        warnings.push("no memfd_secret: keys are in locked memory only".to_owned());
    }
    // aws-lc looks for its entropy sources once; now, while it may open files.
    let mut probe = [0; 1];
    aws_lc_rs::rand::fill(&mut probe)
        .map_err(|_| SandboxError::GiveUp("nothing: no entropy", io::ErrorKind::Other.into()))?;
    // Likewise where the kernel has put its clocks.
    let _ = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    close_descriptors()?;
    forbid_files_and_network(&mut warnings);
    drop_capabilities(&mut warnings);
    syscalls::install()?;
    Ok(Sandboxed { page, warnings })
}

/// Whether the kernel swaps; unknown counts as yes.
fn has_swap() -> bool {
    fs::read_to_string("/proc/swaps").map_or(true, |swaps| swaps.lines().count() > 1)
}

/// Nothing that the host put in the environment reaches a library.
fn empty_environment() {
    let names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in names {
        // SAFETY: the process has one thread, so nobody else reads the
        // environment while it changes.
        unsafe { std::env::remove_var(name) };
    }
}

/// No core dump, no debugger without the host's root, no new privileges, no
/// life without the parent.
fn hide_from_others() -> Result<(), SandboxError> {
    let give_up = |what| move |error: rustix::io::Errno| SandboxError::GiveUp(what, error.into());
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none).map_err(give_up("core dumps"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(give_up("being dumpable"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(give_up("outliving its parent"))?;
    rustix::thread::set_no_new_privs(true).map_err(give_up("new privileges"))?;
    Ok(())
}

/// Closes everything but the channel and the development log, the descriptor
/// of the secret page included.
fn close_descriptors() -> Result<(), SandboxError> {
    // SAFETY: nothing in this process uses a descriptor above 2 yet: the
    // secret page stays mapped without its own.
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    if closed == 0 {
        Ok(())
    } else {
        let error = io::Error::last_os_error();
        Err(SandboxError::GiveUp("inherited files", error))
    }
}

/// Landlock: no file, no port, no signal, no abstract socket.
fn forbid_files_and_network(warnings: &mut Vec<String>) {
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?
            .restrict_self()
    };
    match restrict() {
        Ok(status) if status.ruleset == RulesetStatus::FullyEnforced => {}
        Ok(status) if status.ruleset == RulesetStatus::PartiallyEnforced => {
            warnings.push("Landlock is older than its rules: some are not enforced".to_owned());
        }
        Ok(_) => warnings.push("no Landlock: the system-call filter stands alone".to_owned()),
        Err(error) => warnings.push(format!("no Landlock: {error}")),
    }
}

/// Root's powers, if the host launched the process with them.
fn drop_capabilities(warnings: &mut Vec<String>) {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    if let Err(error) = rustix::thread::set_capabilities(None, none) {
        warnings.push(format!("capabilities are kept: {error}"));
    }
}
