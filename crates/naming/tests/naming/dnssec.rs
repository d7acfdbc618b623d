//! Stock validators against a signed zone: what they call secure, and what
//! they refuse.

use std::{net::SocketAddr, path::Path, sync::Arc};

use naming::names::{
    Change, FrontSettings, Fronts, Published, RateLimit, Tolerance, Zone, ZoneSettings, now_ms,
    signer::{keys::FileKeys, roll, signing::Signing},
};
use wire::{Height, SetZone, ZoneServer, record};

use crate::{
    programs::{Daemon, dig, free_port, output, run, until},
    values::{NOBODY, endpoint, name, name_of, set, text},
};

const APEX: &str = "internal";

/// What a zone signer with `keys` has the ledger say.
fn zone_record(keys: &FileKeys) -> record::Zone {
    record::Zone {
        zone: SetZone {
            apex: name_of(APEX),
            keys: keys.public(&name_of(APEX)),
            servers: vec![ZoneServer {
                label: name_of("ns"),
                addresses: vec!["192.0.2.53".parse().unwrap()],
            }],
            apex_ttl: 300,
            negative_ttl: 5,
            endpoint_ttl: 5,
        },
        signer: NOBODY,
        changed_at: Height(1),
    }
}

fn names() -> Vec<record::Name> {
    let mut hello = name("hello.internal");
    hello.endpoints = vec![
        endpoint(1, &["127.0.1.1", "2001:db8::1"], 8443, 0xaa),
        endpoint(2, &["127.0.1.2"], 8443, 0xbb),
    ];
    hello.records = vec![
        text("by its owner"),
        set(Some("a.b.deep"), 1, 60, &[&[192, 0, 2, 7]]),
    ];
    let mut alias = name("alias.internal");
    alias.records = vec![
        set(Some("www"), 5, 60, &[b"\x05hello\x08internal\x00"]),
        set(
            Some("sub"),
            2,
            60,
            &[b"\x02ns\x03sub\x05alias\x08internal\x00"],
        ),
        set(Some("ns.sub"), 1, 60, &[&[127, 0, 0, 1]]),
        set(None, 65_280, 60, &[b"opaque"]),
    ];
    let mut secure = name("secure.internal");
    let ds = [&[0x30, 0x39, 13, 2][..], &[7; 32]].concat();
    secure.records = vec![
        set(Some("sub"), 2, 60, &[b"\x02ns\x07example\x00"]),
        set(Some("sub"), 43, 60, &[&ds]),
    ];
    let mut wild = name("wild.internal");
    wild.records = vec![
        set(Some("*"), 1, 60, &[&[192, 0, 2, 9]]),
        set(Some("*.alias"), 5, 60, &[b"\x05hello\x08internal\x00"]),
        set(Some("exact"), 16, 60, &[b"\x01x"]),
    ];
    vec![hello, alias, secure, wild, name("zz.internal")]
}

/// A signed zone, its name server, and the anchor by which to trust it.
struct Server {
    fronts: Fronts,
    zone: Zone,
    keys: FileKeys,
    directory: tempfile::TempDir,
}

impl Server {
    /// Serves the zone with a wildcard put beside what the ledger holds.
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let open = || FileKeys::open(&directory.path().join("keys.json")).unwrap();
        let mut keys = open();
        roll::begin(&mut keys, &name_of(APEX), now_ms() / 1000).unwrap();
        keys.save().unwrap();
        let record = zone_record(&keys);
        let mut signing = Signing::new(keys, Zone::new(&[name_of(APEX)], ZoneSettings::default()));
        let (apex, names) = (name_of(APEX), names());
        let changes = names
            .iter()
            .map(|name| Change::Name(&name.name, Some(name)))
            .chain([Change::Zone(&apex, Some(&record))]);
        signing
            .step(Height(42), now_ms(), now_ms() / 1000, changes)
            .unwrap();
        let mut zone = signing.zone().clone();
        let published = Arc::new(Published::new(Tolerance::default()));
        published.publish(&mut zone);
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let fronts = start(&published, any).await;
        let server = Self {
            fronts,
            zone,
            keys: open(),
            directory,
        };
        let dnskey = server.anchor();
        let anchor = format!("trust-anchors {{ \"{APEX}.\" static-ds {dnskey}; }};\n");
        std::fs::write(server.path("anchor.delv"), anchor).unwrap();
        server
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.directory.path().join(file)
    }

    fn address(&self) -> SocketAddr {
        self.fronts.addresses().next().unwrap()
    }

    /// The DS of the key-signing key, for BIND: tag, algorithms, digest.
    fn anchor(&self) -> String {
        let public = self.keys.public(&name_of(APEX));
        let ds = naming::names::ds(self.zone.apexes()[0].name(), &public[0]).unwrap();
        let digest: String = ds
            .digest()
            .iter()
            .map(|octet| format!("{octet:02X}"))
            .collect();
        format!("{} 13 2 \"{digest}\"", ds.key_tag())
    }

    /// What delv, which trusts the zone's key, says when it asks `at`.
    fn delv(&self, at: SocketAddr, arguments: &[&str]) -> String {
        let (server, port) = (format!("@{}", at.ip()), at.port().to_string());
        let anchor = self.path("anchor.delv");
        let mut all = vec![
            server.as_str(),
            "-p",
            &port,
            "-a",
            anchor.to_str().unwrap(),
            "+root=internal",
        ];
        all.extend(arguments);
        let output = run("delv", &all);
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// An unbound that trusts the zone's key and is told where it is.
    fn unbound(&self) -> (Daemon, SocketAddr) {
        let port = free_port();
        let ds = self.anchor().replace('"', "");
        let config = format!(
            "server:\n  interface: 127.0.0.1@{port}\n  do-daemonize: no\n  chroot: \"\"\n  username: \"\"\n  \
             pidfile: \"\"\n  use-syslog: no\n  module-config: \"validator iterator\"\n  \
             do-not-query-localhost: no\n  trust-anchor: \"{APEX}. DS {ds}\"\n  val-log-level: 2\n  \
             trust-anchor-signaling: no\n  \
             local-zone: \"internal.\" nodefault\n  directory: \"{directory}\"\nstub-zone:\n  name: \"internal.\"\n  \
             stub-addr: 127.0.0.1@{at}\nstub-zone:\n  name: \"sub.alias.internal.\"\n  stub-addr: 127.0.0.1@{at}\n\
             remote-control:\n  control-enable: no\n",
            directory = self.directory.path().display(),
            at = self.address().port(),
        );
        std::fs::write(self.path("unbound.conf"), config).unwrap();
        let path = self.path("unbound.conf");
        let arguments = ["-d", "-c", path.to_str().unwrap()];
        let daemon = Daemon::start("unbound", &arguments, self.directory.path());
        let resolver: SocketAddr = ([127, 0, 0, 1], port).into();
        ready(resolver);
        (daemon, resolver)
    }
}

async fn start(published: &Arc<Published>, at: SocketAddr) -> Fronts {
    let settings = FrontSettings {
        listen: vec![at],
        // Validators ask much at once.
        rate_limit: RateLimit {
            responses_per_second: 0,
            ..RateLimit::default()
        },
        ..FrontSettings::default()
    };
    Fronts::start(&settings, published).await.unwrap()
}

/// Waits until `resolver` answers for the zone.
fn ready(resolver: SocketAddr) {
    let (at, port) = (format!("@{}", resolver.ip()), resolver.port().to_string());
    until("the resolver", || {
        let arguments = [
            &at,
            "-p",
            &port,
            "+tries=1",
            "+time=1",
            "hello.internal",
            "A",
        ];
        let output = run("dig", &arguments);
        String::from_utf8_lossy(&output.stdout).contains("status: NOERROR")
    });
}

/// Question, what delv says of it first, and what the answer holds.
const SECURE: &[(&[&str], &str, &str)] = &[
    (&["hello.internal", "A"], "fully validated", "127.0.1.2"),
    (
        &["hello.internal", "AAAA"],
        "fully validated",
        "2001:db8::1",
    ),
    (&["hello.internal", "TLSA"], "fully validated", "3 1 1"),
    (
        &["hello.internal", "HTTPS"],
        "fully validated",
        "alpn=\"h2,http/1.1\" port=8443",
    ),
    (
        &["_8443._https.hello.internal", "HTTPS"],
        "fully validated",
        "1 hello.internal.",
    ),
    (
        &["hello.internal", "CAA"],
        "fully validated",
        "0 issue \"internal\"",
    ),
    (
        &["alias.internal", "TYPE65280"],
        "fully validated",
        "6F7061717565",
    ),
    (&["internal", "SOA"], "fully validated", " 42 60 10 "),
    (&["internal", "NS"], "fully validated", "ns.internal."),
    (&["internal", "DNSKEY"], "fully validated", "257 3 13"),
    (&["internal", "CDS"], "fully validated", " 13 2 "),
    (&["internal", "CDNSKEY"], "fully validated", "257 3 13"),
    (&["ns.internal", "A"], "fully validated", "192.0.2.53"),
    (
        &["www.alias.internal", "AAAA"],
        "fully validated",
        "2001:db8::1",
    ),
    (
        &["sub.secure.internal", "DS"],
        "fully validated",
        "12345 13 2",
    ),
    // No such type; the first and the last name; an empty non-terminal.
    (
        &["hello.internal", "MX"],
        "negative response, fully validated",
        "ncache nxrrset",
    ),
    (
        &["internal", "MX"],
        "negative response, fully validated",
        "ncache nxrrset",
    ),
    (
        &["zz.internal", "A"],
        "negative response, fully validated",
        "ncache nxrrset",
    ),
    (
        &["b.deep.hello.internal", "A"],
        "negative response, fully validated",
        "ncache nxrrset",
    ),
    (
        &["deep.hello.internal", "TXT"],
        "negative response, fully validated",
        "ncache nxrrset",
    ),
    (
        &["sub.alias.internal", "DS"],
        "negative response, fully validated",
        "ncache nxrrset",
    ),
    // From a wildcard: what it holds, what it does not, and what it does not
    // stand for because the name or a closer one exists.
    (&["any.wild.internal", "A"], "fully validated", "192.0.2.9"),
    (
        &["any.thing.wild.internal", "A"],
        "fully validated",
        "192.0.2.9",
    ),
    (&["*.wild.internal", "A"], "fully validated", "192.0.2.9"),
    (
        &["x.alias.wild.internal", "AAAA"],
        "fully validated",
        "2001:db8::1",
    ),
    (
        &["any.wild.internal", "MX"],
        "negative response, fully validated",
        "ncache nxrrset",
    ),
    (
        &["exact.wild.internal", "A"],
        "negative response, fully validated",
        "ncache nxrrset",
    ),
    (
        &["below.exact.wild.internal", "A"],
        "negative response, fully validated",
        "ncache nxdomain",
    ),
    // No such name: between, before and after all, beneath one that exists.
    (
        &["nobody.internal", "A"],
        "negative response, fully validated",
        "ncache nxdomain",
    ),
    (
        &["aaa.internal", "A"],
        "negative response, fully validated",
        "ncache nxdomain",
    ),
    (
        &["zzz.internal", "A"],
        "negative response, fully validated",
        "ncache nxdomain",
    ),
    (
        &["x.y.hello.internal", "A"],
        "negative response, fully validated",
        "ncache nxdomain",
    ),
    (
        &["x.b.deep.hello.internal", "A"],
        "negative response, fully validated",
        "ncache nxdomain",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn delv_validates_what_is_and_what_is_not() {
    let server = Server::start().await;
    for (question, verdict, held) in SECURE {
        let told = server.delv(server.address(), question);
        let verdict = format!("; {verdict}");
        assert!(
            told.starts_with(&verdict) && told.contains(held),
            "{question:?}: {told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unbound_sets_ad_and_delv_validates_through_it() {
    let server = Server::start().await;
    let (_unbound, resolver) = server.unbound();
    for (question, verdict, held) in SECURE {
        let told = dig(resolver, &[&["+dnssec"], *question].concat());
        assert!(told.contains("flags: qr rd ra ad;"), "{question:?}: {told}");
        let told = server.delv(resolver, question);
        let verdict = format!("; {verdict}");
        assert!(
            told.starts_with(&verdict) && told.contains(held),
            "{question:?}: {told}"
        );
    }
    // A delegation without DS is insecure, and so is what lies beneath.
    let told = dig(resolver, &["+dnssec", "sub.alias.internal", "NS"]);
    assert!(!told.contains(" ad;"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unbound_refuses_the_zone_under_another_key() {
    let server = Server::start().await;
    let mut other = Server::start().await;
    other.fronts = server.fronts;
    let port = free_port();
    let ds = other.anchor().replace('"', "");
    let config = format!(
        "server:\n  interface: 127.0.0.1@{port}\n  do-daemonize: no\n  chroot: \"\"\n  username: \"\"\n  \
         pidfile: \"\"\n  use-syslog: no\n  module-config: \"validator iterator\"\n  do-not-query-localhost: no\n  \
         trust-anchor: \"{APEX}. DS {ds}\"\n  local-zone: \"internal.\" nodefault\n  directory: \"{}\"\n\
         stub-zone:\n  name: \"internal.\"\n  stub-addr: 127.0.0.1@{}\nremote-control:\n  control-enable: no\n",
        other.directory.path().display(),
        other.address().port(),
    );
    std::fs::write(other.path("unbound.conf"), config).unwrap();
    let path = other.path("unbound.conf");
    let arguments = ["-d", "-c", path.to_str().unwrap()];
    let _unbound = Daemon::start("unbound", &arguments, other.directory.path());
    let port = port.to_string();
    let ask = |flag: &str| {
        let output = run(
            "dig",
            &[
                "@127.0.0.1",
                "-p",
                &port,
                "+tries=1",
                "+time=2",
                flag,
                "hello.internal",
                "A",
            ],
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    until("unbound", || ask("+cd").contains("status: NOERROR"));
    let told = ask("+nocd");
    assert!(told.contains("status: SERVFAIL"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn knot_resolver_validates() {
    let server = Server::start().await;
    let port = free_port();
    let ds = server.anchor().replace('"', "");
    let config = format!(
        "net.listen('127.0.0.1', {port}, {{ kind = 'dns' }})\n\
         cache.open(10 * MB, 'lmdb://{directory}')\n\
         trust_anchors.remove('.')\ntrust_anchors.add('{APEX}. 300 DS {ds}')\n\
         modules.unload('ta_update')\nmodules.unload('ta_signal_query')\nmodules.unload('priming')\n\
         modules.unload('detect_time_jump')\n\
         policy.add(policy.suffix(policy.FORWARD('127.0.0.1@{at}'), policy.todnames({{'{APEX}.'}})))\n",
        directory = server.directory.path().display(),
        at = server.address().port(),
    );
    std::fs::write(server.path("kresd.conf"), config).unwrap();
    let path = server.path("kresd.conf");
    let arguments = [
        "-n",
        "-c",
        path.to_str().unwrap(),
        server.directory.path().to_str().unwrap(),
    ];
    let _kresd = Daemon::start("kresd", &arguments, server.directory.path());
    let resolver: SocketAddr = ([127, 0, 0, 1], port).into();
    ready(resolver);
    for (question, ..) in SECURE {
        let told = dig(resolver, &[&["+dnssec"], *question].concat());
        assert!(told.contains("flags: qr rd ra ad;"), "{question:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kdig_and_drill_see_signatures_only_when_they_ask() {
    let server = Server::start().await;
    let (at, port) = (
        format!("@{}", server.address().ip()),
        server.address().port().to_string(),
    );
    let kdig = output(
        "kdig",
        &[&at, "-p", &port, "+dnssec", "nobody.internal", "A"],
    );
    assert!(kdig.contains("NXDOMAIN") && kdig.contains("do;"), "{kdig}");
    assert_eq!(kdig.matches("RRSIG").count(), 3 + 2, "{kdig}");
    assert!(!kdig.contains("WARNING"), "{kdig}");
    let plain = output("kdig", &[&at, "-p", &port, "nobody.internal", "A"]);
    assert!(!plain.contains("NSEC"), "{plain}");
    let drill = output("drill", &["-D", &at, "-p", &port, "hello.internal", "A"]);
    assert_eq!(drill.matches("RRSIG").count(), 1, "{drill}");
    // RFC 8482: one RRset, signed.
    let any = dig(
        server.address(),
        &["+dnssec", "+notcp", "hello.internal", "ANY"],
    );
    assert!(any.contains("ANSWER: 3"), "{any}");
    let cut = dig(server.address(), &["+dnssec", "x.sub.alias.internal", "A"]);
    assert!(
        cut.contains("flags: qr rd;") && cut.contains("NSEC"),
        "{cut}"
    );
    let cut = dig(server.address(), &["+dnssec", "x.sub.secure.internal", "A"]);
    assert!(cut.contains("DS\t") && !cut.contains("NSEC\t"), "{cut}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bind_and_ldns_verify_the_whole_zone_file() {
    let server = Server::start().await;
    let file = server.path("zone");
    std::fs::write(&file, server.zone.apexes()[0].zone_file()).unwrap();
    verify(&file);
    // The judges do judge.
    let broken: String = server.zone.apexes()[0]
        .zone_file()
        .lines()
        .filter(|line| !line.contains(" NSEC zz.internal."))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&file, broken).unwrap();
    let file = file.to_str().unwrap();
    assert!(!run("dnssec-verify", &["-o", APEX, file]).status.success());
    assert!(!run("ldns-verify-zone", &[file]).status.success());
}

/// Has two programs verify every signature and the chain of `file`.
fn verify(file: &Path) {
    let file = file.to_str().unwrap();
    output("dnssec-verify", &["-o", APEX, file]);
    output("ldns-verify-zone", &[file]);
}
