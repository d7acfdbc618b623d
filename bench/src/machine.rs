//! What machine and which versions a figure was measured on.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

/// Prints processor, memory, kernel and the versions of the programs measured.
pub fn print(programs: &[(&str, &[&str])]) {
    let field = |text: &str, key: &str| {
        text.lines()
            .find(|line| line.starts_with(key))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "machine: {} × {cores}, {}, Linux {}",
        field(&cpu, "model name").unwrap_or_else(|| "unknown processor".to_owned()),
        field(&memory, "MemTotal").unwrap_or_else(|| "unknown memory".to_owned()),
        kernel.trim()
    );
    for (program, arguments) in programs {
        let version = Command::new(program)
            .args(*arguments)
            .output()
            .ok()
            .map(|output| [output.stdout, output.stderr].concat())
            .and_then(|bytes| {
                String::from_utf8_lossy(&bytes)
                    .lines()
                    .next()
                    .map(str::to_owned)
            })
            .unwrap_or_else(|| "not installed".to_owned());
        println!("{program}: {version}");
    }
}

/// Megabytes of memory that a process holds now, and held at most; `self` is this one.
///
/// Errors: there is no such process.
pub fn resident_mb(process: &str) -> Result<(f64, f64)> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let field = |key: &str| -> Result<f64> {
        let line = text.lines().find(|line| line.starts_with(key));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: f64 = kib
            .with_context(|| format!("{path} has no {key}"))?
            .parse()?;
        Ok(kib * 1024.0 / 1e6)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}
