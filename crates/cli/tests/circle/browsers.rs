//! A payload that runs, opened by stock browsers and checked by a stock
//! verifier of TLSA records: nothing is installed in them but the circle's root
//! and where names are asked for.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::harness::{Circle, Ended, component, programs::Running, wait_for};

const NAME: &str = "hello.internal";

/// What the example answers.
const GREETING: &str = "hello";

/// The picture of a page is more than an empty window's.
const MIN_PICTURE_BYTES: u64 = 2000;

fn program(name: &str, arguments: &[&str]) -> Command {
    // A browser that hangs is not to hang the test.
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", "90", name])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn ended(mut command: Command) -> Ended {
    let ended = Ended::from(command.output().expect("timeout is part of coreutils"));
    assert!(
        ended.code != 127,
        "{}\nrun script/setup, which installs the program",
        ended.stderr
    );
    ended
}

/// Puts the circle's root, and nothing else, among the authorities of an NSS
/// database.
fn trust_root(circle: &Circle, database: &Path) {
    std::fs::create_dir_all(database).unwrap();
    let database = format!("sql:{}", database.display());
    let root = circle.state().join("ca/roots.pem");
    let root = root.to_str().unwrap();
    for arguments in [
        &["-d", &database, "-N", "--empty-password"][..],
        &[
            "-d", &database, "-A", "-t", "C,,", "-n", "circle", "-i", root,
        ],
    ] {
        ended(program("certutil", arguments)).success("certutil");
    }
}

/// Where the circle answers DNS over HTTPS.
fn resolver(circle: &Circle) -> String {
    format!("https://dns.internal:{}/dns-query", circle.base_port + 156)
}

/// Pictures, for people who would like to look: RINGFORT_PICTURES says where.
fn picture(circle: &Circle, name: &str) -> PathBuf {
    let directory = std::env::var_os("RINGFORT_PICTURES")
        .map_or_else(|| circle.scratch("pictures"), PathBuf::from);
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

fn is_a_picture(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.starts_with(b"\x89PNG") && bytes.len() as u64 > MIN_PICTURE_BYTES
}

/// What the name server has answered over HTTPS, from its metrics.
fn answered_over_https(circle: &Circle) -> u64 {
    let url = format!("http://127.0.0.1:{}/metrics", circle.base_port + 154);
    let metrics = ended(program("curl", &["-sS", &url])).success("curl");
    let start = "ringfort_names_responses_total{transport=\"https\",rcode=\"NOERROR\"}";
    let count = |line: &str| line.strip_prefix(start)?.trim().parse().ok();
    metrics.lines().find_map(count).unwrap_or(0)
}

/// The page as Chromium sees it.
fn chromium(circle: &Circle, home: &Path, url: &str) -> String {
    let profile = home.join("profile");
    std::fs::create_dir_all(&profile).unwrap();
    // The root certifies no addresses: the resolver's own is told.
    let template = format!("{}{{?dns}}", resolver(circle));
    let servers = serde_json::json!({
        "servers": [{"template": template, "endpoints": [{"ips": ["127.0.0.1"]}]}],
    });
    let state = serde_json::json!({
        "dns_over_https": {"mode": "secure", "templates": servers.to_string()},
    });
    std::fs::write(profile.join("Local State"), state.to_string()).unwrap();
    let screenshot = picture(circle, "chromium.png");
    let arguments = |last: &[&str]| {
        let mut command = program("chromium", &["--headless=new", "--no-sandbox"]);
        command
            .args(["--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(last)
            .arg(url)
            .env("HOME", home);
        command
    };
    ended(arguments(&[&format!(
        "--screenshot={}",
        screenshot.display()
    )]));
    assert!(is_a_picture(&screenshot));
    ended(arguments(&["--dump-dom"])).stdout
}

/// Opens a page in Firefox, which has no way to print what it sees: what it
/// showed is its picture, and what it asked for is in the payload's log.
fn firefox(circle: &Circle, home: &Path, url: &str) -> Ended {
    let profile = home.join("firefox");
    trust_root(circle, &profile);
    // Mode 3: names are asked for there and nowhere else. Loopback addresses
    // are not expected of a resolver on the Internet.
    let settings = [
        ("network.trr.mode", "3".to_owned()),
        ("network.trr.uri", format!("{:?}", resolver(circle))),
        ("network.trr.bootstrapAddr", "\"127.0.0.1\"".to_owned()),
        ("network.trr.allow-rfc1918", "true".to_owned()),
        ("network.captive-portal-service.enabled", "false".to_owned()),
        ("network.connectivity-service.enabled", "false".to_owned()),
        (
            "datareporting.policy.dataSubmissionEnabled",
            "false".to_owned(),
        ),
        ("app.update.enabled", "false".to_owned()),
    ];
    let settings = settings.map(|(name, value)| format!("user_pref({name:?}, {value});\n"));
    std::fs::write(profile.join("user.js"), settings.concat()).unwrap();
    let screenshot = picture(circle, "firefox.png");
    let mut command = program("firefox-esr", &["--headless", "--no-remote", "--profile"]);
    command
        .arg(&profile)
        .args(["--window-size=800,600", "--screenshot"])
        .arg(&screenshot)
        .arg(url)
        .env("HOME", home)
        .env("MOZ_CRASHREPORTER_DISABLE", "1");
    let ended = ended(command);
    assert!(is_a_picture(&screenshot), "{}", ended.stderr);
    ended
}

/// How often the payload was asked for a path.
fn visits(circle: &Circle, path: &str) -> usize {
    let logs = circle.ringfort(&["logs", NAME]);
    logs.lines().filter(|line| line.contains(path)).count()
}

#[test]
fn browsers_open_a_running_payload_by_its_name() {
    let circle = Circle::up();
    circle.serve(&component("hello"), NAME, &[]);
    let place = circle.endpoints(NAME).remove(0);
    let url = |name: &str, path: &str| format!("https://{name}:{}{path}", place.1);
    let home = circle.scratch("home");
    trust_root(&circle, &home.join(".pki/nssdb"));

    let before = answered_over_https(&circle);
    let page = chromium(&circle, &home, &url(NAME, "/by-chromium"));
    assert!(page.to_lowercase().contains(GREETING), "{page}");
    let after_chromium = answered_over_https(&circle);
    assert!(after_chromium > before, "Chromium asked another resolver");

    let said = firefox(&circle, &home, &url(NAME, "/by-firefox"));
    assert!(
        answered_over_https(&circle) > after_chromium,
        "Firefox asked another resolver: {}",
        said.stderr
    );
    assert!(visits(&circle, "/by-firefox") > 0, "{}", said.stderr);
}

/// Set for the test's second run, in namespaces of its own.
const INSIDE: &str = "RINGFORT_TEST_INSIDE";

/// Where Debian's libraries look for trust anchors and for resolvers; both are
/// compiled in.
const ANCHORS: &str = "/usr/share/dns/root.key";
const RESOLVERS: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// Whether this is the second run of `test`: with a network and mounts of its
/// own, so that it may have port 53 and system files. The first runs it.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // What is no superuser becomes one of its own namespace.
    let user = ended(program("id", &["-u"])).success("id");
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "110", "unshare", "--net", "--mount"]);
    if user.trim() != "0" {
        command.arg("--map-root-user");
    }
    command
        .args([
            "sh",
            "-c",
            "ip link set lo up && exec \"$0\" --exact --nocapture \"$1\"",
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1")
        .stdin(Stdio::null());
    let ended = Ended::from(command.output().expect("timeout is part of coreutils"));
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("1 passed"), "{}", ended.stdout);
    false
}

/// Puts `text` in the place of a system file, for this namespace alone.
fn replace_file(circle: &Circle, file: &str, text: &str) {
    let name = file.rsplit('/').next().unwrap();
    let own = circle.scratch(name);
    std::fs::write(&own, text).unwrap();
    let own = own.to_str().unwrap();
    ended(program("mount", &["--bind", own, file])).success("mount");
}

/// A resolver on the port that stock libraries ask, to which the circle's names
/// are a stub zone with the anchor `ds`.
fn unbound(circle: &Circle, ds: &str) -> Running {
    let settings = format!(
        "server:\n  interface: 127.0.0.1\n  port: 53\n  username: \"\"\n  chroot: \"\"\n  \
         directory: \"{directory}\"\n  pidfile: \"\"\n  use-syslog: no\n  \
         do-not-query-localhost: no\n  trust-anchor: \"{ds}\"\n  \
         local-zone: \"internal.\" nodefault\n  module-config: \"validator iterator\"\n\
         stub-zone:\n  name: \"internal.\"\n  stub-addr: 127.0.0.1@{port}\n",
        directory = circle.state().display(),
        port = circle.base_port + 153,
    );
    let file = circle.scratch("unbound.conf");
    std::fs::write(&file, settings).unwrap();
    let child = Command::new("unbound")
        .args(["-d", "-p", "-c"])
        .arg(&file)
        .stdin(Stdio::null())
        .spawn()
        .expect("unbound cannot be run: run script/setup, which installs it");
    let running = Running(child);
    wait_for("unbound resolves the name with a signature", || {
        let asked = Command::new("dig")
            .args(["@127.0.0.1", "+dnssec", "+tries=1", "+time=2", NAME, "A"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&asked.stdout).into_owned();
        said.contains("flags: qr rd ra ad").then_some(())
    });
    running
}

/// A server on 127.0.0.1 that says it is the payload, with a key of its own.
fn impostor(circle: &Circle, port: u64) -> Running {
    let (key, certificate) = (
        circle.scratch("impostor.key"),
        circle.scratch("impostor.pem"),
    );
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    let subject = format!("/CN={NAME}");
    let names = format!("subjectAltName=DNS:{NAME}");
    let arguments = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        &subject,
        "-addext",
        &names,
        "-keyout",
        key,
        "-out",
        certificate,
    ];
    ended(program("openssl", &arguments)).success("openssl req");
    let accept = format!("127.0.0.1:{port}");
    let child = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-www",
            "-accept",
            &accept,
            "-key",
            key,
            "-cert",
            certificate,
        ])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    wait_for("the impostor listens", || {
        std::net::TcpStream::connect(&accept).ok()
    });
    running
}

fn gnutls(port: u64, name: &str, root: &Path) -> Ended {
    let root = format!("--x509cafile={}", root.display());
    let port = port.to_string();
    let arguments = ["--dane", "--local-dns", &root, "-p", &port, name];
    ended(program("gnutls-cli", &arguments))
}

#[test]
fn gnutls_finds_a_payloads_key_in_the_signed_zone() {
    if !is_inside("browsers::gnutls_finds_a_payloads_key_in_the_signed_zone") {
        return;
    }
    let circle = Circle::up();
    circle.serve(&component("hello"), NAME, &[]);
    let (_, port) = circle.endpoints(NAME).remove(0);
    let ds = circle.anchor();
    replace_file(&circle, RESOLVERS, "nameserver 127.0.0.1\n");
    replace_file(&circle, ANCHORS, &format!("{ds}\n"));
    let _unbound = unbound(&circle, &ds);

    let root = circle.state().join("ca/roots.pem");
    let good = gnutls(port, NAME, &root);
    let said = good.stdout.clone() + &good.stderr;
    assert_eq!(good.code, 0, "{said}");
    assert!(said.contains("- DANE: Certificate matches."), "{said}");

    // Another server under that name is found out: the zone has the first
    // one's key.
    let _impostor = impostor(&circle, port);
    replace_file(&circle, HOSTS, &format!("127.0.0.1 {NAME}\n"));
    let bad = gnutls(port, NAME, &circle.scratch("impostor.pem"));
    let said = bad.stdout.clone() + &bad.stderr;
    assert_ne!(bad.code, 0, "{said}");
    assert!(
        said.contains("DANE: Verification failed. The certificate differs."),
        "{said}"
    );
}
