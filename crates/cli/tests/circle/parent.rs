//! The circle's zone as a real domain: Knot DNS serves and signs its parent,
//! which learns the zone's keys as stock tools do (CDS), and a resolver that
//! knows nothing of the circle follows the delegation and validates.

use crate::harness::{
    Circle, free_port,
    programs::{Running, run},
    wait_for,
};

/// Where the parent answers, and where the circle's name node does: resolvers
/// ask name servers at port 53 alone.
const PARENT: &str = "127.53.1.1";
const NODE: &str = "127.53.1.2";

const APEX: &str = "circle.example";
const NAME: &str = "hello.circle.example";

/// A circle whose zone is `APEX` and whose name node answers at `NODE`, as an
/// operator would set it up: `up` writes the parts' files, so they are changed
/// while it runs, and the parts start again.
fn circle() -> Circle {
    let circle = Circle::up_with(&["--apex", APEX]);
    let replace = |file: &str, from: &str, to: &str| {
        let path = circle.state().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}: {text}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    let plain = format!("listen = [\"127.0.0.1:{}\"", circle.base_port + 153);
    let both = format!("{plain}, \"{NODE}:53\"");
    replace("names/names.toml", &plain, &both);
    let own = "addresses = [\"127.0.0.1\"]";
    let public = format!("addresses = [\"{NODE}\"]");
    replace("signer/signer.toml", own, &public);
    circle.kill("names");
    circle.kill("signer");
    // What a resolver hears before is where the zone's server was, and is kept.
    wait_for("the zone has its server's address", || {
        let server = format!("ns.{APEX}");
        let asked = [&format!("@{NODE}"), "+short", "+tries=1", &server, "A"];
        (run("dig", &asked).1.trim() == NODE).then_some(())
    });
    circle
}

/// The DS records that the parent is to hold: what the zone announces, checked by
/// BIND's `dnssec-cds` against the key that a member gave the parent at first.
fn ds_records(circle: &Circle) -> String {
    let directory = circle.scratch("parent");
    std::fs::create_dir_all(&directory).unwrap();
    let announced = wait_for("the zone announces its key", || {
        let at = format!("@{NODE}");
        let (mut all, common) = (String::new(), ["+dnssec", "+noall", "+answer", "+tries=1"]);
        for rtype in ["DNSKEY", "CDS", "CDNSKEY"] {
            let (_, said) = run("dig", &[&[&at, APEX, rtype][..], &common].concat());
            if !said.contains("RRSIG") {
                return None;
            }
            all += &said;
        }
        Some(all)
    });
    let child = directory.join("child");
    std::fs::write(&child, announced).unwrap();
    let first = directory.join(format!("dsset-{APEX}."));
    std::fs::write(&first, format!("{}\n", circle.anchor())).unwrap();
    let (child, first) = (child.to_str().unwrap(), first.to_str().unwrap());
    // Signatures since yesterday count, not only those made after the file was.
    let options = ["-a", "SHA-256", "-s", "-86400", "-f", child, "-d", first];
    let (accepted, said) = run("dnssec-cds", &[&options[..], &[APEX]].concat());
    assert!(accepted, "{said}");
    let lines = said.lines().filter(|line| line.contains(" DS "));
    let records: Vec<String> = lines.map(|line| format!("{line}\n")).collect();
    assert_eq!(records.len(), 1, "{said}");
    records.concat()
}

/// The parent's name server, which signs its zone; and the DS record of its key.
fn parent(circle: &Circle, ds: &str) -> (Running, String) {
    let directory = circle.scratch("parent");
    let at = directory.display();
    let zone = format!(
        "$ORIGIN example.\n$TTL 60\n@ SOA ns hostmaster 1 60 60 600 60\n@ NS ns\nns A {PARENT}\n\
         circle NS ns.circle\nns.circle A {NODE}\n{ds}"
    );
    std::fs::write(directory.join("example.zone"), zone).unwrap();
    let config = format!(
        "server:\n  listen: {PARENT}@53\n  rundir: {at}\nlog:\n  - target: stderr\n    any: info\n\
         database:\n  storage: {at}\npolicy:\n  - id: own\n    algorithm: ecdsap256sha256\n    \
         single-type-signing: on\nzone:\n  - domain: example\n    storage: {at}\n    \
         file: example.zone\n    zonefile-sync: -1\n    dnssec-signing: on\n    dnssec-policy: own\n"
    );
    let path = directory.join("knot.conf");
    std::fs::write(&path, config).unwrap();
    let path = path.to_str().unwrap();
    let running = Running::start("knotd", &["-c", path], &directory.join("knot.log"));
    wait_for("the parent serves signed records at port 53", || {
        let asked = format!("@{PARENT}");
        let question = ["+dnssec", "+time=1", "+tries=1", "example", "SOA"];
        let (_, said) = run("dig", &[&[asked.as_str()][..], &question].concat());
        said.contains("RRSIG").then_some(())
    });
    let (done, said) = run("keymgr", &["-c", path, "example", "ds"]);
    assert!(done, "{said}");
    let anchor = said.lines().find(|line| line.contains(" 13 2 "));
    (running, anchor.expect("a DS by SHA-256").to_owned())
}

#[test]
fn a_real_domain_is_delegated_to_the_circle() {
    let circle = circle();
    circle.ringfort(&["name", "register", NAME]);
    circle.ringfort(&["name", "set", NAME, "A", "192.0.2.80"]);
    let ds = ds_records(&circle);
    let (_parent, anchor) = parent(&circle, &ds);

    // The resolver knows the parent, as any knows the root; nothing of the circle.
    let directory = circle.scratch("unbound");
    std::fs::create_dir_all(&directory).unwrap();
    let port = free_port();
    let config = format!(
        "server:\n  interface: 127.0.0.1@{port}\n  do-daemonize: no\n  chroot: \"\"\n  \
         username: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  do-not-query-localhost: no\n  \
         module-config: \"validator iterator\"\n  trust-anchor: \"{anchor}\"\n  \
         directory: \"{}\"\nstub-zone:\n  name: \"example.\"\n  stub-addr: {PARENT}@53\n\
         remote-control:\n  control-enable: no\n",
        directory.display(),
    );
    let path = directory.join("unbound.conf");
    std::fs::write(&path, config).unwrap();
    let arguments = ["-d", "-c", path.to_str().unwrap()];
    let _unbound = Running::start("unbound", &arguments, &directory.join("unbound.log"));
    let ask = |name: &str, rtype: &str| {
        let port = port.to_string();
        let at = ["@127.0.0.1", "-p", &port, "+dnssec", "+time=3", "+tries=1"];
        run("dig", &[&at[..], &[name, rtype]].concat()).1
    };
    let validated = |said: &str, wanted: &str| {
        let flags = said.lines().find(|line| line.contains("flags:"));
        flags.is_some_and(|flags| flags.contains(" ad")) && said.contains(wanted)
    };
    wait_for("unbound has followed the delegation", || {
        validated(&ask(NAME, "A"), "192.0.2.80").then_some(())
    });
    for (asked, rtype, wanted) in [
        (APEX, "NS", "ns.circle.example."),
        ("ns.circle.example", "A", NODE),
        (NAME, "TXT", "ANSWER: 0"),
        ("nobody.circle.example", "A", "NXDOMAIN"),
    ] {
        // A resolver may still be learning where its name servers are.
        wait_for(&format!("{asked} {rtype} says {wanted}"), || {
            validated(&ask(asked, rtype), wanted).then_some(())
        });
    }
}
