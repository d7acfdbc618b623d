//! Hosts over time: what they start, what is changed, what is updated.
//!
//! Quotes are made here as a TPM would have them (the registers are computed
//! from the logs); `script/measured-guest` has a real kernel and firmware make
//! both.

use std::collections::BTreeMap;

use attest::tpm::{Clock, VerifiedQuote};
use software::{
    appraisal::{AppraiseHostError, Expectations, Finding, HostReport, HostState, appraise_host},
    archive::{ListedPackage, PackagedFile, Release},
    boot_log::{self},
    ima_log::{self, encode_entry},
    index::Index,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const NOW_MS: u64 = 1000 * DAY_MS;

const LS: [u8; 32] = [1; 32];
const LS_NEXT: [u8; 32] = [2; 32];
const EVIL: [u8; 32] = [0xEE; 32];

fn listed(version: &str) -> ListedPackage {
    ListedPackage {
        name: "coreutils".into(),
        version: version.into(),
        architecture: "amd64".into(),
        sha256: [0; 32],
        filename: String::new(),
    }
}

fn take(index: &mut Index, date_ms: u64, version: &str, ls: [u8; 32]) {
    let release = Release {
        name: "Debian stable".into(),
        date_ms,
        files: BTreeMap::new(),
    };
    let files = vec![PackagedFile {
        sha256: ls,
        path: "bin/ls".into(),
    }];
    let listed = listed(version);
    let added = vec![(listed.clone(), files)];
    index.take_release(&release, &[listed], added).unwrap();
}

fn index() -> Index {
    let mut index = Index::default();
    take(&mut index, NOW_MS - 100 * DAY_MS, "1", LS);
    index
}

/// A firmware's log that measures `command_line` into register 9.
fn boot(command_line: &[u8]) -> Vec<u8> {
    let mut log = vec![0; 4];
    log.extend(3u32.to_le_bytes());
    log.extend([0; 20]);
    let identity = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0B\0\x20\0\0";
    log.extend(33u32.to_le_bytes());
    log.extend(identity);
    for (register, data) in [(0u32, &b"firmware"[..]), (4, b"kernel"), (9, command_line)] {
        log.extend(register.to_le_bytes());
        log.extend(6u32.to_le_bytes());
        log.extend(1u32.to_le_bytes());
        log.extend([0x0B, 0]);
        log.extend(digest(data));
        log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        log.extend(data);
    }
    log
}

fn digest(data: &[u8]) -> [u8; 32] {
    wire::Digest::of(&[data]).0
}

fn list(entries: &[([u8; 32], &str)]) -> Vec<u8> {
    entries
        .iter()
        .flat_map(|(sha256, path)| encode_entry(sha256, path))
        .collect()
}

fn quote(boot: &[u8], list: &[u8], resets: u32) -> VerifiedQuote {
    let mut registers = boot_log::registers(&boot_log::parse(boot).unwrap());
    registers.insert(ima_log::REGISTER, ima_log::register_after(list).unwrap());
    VerifiedQuote {
        extra_data: vec![0; 32],
        registers,
        clock: Clock {
            milliseconds: 0,
            resets,
            restarts: 0,
        },
        firmware: 0,
    }
}

struct Host {
    index: Index,
    expectations: Expectations,
    state: HostState,
    now_ms: u64,
}

impl Host {
    fn new() -> Self {
        Self {
            index: index(),
            expectations: Expectations::default(),
            state: HostState::default(),
            now_ms: NOW_MS,
        }
    }

    fn appraise(
        &mut self,
        quote: &VerifiedQuote,
        boot: &[u8],
        list: &[u8],
    ) -> Result<HostReport, AppraiseHostError> {
        let Self {
            index,
            expectations,
            state,
            now_ms,
        } = self;
        appraise_host(quote, boot, list, index, expectations, state, *now_ms)
    }

    /// Appraises a host that says all it did.
    fn honest(&mut self, boot: &[u8], list: &[u8], resets: u32) -> HostReport {
        self.appraise(&quote(boot, list, resets), boot, list)
            .unwrap()
    }
}

#[test]
fn a_host_that_runs_what_was_published_is_clean() {
    let log = boot(b"quiet");
    let entries = list(&[(LS, "/usr/bin/ls"), ([9; 32], "/etc/ld.so.cache")]);
    let report = Host::new().honest(&log, &entries, 1);
    assert!(report.clean, "{report:?}");
    assert_eq!(
        (report.entries, report.known, report.boot_events),
        (2, 2, 3)
    );
}

#[test]
fn a_replaced_binary_is_named_with_its_package() {
    let entries = list(&[(EVIL, "/usr/bin/ls"), (EVIL, "/tmp/evil")]);
    let report = Host::new().honest(&boot(b"quiet"), &entries, 1);
    assert!(!report.clean);
    let changed = Finding::Changed {
        path: "/usr/bin/ls".into(),
        sha256: "ee".repeat(32),
        package: "coreutils 1".into(),
    };
    let unknown = Finding::Unknown {
        path: "/tmp/evil".into(),
        sha256: "ee".repeat(32),
    };
    assert_eq!(report.findings, [unknown, changed]);
}

#[test]
fn an_update_does_not_break_appraisal_until_its_grace_is_over() {
    let mut host = Host::new();
    let log = boot(b"quiet");
    let before = list(&[(LS, "/usr/bin/ls")]);
    assert!(host.honest(&log, &before, 1).clean);
    take(&mut host.index, NOW_MS, "2", LS_NEXT);
    let after = list(&[(LS, "/usr/bin/ls"), (LS_NEXT, "/usr/bin/ls")]);
    let report = host.honest(&log, &after, 1);
    assert!(report.clean, "{report:?}");
    assert_eq!(report.appraised_now, 1);
    // Somebody still starts the old version long after.
    host.now_ms = NOW_MS + 15 * DAY_MS;
    let later = [after, list(&[(LS, "/usr/bin/ls")])].concat();
    let report = host.honest(&log, &later, 1);
    assert!(matches!(report.findings[..], [Finding::Outdated { .. }]));
}

#[test]
fn an_altered_command_line_is_named() {
    let mut host = Host::new();
    let entries = list(&[(LS, "/usr/bin/ls")]);
    assert!(host.honest(&boot(b"quiet"), &entries, 1).clean);
    let report = host.honest(&boot(b"quiet init=/bin/sh"), &entries, 2);
    assert!(report.rebooted);
    let [
        Finding::Boot {
            register: 9, text, ..
        },
    ] = &report.findings[..]
    else {
        panic!("{report:?}");
    };
    assert_eq!(text, "quiet init=/bin/sh");
    // Back to what was accepted: clean again.
    assert!(host.honest(&boot(b"quiet"), &entries, 3).clean);
}

#[test]
fn findings_stay_until_the_host_is_switched_off() {
    let mut host = Host::new();
    let log = boot(b"quiet");
    let bad = list(&[(EVIL, "/tmp/evil")]);
    assert!(!host.honest(&log, &bad, 1).clean);
    let more = [bad, list(&[(LS, "/usr/bin/ls")])].concat();
    let report = host.honest(&log, &more, 1);
    assert!(!report.clean);
    assert_eq!((report.entries, report.appraised_now), (2, 1));
    assert!(host.honest(&log, &list(&[(LS, "/usr/bin/ls")]), 2).clean);
}

#[test]
fn logs_that_are_not_the_quotes_are_refused_and_change_nothing() {
    let mut host = Host::new();
    let (log, entries) = (boot(b"quiet"), list(&[(LS, "/usr/bin/ls")]));
    let hidden = list(&[(EVIL, "/tmp/evil"), (LS, "/usr/bin/ls")]);
    // What it ran is in the register, whatever list it shows.
    let real = quote(&log, &hidden, 1);
    assert!(matches!(
        host.appraise(&real, &log, &entries),
        Err(AppraiseHostError::List(_))
    ));
    let other = quote(&boot(b"other"), &entries, 1);
    assert!(matches!(
        host.appraise(&other, &log, &entries),
        Err(AppraiseHostError::Boot(_))
    ));
    let mut partial = quote(&log, &entries, 1);
    partial.registers.remove(&ima_log::REGISTER);
    assert_eq!(
        host.appraise(&partial, &log, &entries),
        Err(AppraiseHostError::NotQuoted)
    );
    assert_eq!(host.state, HostState::default());
}

#[test]
fn a_list_that_was_read_after_the_quote_waits_for_the_next() {
    let mut host = Host::new();
    let log = boot(b"quiet");
    let quoted = list(&[(LS, "/usr/bin/ls")]);
    let longer = [quoted.clone(), list(&[(EVIL, "/tmp/evil")])].concat();
    let early = quote(&log, &quoted, 1);
    assert!(host.appraise(&early, &log, &longer).unwrap().clean);
    assert!(!host.honest(&log, &longer, 1).clean);
}

#[test]
fn the_list_must_begin_with_this_boots_registers() {
    let log = boot(b"quiet");
    let registers = boot_log::registers(&boot_log::parse(&log).unwrap());
    let all: Vec<&[u8]> = registers.values().map(|value| &value[..]).collect();
    let aggregate = wire::Digest::of(&all).0;
    let good = list(&[(aggregate, "boot_aggregate"), (LS, "/usr/bin/ls")]);
    assert!(Host::new().honest(&log, &good, 1).clean);
    let bad = list(&[(EVIL, "boot_aggregate")]);
    let report = Host::new().honest(&log, &bad, 1);
    assert_eq!(report.findings, [Finding::BootAggregate]);
}
