//! Appraisal of a host's measurement list, beside Keylime on the same list: one
//! core each, every entry a known file.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use attest::tpm::{Clock, VerifiedQuote};
use software::{
    appraisal::{Expectations, HostState, appraise_host},
    archive::{ListedPackage, PackagedFile, Release},
    boot_log,
    ima_log::{self, encode_entry},
    index::Index,
};

use crate::statistics::print_ratio;

/// Entries of the list: a busy server's after some weeks.
const ENTRIES: usize = 100_000;

/// Files that the index knows: a server's installation.
const FILES: usize = 200_000;

/// A list, in both of the kernel's forms, and what knows its files.
struct Sample {
    boot: Vec<u8>,
    list: Vec<u8>,
    text: String,
    digests: String,
    quote: VerifiedQuote,
    index: Index,
}

fn file(number: usize) -> PackagedFile {
    let path = format!("usr/lib/package-{}/file-{number}", number % 997);
    let sha256 = wire::Digest::of(&[path.as_bytes()]).0;
    PackagedFile { sha256, path }
}

/// The smallest boot log there is: its header.
fn boot_header() -> Vec<u8> {
    let mut log = vec![0; 4];
    log.extend(3u32.to_le_bytes());
    log.extend([0; 20]);
    let identity = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0B\0\x20\0\0";
    log.extend(33u32.to_le_bytes());
    log.extend(identity);
    log
}

impl Sample {
    fn new() -> Result<Self> {
        let files: Vec<PackagedFile> = (0..FILES).map(file).collect();
        let (mut list, mut text, mut digests) = (Vec::new(), String::new(), String::new());
        for number in 0..ENTRIES {
            let file = &files[number * 7 % FILES];
            let path = format!("/{}", file.path);
            let entry = encode_entry(&file.sha256, &path);
            let digest: String = file
                .sha256
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let sha1: String = entry[4..24]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            writeln!(text, "10 {sha1} ima-ng sha256:{digest} {path}")?;
            writeln!(digests, "{digest} {path}")?;
            list.extend(entry);
        }
        let listed = ListedPackage {
            name: "everything".into(),
            version: "1".into(),
            architecture: "all".into(),
            sha256: [0; 32],
            filename: String::new(),
        };
        let release = Release {
            name: "sample".into(),
            date_ms: 1,
            files: BTreeMap::new(),
        };
        let mut index = Index::default();
        let added = vec![(listed.clone(), files)];
        index.take_release(&release, &[listed], added)?;
        let boot = boot_header();
        let mut registers = boot_log::registers(&boot_log::parse(&boot)?);
        let register = ima_log::register_after(&list).context("the sample is a list")?;
        registers.insert(ima_log::REGISTER, register);
        let quote = VerifiedQuote {
            extra_data: Vec::new(),
            registers,
            clock: Clock {
                milliseconds: 0,
                resets: 1,
                restarts: 0,
            },
            firmware: 0,
        };
        Ok(Self {
            boot,
            list,
            text,
            digests,
            quote,
            index,
        })
    }

    /// Entries a second, appraised from the first one each time.
    fn ours(&self, length: Duration) -> Result<f64> {
        let expectations = Expectations::default();
        let (start, mut entries) = (Instant::now(), 0);
        while start.elapsed() < length {
            let report = appraise_host(
                &self.quote,
                &self.boot,
                &self.list,
                &self.index,
                &expectations,
                &mut HostState::default(),
                2,
            )?;
            ensure!(report.clean, "the sample is clean");
            entries += report.entries;
        }
        Ok(entries as f64 / start.elapsed().as_secs_f64())
    }

    fn keylime(&self, python: &str, directory: &Path) -> Result<f64> {
        let (list, digests) = (directory.join("list"), directory.join("digests"));
        std::fs::write(&list, &self.text)?;
        std::fs::write(&digests, &self.digests)?;
        let register = &self.quote.registers[&ima_log::REGISTER];
        let register: String = register.iter().map(|byte| format!("{byte:02x}")).collect();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/keylime_rate.py");
        let output = Command::new(python)
            .arg(script)
            .args([&list, &digests])
            .arg(register)
            .output()
            .with_context(|| format!("{python} does not start"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().with_context(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!("Keylime gave no rate: {text}{errors}")
        })
    }
}

/// Prints medians of `rounds` alternating rounds; ours take `seconds` each.
///
/// `python` is an interpreter that has Keylime; none leaves it out.
pub fn run(python: Option<&str>, rounds: usize, seconds: u64) -> Result<()> {
    let sample = Sample::new()?;
    let directory = tempfile::tempdir()?;
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        own.push(sample.ours(Duration::from_secs(seconds))?);
        if let Some(python) = python {
            peer.push(sample.keylime(python, directory.path())?);
        }
    }
    println!("measurement list of {ENTRIES} entries, index of {FILES} files");
    if peer.is_empty() {
        let rates: Vec<String> = own.iter().map(|rate| format!("{rate:.0}")).collect();
        println!("  ringfort: {} entries/s", rates.join(", "));
        return Ok(());
    }
    print_ratio(
        "measurement list, entries appraised",
        "entries/s",
        1.0,
        &own,
        "Keylime",
        &peer,
    );
    Ok(())
}
