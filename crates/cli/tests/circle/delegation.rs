//! A subdomain with a name service of its own: Knot DNS serves and signs it,
//! unbound and delv follow the circle's zone to it, its keys roll, and lego has
//! it certified by the key that the ledger holds for it.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{
    Circle, free_port,
    programs::{Running, run},
    wait_for,
};

const NAME: &str = "hello.internal";
const ZONE: &str = "sub.hello.internal";
const WWW: &str = "www.sub.hello.internal";

/// Resolvers ask name servers at port 53 alone: the child has an address of
/// loopback to itself.
const CHILD: &str = "127.53.0.1";

/// Knot DNS with the child's zone, which it signs.
struct Knot {
    directory: PathBuf,
    _running: Running,
}

impl Knot {
    fn start(directory: PathBuf) -> Self {
        std::fs::create_dir_all(&directory).unwrap();
        let at = directory.display();
        let zone = format!(
            "$ORIGIN {ZONE}.\n$TTL 2\n@ SOA ns hostmaster 1 60 60 600 2\n@ NS ns\nns A {CHILD}\n\
             www A 192.0.2.77\n*.any TXT \"by a wildcard\"\n"
        );
        std::fs::write(directory.join("sub.zone"), zone).unwrap();
        let config = format!(
            "server:\n  listen: {CHILD}@53\n  rundir: {at}\nlog:\n  - target: stderr\n    any: info\n\
             database:\n  storage: {at}\npolicy:\n  - id: own\n    algorithm: ecdsap256sha256\n    \
             cds-cdnskey-publish: always\n    dnskey-ttl: 1\n    zone-max-ttl: 2\n    \
             propagation-delay: 1\n    ksk-lifetime: 0\n    zsk-lifetime: 0\ntemplate:\n  - id: default\n    \
             storage: {at}\nzone:\n  - domain: {ZONE}\n    file: sub.zone\n    zonefile-sync: -1\n    \
             zonefile-load: difference-no-serial\n    journal-content: all\n    \
             dnssec-signing: on\n    dnssec-policy: own\n"
        );
        let path = directory.join("knot.conf");
        std::fs::write(&path, config).unwrap();
        let log = directory.join("knot.log");
        let running = Running::start("knotd", &["-c", path.to_str().unwrap()], &log);
        let knot = Self {
            directory,
            _running: running,
        };
        wait_for("knotd serves signed records at port 53", || {
            let asked = format!("@{CHILD}");
            let (_, said) = run(
                "dig",
                &[&asked, "+dnssec", "+time=1", "+tries=1", ZONE, "CDS"],
            );
            said.contains("RRSIG").then_some(())
        });
        knot
    }

    fn control(&self, arguments: &[&str]) -> String {
        let socket = self.directory.join("knot.sock");
        let all = [&["-s", socket.to_str().unwrap()][..], arguments].concat();
        let (done, said) = run("knotc", &all);
        assert!(done, "{said}");
        said
    }

    /// Tags of the keys for which it announces DS records.
    fn announced(&self) -> Vec<String> {
        let asked = format!("@{CHILD}");
        let (_, said) = run("dig", &[&asked, "+short", "+time=1", ZONE, "CDS"]);
        let tag = |line: &str| line.split(' ').next().map(str::to_owned);
        said.lines().filter_map(tag).collect()
    }
}

/// A validating resolver that knows the circle's zone by a stub, and its key.
struct Unbound {
    port: u16,
    _running: Running,
}

impl Unbound {
    fn start(circle: &Circle, name: &str) -> Self {
        let directory = circle.scratch(name);
        std::fs::create_dir_all(&directory).unwrap();
        let port = free_port();
        let config = format!(
            "server:\n  interface: 127.0.0.1@{port}\n  do-daemonize: no\n  chroot: \"\"\n  \
             username: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  do-not-query-localhost: no\n  \
             module-config: \"validator iterator\"\n  trust-anchor: \"{}\"\n  \
             local-zone: \"internal.\" nodefault\n  directory: \"{}\"\nstub-zone:\n  \
             name: \"internal.\"\n  stub-addr: 127.0.0.1@{}\nremote-control:\n  control-enable: no\n",
            circle.anchor(),
            directory.display(),
            circle.base_port + 153,
        );
        let path = directory.join("unbound.conf");
        std::fs::write(&path, config).unwrap();
        let log = directory.join("unbound.log");
        let arguments = ["-d", "-c", path.to_str().unwrap()];
        Self {
            port,
            _running: Running::start("unbound", &arguments, &log),
        }
    }

    fn dig(&self, name: &str, rtype: &str) -> String {
        let port = self.port.to_string();
        let at = ["@127.0.0.1", "-p", &port, "+dnssec", "+time=3", "+tries=1"];
        run("dig", &[&at[..], &[name, rtype]].concat()).1
    }
}

/// The tags of the DS records that the circle's zone has of the child.
fn held(circle: &Circle) -> Vec<String> {
    let lines = circle.dig(ZONE, "DS");
    let tag = |line: &String| line.split(' ').next().unwrap().to_owned();
    lines.iter().map(tag).collect()
}

#[test]
fn a_subdomain_has_a_name_service_keys_and_certificates_of_its_own() {
    let circle = Circle::up();
    circle.ringfort(&["name", "register", NAME]);
    let knot = Knot::start(circle.scratch("knot"));
    let (key, public) = server_key(&circle);
    let ns = format!("ns.{ZONE}={CHILD}");
    let delegate = ["name", "delegate", NAME, "sub", "--ns", &ns, "--ttl", "2"];
    let said = circle.run(&[&delegate[..], &["--from", CHILD, "--server-key", &public]].concat());
    assert_eq!(said.code, 0, "{}", said.stderr);
    wait_for("the circle's zone has the child's DS record", || {
        (held(&circle) == knot.announced()).then_some(())
    });

    follows(&circle, "unbound-1");
    rolls(&circle, &knot);
    follows(&circle, "unbound-2");
    certified(&circle, &key);
}

/// The key by which the ledger knows the child's node, and its public half.
fn server_key(circle: &Circle) -> (PathBuf, String) {
    let file = circle.scratch("server.pem");
    let path = file.to_str().unwrap();
    let (made, said) = run(
        "openssl",
        &["genpkey", "-algorithm", "ed25519", "-out", path],
    );
    assert!(made, "{said}");
    let output = Command::new("openssl")
        .args(["pkey", "-in", path, "-pubout", "-outform", "DER"])
        .output()
        .unwrap();
    let spki = output.stdout;
    let public = format!("ed25519:{}", hex::encode(&spki[spki.len() - 32..]));
    (file, public)
}

/// Stock resolvers find the child's records by the circle's zone alone, and
/// validate all the way.
fn follows(circle: &Circle, name: &str) {
    let unbound = Unbound::start(circle, name);
    wait_for("unbound has validated the child's record", || {
        let said = unbound.dig(WWW, "A");
        let flags = said.lines().find(|line| line.contains("flags:"))?;
        (flags.contains(" ad") && said.contains("192.0.2.77")).then_some(())
    });
    let anything = format!("x.any.{ZONE}");
    for (asked, rtype, wanted) in [
        (WWW, "A", "; fully validated"),
        (&anything, "TXT", "by a wildcard"),
        (WWW, "TXT", "; negative response, fully validated"),
        (
            "nobody.sub.hello.internal",
            "A",
            "; negative response, fully validated",
        ),
    ] {
        let said = circle.delv_at(unbound.port, asked, rtype);
        assert!(said.contains(wanted), "{asked} {rtype}: {said}");
        assert!(said.contains("fully validated"), "{asked} {rtype}: {said}");
    }
}

/// A new key-signing key, from the child's announcement to the ledger.
fn rolls(circle: &Circle, knot: &Knot) {
    let before = held(circle);
    let refresh = ["name", "delegate", NAME, "sub", "--refresh"];
    let said = circle.run(&refresh);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(
        said.stderr.contains("are those that it announces"),
        "{}",
        said.stderr
    );
    knot.control(&["zone-key-rollover", ZONE, "ksk"]);
    wait_for("knot announces the new key", || {
        let announced = knot.announced();
        (!announced.is_empty() && announced != before).then_some(())
    });
    let announced = knot.announced();
    let said = circle.run(&refresh);
    assert_eq!(said.code, 0, "{}", said.stderr);
    wait_for("the circle's zone has the new DS record", || {
        (held(circle) == announced).then_some(())
    });
    knot.control(&["zone-ksk-submitted", ZONE]);
    wait_for("the old key is gone", || {
        let asked = format!("@{CHILD}");
        let (_, said) = run("dig", &[&asked, "+short", ZONE, "DNSKEY"]);
        let keys = said.lines().filter(|line| line.starts_with("257 "));
        (keys.count() == 1).then_some(())
    });
    // A stranger's server cannot move the delegation.
    let other = ["--from", "127.0.0.1:1"];
    assert_ne!(circle.run(&[&refresh[..], &other].concat()).code, 0);
}

/// lego, by the child's own key: for its own names, and for no others.
fn certified(circle: &Circle, key: &Path) {
    let authority = format!("http://127.0.0.1:{}", circle.base_port + 160);
    let obtain = |name: &str| {
        let credentials = circle.json(&[
            "cert",
            "credentials",
            "--authority",
            &authority,
            "--server-key",
            key.to_str().unwrap(),
        ]);
        let text = |field: &str| credentials[field].as_str().unwrap().to_owned();
        let path = circle.scratch(&format!("lego-{name}"));
        let (kid, hmac) = (text("kid"), text("hmac_key"));
        let directory = format!("{authority}/acme/directory");
        let path = path.to_str().unwrap();
        let nowhere = format!("127.0.0.1:{}", free_port());
        run(
            "lego",
            &[
                "--server",
                &directory,
                "--accept-tos",
                "--email",
                "child@example.org",
                "--path",
                path,
                "--eab",
                "--kid",
                &kid,
                "--hmac",
                &hmac,
                "--domains",
                name,
                "--http",
                "--http.port",
                &nowhere,
                "run",
            ],
        )
    };
    let (done, said) = obtain(WWW);
    assert!(done, "{said}");
    let chain = circle
        .scratch(&format!("lego-{WWW}"))
        .join(format!("certificates/{WWW}.crt"));
    let roots = circle.state().join("ca/roots.pem");
    let (chain, roots) = (chain.to_str().unwrap(), roots.to_str().unwrap());
    let verify = [
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        roots,
    ];
    let of = ["-untrusted", chain, "-verify_hostname", WWW, chain];
    let (accepted, said) = run("openssl", &[&verify[..], &of].concat());
    assert!(accepted, "{said}");
    let (done, said) = obtain("www.hello.internal");
    assert!(!done, "above its subdomain: {said}");
    assert!(
        TcpStream::connect((CHILD, 53)).is_ok(),
        "the child still serves"
    );
}
