//! Stock clients against DNS over TLS, HTTPS and QUIC.

use std::{path::Path, process::Command};

use crate::{
    programs::{output, run},
    server::{SERVER_NAME, Server, names},
};

/// What `kdig` writes of a question to `address` that trusts `root`.
fn kdig(address: std::net::SocketAddr, root: &Path, arguments: &[&str]) -> String {
    let (at, port) = (format!("@{}", address.ip()), address.port().to_string());
    let authority = format!("+tls-ca={}", root.display());
    let host = format!("+tls-hostname={SERVER_NAME}");
    let mut all = vec![at.as_str(), "-p", &port, &authority, &host];
    all.extend(arguments);
    output("kdig", &all)
}

fn is_good(told: &str) {
    assert!(
        told.contains("status: NOERROR") && told.contains("2001:db8::1"),
        "{told}"
    );
    // dig would say so of octets after the message; that we do not recurse is known.
    let warnings = told.lines().filter(|line| line.contains("WARNING"));
    assert_eq!(
        warnings.filter(|line| !line.contains("recursion")).count(),
        0,
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kdig_is_answered_over_tls_by_a_server_that_proves_who_it_is() {
    let server = Server::start(&names()).await;
    let told = kdig(
        server.fronts.tls()[0],
        &server.root(),
        &["+tls", "hello.internal", "AAAA", "+padding=128", "-d"],
    );
    is_good(&told);
    assert!(told.contains("The certificate is trusted"), "{told}");
    // RFC 8467: a padded query gets a response of a multiple of 468 octets.
    assert!(told.contains("Received 468 B"), "{told}");
    // Large answers come whole.
    let told = kdig(
        server.fronts.tls()[0],
        &server.root(),
        &["+tls", "large.internal", "TXT"],
    );
    assert!(told.contains("ANSWER: 16"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kdig_refuses_the_server_under_another_name() {
    let server = Server::start(&names()).await;
    let address = server.fronts.tls()[0];
    let (at, port) = (format!("@{}", address.ip()), address.port().to_string());
    let authority = format!("+tls-ca={}", server.root().display());
    let arguments = [
        &at,
        "-p",
        &port,
        &authority,
        "+tls-hostname=dns.example",
        "+retry=0",
        "hello.internal",
    ];
    let told = run("kdig", &arguments);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(!told.contains("status: NOERROR"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dig_is_answered_over_tls() {
    let server = Server::start(&names()).await;
    let address = server.fronts.tls()[0];
    let (at, port) = (format!("@{}", address.ip()), address.port().to_string());
    let authority = format!("+tls-ca={}", server.root().display());
    let host = format!("+tls-hostname={SERVER_NAME}");
    let told = output(
        "dig",
        &[
            &at,
            "-p",
            &port,
            "+tls",
            &authority,
            &host,
            "+keepopen",
            "+keepalive",
            "hello.internal",
            "AAAA",
            "large.internal",
            "TXT",
        ],
    );
    is_good(&told);
    assert_eq!(told.matches("status: NOERROR").count(), 2, "{told}");
    assert!(told.contains("TCP KEEPALIVE: 10.0 secs"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kdig_and_dig_are_answered_over_https_by_get_and_post() {
    let server = Server::start(&names()).await;
    for method in ["+https", "+https-get"] {
        let told = kdig(
            server.fronts.https()[0],
            &server.root(),
            &["+https", method, "hello.internal", "AAAA", "-d"],
        );
        is_good(&told);
        assert!(told.contains("status: 200"), "{told}");
    }
    let address = server.fronts.https()[0];
    let (at, port) = (format!("@{}", address.ip()), address.port().to_string());
    let authority = format!("+tls-ca={}", server.root().display());
    let host = format!("+tls-hostname={SERVER_NAME}");
    for method in ["+https", "+https-get"] {
        let told = output(
            "dig",
            &[
                &at,
                "-p",
                &port,
                method,
                &authority,
                &host,
                "hello.internal",
                "AAAA",
            ],
        );
        is_good(&told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kdig_is_answered_over_quic() {
    let server = Server::start(&names()).await;
    let told = kdig(
        server.fronts.quic()[0],
        &server.root(),
        &["+quic", "hello.internal", "AAAA", "+padding=128"],
    );
    is_good(&told);
    let told = kdig(
        server.fronts.quic()[0],
        &server.root(),
        &["+quic", "large.internal", "TXT"],
    );
    assert!(told.contains("ANSWER: 16"), "{told}");
}

/// Runs curl against the server's HTTPS, which it finds as its name.
fn curl(server: &Server, arguments: &[&str]) -> String {
    let address = server.fronts.https()[0];
    let resolve = format!("{SERVER_NAME}:{}:{}", address.port(), address.ip());
    let root = server.root();
    let mut all = vec![
        "-sS",
        "--cacert",
        root.to_str().unwrap(),
        "--resolve",
        &resolve,
    ];
    all.extend(arguments);
    output("curl", &all)
}

fn url(server: &Server, path: &str) -> String {
    let port = server.fronts.https()[0].port();
    format!("https://{SERVER_NAME}:{port}{path}")
}

/// `hello.internal A` without EDNS, in base64url: RFC 8484 §4.1's form.
const HELLO_A: &str = "AAABAAABAAAAAAAABWhlbGxvCGludGVybmFsAAABAAE";

#[tokio::test(flavor = "multi_thread")]
async fn rfc_8484_status_type_and_freshness_are_right() {
    let server = Server::start(&names()).await;
    let write = "%{http_code} %{content_type} %header{cache-control} %{http_version}";
    let ask = |arguments: &[&str]| {
        curl(
            &server,
            &[&["-o", "/dev/null", "-w", write], arguments].concat(),
        )
    };
    let query = |parameters: &str| url(&server, &format!("/dns-query?{parameters}"));
    let dns = |message: &str| query(&format!("dns={message}"));
    let good = "200 application/dns-message max-age=5 2";
    assert_eq!(ask(&[&dns(HELLO_A)]), good);
    assert_eq!(
        ask(&["--http1.1", &dns(HELLO_A)]),
        good.replace(" 2", " 1.1")
    );
    // nobody.internal A: the SOA's minimum.
    let nobody = "AAABAAABAAAAAAAABm5vYm9keQhpbnRlcm5hbAAAAQAB";
    assert_eq!(ask(&[&dns(nobody)]), good);
    // large.internal TXT has another time to live.
    let large = "AAABAAABAAAAAAAABWxhcmdlCGludGVybmFsAAAQAAE";
    assert_eq!(
        ask(&[&dns(large)]),
        "200 application/dns-message max-age=60 2"
    );
    for (parameters, status) in [
        ("", "400"),
        ("dns=", "400"),
        ("dns=AAAA", "400"),
        ("dns=AAAB*", "400"),
        (&format!("dns={HELLO_A}="), "400"),
        ("name=", "400"),
        ("name=.", "200"),
        ("name=hello.internal&type=nonsense", "400"),
        (&format!("name={}", "a".repeat(64)), "400"),
    ] {
        let told = ask(&[&query(parameters)]);
        assert!(told.starts_with(status), "{parameters}: {told}");
    }
    let file = server.directory.path().join("query");
    let octets = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x05hello\x08internal\0\0\x01\0\x01";
    std::fs::write(&file, octets).unwrap();
    let body = format!("@{}", file.display());
    let target = url(&server, "/dns-query");
    let post = |media_type: &str| {
        let header = format!("content-type: {media_type}");
        ask(&["--data-binary", &body, "-H", &header, &target])
    };
    let too_much = [
        "--http1.1",
        "--data-binary",
        &body,
        "-H",
        "expect:",
        &target,
    ];
    assert_eq!(post("application/dns-message"), good);
    assert!(post("application/x-www-form-urlencoded").starts_with("415"));
    std::fs::write(&file, vec![0; 70_000]).unwrap();
    assert!(ask(&too_much).starts_with("413"));
    assert!(ask(&["-X", "PUT", &target]).starts_with("405"));
    assert!(ask(&[&url(&server, "/elsewhere")]).starts_with("404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc_9110_a_head_says_what_a_get_would_and_other_methods_are_named() {
    let server = Server::start(&names()).await;
    let target = url(&server, &format!("/dns-query?dns={HELLO_A}"));
    for version in ["--http1.1", "--http2"] {
        let got = curl(&server, &[version, "-D", "-", "-o", "/dev/null", &target]);
        let head = curl(&server, &[version, "-I", &target]);
        let length = |told: &str| {
            let line = told
                .lines()
                .find(|line| line.starts_with("content-length: "));
            line.map(str::to_owned)
        };
        assert!(length(&got).is_some_and(|line| line != "content-length: 0"));
        assert_eq!(length(&got), length(&head), "{version}: {head}");
        for (path, allowed) in [
            ("/dns-query", "allow: GET,HEAD,POST"),
            ("/resolve", "allow: GET,HEAD"),
        ] {
            let target = url(&server, path);
            let told = curl(&server, &[version, "-i", "-X", "DELETE", &target]);
            assert!(told.contains(" 405"), "{version}: {told}");
            assert!(told.contains(allowed), "{version}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_finds_a_service_through_the_server() {
    let server = Server::start(&names()).await;
    let listener = std::net::TcpListener::bind("127.0.1.2:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfound")
            .unwrap();
    });
    let doh = url(&server, "/dns-query");
    let target = format!("http://hello.internal:{port}/");
    let told = curl(
        &server,
        &["-4", "--doh-url", &doh, "--doh-insecure", &target],
    );
    assert_eq!(told, "found");
    served.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_json() {
    let server = Server::start(&names()).await;
    let ask = |path: &str| -> serde_json::Value {
        let told = curl(&server, &[&url(&server, path)]);
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
    };
    let told = ask("/resolve?name=hello.internal&type=AAAA");
    assert_eq!(told["Status"], 0);
    assert_eq!(told["Question"][0]["name"], "hello.internal.");
    assert_eq!(told["Question"][0]["type"], 28);
    assert_eq!(told["Answer"][0]["data"], "2001:db8::1");
    assert_eq!(told["Answer"][0]["TTL"], 5);
    let told = ask("/dns-query?name=www.alias.internal&type=1");
    assert_eq!(told["Answer"][0]["data"], "hello.internal.");
    let told = ask("/resolve?name=hello.internal&type=txt");
    assert_eq!(told["Answer"][0]["data"], "\"by its owner\"");
    let told = ask("/resolve?name=nobody.internal");
    assert_eq!(
        (&told["Status"], &told["Answer"]),
        (&3.into(), &serde_json::Value::Null)
    );
    assert_eq!(told["Authority"][0]["type"], 6);
    let told = ask("/resolve?name=example.org");
    assert_eq!(told["Status"], 5);
    assert_eq!(told["Comment"][0], "EDE(20)");
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_sees_the_protocols_that_the_rfcs_name() {
    let server = Server::start(&names()).await;
    for (address, offered, agreed) in [
        (server.fronts.tls()[0], "dot", "dot"),
        (server.fronts.https()[0], "h2,http/1.1", "h2"),
        (server.fronts.https()[0], "http/1.1", "http/1.1"),
    ] {
        let told = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &address.to_string(),
                "-alpn",
                offered,
            ])
            .args(["-servername", SERVER_NAME, "-verify_hostname", SERVER_NAME])
            .args(["-verify_return_error", "-CAfile"])
            .arg(server.root())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains(&format!("ALPN protocol: {agreed}")), "{told}");
        assert!(told.contains("Verify return code: 0 (ok)"), "{told}");
    }
}
