//! A TPM's whole life against swtpm, a TPM 2.0 in software that nobody here
//! wrote: endorsed by its maker, enrolled, quoted, appraised; sealed to
//! registers; an account's key.
//!
//! swtpm is on this machine as a real TPM would be; it belongs to the host, so
//! what it says protects nobody here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use attest::{
    AppraisalPolicy, Moment, Roots, appraise,
    tpm::{AttestationKey, certify, check_endorsement, pack},
};
use platform::{
    evidence::Hardware,
    tpm::{IssuedChallenge, Tpm, TpmError, endorsement_digest},
};
use wire::{Digest, Evidence, EvidenceKind, EvidencePolicy, Height, ReferenceValue, SigningKey};

/// Registers that a host's quote covers.
const REGISTERS: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// The certificates of a TPM that is made now hold from now on.
fn now_ms() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// A running swtpm, made by a maker of its own, ended with the test.
struct Swtpm {
    process: Child,
    directory: tempfile::TempDir,
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

/// Has swtpm_setup make a TPM with an endorsement certificate under a local
/// authority.
fn make_tpm(directory: &Path) {
    let at = |name: &str| directory.join(name).display().to_string();
    fs::create_dir_all(directory.join("ca")).unwrap();
    fs::create_dir_all(directory.join("state")).unwrap();
    write(
        &directory.join("localca.conf"),
        &format!(
            "statedir = {0}\nsigningkey = {0}/signkey.pem\nissuercert = {0}/issuercert.pem\n\
             certserial = {0}/certserial\n",
            at("ca")
        ),
    );
    write(
        &directory.join("localca.options"),
        "--tpm-manufacturer IBM\n--tpm-model swtpm-libtpms\n--tpm-version 2\n\
         --platform-manufacturer Test\n--platform-version 1.0\n--platform-model Test\n",
    );
    write(
        &directory.join("setup.conf"),
        &format!(
            "create_certs_tool=/usr/bin/swtpm_localca\ncreate_certs_tool_config={}\n\
             create_certs_tool_options={}\nactive_pcr_banks = sha256\n",
            at("localca.conf"),
            at("localca.options")
        ),
    );
    let made = Command::new("swtpm_setup")
        .args(["--tpm2", "--create-ek-cert", "--lock-nvram", "--overwrite"])
        .args(["--pcr-banks", "sha256"])
        .args(["--tpmstate", &at("state"), "--config", &at("setup.conf")])
        .args(["--logfile", &at("setup.log")])
        .stdout(Stdio::null())
        .status()
        .expect("swtpm_setup is installed by script/setup");
    let log = || fs::read_to_string(directory.join("setup.log")).unwrap_or_default();
    assert!(made.success(), "{}", log());
}

impl Swtpm {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        make_tpm(directory.path());
        let process = Self::spawn(directory.path());
        Self { process, directory }
    }

    /// Switches it off and on again: swtpm ends with its client's connection.
    fn restarted(mut self) -> Self {
        let _ = self.process.kill();
        self.process.wait().unwrap();
        for socket in ["tpm.sock", "ctrl.sock"] {
            let _ = fs::remove_file(self.path(socket));
        }
        self.process = Self::spawn(self.directory.path());
        self
    }

    fn spawn(directory: &Path) -> Child {
        let at = |name: &str| directory.join(name).display().to_string();
        Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", at("state"))])
            .args(["--server", &format!("type=unixio,path={}", at("tpm.sock"))])
            .args(["--ctrl", &format!("type=unixio,path={}", at("ctrl.sock"))])
            .stdout(Stdio::null())
            .spawn()
            .expect("swtpm is installed by script/setup")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Asks again until swtpm listens, which it does shortly after its start.
    fn once_it_listens<T, E: std::fmt::Display>(&self, ask: impl Fn() -> Result<T, E>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match ask() {
                Ok(answer) => return answer,
                Err(error) if Instant::now() > deadline => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Connects.
    fn connect(&self) -> Tpm {
        let path = self.path("tpm.sock").display().to_string();
        self.once_it_listens(|| Tpm::open(&path))
    }

    /// The maker's certificates: roots, and what is between.
    fn maker(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let der = |name: &str| {
            let output = Command::new("openssl")
                .args(["x509", "-outform", "der", "-in"])
                .arg(self.path("ca").join(name))
                .output()
                .unwrap();
            assert!(output.status.success());
            output.stdout
        };
        (
            vec![der("swtpm-localca-rootca-cert.pem")],
            vec![der("issuercert.pem")],
        )
    }
}

fn enroller() -> SigningKey {
    SigningKey::ed25519([5; 32])
}

#[test]
fn a_tpm_is_enrolled_and_its_evidence_appraised() {
    let swtpm = Swtpm::start();
    let (roots, intermediates) = swtpm.maker();
    let mut tpm = swtpm.connect();

    // The maker vouches for the endorsement key, at this time and under its roots.
    let certificate = tpm.endorsement().unwrap().certificate;
    let endorsement = check_endorsement(&certificate, &intermediates, &roots, now_ms()).unwrap();
    assert!(check_endorsement(&certificate, &intermediates, &[], now_ms()).is_err());
    assert!(check_endorsement(&certificate, &[], &roots, now_ms()).is_err());
    assert!(check_endorsement(&certificate, &intermediates, &roots, 0).is_err());
    let mut forged = certificate.clone();
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    assert!(check_endorsement(&forged, &intermediates, &roots, now_ms()).is_err());

    // The TPM activates a credential for its attestation key, and no other.
    let key = tpm.attestation_key().unwrap();
    let public = AttestationKey::from_public(&key.public).unwrap();
    let issued = IssuedChallenge::new(&endorsement.public, &public).unwrap();
    let answer = tpm.activate(&key, &issued.challenge).unwrap();
    assert!(issued.is_answered_by(&answer));
    assert!(!issued.is_answered_by(&answer[1..]));
    let mut changed = issued.challenge.clone();
    *changed.credential.last_mut().unwrap() ^= 1;
    assert!(matches!(
        tpm.activate(&key, &changed),
        Err(TpmError::Refused { .. })
    ));
    let storage = tpm.storage_key().unwrap();
    assert!(matches!(
        tpm.activate(&storage, &issued.challenge),
        Err(TpmError::Refused { .. })
    ));
    tpm.flush(storage).unwrap();

    // Its enroller certifies it, and its quote is evidence.
    let chip = endorsement_digest(&endorsement.public);
    let certificate = certify(&enroller(), &key.public, chip, Some(Height(100)), "host").unwrap();
    let report_data = Digest([7; 32]);
    let quote = tpm.quote(&key, &REGISTERS, &report_data.0).unwrap();
    let evidence = pack(&certificate, &quote);
    assert_admitted(&evidence, report_data, chip);

    // The same by way of the files that a provider is configured with.
    tpm.flush(key).unwrap();
    drop(tpm);
    let file = swtpm.path("certificate");
    fs::write(&file, certificate.encode()).unwrap();
    let hardware = Hardware::Tpm {
        path: swtpm.path("tpm.sock").display().to_string(),
        certificate: file,
    };
    let swtpm = swtpm.restarted();
    let evidence = swtpm.once_it_listens(|| hardware.evidence(report_data));
    assert_admitted(&evidence, report_data, chip);

    // The next boot measures something else: another code.
    let swtpm = swtpm.restarted();
    let mut tpm = swtpm.connect();
    let key = tpm.attestation_key().unwrap();
    let before = attest::tpm::boot_measurement(&quote.registers).unwrap();
    tpm.extend(4, &[9; 32]).unwrap();
    let later = tpm.quote(&key, &REGISTERS, &report_data.0).unwrap();
    let later = later.verify(&public).unwrap();
    assert_ne!(
        attest::tpm::boot_measurement(&later.registers),
        Some(before)
    );
    tpm.flush(key).unwrap();
}

/// Asserts that the evidence is admitted by a policy that names its machine,
/// and refused by every neighbour of it.
fn assert_admitted(evidence: &Evidence, report_data: Digest, chip: Digest) {
    let enrollers = [enroller().public()];
    let verify = |enrollers: &[wire::PublicKey], height| {
        let roots = Roots {
            tpm: enrollers,
            ..Roots::default()
        };
        let moment = Moment {
            height: Height(height),
            time_ms: 0,
        };
        attest::verify(evidence, &roots, moment)
    };
    assert!(verify(&[], 1).is_err());
    assert!(verify(&enrollers, 101).is_err());
    let claims = verify(&enrollers, 100).unwrap();
    assert!(!claims.protects_from_host);
    let reference_values = [ReferenceValue {
        measurement: claims.measurement,
        kind: EvidenceKind::Tpm,
    }];
    let pinned = EvidencePolicy {
        chips: vec![chip],
        ..EvidencePolicy::default()
    };
    let elsewhere = EvidencePolicy {
        chips: vec![Digest([1; 32])],
        ..EvidencePolicy::default()
    };
    let policy = AppraisalPolicy {
        reference_values: &reference_values,
        circle: &pinned,
        accepted_kinds: &[EvidenceKind::Tpm],
        report_data,
        measurement: Some(claims.measurement),
        request: &pinned,
        require_host_protection: false,
    };
    let result = appraise(&claims, &policy).unwrap();
    assert_eq!(result.chip, Some(chip));
    let refusing = [
        AppraisalPolicy {
            circle: &elsewhere,
            ..policy
        },
        AppraisalPolicy {
            report_data: Digest([8; 32]),
            ..policy
        },
        AppraisalPolicy {
            require_host_protection: true,
            ..policy
        },
    ];
    for policy in refusing {
        assert!(appraise(&claims, &policy).is_err());
    }
}

#[test]
fn a_secret_is_given_back_while_the_registers_stand() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.connect();
    let secret = [42; 32];
    let sealed = tpm.seal(&[0, 7, 10], &secret).unwrap();
    assert_eq!(*tpm.unseal(&sealed).unwrap(), secret);
    // A register outside the policy does not matter; one inside does, for good.
    tpm.extend(16, &[1; 32]).unwrap();
    assert_eq!(*tpm.unseal(&sealed).unwrap(), secret);
    tpm.extend(10, &[1; 32]).unwrap();
    assert!(matches!(tpm.unseal(&sealed), Err(TpmError::Refused { .. })));
    assert!(tpm.seal(&[0], &[0; 200]).is_err());

    // Another TPM cannot open it.
    let other = Swtpm::start();
    assert!(other.connect().unseal(&sealed).is_err());
}

#[test]
fn an_accounts_key_signs_inside_the_tpm() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.connect();
    let key = tpm.account_key("alice").unwrap();
    let public = key.public();
    for number in 0..4u8 {
        let signature = key.sign(&mut tpm, "ringfort/test/1", &[number]).unwrap();
        public
            .verify("ringfort/test/1", &[number], &signature)
            .unwrap();
        assert!(
            public
                .verify("ringfort/test/2", &[number], &signature)
                .is_err()
        );
    }
    key.flush(&mut tpm).unwrap();
    // The same label is the same key, another label another.
    let again = tpm.account_key("alice").unwrap();
    assert_eq!(again.public(), public);
    again.flush(&mut tpm).unwrap();
    assert_ne!(tpm.account_key("bob").unwrap().public(), public);
}

#[test]
fn what_is_not_a_tpm_is_an_error() {
    assert!(matches!(
        Tpm::open("/nowhere/tpmrm0"),
        Err(TpmError::Io { .. })
    ));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("not-a-tpm");
    fs::write(&path, []).unwrap();
    let mut file = Tpm::open(&path.display().to_string()).unwrap();
    assert!(file.attestation_key().is_err());
}
