//! The system calls that are left, each with its reason.
//!
//! Everything that is not in the list ends the process. A few calls that
//! libraries make to look around are answered with an error instead, because
//! they go on without.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::SandboxError;

/// What happens upon a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is let through.
    Allow,
    /// It is let through if the argument of that index has that value under
    /// that mask; else the process ends.
    AllowIf {
        /// The argument's index.
        argument: u8,
        /// Bits that count.
        mask: u64,
        /// What they must be.
        value: u64,
    },
    /// It fails with this error number.
    Fail(i32),
}

/// One system call, what happens upon it, and why.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its number on this machine.
    pub number: libc::c_long,
    /// Its name.
    pub name: &'static str,
    /// What happens.
    pub answer: Answer,
    /// Why.
    pub reason: &'static str,
}

macro_rules! rules {
    ($($reason:literal => $answer:expr => [$($name:ident),* $(,)?]),* $(,)?) => {
        vec![$($(Rule {
            number: libc::$name,
            name: stringify!($name),
            answer: $answer,
            reason: $reason,
        }),*),*]
    };
}

/// Every rule, one for each system call that does not end the process.
pub fn rules() -> Vec<Rule> {
    let thread_flags = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u64;
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
    let mut rules = rules! {
        "the channel, and memory images of modules" => Answer::Allow =>
            [SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pwrite64, SYS_close, SYS_fstat, SYS_fcntl],
        "waiting for the channel" => Answer::Allow =>
            [SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_eventfd2, SYS_ppoll],
        "memory of the process and of payloads; code is made executable after it is compiled" => Answer::Allow =>
            [SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk],
        "initial memory of modules, mapped copy-on-write" => Answer::Allow =>
            [SYS_memfd_create, SYS_ftruncate],
        "threads: making them" => Answer::AllowIf { argument: 0, mask: thread_flags, value: thread_flags } =>
            [SYS_clone],
        "threads: running, waiting and ending" => Answer::Allow =>
            [SYS_futex, SYS_sched_yield, SYS_sched_getaffinity, SYS_set_robust_list, SYS_rseq,
             SYS_membarrier, SYS_gettid, SYS_getpid, SYS_exit, SYS_exit_group, SYS_restart_syscall],
        "threads: their names" => Answer::AllowIf { argument: 0, mask: u64::MAX, value: libc::PR_SET_NAME as u64 } =>
            [SYS_prctl],
        "threads: the size of their stacks, read only" => Answer::AllowIf { argument: 2, mask: u64::MAX, value: 0 } =>
            [SYS_prlimit64],
        "traps of WebAssembly are signals" => Answer::Allow =>
            [SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_tgkill],
        "time, where the kernel does not give it without a call" => Answer::Allow =>
            [SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday],
        "entropy" => Answer::Allow => [SYS_getrandom],
        "the asynchronous runtime's own wake-up pair; it has no name and no network" =>
            Answer::AllowIf { argument: 0, mask: u64::MAX, value: libc::AF_UNIX as u64 } =>
            [SYS_socketpair],
        "libraries look for files of the system and go on without" => Answer::Fail(libc::EACCES) =>
            [SYS_openat, SYS_newfstatat, SYS_readlinkat, SYS_faccessat, SYS_faccessat2, SYS_getcwd],
        "libraries try these and fall back" => Answer::Fail(libc::ENOSYS) =>
            [SYS_clone3, SYS_statx, SYS_process_madvise, SYS_ioctl, SYS_sysinfo],
    };
    #[cfg(target_arch = "x86_64")]
    rules.extend(rules! {
        "waiting for the channel" => Answer::Allow => [SYS_epoll_wait, SYS_poll],
        "libraries look for files of the system and go on without" => Answer::Fail(libc::EACCES) =>
            [SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink],
    });
    rules
}

/// Puts the filters in force for this thread and all that it makes.
///
/// The last one decides what is let through at all; those before it turn some
/// of that into errors, since of several filters the strictest answer counts.
pub(super) fn install() -> Result<(), SandboxError> {
    let rules = rules();
    for error in [libc::EACCES, libc::ENOSYS] {
        let failing: BTreeMap<i64, Vec<SeccompRule>> = rules
            .iter()
            .filter(|rule| rule.answer == Answer::Fail(error))
            .map(|rule| (rule.number, Vec::new()))
            .collect();
        let refused = SeccompAction::Errno(error.unsigned_abs());
        apply(failing, SeccompAction::Allow, refused)?;
    }
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in &rules {
        let conditions = allowed.entry(rule.number).or_default();
        if let Answer::AllowIf {
            argument,
            mask,
            value,
        } = rule.answer
        {
            conditions.push(SeccompRule::new(vec![SeccompCondition::new(
                argument,
                SeccompCmpArgLen::Qword,
                SeccompCmpOp::MaskedEq(mask),
                value,
            )?])?);
        }
    }
    apply(allowed, SeccompAction::KillProcess, SeccompAction::Allow)
}

fn apply(
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<(), SandboxError> {
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(calls, otherwise, matched, target)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_reaches_out_is_let_through() {
        let rules = rules();
        let answer = |number| {
            rules
                .iter()
                .find(|rule| rule.number == number)
                .map(|rule| rule.answer.clone())
        };
        for killed in [
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_accept4,
            libc::SYS_sendto,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_open,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_kill,
        ] {
            assert_eq!(answer(killed), None, "{killed}");
        }
        assert_eq!(answer(libc::SYS_openat), Some(Answer::Fail(libc::EACCES)));
    }

    #[test]
    fn every_call_has_one_rule_and_a_reason() {
        let rules = rules();
        for (index, rule) in rules.iter().enumerate() {
            assert!(!rule.reason.is_empty());
            let earlier = rules[..index].iter().any(|one| one.number == rule.number);
            assert!(!earlier, "{} twice", rule.name);
        }
    }
}
