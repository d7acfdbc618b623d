//! Who is let in, how often, and how slowly: over HTTP.

mod harness;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use harness::{configure, free_ports};
use node::{AccessConfig, Node, NodeConfig, sample::Circle};
use reqwest::{Client, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const TOKEN: &str = "7f1c0a55c2f7b8d7a1f3e3f4a7f4e5f6";

struct Running {
    circle: Circle,
    node: Node,
    http: Client,
    folder: tempfile::TempDir,
}

impl Running {
    async fn start(change: impl FnOnce(&mut NodeConfig, &std::path::Path)) -> Self {
        let circle = Circle::new(1);
        let folder = tempfile::tempdir().unwrap();
        let mut config = configure(&circle, 0, &free_ports(1), folder.path());
        change(&mut config, folder.path());
        Self {
            node: Node::start(&config).await.unwrap(),
            circle,
            http: Client::new(),
            folder,
        }
    }

    async fn metrics(&self, path: &str, token: Option<&str>) -> reqwest::Response {
        let url = format!("http://{}{path}", self.node.api_address());
        let mut request = self.http.get(url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }
}

/// SHA-256 by a program that nobody here wrote, as an operator would.
fn sha256(token: &str) -> String {
    let sum = std::process::Command::new("sh")
        .args(["-c", "printf %s \"$0\" | sha256sum", token])
        .output()
        .unwrap();
    String::from_utf8(sum.stdout).unwrap()[..64].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_for_those_with_a_token_which_can_be_taken_back() {
    let running = Running::start(|config, folder| {
        let path = folder.join("operators.toml");
        let sha256 = sha256(TOKEN);
        let entry = format!("[[token]]\nname = \"p\"\nrole = \"monitor\"\nsha256 = \"{sha256}\"\n");
        fs::write(&path, entry).unwrap();
        config.access.operators = Some(path);
    })
    .await;
    let wrong = TOKEN.replace('7', "8");
    for path in ["/metrics", "/v1/engine/metrics"] {
        for token in [None, Some(wrong.as_str()), Some("")] {
            let answer = running.metrics(path, token).await;
            assert_eq!(
                answer.status(),
                StatusCode::UNAUTHORIZED,
                "{path} {token:?}"
            );
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        }
        // The engine's have nothing to say before it runs.
        let deadline = Instant::now() + harness::PATIENCE;
        loop {
            let answer = running.metrics(path, Some(TOKEN)).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            if answer.text().await.unwrap().contains("# TYPE") {
                break;
            }
            assert!(Instant::now() < deadline, "{path} has no figures");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // Everybody sees whether it is well.
    assert_ne!(
        running.metrics("/readyz", None).await.status(),
        StatusCode::UNAUTHORIZED
    );
    fs::write(running.folder.path().join("operators.toml"), "").unwrap();
    let answer = running.metrics("/metrics", Some(TOKEN)).await;
    assert_eq!(
        answer.status(),
        StatusCode::UNAUTHORIZED,
        "it was taken back"
    );
    running.node.stop().await.unwrap();
}

/// The status that curl, as an operator's scripts use it, is given.
async fn curl(url: &str, authorization: Option<&str>) -> String {
    let mut curl = tokio::process::Command::new("curl");
    curl.args([
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ]);
    if let Some(authorization) = authorization {
        curl.args(["--header", &format!("Authorization: {authorization}")]);
    }
    let output = curl.arg(url).output().await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_is_let_in_where_it_may_and_a_broken_file_lets_nobody_in() {
    const OPERATOR: &str = "00112233445566778899aabbccddeeff";
    let running = Running::start(|config, folder| {
        let path = folder.join("operators.toml");
        let entry = |token: &str, role: &str| {
            let sha256 = sha256(token);
            format!("[[token]]\nname = \"{role}\"\nrole = \"{role}\"\nsha256 = \"{sha256}\"\n")
        };
        fs::write(
            &path,
            entry(TOKEN, "monitor") + &entry(OPERATOR, "operator"),
        )
        .unwrap();
        config.access.operators = Some(path);
    })
    .await;
    let api = format!("http://{}", running.node.api_address());
    let figures = ["/metrics", "/v1/engine/metrics"].map(|path| format!("{api}{path}"));
    for url in &figures {
        for token in [TOKEN, OPERATOR] {
            assert_eq!(curl(url, Some(&format!("Bearer {token}"))).await, "200");
            // RFC 9110 §11.1.
            assert_eq!(curl(url, Some(&format!("bearer {token}"))).await, "200");
            // Another scheme, the token alone, and the token where it does not belong.
            assert_eq!(curl(url, Some(&format!("Basic {token}"))).await, "401");
            assert_eq!(curl(url, Some(token)).await, "401");
            let asked = format!("{url}?access_token={token}");
            assert_eq!(curl(&asked, None).await, "401");
        }
    }
    for path in ["/v1/status", "/healthz", "/v1/circle", "/openapi.json"] {
        let url = format!("{api}{path}");
        assert_eq!(curl(&url, None).await, "200", "{path} is for everybody");
    }
    let path = running.folder.path().join("operators.toml");
    fs::write(path, "[[token]]\nname = ").unwrap();
    for url in &figures {
        let token = format!("Bearer {OPERATOR}");
        assert_eq!(curl(url, Some(&token)).await, "401", "nobody is let in");
    }
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_too_much_waiting_is_told_when_to_come_again() {
    let running = Running::start(|_, _| {}).await;
    let url = format!("http://{}/v1/transactions", running.node.api_address());
    let mut refused = 0;
    // The first of them never comes, so all wait for it.
    for sequence in 1..=ledger::ADMISSION_WINDOW + 3 {
        let transfer = running.circle.transfer(0, sequence, 1, 1);
        let request = running.http.post(&url).body(transfer.encode());
        let answer = request.send().await.unwrap();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            let after = answer.headers()["retry-after"].to_str().unwrap();
            assert!(after.parse::<u64>().unwrap() >= 1);
            refused += 1;
        } else {
            assert_eq!(answer.status(), StatusCode::ACCEPTED, "{sequence}");
        }
    }
    assert_eq!(refused, 3);
    // Nobody else is kept waiting by that.
    let transfer = running.circle.transfer(1, 0, 2, 1);
    let url = format!("{url}?wait=final&timeout_ms=50000");
    let request = running.http.post(url).body(transfer.encode());
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    running.node.stop().await.unwrap();
}

/// An address of this machine that is not its loopback's, if it has one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Nothing is sent: it only chooses the address that would be used.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_asks_too_often_is_told_when_to_come_again() {
    let Some(own) = own_address() else {
        eprintln!("skipped: this machine has no address but its loopback's");
        return;
    };
    let running = Running::start(|config, _| {
        config.api = (Ipv4Addr::UNSPECIFIED, 0).into();
        config.access = AccessConfig {
            requests_per_second: 5,
            ..AccessConfig::default()
        };
    })
    .await;
    let port = running.node.api_address().port();
    let ask = async |address: IpAddr| {
        let url = format!("http://{}/v1/circle", SocketAddr::new(address, port));
        running.http.get(url).send().await.unwrap()
    };
    let mut refused = None;
    for _ in 0..40 {
        let answer = ask(own).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer.headers()["retry-after"].clone());
            break;
        }
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(refused.expect("forty at once are too many"), "1");
    let local = ask(Ipv4Addr::LOCALHOST.into()).await;
    assert_eq!(local.status(), StatusCode::OK, "others are answered");
    let deadline = Instant::now() + harness::PATIENCE;
    while ask(own).await.status() != StatusCode::OK {
        assert!(Instant::now() < deadline, "it is never let in again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let running = Running::start(|_, _| {}).await;
    let mut slow = TcpStream::connect(running.node.api_address())
        .await
        .unwrap();
    slow.write_all(b"POST /v1/transactions HTTP/1.1\r\nhost: node\r\ncontent-length: 300\r\n\r\nx")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = slow.read_to_end(&mut answer);
    let closed = tokio::time::timeout(Duration::from_secs(60), read).await;
    closed.expect("the connection is closed").unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    running.node.stop().await.unwrap();
}
