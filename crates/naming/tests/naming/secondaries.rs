//! Stock secondaries: whole zones, increments and a catalog under a shared
//! secret.

use std::{net::SocketAddr, path::Path};

use naming::names::{FrontSettings, KeySettings, SecondarySettings, now_ms};
use wire::{Height, record::Name};

use crate::{
    programs::{Daemon, dig, free_port, run, until},
    server::{Server, names},
    values::{name, text},
};

const SECRET: &str = "qkH7cVSB5JZYCgK1LnqKoZ8kVnDDlnUQkWRNNEiJqWE=";

/// A primary that tells a secondary on `port` of changes.
async fn primary(port: u16, directory: &Path) -> Server {
    let secret_file = directory.join("transfer.secret");
    std::fs::write(&secret_file, SECRET).unwrap();
    let settle = |settings: &mut FrontSettings| {
        settings.transfer.keys.push(KeySettings {
            name: "shared".to_owned(),
            algorithm: "hmac-sha256".to_owned(),
            secret_file,
        });
        settings.transfer.secondaries.push(SecondarySettings {
            address: ([127, 0, 0, 1], port).into(),
            key: "shared".to_owned(),
        });
        settings.transfer.catalog = Some("catalog.invalid".parse().unwrap());
    };
    Server::start_with(&names(), settle).await
}

/// The next image, with `changed` names.
fn change(server: &Server, height: u64, changed: &[Name]) {
    let changes = changed.iter().map(|name| (&name.name, Some(name)));
    let zone = server.published.zone().unwrap();
    let mut next = zone.next(Height(height), now_ms(), changes);
    server.published.publish(&mut next);
}

fn new_name() -> Name {
    let mut new = name("new.internal");
    new.records = vec![text("a new one")];
    new
}

fn ask(port: u16, arguments: &[&str]) -> String {
    let port = port.to_string();
    let mut all = vec!["@127.0.0.1", "-p", &port, "+tries=1", "+time=1"];
    all.extend(arguments);
    String::from_utf8_lossy(&run("dig", &all).stdout).into_owned()
}

/// Waits for the first transfer, changes the primary twice, and sees that
/// each change arrives.
fn follows(server: &Server, secondary: u16) {
    // A secondary that has just loaded its zone may still answer from processes
    // that have not: each of these waits.
    until("the zone", || {
        ask(secondary, &["hello.internal", "A"]).contains("127.0.1.2")
    });
    until("its serial", || {
        ask(secondary, &["+short", "internal", "SOA"]).contains(" 42 60 10 ")
    });
    let own: SocketAddr = ([127, 0, 0, 1], secondary).into();
    assert!(dig(own, &["large.internal", "TXT"]).contains("ANSWER: 16"));
    change(server, 43, &[new_name()]);
    until("the first change", || {
        ask(secondary, &["new.internal", "TXT"]).contains("a new one")
    });
    let mut gone = new_name();
    gone.records = vec![text("another text")];
    change(server, 44, &[gone]);
    until("the second change", || {
        let told = ask(secondary, &["new.internal", "TXT"]);
        told.contains("another text") && told.contains("ANSWER: 1,")
    });
    until("its last serial", || {
        ask(secondary, &["+short", "internal", "SOA"]).contains(" 44 60 10 ")
    });
}

fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("daemon.log")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn nsd_follows_as_a_secondary() {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let server = primary(port, directory.path()).await;
    let own = directory.path().display();
    let primary = format!("127.0.0.1@{}", server.address().port());
    let config = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{own}\"\n  \
         pidfile: \"{own}/nsd.pid\"\n  database: \"\"\n  zonelistfile: \"{own}/zone.list\"\n  xfrdfile: \"{own}/xfrd.state\"\n  \
         xfrdir: \"{own}\"\n  server-count: 1\n  verbosity: 3\nremote-control:\n  control-enable: no\n\
         key:\n  name: shared\n  algorithm: hmac-sha256\n  secret: \"{SECRET}\"\n\
         zone:\n  name: internal\n  zonefile: internal.zone\n  allow-notify: 127.0.0.1 shared\n  \
         request-xfr: {primary} shared\n"
    );
    let path = directory.path().join("nsd.conf");
    std::fs::write(&path, config).unwrap();
    let _nsd = Daemon::start(
        "nsd",
        &["-d", "-c", path.to_str().unwrap()],
        directory.path(),
    );
    follows(&server, port);
}

#[tokio::test(flavor = "multi_thread")]
async fn bind_follows_as_a_secondary_by_increments_and_by_the_catalog() {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let server = primary(port, directory.path()).await;
    let own = directory.path().display();
    let primary = format!("127.0.0.1 port {} key shared", server.address().port());
    let config = format!(
        "key shared {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
         options {{ directory \"{own}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
         pid-file none; session-keyfile \"{own}/session.key\"; recursion no; dnssec-validation no; \
         allow-new-zones yes; ixfr-from-differences no; \
         catalog-zones {{ zone \"catalog.invalid\" default-primaries {{ {primary}; }} \
         in-memory yes; }}; }};\ncontrols {{ }};\n\
         zone \"catalog.invalid\" {{ type secondary; file \"catalog.zone\"; primaries {{ {primary}; }}; \
         allow-notify {{ key shared; }}; }};\n"
    );
    let path = directory.path().join("named.conf");
    std::fs::write(&path, config).unwrap();
    // The zone itself is nowhere in the configuration: the catalog names it.
    let arguments = ["-g", "-d", "3", "-c", path.to_str().unwrap(), "-n", "1"];
    let _named = Daemon::start("named", &arguments, directory.path());
    follows(&server, port);
    let log = log(directory.path());
    assert!(
        log.contains("catz:") && log.contains("got incremental response"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn knot_follows_as_a_secondary() {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let server = primary(port, directory.path()).await;
    let own = directory.path().display();
    let config = format!(
        "server:\n  listen: 127.0.0.1@{port}\n  rundir: \"{own}\"\n\
         log:\n  - target: stdout\n    any: debug\n\
         database:\n  storage: \"{own}\"\n\
         key:\n  - id: shared\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
         remote:\n  - id: primary\n    address: 127.0.0.1@{}\n    key: shared\n\
         acl:\n  - id: told\n    address: 127.0.0.1\n    key: shared\n    action: notify\n\
         zone:\n  - domain: internal\n    storage: \"{own}\"\n    master: primary\n    acl: told\n",
        server.address().port()
    );
    let path = directory.path().join("knot.conf");
    std::fs::write(&path, config).unwrap();
    let arguments = ["-c", path.to_str().unwrap()];
    let _knot = Daemon::start("knotd", &arguments, directory.path());
    follows(&server, port);
    let log = log(directory.path());
    assert!(log.contains("IXFR, incoming"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_the_key_gets_the_zone() {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let server = primary(port, directory.path()).await;
    let ask = |arguments: &[&str]| {
        let port = server.address().port().to_string();
        let mut all = vec!["@127.0.0.1", "-p", &port, "+tries=1", "+time=2"];
        all.extend(arguments);
        String::from_utf8_lossy(&run("dig", &all).stdout).into_owned()
    };
    assert!(ask(&["internal", "AXFR"]).contains("Transfer failed"));
    let good = format!("hmac-sha256:shared:{SECRET}");
    let told = ask(&["-y", &good, "internal", "AXFR"]);
    assert!(
        told.contains("XFR size: ") && told.contains("2001:db8::1"),
        "{told}"
    );
    // Everything is one height: the SOA is first and last.
    assert_eq!(
        told.matches("hostmaster.internal. 42 ").count(),
        2,
        "{told}"
    );
    let wrong = "hmac-sha256:shared:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(ask(&["-y", wrong, "internal", "AXFR"]).contains("Transfer failed"));
    let unknown = format!("hmac-sha256:other:{SECRET}");
    assert!(ask(&["-y", &unknown, "internal", "AXFR"]).contains("Transfer failed"));
    assert!(ask(&["-y", &good, "example", "AXFR"]).contains("Transfer failed"));
    // Signed questions of any kind get signed answers.
    let told = ask(&["-y", &good, "hello.internal", "AAAA"]);
    assert!(
        told.contains("TSIG PSEUDOSECTION") && told.contains("2001:db8::1"),
        "{told}"
    );
    assert!(!told.contains("Couldn't verify signature"), "{told}");
    // The catalog is for those who have the key alone.
    assert!(ask(&["catalog.invalid", "SOA"]).contains("status: REFUSED"));
    let told = ask(&["-y", &good, "catalog.invalid", "AXFR"]);
    assert!(told.contains("PTR\tinternal."), "{told}");
    // An increment holds what changed and nothing else.
    change(&server, 43, &[new_name()]);
    let told = ask(&["-y", &good, "internal", "IXFR=42"]);
    let records = told
        .lines()
        .filter(|line| !line.starts_with(';') && line.contains("\tIN\t"));
    // Four SOA records frame it; the name brings its text and the CAA record
    // that each name has.
    assert_eq!(records.count(), 6, "{told}");
    let told = ask(&["-y", &good, "internal", "IXFR=43"]);
    let records = told
        .lines()
        .filter(|line| !line.starts_with(';') && line.contains("\tIN\t"));
    assert_eq!(records.count(), 1, "{told}");
    // Of a serial that nobody has any more, the whole zone.
    let told = ask(&["-y", &good, "internal", "IXFR=7"]);
    assert!(told.contains("2001:db8::1"), "{told}");
}
