//! What strangers and slow clients get: cookies, the rate over UDP, time.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use naming::names::RateLimit;

use crate::{
    programs::{dig, output},
    server::{Server, names},
};

/// Limits everyone, this machine included.
fn limited(responses_per_second: u32, slip: u32) -> RateLimit {
    RateLimit {
        responses_per_second,
        slip,
        exempt: Vec::new(),
    }
}

/// Asks for `hello.internal A` with the EDNS options `options`, in hexadecimal;
/// what comes back within a moment.
fn ask(socket: &UdpSocket, server: SocketAddr, options: &[u8]) -> Option<Vec<u8>> {
    let mut query =
        b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x05hello\x08internal\0\0\x01\0\x01".to_vec();
    query.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0");
    query.extend_from_slice(&u16::try_from(options.len()).unwrap().to_be_bytes());
    query.extend_from_slice(options);
    socket.send_to(&query, server).unwrap();
    let mut response = [0; 2048];
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let length = socket.recv(&mut response).ok()?;
    Some(response[..length].to_vec())
}

fn is_truncated(response: &[u8]) -> bool {
    response[2] & 2 != 0
}

#[tokio::test(flavor = "multi_thread")]
async fn dig_learns_a_cookie_and_is_known_by_it() {
    let server = Server::start(&names()).await;
    let told = dig(server.address(), &["hello.internal", "A"]);
    let line = told
        .lines()
        .find(|line| line.contains("; COOKIE:"))
        .unwrap();
    assert!(line.ends_with("(good)"), "{line}");
    let cookie = line.split_whitespace().nth(2).unwrap();
    // RFC 9018 §4: version 1, three zeros.
    assert_eq!(&cookie[16..24], "01000000", "{cookie}");
    let with = format!("+cookie={cookie}");
    let told = dig(server.address(), &[&with, "hello.internal", "A"]);
    assert!(told.contains(cookie) && told.contains("(good)"), "{told}");
    let http = server.fronts.http().unwrap();
    let metrics = output("curl", &["-sS", &format!("http://{http}/metrics")]);
    assert!(
        metrics.contains("ringfort_names_cookies_valid_total{transport=\"udp\"} 1"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc_7873_malformed_cookies_are_an_error() {
    let server = Server::start(&names()).await;
    for length in [0, 7, 9, 15, 41] {
        let digits = "ab".repeat(length);
        let option = format!("+ednsopt=10:{digits}");
        let told = dig(
            server.address(),
            &["+nocookie", &option, "hello.internal", "A"],
        );
        assert!(told.contains("status: FORMERR"), "{length}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc_7873_a_cookie_can_be_had_without_a_question() {
    let server = Server::start(&names()).await;
    let told = dig(server.address(), &["+header-only", "+cookie"]);
    assert!(
        told.contains("status: NOERROR") && told.contains("(good)"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shares_the_secret_takes_the_cookie() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "e5e973e5a6b2a43f48e7dc849e37bfcf\n").unwrap();
    let path = secret.path().to_owned();
    let share = |settings: &mut naming::names::FrontSettings| {
        settings.cookies.secret_file = Some(path.clone());
        settings.rate_limit = limited(1, 1);
    };
    let one = Server::start_with(&names(), share).await;
    let other = Server::start_with(&names(), share).await;
    let told = dig(one.address(), &["hello.internal", "A"]);
    let line = told
        .lines()
        .find(|line| line.contains("; COOKIE:"))
        .unwrap();
    let cookie = format!("+cookie={}", line.split_whitespace().nth(2).unwrap());
    for _ in 0..5 {
        // The other neither truncates nor turns it away.
        let told = dig(
            other.address(),
            &[
                &cookie,
                "+notcp",
                "+ignore",
                "+nobadcookie",
                "hello.internal",
                "A",
            ],
        );
        assert!(told.contains("ANSWER: 2"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_above_the_rate_is_told_to_come_back_and_then_nothing() {
    let settle = |settings: &mut naming::names::FrontSettings| {
        settings.rate_limit = limited(5, 2);
    };
    let server = Server::start_with(&names(), settle).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut whole, mut slipped, mut silent) = (0, 0, 0);
    for _ in 0..15 {
        match ask(&socket, server.address(), &[]) {
            Some(response) if is_truncated(&response) => {
                assert_eq!(response[6..8], [0, 0], "no answer beside TC");
                slipped += 1;
            }
            Some(_) => whole += 1,
            None => silent += 1,
        }
    }
    // Silences take a third of a second each, in which some of the debt is paid.
    assert!((5..12).contains(&whole), "{whole}");
    assert!(slipped >= 1 && silent >= 1, "{whole} {slipped} {silent}");
    // dig, told to come back, does so over TCP or with its cookie.
    for _ in 0..10 {
        let told = dig(
            server.address(),
            &["+tries=5", "+time=1", "hello.internal", "A"],
        );
        assert!(told.contains("ANSWER: 2"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_of_cookies_is_given_one_above_the_rate() {
    let settle = |settings: &mut naming::names::FrontSettings| {
        settings.rate_limit = limited(1, 1);
    };
    let server = Server::start_with(&names(), settle).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let fresh = b"\0\x0a\0\x08\x01\x02\x03\x04\x05\x06\x07\x08";
    let mut refusal = None;
    for _ in 0..4 {
        let response = ask(&socket, server.address(), fresh).unwrap();
        // The extended code's lower half; BADCOOKIE is 23.
        if response[3] & 15 == 7 {
            refusal = Some(response);
        }
    }
    let refusal = refusal.expect("BADCOOKIE above the rate");
    // The last option is the cookie that it came back with.
    let option = &refusal[refusal.len() - 28..];
    assert_eq!(option[..4], [0, 10, 0, 24]);
    for _ in 0..10 {
        let response = ask(&socket, server.address(), option).unwrap();
        assert_eq!((response[3] & 15, &response[6..8]), (0, &[0, 2][..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_leave_from_the_address_that_was_asked() {
    let settle = |settings: &mut naming::names::FrontSettings| {
        settings.listen = vec!["0.0.0.0:0".parse().unwrap()];
    };
    let server = Server::start_with(&names(), settle).await;
    let port = server.address().port();
    for asked in ["127.0.0.1", "127.0.0.2", "127.9.8.7"] {
        // A connected socket hears nobody else.
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let asked: SocketAddr = format!("{asked}:{port}").parse().unwrap();
        socket.connect(asked).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket
            .send(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05hello\x08internal\0\0\x01\0\x01")
            .unwrap();
        let mut response = [0; 512];
        assert!(socket.recv(&mut response).is_ok(), "{asked}");
        assert_eq!(response[..2], [0x12, 0x34]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_transports_and_outcomes() {
    let server = Server::start(&names()).await;
    dig(server.address(), &["hello.internal", "A"]);
    dig(server.address(), &["+tcp", "nobody.internal", "A"]);
    let http = server.fronts.http().unwrap();
    let told = output("curl", &["-sS", &format!("http://{http}/metrics")]);
    for line in [
        "ringfort_names_responses_total{transport=\"udp\",rcode=\"NOERROR\"} 1",
        "ringfort_names_responses_total{transport=\"tcp\",rcode=\"NXDOMAIN\"} 1",
        "ringfort_names_connections_total{transport=\"tcp\"} 1",
        "ringfort_names_connections_total{transport=\"quic\"} 0",
        "ringfort_names_height 42",
        "ringfort_names_certified 1",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
}
