//! Four founders on four "machines" make a key together, agree on a genesis
//! and run a circle on it; nobody ever dealt.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::harness::{self, Ended, free_port, programs::Running, text, wait_for};
use serde_json::Value;

const FOUNDERS: usize = 4;

struct Founders {
    root: tempfile::TempDir,
}

impl Founders {
    fn directory(&self, founder: usize) -> PathBuf {
        self.root.path().join(format!("founder-{founder}"))
    }

    fn ringfort(arguments: &[&str]) -> Ended {
        harness::ringfort(&[&["found"], arguments].concat())
    }

    fn files(&self, name: &str) -> Vec<String> {
        (0..FOUNDERS)
            .map(|founder| text(&self.directory(founder).join(name)))
            .collect()
    }

    /// One founder takes a step with everybody's files of the step before.
    fn step(&self, founder: usize, step: &str, files: &[String]) -> Ended {
        let directory = text(&self.directory(founder));
        let mut arguments = vec![step, &directory];
        arguments.extend(files.iter().map(String::as_str));
        Self::ringfort(&arguments)
    }

    /// All take a step; what each printed to compare.
    fn all(&self, step: &str, before: &str) -> Vec<String> {
        let files = self.files(before);
        (0..FOUNDERS)
            .map(|founder| self.step(founder, step, &files).value())
            .collect()
    }
}

fn alike(values: &[String]) -> String {
    assert!(
        values.windows(2).all(|pair| pair[0] == pair[1]),
        "{values:?}"
    );
    values[0].clone()
}

fn refused(ended: &Ended, reason: &str) {
    assert_ne!(ended.code, 0, "{}", ended.stdout);
    assert!(ended.stderr.contains(reason), "{}", ended.stderr);
}

#[test]
fn founders_make_a_key_without_a_dealer_and_their_circle_runs() {
    let founders = Founders {
        root: tempfile::tempdir().unwrap(),
    };
    for founder in 0..FOUNDERS {
        let address = format!("127.0.0.1:{}", free_port());
        let directory = text(&founders.directory(founder));
        let name = format!("member-{founder}");
        Founders::ringfort(&["key", &directory, "--name", &name, "--address", &address]).value();
    }
    let cards = founders.files("card.json");
    refused(&founders.step(0, "deal", &cards[1..]), "your own card");
    alike(&founders.all("deal", "card.json"));
    let deals = founders.files("deal.json");
    refused(
        &founders.step(0, "acknowledge", &deals[1..]),
        "member-0 are missing",
    );
    refused(&founders.step(0, "acknowledge", &cards), "parse");
    alike(&founders.all("acknowledge", "deal.json"));
    refused(
        &founders.step(0, "publish", &deals),
        "another ceremony or step",
    );
    alike(&founders.all("publish", "acknowledgement.json"));
    // A dealing that was changed on its way is refused by everybody.
    let mut damaged = founders.files("dealing.json");
    let changed = std::fs::read_to_string(&damaged[2]).unwrap().replacen(
        "\"bytes\": \"",
        "\"bytes\": \"00",
        1,
    );
    damaged[2] = text(&founders.root.path().join("changed.json"));
    std::fs::write(&damaged[2], changed).unwrap();
    refused(&founders.step(0, "finish", &damaged), "not signed");
    let key = alike(&founders.all("finish", "dealing.json"));
    assert_eq!(key.len(), 192);
    let shares: std::collections::BTreeSet<String> = (0..FOUNDERS)
        .map(|founder| std::fs::read_to_string(founders.directory(founder).join("share")).unwrap())
        .collect();
    assert_eq!(shares.len(), FOUNDERS, "everybody has a share of its own");

    let first = text(&founders.directory(0));
    let circle = Founders::ringfort(&[
        "genesis",
        &first,
        "--name",
        "acme",
        "--apex",
        "acme.internal",
    ])
    .value();
    let genesis = text(&founders.directory(0).join("genesis.json"));
    let other = std::fs::read_to_string(&genesis)
        .unwrap()
        .replace("member-2", "intruder");
    let forged = text(&founders.root.path().join("forged.json"));
    std::fs::write(&forged, other).unwrap();
    let second = text(&founders.directory(1));
    refused(
        &Founders::ringfort(&["check", &second, &forged]),
        "other founders",
    );
    for founder in 1..FOUNDERS {
        let directory = text(&founders.directory(founder));
        assert_eq!(
            Founders::ringfort(&["check", &directory, &genesis]).value(),
            circle
        );
    }
    run(&founders, &key);
}

/// Runs every founder's node and waits until they agree on blocks.
fn run(founders: &Founders, key: &str) {
    let apis: Vec<u16> = (0..FOUNDERS).map(|_| free_port()).collect();
    let mut nodes = Vec::new();
    for (founder, api) in apis.iter().enumerate() {
        for name in ["circle.toml", "node.toml"] {
            let path = founders.directory(founder).join(name);
            let config = std::fs::read_to_string(&path).unwrap();
            let config = config.replace("127.0.0.1:26800", &format!("127.0.0.1:{api}"));
            std::fs::write(&path, config).unwrap();
        }
        let path = founders.directory(founder).join("node.toml");
        let log = std::fs::File::create(founders.directory(founder).join("node.log")).unwrap();
        let node = Command::new(env!("CARGO_BIN_EXE_ringfort"))
            .args(["node", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        nodes.push(Running(node));
    }
    for api in apis {
        let get = |path: &str| -> Option<Value> {
            let url = format!("http://127.0.0.1:{api}/v1/{path}");
            let output = Command::new("curl")
                .args(["-sf", "-m", "5", &url])
                .output()
                .unwrap();
            serde_json::from_slice(&output.stdout).ok()
        };
        wait_for("a founder's node agrees on blocks", || {
            let status = get("status")?;
            (status["height"].as_u64()? >= 3).then_some(())
        });
        assert_eq!(get("circle").unwrap()["circle_key"], key);
    }
    // Each founder's directory is a state directory: proofs verify under the key.
    let ended: Ended = Command::new(env!("CARGO_BIN_EXE_ringfort"))
        .arg("--state")
        .arg(founders.directory(3))
        .args(["-o", "json", "member", "list"])
        .stdin(Stdio::null())
        .output()
        .unwrap()
        .into();
    let members = ended.json_lines().pop();
    let members = members.unwrap_or_else(|| panic!("{}", ended.stderr));
    assert_eq!(members.as_array().unwrap().len(), FOUNDERS);
}
