//! Zones as files that stock name servers read, in and out; and a connection
//! to a server by the ledger's word alone.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Command, Stdio},
};

use crate::harness::{Circle, Ended, free_port, programs::Running, wait_for};

#[test]
fn a_zone_goes_out_to_stock_checkers_and_comes_back_changed() {
    let circle = Circle::up();
    circle.ringfort(&["name", "register", "hello.internal"]);
    let set = |arguments: &[&str]| {
        circle.ringfort(&[&["name", "set", "hello.internal"], arguments].concat());
    };
    set(&["A", "192.0.2.1", "192.0.2.2"]);
    set(&["TXT", "\"two words\" and"]);
    set(&["MX", "10 hello.internal.", "--owner", "*.wild"]);
    set(&["TYPE65280", "\\# 3 010203", "--owner", "odd"]);

    let zone = circle.ringfort(&["name", "export", "internal"]);
    let file = circle.scratch("internal.zone");
    std::fs::write(&file, &zone).unwrap();
    let path = file.to_str().unwrap();
    for (checker, arguments) in [
        ("named-checkzone", &["-i", "local", "internal", path][..]),
        ("kzonecheck", &["-o", "internal", path]),
    ] {
        let checked = Command::new(checker).args(arguments).output();
        let checked = checked.unwrap_or_else(|error| {
            panic!("{checker} cannot be run ({error}): run script/setup, which installs it")
        });
        Ended::from(checked).success(checker);
    }
    assert!(zone.contains("dns.internal."), "{zone}");
    assert_eq!(
        circle.ringfort(&["name", "export", "internal"]),
        zone,
        "the same records give the same text"
    );
    let import = |more: &[&str]| circle.run(&[&["name", "import", path], more].concat());
    let same = import(&["--dry-run"]).success("import");
    assert!(same.contains("; no difference"), "{same}");

    // What a person would change with an editor.
    let changed = zone
        .lines()
        .filter(|line| !line.starts_with("odd.hello"))
        .map(|line| line.replace("192.0.2.2", "192.0.2.3") + "\n")
        .collect::<String>()
        + "www.hello.internal. 60 IN CNAME hello.internal.\n";
    std::fs::write(&file, &changed).unwrap();
    let wanted = import(&["--dry-run"]).success("import");
    let signed = |sign: char| -> Vec<String> {
        let lines = wanted.lines().filter(|line| line.starts_with(sign));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(signed('-').len(), 3, "{wanted}");
    assert_eq!(signed('+').len(), 3, "{wanted}");
    assert_eq!(circle.ringfort(&["name", "export", "internal"]), zone);
    let sent = import(&[]).success("import");
    assert!(sent.contains("imported (tx"), "{sent}");
    wait_for("the new records", || {
        let mut found = circle.dig("www.hello.internal", "A");
        found.sort_unstable();
        (found == ["192.0.2.1", "192.0.2.3", "hello.internal."]).then_some(())
    });
    let again = import(&[]).success("import");
    assert!(again.contains("; no difference"), "{again}");

    // Nothing is sent of a file that holds what cannot be.
    let more = "hello.internal. 60 IN TXT new\n";
    std::fs::write(&file, changed + more).unwrap();
    let refused = import(&[]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("several times to live"),
        "{}",
        refused.stderr
    );
    assert!(
        !circle
            .ringfort(&["name", "export", "hello.internal"])
            .contains("new")
    );
}

#[test]
fn a_file_with_names_of_nobody_or_of_others_changes_nothing() {
    let circle = Circle::up();
    let passphrase = circle.state().join("user/passphrase");
    let passphrase = ["--passphrase-file", passphrase.to_str().unwrap()];
    let made = circle.json(&[&passphrase[..], &["keys", "new", "other"]].concat());
    let (account, public) = (made["account"].as_str(), made["public"].as_str().unwrap());
    let as_user = [
        "--key",
        "user",
        "account",
        "transfer",
        account.unwrap(),
        "100000",
    ];
    circle.ringfort(&as_user);
    for (key, name) in [("user", "ours.internal"), ("other", "theirs.internal")] {
        let register = ["--key", key, "name", "register", name];
        circle.ringfort(&[&passphrase[..], &register].concat());
    }
    let file = circle.scratch("mixed.zone");
    let import = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let import = ["--key", "user", "name", "import", file.to_str().unwrap()];
        circle.run(&[&passphrase[..], &import, more].concat())
    };
    let ours = "ours.internal. 60 IN A 192.0.2.1\n";
    let theirs = format!("{ours}theirs.internal. 60 IN A 192.0.2.2\n");
    let nobodys = format!("{theirs}nobody.internal. 60 IN A 192.0.2.3\n");
    let exported = || circle.ringfort(&["name", "export", "ours.internal"]);
    let before = exported();

    for more in [&[][..], &["--dry-run"]] {
        let refused = import(&nobodys, more);
        assert_ne!(refused.code, 0, "{}", refused.stdout);
        assert!(
            refused.stderr.contains("nothing was sent"),
            "{}",
            refused.stderr
        );
        assert!(
            refused.stderr.contains("nobody.internal"),
            "{}",
            refused.stderr
        );
    }
    let refused = import(&theirs, &[]);
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    let reason = format!("theirs.internal is owned by {public}");
    assert!(refused.stderr.contains(&reason), "{}", refused.stderr);
    assert!(
        !refused.stderr.contains("ours.internal is"),
        "{}",
        refused.stderr
    );
    assert_eq!(exported(), before, "nothing half done");

    // The difference can be looked at by anyone, and what is one's own sent.
    let shown = import(&theirs, &["--dry-run"]).success("dry run");
    for line in ["192.0.2.1", "192.0.2.2"] {
        assert!(shown.contains(line), "{shown}");
    }
    assert_eq!(exported(), before, "a dry run sends nothing");
    import(ours, &[]).success("import");
    assert!(exported().contains("192.0.2.1"));
}

/// GnuTLS' server with a raw public key (RFC 7250), which gives back what it
/// is sent; gives the key as the ledger writes it.
fn server(circle: &Circle, port: u16) -> (Running, String) {
    let (private, public) = (circle.scratch("server.pem"), circle.scratch("server.pub"));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let (private, public) = (private.to_str().unwrap(), public.to_str().unwrap());
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", private]);
    openssl(&["pkey", "-in", private, "-pubout", "-out", public]);
    let der = openssl(&["pkey", "-in", private, "-pubout", "-outform", "DER"]);
    let key = format!("ed25519:{}", hex::encode(&der[der.len() - 32..]));
    let child = Command::new("gnutls-serv")
        .args(["--echo", "--quiet", "--disable-client-cert"])
        .arg("--priority=NORMAL:-VERS-ALL:+VERS-TLS1.3:-CTYPE-ALL:+CTYPE-SRV-RAWPK")
        .args(["--rawpkkeyfile", private, "--rawpkfile", public])
        .args(["--port", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("gnutls-serv cannot be run: run script/setup, which installs it");
    wait_for("gnutls-serv", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    (Running(child), key)
}

#[test]
fn a_server_is_connected_to_by_the_ledgers_word_and_no_authoritys() {
    let circle = Circle::up();
    let port = free_port();
    let (_server, key) = server(&circle, port);
    circle.ringfort(&["name", "register", "peer.internal"]);
    let secure = ["name", "secure", "peer.internal", "--address", "127.0.0.1"];
    circle.ringfort(&[&secure[..], &["--server-key", &key]].concat());
    let port = port.to_string();
    let connect = ["connect", "peer.internal", "--port", &port];
    let mut child = circle
        .command(&connect)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"hello\n").unwrap();
    input.flush().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "hello\n");
    drop(input);
    child.wait().unwrap();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(said.contains(&key), "{said}");

    // Without the circle: a proof in a file and the circle's key are enough.
    let proof = circle.scratch("peer.proof");
    let proof = proof.to_str().unwrap();
    circle.ringfort(&["name", "proof", "peer.internal", "--to", proof]);
    // Another machine's key: the ledger's word is not the server's.
    let other = format!("ed25519:{}", "7".repeat(64));
    let by_proof = ["--proof", proof];
    let run = |more: &[&str]| circle.run(&[&connect[..], more].concat());
    assert_eq!(run(&by_proof).code, 0);
    let changed = circle.run(&[&secure[..], &["--server-key", &other]].concat());
    assert_eq!(changed.code, 0, "{}", changed.stderr);
    let refused = run(&[]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("did not show that it is peer.internal"),
        "{}",
        refused.stderr
    );
}
