//! `ringfort vault` as an author and an operator use it: a root certifies a release key,
//! that signs a program, and a served vault answers this very process and nobody whose
//! code was not signed. It needs root, as the agent reads its callers' memory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use vault::agent::Client;

const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with keys and a passphrase.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("passphrase"), "correct horse\n").unwrap();
        for key in ["root", "release", "stranger"] {
            let file = place.path(&format!("{key}.key"));
            place.success(&["keys", "new", file.to_str().unwrap()]);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort"));
        command
            .arg("--state")
            .arg(self.path("state"))
            .arg("--passphrase-file")
            .arg(self.path("passphrase"))
            .args(arguments)
            .env_remove("RINGFORT_STATE")
            .env_remove("RINGFORT_KEY")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn success(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }

    fn public(&self, key: &str) -> String {
        let text = fs::read_to_string(self.path(&format!("{key}.pub"))).unwrap();
        text.trim().to_owned()
    }

    /// `by` certifies the release key.
    fn certify(&self, by: &str, to: &str) {
        let (key, release, to) = (
            self.text(&format!("{by}.key")),
            self.public("release"),
            self.text(to),
        );
        let arguments = ["--key", &key, "vault", "certify", &release, "--application"];
        self.success(&[&arguments[..], &["ledgerbook", "--to", &to]].concat());
    }

    /// The release key signs `program` and `libraries`.
    fn sign(&self, program: &Path, libraries: &[PathBuf], certificate: &str, to: &str) -> Vec<u8> {
        let (key, certificate, file) = (
            self.text("release.key"),
            self.text(certificate),
            self.text(to),
        );
        let program = program.to_str().unwrap();
        let mut arguments = vec!["--key", &key, "vault", "sign", program];
        arguments.extend(["--certificate", &certificate, "--to", &file]);
        for library in libraries {
            arguments.extend(["--library", library.to_str().unwrap()]);
        }
        self.success(&arguments);
        fs::read(self.path(to)).unwrap()
    }
}

/// A vault with its agent, ended with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Served {
    fn new(place: &Place) -> Self {
        let (root, socket) = (place.public("root"), place.text("socket"));
        let arguments = ["vault", "serve", "--root", &root, "--application"];
        let served = place
            .command(&[&arguments[..], &["ledgerbook", "--socket", &socket]].concat())
            .spawn()
            .unwrap();
        let served = Self(served);
        let deadline = Instant::now() + PATIENCE;
        while !place.path("socket").exists() {
            assert!(Instant::now() < deadline, "the vault does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        served
    }
}

/// The files that this process has code of, besides its program.
fn libraries(own: &Path) -> Vec<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut found: Vec<PathBuf> = maps
        .lines()
        .filter(|line| line.split(' ').nth(1).unwrap().contains('x'))
        .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])))
        .filter(|path| path != own)
        .collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn a_served_vault_answers_the_signed_program_and_no_other() {
    let place = Place::new();
    let own = std::env::current_exe().unwrap();
    let libraries = libraries(&own);
    place.certify("root", "certificate");
    let credential = place.sign(&own, &libraries, "certificate", "credential");
    let _served = Served::new(&place);
    let socket = place.path("socket");

    let client = Client::connect(&socket, &credential).unwrap();
    let code = client.authenticate(b"a message").unwrap();
    assert_eq!(code, client.authenticate(b"a message").unwrap());
    assert_ne!(code, client.authenticate(b"another").unwrap());

    let refused = |credential: &[u8]| {
        let asked = Client::connect(&socket, credential)
            .and_then(|client| client.authenticate(b"a message"));
        assert!(asked.is_err(), "it was answered");
    };
    // This process shows what was signed for another program.
    let ringfort = Path::new(env!("CARGO_BIN_EXE_ringfort"));
    let other = place.sign(ringfort, &libraries, "certificate", "other");
    refused(&other);
    // The right program, under somebody else's root.
    place.certify("stranger", "foreign certificate");
    let foreign = place.sign(&own, &libraries, "foreign certificate", "foreign");
    refused(&foreign);
    // A byte of the right one.
    let mut changed = credential.clone();
    changed[40] ^= 1;
    refused(&changed);
    // And who is in order is answered as before.
    let client = Client::connect(&socket, &credential).unwrap();
    assert_eq!(client.authenticate(b"a message").unwrap(), code);
}

#[test]
fn a_release_key_that_was_not_certified_signs_nothing() {
    let place = Place::new();
    place.certify("root", "certificate");
    let (key, certificate, to) = (
        place.text("stranger.key"),
        place.text("certificate"),
        place.text("credential"),
    );
    let own = std::env::current_exe().unwrap();
    let arguments = ["--key", &key, "vault", "sign", own.to_str().unwrap()];
    let rest = ["--certificate", &certificate, "--to", &to];
    let output = place.run(&[&arguments[..], &rest].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("for another release key"), "{said}");
    assert!(!place.path("credential").exists());
}
