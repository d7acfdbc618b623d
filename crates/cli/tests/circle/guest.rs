//! A circle whose enclaves are guests: kernel, initramfs and command line of
//! `script/enclave-guest`, booted by the provider under QEMU, without hardware's
//! help. Everything else is as in `circle::service`.
//!
//! Needs `qemu-system-x86_64` and a kernel of Debian's in `/boot` (script/setup).

use std::process::Command;

use crate::harness::{Circle, Ended, component, root};

const NAME: &str = "guest.internal";

/// Machines that the provider of a circle runs now: QEMUs whose kernel is one of
/// a provider's descriptors.
fn guests(circle: &Circle) -> usize {
    let opened = format!("/proc/{}/fd/", circle.pid("provider-0"));
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let started = processes.filter(|process| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        command.starts_with("qemu-system-x86_64") && command.contains(&opened)
    });
    started.count()
}

#[test]
fn a_service_in_a_guest_answers_over_https_under_a_measurement_of_the_whole_guest() {
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("image");
    let made = Command::new(root().join("script/enclave-guest"))
        .arg(&image)
        .arg("--enclave")
        .arg(
            std::path::Path::new(env!("CARGO_BIN_EXE_ringfort")).with_file_name("ringfort-enclave"),
        )
        .output();
    let printed = Ended::from(made.unwrap()).success("script/enclave-guest");
    let measurement = printed
        .lines()
        .find_map(|line| line.strip_prefix("measurement"))
        .unwrap()
        .trim();

    let circle = Circle::up_with(&[
        "--providers",
        "1",
        "--keykeepers",
        "0",
        "--guest",
        image.to_str().unwrap(),
    ]);
    let offers = circle.json(&["offer", "list"]);
    assert!(offers.to_string().contains(measurement), "{offers}");
    assert_eq!(guests(&circle), 0);

    let payload = component("hello");
    let run = circle.run(&["run", payload.to_str().unwrap(), "--name", NAME]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(guests(&circle), 1);
    let places = circle.endpoints(NAME);
    let answer = circle.curl(NAME, &places[0], "/from/a/guest").unwrap();
    assert!(answer.contains("/from/a/guest"), "{answer}");

    // The handshake is repeated with the same guest.
    circle.ringfort(&["stop", NAME]);
    circle.ringfort(&["start", NAME]);
    let answer = circle.curl(NAME, &places[0], "/again").unwrap();
    assert!(answer.contains("/again"), "{answer}");

    circle.ringfort(&["rm", NAME]);
    crate::harness::wait_for("the guest is switched off", || {
        (guests(&circle) == 0).then_some(())
    });
}
