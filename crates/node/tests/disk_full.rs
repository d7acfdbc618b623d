//! A validator whose disk is full says so, harms nobody, and goes on by itself
//! once there is room: on a real small file system.

mod harness;

use std::{
    fs::{self, File},
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use harness::{EPOCH, PATIENCE, configure, free_ports, namespace::Namespaces, until};
use node::{
    DiskConfig, Node,
    sample::{self, BALANCE, Circle},
};
use reqwest::{Client, StatusCode};
use serde_json::Value;

/// The validator whose disk is small.
const SMALL: usize = 3;

/// Megabytes of its disk, and what must be free of them.
const DISK_MB: u64 = 128;
const RESERVE_MB: u64 = 16;

/// Runs `test` again where it may mount a file system, or says that it is there.
fn is_inside(test: &str) -> bool {
    let namespaces = Namespaces {
        kinds: &["--mount", "--pid", "--fork"],
        probe: &["mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"],
        needs: "mounts a small file system: run it as root",
        seconds: 200,
    };
    namespaces.is_inside(test)
}

/// Transfers one unit so many times by a node, each final before the next.
async fn transfer(http: &Client, api: SocketAddr, circle: &Circle, from: u64, times: u64) -> u64 {
    let url = format!("http://{api}/v1/transactions?wait=final&timeout_ms=50000");
    for sequence in from..from + times {
        let transfer = circle.transfer(0, sequence, 1, 1);
        let answer = http.post(&url).body(transfer.encode()).send().await;
        let text = answer.unwrap().text().await.unwrap();
        assert!(text.contains("\"applied\""), "{text}");
    }
    from + times
}

/// Writes a file of so many megabytes, or until there is no room for a byte.
fn fill(path: &Path, megabytes: u64) {
    let mut file = File::create(path).unwrap();
    let piece = vec![0x5a; 64 * 1024];
    for _ in 0..megabytes * 16 {
        if file.write_all(&piece).is_err() {
            return;
        }
    }
}

/// Asks the small one until it is ready, or is not: its status code and answer.
async fn until_ready(http: &Client, api: SocketAddr, ready: bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = http.get(format!("http://{api}/readyz")).send().await;
        if let Ok(answer) = answer {
            let status = answer.status();
            let retry = answer.headers().contains_key("retry-after");
            let text = answer.text().await.unwrap_or_default();
            let body: Value = serde_json::from_str(&text).unwrap_or_default();
            let about_disk = body["why"].to_string().contains("the disk of");
            if ready && status == StatusCode::OK {
                return body;
            }
            if !ready && about_disk {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                assert!(retry, "it says when to ask again");
                return body;
            }
        }
        assert!(Instant::now() < deadline, "in vain until ready is {ready}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_node_waits_while_its_disk_is_full_and_goes_on_when_there_is_room() {
    if !is_inside("a_node_waits_while_its_disk_is_full_and_goes_on_when_there_is_room") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(scene());
}

async fn scene() {
    let mut circle = Circle::with_epochs(4, EPOCH);
    circle.genesis.parameters.idle_block_interval_ms = 120;
    let ports = free_ports(5);
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = Vec::new();
    for number in 0..SMALL {
        let config = configure(&circle, number, &ports, folder.path());
        nodes.push(Node::start(&config).await.unwrap());
    }
    let mut config = configure(&circle, SMALL, &ports, folder.path());
    // A disk of its own, with the node's folder on it.
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let size = format!("size={DISK_MB}m");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &size, "none"])
        .arg(&disk)
        .status();
    assert!(mounted.unwrap().success());
    config.data_dir = disk.join("data");
    config.api = ([127, 0, 0, 1], ports[4]).into();
    config.disk = DiskConfig {
        reserve_mb: RESERVE_MB,
    };
    let small = config.api;
    let running = tokio::spawn(node::run(config));

    let http = Client::new();
    let api = nodes[0].api_address();
    until(&http, api, "/v1/status", "the circle runs", |status| {
        status["height"].as_u64() > Some(2)
    })
    .await;
    let body = until_ready(&http, small, true).await;
    assert_eq!(body["in_office"], true);
    let mut sent = transfer(&http, api, &circle, 0, 5).await;

    let filler = disk.join("filler");
    // All at once to the last byte, and then only into what is reserved.
    for megabytes in [DISK_MB, DISK_MB / 2] {
        fill(&filler, megabytes);
        if megabytes != DISK_MB {
            fill(&disk.join("more"), DISK_MB / 2 - RESERVE_MB * 3 / 4);
        }
        until_ready(&http, small, false).await;
        sent = transfer(&http, api, &circle, sent, 10).await;
        let alive = http.get(format!("http://{small}/healthz")).send().await;
        assert_eq!(alive.unwrap().status(), StatusCode::OK, "no restart helps");
        assert!(!running.is_finished());
        until_ready(&http, small, false).await;

        fs::remove_file(&filler).unwrap();
        let _ = fs::remove_file(disk.join("more"));
        until_ready(&http, small, true).await;
        sent = transfer(&http, api, &circle, sent, 3).await;
        let path = format!("/v1/accounts/{}", sample::account(1));
        until(
            &http,
            small,
            &path,
            "it has what was acknowledged",
            |account| account["record"]["balance"] == BALANCE.0 + sent,
        )
        .await;
        let status = until_ready(&http, small, true).await;
        assert_eq!(status["in_office"], true, "it votes again");
    }
    for node in nodes {
        node.stop().await.unwrap();
    }
    running.abort();
}
