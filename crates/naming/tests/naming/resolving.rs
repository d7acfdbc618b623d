//! Stock clients and a stock resolver against the name server.

use std::{net::SocketAddr, sync::Arc};

use naming::names::{FrontSettings, Fronts, Published, Tolerance, now_ms};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use wire::Height;

use crate::{
    programs::{Daemon, dig, free_port, output, until},
    server::{Server, names},
};

#[tokio::test(flavor = "multi_thread")]
async fn dig_reads_what_a_replica_and_its_owner_make_of_a_name() {
    let server = Server::start(&names()).await;
    let short = |arguments: &[&str]| {
        let mut lines: Vec<String> = dig(server.address(), &[&["+short"], arguments].concat())
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(short(&["hello.internal", "A"]), ["127.0.1.1", "127.0.1.2"]);
    assert_eq!(short(&["hello.internal", "AAAA"]), ["2001:db8::1"]);
    let digest = |byte: &str| format!("3 1 1 {} {}", byte.repeat(28), byte.repeat(4));
    for name in ["hello.internal", "_8443._tcp.hello.internal"] {
        let tlsa = short(&[name, "TLSA"]);
        assert_eq!(tlsa, [digest("AA"), digest("BB")], "{name}");
    }
    assert_eq!(short(&["hello.internal", "TXT"]), ["\"by its owner\""]);
    assert_eq!(short(&["_dmarc.hello.internal", "TXT"]), ["\"v=DMARC1;\""]);
    assert_eq!(
        short(&["www.alias.internal", "AAAA"]),
        ["2001:db8::1", "hello.internal."]
    );
    assert_eq!(
        short(&["alias.internal", "TYPE65280"]),
        ["\\# 6 6F7061717565"]
    );
    assert_eq!(short(&["internal", "NS"]), ["ns.internal."]);
    assert_eq!(short(&["ns.internal", "A"]), ["192.0.2.53"]);
    let soa = "ns.internal. hostmaster.internal. 42 60 10 86400 5";
    assert_eq!(short(&["internal", "SOA"]), [soa]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dig_finds_outcomes_and_flags_in_order() {
    let server = Server::start(&names()).await;
    let ask = |arguments: &[&str]| dig(server.address(), arguments);
    let told = ask(&["hello.internal", "A"]);
    assert!(
        told.contains("status: NOERROR") && told.contains("flags: qr aa rd;"),
        "{told}"
    );
    assert!(!told.contains("Warning: Message parser"), "{told}");
    let told = ask(&["nobody.internal", "A"]);
    assert!(
        told.contains("status: NXDOMAIN") && told.contains("flags: qr aa rd;"),
        "{told}"
    );
    // An underscore label between a name and its records exists.
    let told = ask(&["_tcp.hello.internal", "A"]);
    assert!(
        told.contains("status: NOERROR") && told.contains("ANSWER: 0"),
        "{told}"
    );
    let told = ask(&["x.sub.alias.internal", "A"]);
    assert!(
        told.contains("flags: qr rd;") && told.contains("AUTHORITY: 1"),
        "{told}"
    );
    assert!(ask(&["example.org", "A"]).contains("status: REFUSED"));
    assert!(ask(&["+opcode=status", "hello.internal"]).contains("status: NOTIMP"));
    assert!(ask(&["+edns=1", "+noednsneg", "hello.internal"]).contains("status: BADVERS"));
    assert!(ask(&["+noedns", "hello.internal", "A"]).contains("ANSWER: 2"));
    assert!(ask(&["-c", "CH", "version.bind", "TXT"]).contains("status: REFUSED"));
    assert!(ask(&["hello.internal", "ANY", "+notcp"]).contains("ANSWER: 2"));
    assert!(ask(&["HeLLo.InTErnal", "A"]).contains("HeLLo.InTErnal."));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_come_over_tcp() {
    let server = Server::start(&names()).await;
    let told = dig(server.address(), &["large.internal", "TXT", "+ignore"]);
    assert!(
        told.contains("flags: qr aa tc rd;") && told.contains("ANSWER: 0"),
        "{told}"
    );
    let told = dig(server.address(), &["large.internal", "TXT"]);
    assert!(told.contains("Truncated, retrying in TCP"), "{told}");
    assert!(told.contains("ANSWER: 16"), "{told}");
    let told = dig(
        server.address(),
        &[
            "+tcp",
            "+keepopen",
            "hello.internal",
            "A",
            "large.internal",
            "TXT",
        ],
    );
    assert_eq!(told.matches("status: NOERROR").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn kdig_and_drill_agree() {
    let server = Server::start(&names()).await;
    let (at, port) = (
        format!("@{}", server.address().ip()),
        server.address().port().to_string(),
    );
    let kdig = output(
        "kdig",
        &[&at, "-p", &port, "hello.internal", "AAAA", "+edns"],
    );
    assert!(
        kdig.contains("status: NOERROR") && kdig.contains("2001:db8::1"),
        "{kdig}"
    );
    assert!(!kdig.contains("WARNING"), "{kdig}");
    let drill = output("drill", &[&at, "-p", &port, "hello.internal", "AAAA"]);
    assert!(
        drill.contains("rcode: NOERROR") && drill.contains("2001:db8::1"),
        "{drill}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unbound_resolves_through_a_stub_zone() {
    let server = Server::start(&names()).await;
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = format!(
        "server:\n  interface: 127.0.0.1@{port}\n  do-daemonize: no\n  chroot: \"\"\n  username: \"\"\n  \
         pidfile: \"\"\n  use-syslog: no\n  module-config: \"iterator\"\n  do-not-query-localhost: no\n  \
         local-zone: \"internal.\" nodefault\n  directory: \"{}\"\nstub-zone:\n  name: \"internal.\"\n  \
         stub-addr: 127.0.0.1@{}\nremote-control:\n  control-enable: no\n",
        directory.path().display(),
        server.address().port(),
    );
    let path = directory.path().join("unbound.conf");
    std::fs::write(&path, config).unwrap();
    let _unbound = Daemon::start(
        "unbound",
        &["-d", "-c", path.to_str().unwrap()],
        directory.path(),
    );
    let resolver: SocketAddr = ([127, 0, 0, 1], port).into();
    let at = ["@127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
    until("unbound", || {
        let mut arguments: Vec<&str> = at.iter().map(String::as_str).collect();
        arguments.extend(["+tries=1", "+time=1", "hello.internal", "A"]);
        let output = crate::programs::run("dig", &arguments);
        String::from_utf8_lossy(&output.stdout).contains("status: NOERROR")
    });
    let mut lines: Vec<String> = dig(resolver, &["+short", "hello.internal", "A"])
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines, ["127.0.1.1", "127.0.1.2"]);
    assert_eq!(
        dig(resolver, &["+short", "www.alias.internal", "AAAA"]),
        "hello.internal.\n2001:db8::1\n"
    );
    assert!(dig(resolver, &["nobody.internal", "A"]).contains("status: NXDOMAIN"));
    assert!(dig(resolver, &["large.internal", "TXT"]).contains("ANSWER: 16"));
    assert!(dig(resolver, &["hello.internal", "MX"]).contains("status: NOERROR"));
    // delv asks the resolver as a validating stub would.
    let delv = output(
        "delv",
        &[
            "@127.0.0.1",
            "-p",
            &port.to_string(),
            "-i",
            "hello.internal",
            "AAAA",
        ],
    );
    assert!(delv.contains("2001:db8::1"), "{delv}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_queries_are_pipelined_and_answered_in_order() {
    let server = Server::start(&names()).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let query = |id: u8, text: &str| {
        let mut builder = domain::base::MessageBuilder::new_vec();
        builder.header_mut().set_id(u16::from(id));
        let mut builder = builder.question();
        let name: domain::base::Name<Vec<u8>> = domain::base::Name::vec_from_str(text).unwrap();
        builder.push((name, domain::base::Rtype::TXT)).unwrap();
        let message = builder.finish();
        [(message.len() as u16).to_be_bytes().to_vec(), message].concat()
    };
    let mut all = Vec::new();
    for id in 0..50 {
        all.extend(query(
            id,
            if id % 2 == 0 {
                "large.internal"
            } else {
                "hello.internal"
            },
        ));
    }
    // Cut where it hurts: within a length, within a header.
    for part in [&all[..1], &all[1..7], &all[7..]] {
        stream.write_all(part).await.unwrap();
        stream.flush().await.unwrap();
    }
    for id in 0..50u16 {
        let length = stream.read_u16().await.unwrap();
        let mut response = vec![0; usize::from(length)];
        stream.read_exact(&mut response).await.unwrap();
        assert_eq!(response[..2], id.to_be_bytes());
    }
    // What is no query ends the connection.
    stream.write_all(&[0, 3, 1, 2, 3]).await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_cannot_take_all_connections() {
    let server = Server::start(&names()).await;
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        // Only an answer shows that the connection was let in.
        let query = b"\0\x0c\0\x01\0\0\0\0\0\0\0\0\0\0";
        stream.write_all(query).await.unwrap();
        assert_eq!(stream.read_u16().await.unwrap(), 12);
        open.push(stream);
    }
    let mut one_more = TcpStream::connect(server.address()).await.unwrap();
    let ended = one_more.read(&mut [0; 1]).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    drop(open);
    until("room", || {
        let told = crate::programs::run(
            "dig",
            &[
                "@127.0.0.1",
                "-p",
                &server.address().port().to_string(),
                "+tcp",
                "hello.internal",
            ],
        );
        told.status.success()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_height_names_and_outcomes() {
    let server = Server::start(&names()).await;
    for name in ["hello.internal", "nobody.internal", "nobody.internal"] {
        dig(server.address(), &[name, "A"]);
    }
    let http = server.fronts.http().unwrap();
    let status = output("curl", &["-sS", &format!("http://{http}/v1/status")]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["height"], 42);
    assert_eq!(status["names"], 3);
    assert_eq!(status["freshness"], "fresh");
    assert_eq!(status["answers"]["NOERROR"], 1);
    assert_eq!(status["answers"]["NXDOMAIN"], 2);
    let healthz = format!("http://{http}/healthz");
    assert_eq!(output("curl", &["-sS", &healthz]), "ok\n");
    let mut old = server
        .published
        .zone()
        .unwrap()
        .next(Height(43), now_ms() - 60_000, []);
    server.published.publish(&mut old);
    assert_eq!(output("curl", &["-sS", &healthz]), "stale\n");
    let told = dig(server.address(), &["hello.internal", "A"]);
    assert!(
        told.contains("EDE: 3 (Stale Answer)") && told.contains("ANSWER: 2"),
        "{told}"
    );
    let told = dig(server.address(), &["nobody.internal", "A"]);
    assert!(told.contains("EDE: 19"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_read_nothing_says_so() {
    let published = Arc::new(Published::new(Tolerance::default()));
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let settings = FrontSettings {
        listen: vec![any],
        ..FrontSettings::default()
    };
    let fronts = Fronts::start(&settings, &published).await.unwrap();
    let told = dig(fronts.addresses().next().unwrap(), &["hello.internal", "A"]);
    assert!(
        told.contains("status: SERVFAIL") && told.contains("EDE: 14 (Not Ready)"),
        "{told}"
    );
}
