//! `ringfort listen` and `ringfort connect`: two ends that know each other by
//! the ledger; and GnuTLS, which nobody here wrote, in the place of one.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
};

use crate::harness::{Circle, programs::Running};

const NAME: &str = "peer.internal";

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// A key file, and the key as the ledger writes it.
fn key(circle: &Circle, name: &str) -> (String, String) {
    let file = circle.scratch(name).display().to_string();
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &file]);
    let spki = openssl(&["pkey", "-in", &file, "-pubout", "-outform", "DER"]);
    let public = format!("ed25519:{}", hex::encode(&spki[spki.len() - 32..]));
    (file, public)
}

/// A service that knows nothing of TLS: it says in capitals what it is told.
fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(line)) = lines.next() {
                    let _ = (&stream).write_all(format!("{}\n", line.to_uppercase()).as_bytes());
                }
            });
        }
    });
    address
}

/// `ringfort listen` with a port of its choice, once it says which.
fn listen(circle: &Circle, arguments: &[&str]) -> (Running, u16) {
    let all = [&["listen", NAME, "--at", "127.0.0.1:0"][..], arguments].concat();
    let mut command = circle.command(&all);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut running = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    let stderr = running.0.stderr.take().unwrap();
    BufReader::new(stderr).read_line(&mut line).unwrap();
    let at = line
        .split(" at ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    let at: SocketAddr = at
        .and_then(|at| at.parse().ok())
        .unwrap_or_else(|| panic!("it listens: {line}"));
    (running, at.port())
}

/// `ringfort connect`, which says a line: whether it went well, and the answer.
fn connect(circle: &Circle, port: u16, more: &[&str]) -> (bool, String) {
    let port = port.to_string();
    let all = [&["connect", NAME, "--port", &port][..], more].concat();
    let mut command = circle.command(&all);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(b"hello\n");
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (child.wait().unwrap().success(), said)
}

#[test]
fn two_ends_know_each_other_by_the_ledger_and_nobody_else() {
    let circle = Circle::up();
    let (file, public) = key(&circle, "server.pem");
    let (other, others) = key(&circle, "other.pem");
    circle.ringfort(&[
        "name",
        "register",
        NAME,
        "--server-key",
        &public,
        "--address",
        "127.0.0.1",
    ]);
    let to = service().to_string();
    let forward = ["--server-key", &file, "--to", &to];
    let (_running, port) = listen(&circle, &forward);
    assert_eq!(connect(&circle, port, &[]), (true, "HELLO\n".to_owned()));

    // GnuTLS on the client's side, with a raw public key (RFC 7250).
    let mut child = Command::new("gnutls-cli")
        .args([
            "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.3:+CTYPE-SRV-RAWPK",
            "--insecure",
        ])
        .args(["127.0.0.1", "--port", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("gnutls-cli is installed by script/setup");
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(
        said.contains("Raw Public Key") && said.contains("HELLO"),
        "{said}"
    );

    // A server with another key than the ledger's does not begin, and where one
    // stands in its place, nothing is said to it.
    let wrong = [
        "listen",
        NAME,
        "--at",
        "127.0.0.1:0",
        "--server-key",
        &other,
    ];
    let refused = circle.run(&wrong);
    assert!(
        refused.code != 0 && refused.stderr.contains("the ledger holds"),
        "{}",
        refused.stderr
    );
    circle.ringfort(&["name", "secure", NAME, "--server-key", &others]);
    assert!(!connect(&circle, port, &[]).0);
    circle.ringfort(&["name", "secure", NAME, "--server-key", &public]);

    // A server that asks who its client is.
    let only = [&forward[..], &["--client", &others]].concat();
    let (_running, port) = listen(&circle, &only);
    let friend = connect(&circle, port, &["--client-key", &other]);
    assert_eq!(friend, (true, "HELLO\n".to_owned()));
    for stranger in [&["--client-key", &file][..], &[]] {
        assert_eq!(connect(&circle, port, stranger).1, "");
    }
}
