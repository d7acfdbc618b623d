//! What the host's root can read of the process, and what not.
//!
//! Where the tests run without root, the process is not theirs to look at,
//! which is the claim itself.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
};

use handshake::Entropy;
use wire::{Operation, PayloadKind};

use crate::host::{Host, User, job_bundle, service_bundle};

/// Every readable place where `needle` is in the process's memory; none if
/// nothing may be read at all.
fn places(pid: u32, needle: &[u8]) -> Option<Vec<u64>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        if !rights.starts_with('r') {
            continue;
        }
        let (start, end) = range.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        // Linear memory's reservations are terabytes of nothing.
        if end - start > 1 << 30 {
            continue;
        }
        // Pages that cannot be read are skipped: they are the point.
        for page in (start..end).step_by(4096) {
            let mut bytes = [0; 4096 + 32];
            let Ok(count) = memory.read_at(&mut bytes, page) else {
                continue;
            };
            let at = bytes[..count]
                .windows(needle.len())
                .position(|window| window == needle);
            found.extend(at.map(|at| page + at as u64));
        }
    }
    Some(found)
}

#[test]
fn the_data_key_is_in_no_memory_that_root_can_read() {
    let user = User::with(&job_bundle());
    let mut host = Host::launch(&user, PayloadKind::Job);
    let in_secret_memory = !host
        .warnings
        .iter()
        .any(|text| text.contains("memfd_secret"));
    let (mut session, server) = host.challenge(&user, 1, Operation::Start);
    let response = session
        .client_response(&server, &user.data_key, &mut Entropy)
        .unwrap();
    host.respond(1, Operation::Start, response);
    // It has the key now, and waits for the payload.
    host.expect("fetch", |message| match message {
        wire::channel::EnclaveMessage::FetchPayload => Some(()),
        _ => None,
    });
    let Some(public) = places(host.pid(), &user.secret.public()) else {
        return;
    };
    assert!(!public.is_empty(), "the search finds what is there");
    let while_held = places(host.pid(), user.data_key.as_bytes()).unwrap_or_default();
    if in_secret_memory {
        assert!(while_held.is_empty(), "{while_held:x?}");
    }
}

#[test]
fn the_process_has_given_up_what_it_does_not_need() {
    let user = User::with(&service_bundle());
    let mut host = Host::launch(&user, PayloadKind::Service);
    host.start(&user, 1);
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!(field("CapPrm:"), "0000000000000000");
    let limits = fs::read_to_string(format!("/proc/{}/limits", host.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert_eq!(core.unwrap().split_whitespace().nth(4), Some("0"));
    // Every thread is under the filter, those of the compiler too.
    for thread in fs::read_dir(format!("/proc/{}/task", host.pid())).unwrap() {
        let path = thread.unwrap().path().join("status");
        let Ok(status) = fs::read_to_string(path) else {
            continue;
        };
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }
    let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", host.pid())) else {
        return;
    };
    for descriptor in descriptors {
        let descriptor = descriptor.unwrap();
        let Ok(target) = fs::read_link(descriptor.path()) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        let number: u32 = descriptor.file_name().to_string_lossy().parse().unwrap();
        let expected = number <= 2
            || target.starts_with("pipe:")
            || target.starts_with("anon_inode:[event")
            || target.starts_with("socket:")
            || target.contains("wasm-memory-image");
        assert!(expected, "descriptor {number} is {target}");
        assert!(
            !target.contains("secret"),
            "descriptor {number} is {target}"
        );
    }
}
