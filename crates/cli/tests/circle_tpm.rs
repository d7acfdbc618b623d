//! A name whose primary key is in a TPM, and an account that signs there as it
//! sends: swtpm is a TPM that nobody here wrote.

mod harness;

use std::process::{Child, Command, Stdio};

use harness::{Circle, wait_for};

/// A software TPM that ends with the test.
struct Tpm {
    directory: tempfile::TempDir,
    process: Child,
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Tpm {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = Self::spawn(&directory);
        Self { directory, process }
    }

    fn spawn(directory: &tempfile::TempDir) -> Child {
        let at = |name: &str| directory.path().join(name).display().to_string();
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg(format!("--tpmstate=dir={}", directory.path().display()))
            .arg(format!("--server=type=unixio,path={}", at("socket")))
            .arg(format!("--ctrl=type=unixio,path={}", at("control")))
            .stdin(Stdio::null())
            .spawn()
            .expect("swtpm is installed: script/setup");
        wait_for("the TPM listens", || {
            directory.path().join("socket").exists().then_some(())
        });
        process
    }

    /// `--key`'s value for the key called `label`, in this TPM once it listens:
    /// swtpm may end with the connection of the command before.
    fn key(&mut self, label: &str) -> String {
        let _ = self.process.kill();
        let _ = self.process.wait();
        for socket in ["socket", "control"] {
            let _ = std::fs::remove_file(self.directory.path().join(socket));
        }
        self.process = Self::spawn(&self.directory);
        let socket = self.directory.path().join("socket");
        format!("tpm:{label}@{}", socket.display())
    }
}

#[test]
fn a_name_is_owned_and_an_account_sends_by_a_key_in_a_tpm() {
    let circle = Circle::up();
    let mut tpm = Tpm::start();
    let key = tpm.key("owner");
    let (_, device) = key.split_once('@').unwrap();
    let made = circle.json(&["host", "key", "--label", "owner", "--tpm", device]);
    let public = made["public"].as_str().unwrap().to_owned();
    assert!(public.starts_with("p256:"), "{made}");

    // Its account receives, and sends back with a signature of the TPM's.
    circle.ringfort(&["account", "transfer", &public, "1000000"]);
    let key = tpm.key("owner");
    let shown = circle.json(&["--key", &key, "account", "show"]);
    assert_eq!(shown["balance"], 1_000_000, "{shown}");
    let before = circle.balance();
    let users = circle.json(&["account", "show"])["account"].clone();
    let key = tpm.key("owner");
    let back = [
        "--key",
        &key,
        "account",
        "transfer",
        users.as_str().unwrap(),
        "5000",
    ];
    circle.ringfort(&back);
    assert_eq!(circle.balance(), before + 5000);

    // A name goes over to it: from then on the TPM's key alone sets records.
    circle.ringfort(&["name", "register", "sealed.internal"]);
    circle.ringfort(&["name", "transfer", "sealed.internal", &public]);
    let set = ["name", "set", "sealed.internal", "TXT", "\"by the TPM\""];
    assert_ne!(circle.run(&set).code, 0, "the key file owns it no more");
    let key = tpm.key("owner");
    circle.ringfort(&[&["--key", &key][..], &set].concat());
    wait_for("the record is served", || {
        let texts = circle.dig("sealed.internal", "TXT");
        (texts == ["\"by the TPM\""]).then_some(())
    });

    // It registers a name itself, by a secret that its wallet keeps meanwhile,
    // and runs a payload whose output it alone reads.
    let key = tpm.key("owner");
    circle.ringfort(&["--key", &key, "name", "register", "own.internal"]);
    let shown = circle.json(&["name", "show", "own.internal"]);
    assert_eq!(shown["owner"], public.as_str());
    let (job, text) = (harness::component("wordcount"), circle.scratch("text.txt"));
    std::fs::write(&text, "one two two\n").unwrap();
    let (job, text) = (job.to_str().unwrap(), text.to_str().unwrap());
    let key = tpm.key("owner");
    let ran = circle.json(&["--key", &key, "run", job, "--input", text, "--", "2"]);
    assert_eq!(ran["exit_code"], 0, "{ran}");
    let key = tpm.key("owner");
    let logs = circle.ringfort(&["--key", &key, "logs", "wordcount"]);
    assert!(logs.contains("3 words"), "{logs}");
    assert_eq!(
        circle.json(&["ps", "--all"]),
        serde_json::json!([]),
        "no one else's"
    );

    // Another label is another key; what writes a key out must have a file.
    let key = tpm.key("other");
    assert_ne!(circle.run(&[&["--key", &key][..], &set].concat()).code, 0);
    let key = tpm.key("owner");
    let refused = circle.run(&[
        "--key",
        &key,
        "name",
        "update-key",
        "sealed.internal",
        "--directory",
        "/nonexistent",
    ]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("key file"), "{}", refused.stderr);
}
