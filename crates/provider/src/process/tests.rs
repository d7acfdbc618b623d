//! The real enclave over real pipes.
//!
//! The program is `RINGFORT_ENCLAVE`, or `ringfort-enclave` beside this test's
//! own build (`cargo build -p enclave`).

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use attest::{Moment, Roots};
use wire::{CircleId, EvidenceKind, Height, PayloadKind, Resources, SigningKey, channel::Launch};

use super::*;
use crate::{
    config::GuestConfig,
    guest::GuestImage,
    launcher::{EXIT_GRACE, Program},
};

fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("RINGFORT_ENCLAVE") {
        return path.into();
    }
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().with_file_name("ringfort-enclave");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build -p enclave`, or set RINGFORT_ENCLAVE",
        path.display()
    );
    path
}

struct Host {
    launcher: Launcher,
    directory: tempfile::TempDir,
    beats: mpsc::UnboundedSender<Beat>,
}

fn host() -> Host {
    host_of(Program::Process(
        platform::MeasuredFile::open(&program()).unwrap(),
    ))
}

fn host_of(program: Program) -> Host {
    Host {
        launcher: Launcher::start(program, true).unwrap(),
        directory: tempfile::tempdir().unwrap(),
        beats: mpsc::unbounded_channel().0,
    }
}

const CONTRACT: ContractId = ContractId([7; 32]);

fn launch() -> Launch {
    Launch {
        circle: CircleId([1; 32]),
        contract: CONTRACT,
        user_agreement: [9; 32],
        payload_kind: PayloadKind::Service,
        payload_sha256: Digest([3; 32]),
        payload_bytes: 1000,
        resources: Resources {
            cpu_milli: 1000,
            memory_mib: 64,
            storage_mib: 16,
        },
        name: Some("one.internal".parse().unwrap()),
    }
}

impl Host {
    async fn enclave(&self) -> EnclaveProcess {
        let files = ContractFiles::open(self.directory.path(), CONTRACT).unwrap();
        let log = SealedLog::open(files.directory(), 1 << 20).unwrap();
        let sinks = Sinks {
            contract: CONTRACT,
            log: Arc::new(log),
            files: Arc::new(files),
            beats: self.beats.clone(),
        };
        EnclaveProcess::launch(&self.launcher, sinks).await.unwrap()
    }
}

async fn next(enclave: &mut EnclaveProcess) -> FromEnclave {
    tokio::time::timeout(Duration::from_secs(120), enclave.messages.recv())
        .await
        .expect("the enclave answers in time")
        .expect("its task says how it ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_makes_keys_that_development_evidence_can_bind() {
    let host = host();
    let mut enclave = host.enclave().await;
    enclave.outbox.send(&HostMessage::Launch(launch())).unwrap();
    let FromEnclave::Keys {
        keys, report_data, ..
    } = next(&mut enclave).await
    else {
        panic!("not its keys")
    };
    let expected = keys.report_data(launch().circle, CONTRACT, &launch().user_agreement);
    assert_eq!(report_data, expected);
    assert!(!keys.certificate_request.is_empty());

    let (root, quoting) = (SigningKey::ed25519([1; 32]), SigningKey::ed25519([2; 32]));
    let certificate = attest::development::certify(&root, quoting.public(), None, "host").unwrap();
    let quoting = attest::development::QuotingKey::new(quoting, certificate).unwrap();
    let measurement = host.launcher.measurement();
    let evidence = quoting.quote(measurement, report_data, [0; 32]);
    let roots = [root.public()];
    let roots = Roots {
        development: &roots,
        ..Roots::default()
    };
    let moment = Moment {
        height: Height(1),
        time_ms: 1,
    };
    let claims = attest::verify(&evidence, &roots, moment).unwrap();
    assert_eq!(claims.kind, EvidenceKind::Development);
    assert_eq!(claims.measurement, measurement);
    assert_eq!(claims.report_data, report_data.into());
    let file = std::fs::read(program()).unwrap();
    assert_eq!(measurement.0, Digest::of(&[&file]).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_exits_when_it_is_told_to() {
    let host = host();
    let mut enclave = host.enclave().await;
    enclave.outbox.send(&HostMessage::Launch(launch())).unwrap();
    assert!(matches!(next(&mut enclave).await, FromEnclave::Keys { .. }));
    let started = Instant::now();
    enclave.shut_down();
    let FromEnclave::Gone(why) = next(&mut enclave).await else {
        panic!("not its end")
    };
    assert!(why.contains("exit status: 0"), "{why}");
    assert!(started.elapsed() < EXIT_GRACE, "it had to be killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_breaks_the_rules_is_told_and_left() {
    let host = host();
    let mut enclave = host.enclave().await;
    enclave.outbox.send(&HostMessage::Launch(launch())).unwrap();
    assert!(matches!(next(&mut enclave).await, FromEnclave::Keys { .. }));
    // An enclave is launched once.
    enclave.outbox.send(&HostMessage::Launch(launch())).unwrap();
    let FromEnclave::Gone(why) = next(&mut enclave).await else {
        panic!("not its end")
    };
    assert!(!why.contains("exit status: 0"), "{why}");
    // Nothing more can be sent to it.
    assert!(enclave.outbox.send(&HostMessage::Shutdown).is_err());
}

/// The image of `script/enclave-guest`, on an emulated processor.
fn guest(directory: &std::path::Path) -> GuestImage {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../script/enclave-guest");
    let made = std::process::Command::new(script)
        .arg(directory)
        .arg("--enclave")
        .arg(program())
        .output()
        .unwrap();
    let said = String::from_utf8(made.stdout).unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let image = GuestImage::open(GuestConfig {
        kernel: directory.join("kernel"),
        initramfs: directory.join("initramfs"),
        command_line: directory.join("command-line"),
        qemu: "qemu-system-x86_64".into(),
        memory_mib: 640,
        processors: 1,
        arguments: ["-machine", "q35,accel=tcg", "-cpu", "max"]
            .map(str::to_owned)
            .to_vec(),
    })
    .unwrap();
    let measurement = image.measurement().to_string();
    assert!(
        said.contains(&measurement),
        "{measurement} is not in\n{said}"
    );
    image
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_makes_keys_as_a_process_does_and_is_switched_off() {
    let scratch = tempfile::tempdir().unwrap();
    let host = host_of(Program::Guest(guest(scratch.path())));
    // What was measured is what starts, whatever lies at the paths by now.
    for name in ["kernel", "initramfs", "command-line"] {
        std::fs::remove_file(scratch.path().join(name)).unwrap();
    }
    let mut enclave = host.enclave().await;
    enclave.outbox.send(&HostMessage::Launch(launch())).unwrap();
    let FromEnclave::Keys {
        keys,
        report_data,
        report,
    } = next(&mut enclave).await
    else {
        panic!("not its keys")
    };
    assert_eq!(report, None, "there is no TEE here");
    let expected = keys.report_data(launch().circle, CONTRACT, &launch().user_agreement);
    assert_eq!(report_data, expected);
    enclave.shut_down();
    let FromEnclave::Gone(why) = next(&mut enclave).await else {
        panic!("not its end")
    };
    assert!(why.contains("exit status: 0"), "{why}");
    let refused = host.launcher.first_report().await.unwrap_err();
    assert!(refused.contains("no TEE"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn enclaves_end_with_the_thread_that_launched_them() {
    let host = host();
    let mut enclave = host.enclave().await;
    enclave.outbox.send(&HostMessage::Launch(launch())).unwrap();
    assert!(matches!(next(&mut enclave).await, FromEnclave::Keys { .. }));
    // What the kernel does when the provider is killed.
    drop(host.launcher);
    assert!(matches!(next(&mut enclave).await, FromEnclave::Gone(_)));
}
