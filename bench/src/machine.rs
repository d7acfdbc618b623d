//! What machine and which versions a figure was measured on.

use std::{fs, process::Command};

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
