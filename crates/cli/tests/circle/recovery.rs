//! A circle loses its validators' shares; its members found it anew on a
//! back-up of its state, with files and signatures alone, and it goes on.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::harness::{Circle, Ended, free_port, programs::Running, ringfort, text, wait_for};
use serde_json::Value;

/// Of four members, those that are left: more than half.
const LEFT: usize = 3;

fn curl(url: &str) -> Option<Value> {
    let output = Command::new("curl").args(["--silent", url]).output();
    serde_json::from_slice(&output.unwrap().stdout).ok()
}

/// The machines of those that are left, each with its own directory.
struct Survivors {
    directories: Vec<PathBuf>,
}

impl Survivors {
    /// They make a new key with the identities that they had.
    fn make_a_key(circle: &Circle) -> Self {
        let directories: Vec<_> = (0..LEFT)
            .map(|number| circle.scratch(&format!("survivor-{number}")))
            .collect();
        for (number, directory) in directories.iter().enumerate() {
            std::fs::create_dir_all(directory).unwrap();
            let seed = format!("nodes/{number}/identity.seed");
            std::fs::copy(circle.state().join(seed), directory.join("identity.seed")).unwrap();
            let address = format!("127.0.0.1:{}", free_port());
            let (directory, name) = (text(directory), format!("survivor-{number}"));
            let key = [
                "found",
                "key",
                &directory,
                "--name",
                &name,
                "--address",
                &address,
            ];
            ringfort(&key).value();
        }
        let survivors = Self { directories };
        for (step, before) in [
            ("deal", "card.json"),
            ("acknowledge", "deal.json"),
            ("publish", "acknowledgement.json"),
            ("finish", "dealing.json"),
        ] {
            let files = survivors.files(before);
            for directory in &survivors.directories {
                let directory = text(directory);
                let mut arguments = vec!["found", step, &directory];
                arguments.extend(files.iter().map(String::as_str));
                ringfort(&arguments).value();
            }
        }
        survivors
    }

    fn files(&self, name: &str) -> Vec<String> {
        let files = self.directories.iter().map(|d| text(&d.join(name)));
        files.collect()
    }

    fn first(&self) -> &Path {
        &self.directories[0]
    }
}

fn step(step: &str, directory: &Path, common: &[String], more: &[String]) -> Ended {
    let directory = text(directory);
    let mut arguments = vec!["recover", step, &directory];
    arguments.extend(common.iter().chain(more).map(String::as_str));
    ringfort(&arguments)
}

fn flagged(flag: &str, files: &[String]) -> Vec<String> {
    let pairs = files.iter().map(|file| [flag.to_owned(), file.clone()]);
    pairs.collect::<Vec<_>>().concat()
}

#[test]
fn members_found_their_circle_anew_on_its_state_after_its_shares_are_lost() {
    let circle = Circle::up();
    let holder = "ab".repeat(32);
    circle.ringfort(&["account", "transfer", &holder, "12345"]);
    let paid = circle.height();
    let url = format!("http://127.0.0.1:{}", circle.base_port + 100);
    wait_for("there is a checkpoint with the transfer", || {
        let list = curl(&format!("{url}/v1/checkpoints"))?;
        (list["checkpoints"][0]["height"].as_u64()? > paid).then_some(())
    });
    let backup = circle.scratch("state.backup");
    let backup = text(&backup);
    let saved = circle.json(&["node", "backup", &backup]);
    let key = circle.json(&["circle", "show"])["circle_key"].clone();
    let key = key.as_str().unwrap().to_owned();
    // All validators are gone, and the shares with them.
    circle.ringfort(&["down"]);
    for node in 0..4 {
        let data = circle.state().join(format!("nodes/{node}/data"));
        std::fs::remove_dir_all(data).unwrap();
    }

    let survivors = Survivors::make_a_key(&circle);
    let first = text(survivors.first());
    let made = [
        "recover",
        "genesis",
        &first,
        "--backup",
        &backup,
        "--circle-key",
        &key,
    ];
    let new = ringfort(&made).value();
    let genesis = text(&survivors.first().join("genesis.json"));
    let votes: Vec<String> = (0..LEFT)
        .map(|node| {
            let out = text(&circle.scratch(&format!("vote-{node}.json")));
            let node = node.to_string();
            let vote = [
                "recover",
                "vote",
                &genesis,
                "--out",
                &out,
                "--as-node",
                &node,
            ];
            circle.ringfort(&vote);
            out
        })
        .collect();
    let common = |votes: &[String]| {
        let files = ["--backup", &backup, "--genesis", &genesis].map(str::to_owned);
        [files.to_vec(), flagged("--vote", votes)].concat()
    };
    let few = step("sign", survivors.first(), &common(&votes[..2]), &[]);
    assert_ne!(few.code, 0, "two of four are no majority");
    assert!(
        few.stderr.contains("2 members agree; 3 of 4"),
        "{}",
        few.stderr
    );
    let twice = [votes[0].clone(), votes[0].clone(), votes[1].clone()];
    assert_ne!(
        step("sign", survivors.first(), &common(&twice), &[]).code,
        0
    );
    let headers: Vec<String> = survivors
        .directories
        .iter()
        .map(|directory| step("sign", directory, &common(&votes), &[]).value())
        .collect();
    assert!(
        headers.windows(2).all(|pair| pair[0] == pair[1]),
        "{headers:?}"
    );
    let signatures = flagged("--signature", &survivors.files("opening.json"));
    let missing = step(
        "finish",
        survivors.first(),
        &common(&votes),
        &signatures[..4],
    );
    assert_ne!(missing.code, 0, "two of three are no quorum");
    step("finish", survivors.first(), &common(&votes), &signatures).value();
    let checkpoint = text(&survivors.first().join("recovered.checkpoint"));

    let mut apis = Vec::new();
    let mut nodes = Vec::new();
    for directory in &survivors.directories {
        let api = format!("127.0.0.1:{}", free_port());
        let path = text(directory);
        ringfort(&["recover", "configure", &path, "--genesis", &genesis]).value();
        let config = directory.join("node.toml");
        let file = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, file.replace("127.0.0.1:26800", &api)).unwrap();
        let config = text(&config);
        let early = Command::new(env!("CARGO_BIN_EXE_ringfort"))
            .args(["node", "--config", &config])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!early.status.success(), "it must not begin at height 0");
        // It has left an empty ledger.
        let restore = [
            "node",
            "restore",
            &checkpoint,
            "--replace",
            "--config",
            &config,
        ];
        ringfort(&restore).success("restore");
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let node = Command::new(env!("CARGO_BIN_EXE_ringfort"))
            .args(["node", "--config", &config])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        nodes.push(Running(node.unwrap()));
        apis.push(api);
    }
    let began = saved["height"].as_u64().unwrap() + 1;
    for api in &apis {
        wait_for("the new circle goes on", || {
            let status = curl(&format!("http://{api}/v1/status"))?;
            assert_eq!(status["circle"], new.as_str());
            let goes_on = status["height"].as_u64()? > began + 3 && status["in_office"] == true;
            goes_on.then_some(())
        });
    }
    let account = curl(&format!("http://{}/v1/accounts/{holder}", apis[1])).unwrap();
    assert_eq!(account["record"]["balance"], 12345, "{account}");
    drop(nodes);
    circle.ringfort(&["down", "--purge", "--yes"]);
}
