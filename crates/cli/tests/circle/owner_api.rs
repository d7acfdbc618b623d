//! An owner's records kept by stock programs: lexicon and octoDNS, which speak to
//! PowerDNS, lego, which gets a certificate of the circle's authority by a record
//! that it sets itself, and nsupdate.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use crate::harness::{Circle, wait_for};
use serde_json::Value;

/// Beneath a public suffix: lexicon knows zones by the list of those.
const APEX: &str = "example.net";
const NAME: &str = "kept.example.net";

/// `ringfort name api`, which ends with the test.
struct Api {
    child: Child,
    url: String,
    key: String,
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Api {
    fn start(circle: &Circle) -> Self {
        let mut child = circle
            .command(&["-o", "json", "name", "api", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        let file = PathBuf::from(listening["api_key_file"].as_str().unwrap());
        let key = std::fs::read_to_string(file).unwrap().trim().to_owned();
        let url = listening["url"].as_str().unwrap().to_owned();
        Self { child, url, key }
    }

    /// What `curl` says: the status and the body.
    fn curl(&self, key: &str, path: &str, more: &[&str]) -> (String, Value) {
        let url = format!("{}{path}", self.url);
        let header = format!("X-API-Key: {key}");
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--write-out", "\n%{http_code}"])
            .args(["--header", &header, &url])
            .args(more)
            .output()
            .unwrap();
        let text = text_of(&output);
        let (body, status) = text.rsplit_once('\n').unwrap();
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        (status.trim().to_owned(), body)
    }

    fn lexicon(&self, arguments: &[&str]) -> String {
        let (action, rest) = arguments.split_first().unwrap();
        let output = Command::new("lexicon")
            .args(["--delegated", NAME, "powerdns"])
            .args([action, NAME])
            .args(rest)
            .args(["--auth-token", &self.key, "--pdns-server", &self.url])
            .output()
            .expect("lexicon is installed by script/setup");
        text_of(&output)
    }
}

fn text_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{error}");
    text
}

/// What `dig` prints for a question, in order.
fn dig(circle: &Circle, name: &str, rtype: &str) -> Vec<String> {
    let mut lines = circle.dig(name, rtype);
    lines.sort();
    lines
}

fn served(circle: &Circle, name: &str, rtype: &str, expected: &[&str]) {
    wait_for(&format!("{name} {rtype} is {expected:?}"), || {
        (dig(circle, name, rtype) == expected).then_some(())
    });
}

#[test]
fn lexicon_octodns_and_lego_keep_an_owners_records() {
    let circle = Circle::up_with(&["--apex", APEX]);
    circle.ringfort(&["name", "register", NAME]);
    let api = Api::start(&circle);

    strangers_and_nonsense_are_refused(&circle, &api);
    lexicon_keeps_records(&circle, &api);
    octodns_makes_the_zone_what_its_file_says(&circle, &api);
    lego_gets_a_certificate_by_a_record(&circle, &api);
    circle.ringfort(&["down", "--purge", "--yes"]);
}

fn strangers_and_nonsense_are_refused(circle: &Circle, api: &Api) {
    let zone = format!("/api/v1/servers/localhost/zones/{NAME}.");
    let (status, body) = api.curl("another", &zone, &[]);
    assert_eq!(status, "401", "{body}");
    let (status, _) = api.curl(
        &api.key,
        "/api/v1/servers/localhost/zones/nobody.example.net",
        &[],
    );
    assert_eq!(status, "404");
    let patch = |rrset: &str| {
        let body = format!(r#"{{"rrsets":[{rrset}]}}"#);
        let more = ["--request", "PATCH", "--json", &body];
        let (status, body) = api.curl(&api.key, &zone, &more);
        (
            status,
            body["error"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let (status, error) = patch(
        r#"{"name":"kept.example.net.","type":"A","ttl":60,"changetype":"REPLACE","records":[{"content":"1.2.3"}]}"#,
    );
    assert_eq!(status, "422");
    assert!(error.contains("1.2.3"), "{error}");
    let (status, error) =
        patch(r#"{"name":"other.example.net.","type":"A","changetype":"DELETE"}"#);
    assert_eq!(status, "422");
    assert!(error.contains("beneath no name"), "{error}");
    let (status, _) = patch(r#"{"name":"kept.example.net.","type":"A","changetype":"EXPLODE"}"#);
    assert_eq!(status, "422");
    // The ledger's own rules hold: nothing stands beside an alias.
    let (status, error) = patch(
        r#"{"name":"a.kept.example.net.","type":"CNAME","ttl":60,"changetype":"REPLACE","records":[{"content":"b.example."}]},
           {"name":"a.kept.example.net.","type":"TXT","ttl":60,"changetype":"REPLACE","records":[{"content":"\"x\""}]}"#,
    );
    assert_eq!(status, "422", "{error}");
    let shown = circle.json(&["name", "show", NAME]);
    assert_eq!(
        shown["records"].as_array().map(Vec::len),
        Some(0),
        "{shown}"
    );
}

fn lexicon_keeps_records(circle: &Circle, api: &Api) {
    let www = format!("www.{NAME}");
    let content = ["--name", &www, "--ttl", "120", "--content"];
    let create = |rtype: &str, value: &str| {
        let mut arguments = vec!["create", rtype];
        arguments.extend(content);
        arguments.push(value);
        api.lexicon(&arguments)
    };
    create("A", "192.0.2.7");
    create("A", "192.0.2.8");
    create("TXT", "keeps this; and that");
    served(circle, &www, "A", &["192.0.2.7", "192.0.2.8"]);
    served(circle, &www, "TXT", &[r#""keeps this; and that""#]);
    let listed = api.lexicon(&["list", "A", "--name", &www]);
    assert!(listed.contains("192.0.2.8"), "{listed}");
    let mut delete = vec!["delete", "A"];
    delete.extend(["--name", &www, "--content", "192.0.2.7"]);
    api.lexicon(&delete);
    served(circle, &www, "A", &["192.0.2.8"]);
}

/// What octoDNS is to make of the zone, in its own form.
const ZONE: &str = r#"---
'':
  - type: A
    value: 192.0.2.30
  - type: MX
    values:
      - exchange: mail.example.
        preference: 10
  - type: CAA
    value: {flags: 0, tag: issue, value: example.net}
'*':
  type: CNAME
  value: www.kept.example.net.
www:
  type: AAAA
  values: ['2001:db8::1', '2001:db8::2']
_sip._tcp:
  type: SRV
  value: {port: 5060, priority: 1, target: sip.example., weight: 2}
"#;

fn octodns_makes_the_zone_what_its_file_says(circle: &Circle, api: &Api) {
    let directory = circle.scratch("octodns");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(format!("{NAME}.yaml")), ZONE).unwrap();
    let (host, port) = api
        .url
        .trim_start_matches("http://")
        .split_once(':')
        .unwrap();
    let config = format!(
        "---\nproviders:\n  config:\n    class: octodns.provider.yaml.YamlProvider\n    \
         directory: {}\n    default_ttl: 300\n    enforce_order: false\n  circle:\n    \
         class: octodns_powerdns.PowerDnsProvider\n    host: {host}\n    port: {port}\n    \
         api_key: {}\nzones:\n  {NAME}.:\n    sources: [config]\n    targets: [circle]\n",
        directory.display(),
        api.key,
    );
    let file = directory.join("config.yaml");
    std::fs::write(&file, config).unwrap();
    let program = crate::harness::root().join("target/real/octodns/bin/octodns-sync");
    let sync = |more: &[&str]| {
        let output = Command::new(&program)
            .args(["--force", "--config-file"])
            .arg(&file)
            .args(more)
            .output()
            .expect("octoDNS is installed by script/fetch-real-payloads");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        text_of(&output) + &said
    };
    // A plan changes nothing; the second run of a sync finds nothing to do.
    sync(&[]);
    served(circle, NAME, "A", &[]);
    sync(&["--doit"]);
    served(circle, NAME, "A", &["192.0.2.30"]);
    served(circle, NAME, "MX", &["10 mail.example."]);
    served(circle, NAME, "CAA", &[r#"0 issue "example.net""#]);
    let www = format!("www.{NAME}");
    served(circle, &www, "AAAA", &["2001:db8::1", "2001:db8::2"]);
    served(circle, &www, "A", &[]);
    served(
        circle,
        &format!("_sip._tcp.{NAME}"),
        "SRV",
        &["1 2 5060 sip.example."],
    );
    let any = format!("anything.{NAME}");
    served(circle, &any, "CNAME", &[&format!("{www}.")]);
    let again = sync(&[]);
    assert!(again.contains("No changes were planned"), "{again}");
}

fn lego_gets_a_certificate_by_a_record(circle: &Circle, api: &Api) {
    let status = circle.json(&["status"]);
    let directory = circle.scratch("lego");
    let resolver = format!("127.0.0.1:{}", circle.base_port + 153);
    let authority = format!("http://127.0.0.1:{}/acme/directory", circle.base_port + 160);
    let output = Command::new("lego")
        .env("PDNS_API_URL", &api.url)
        .env("PDNS_API_KEY", &api.key)
        .args([
            "--server",
            &authority,
            "--email",
            "owner@example.org",
            "--accept-tos",
        ])
        .args([
            "--dns",
            "pdns",
            "--dns.resolvers",
            &resolver,
            "--dns.disable-cp",
        ])
        .args(["--domains", &format!("*.{NAME}"), "--path"])
        .arg(&directory)
        .arg("run")
        .output()
        .expect("lego is installed by script/setup");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{status}");
    let certificate = directory.join(format!("certificates/_.{NAME}.crt"));
    assert!(certificate.exists(), "{said}");
    let left = dig(circle, &format!("_acme-challenge.{NAME}"), "TXT");
    assert!(left.len() <= 1, "lego removes its record: {left:?}");
}

/// Files from which BIND signs, of a key that owns `name`; their common part.
fn update_key(circle: &Circle, key: &str, name: &str) -> PathBuf {
    let directory = circle.scratch(&format!("keys-{key}-{name}"));
    std::fs::create_dir_all(&directory).unwrap();
    let passphrase = circle.state().join("user/passphrase");
    let written = circle.json(&[
        "--key",
        key,
        "--passphrase-file",
        passphrase.to_str().unwrap(),
        "name",
        "update-key",
        name,
        "--directory",
        directory.to_str().unwrap(),
    ]);
    PathBuf::from(written["private"].as_str().unwrap()).with_extension("")
}

/// What nsupdate says to a script; the circle's name server is told.
fn nsupdate(circle: &Circle, key: &Path, more: &[&str], script: &str) -> (bool, String) {
    let port = circle.base_port + 153;
    let file = circle.scratch("nsupdate.txt");
    let script = format!("server 127.0.0.1 {port}\nzone internal\n{script}\nsend\n");
    std::fs::write(&file, script).unwrap();
    let output = Command::new("nsupdate")
        .args(["-t", "20", "-k"])
        .arg(key)
        .args(more)
        .arg(&file)
        .output()
        .expect("nsupdate is installed by script/setup");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

/// A message that nsupdate made and signed, over HTTPS by curl (RFC 8484): by
/// GET it changes nothing.
fn over_https(circle: &Circle, key: &Path) {
    use base64::Engine as _;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let script = format!(
        "server 127.0.0.1 {port}\nzone internal\nupdate add doh.kept.internal 60 A 192.0.2.9\nsend\n"
    );
    let file = circle.scratch("captured.txt");
    std::fs::write(&file, script).unwrap();
    let mut nsupdate = Command::new("nsupdate")
        .args(["-t", "1", "-u", "1", "-r", "0", "-k"])
        .arg(key)
        .arg(&file)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut message = vec![0; 4096];
    let (length, _) = socket.recv_from(&mut message).unwrap();
    let _ = nsupdate.wait();
    message.truncate(length);
    let body = circle.scratch("update.bin");
    std::fs::write(&body, &message).unwrap();
    let https = circle.base_port + 156;
    let curl = |arguments: &[&str]| {
        let resolve = format!("dns.internal:{https}:127.0.0.1");
        let roots = circle.state().join("ca/roots.pem");
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "30", "--resolve", &resolve, "--cacert"])
            .arg(roots)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let url = format!("https://dns.internal:{https}/dns-query");
    let encoded = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(&message);
    let by_get = curl(&[&format!("{url}?dns={encoded}")]);
    assert_eq!(by_get[3] & 15, 4, "NOTIMP");
    let data = format!("@{}", body.display());
    let posted = [
        "-H",
        "content-type: application/dns-message",
        "--data-binary",
        &data,
        &url,
    ];
    let answer = curl(&posted);
    assert_eq!(
        (&answer[..2], answer[3] & 15),
        (&message[..2], 0),
        "NOERROR"
    );
    served(circle, "doh.kept.internal", "A", &["192.0.2.9"]);
    assert_eq!(curl(&posted)[3] & 15, 5, "a message counts once");
}

#[test]
fn nsupdate_changes_records_with_the_owners_key_and_no_other() {
    let circle = Circle::up();
    circle.ringfort(&["name", "register", "kept.internal"]);
    let passphrase = circle.state().join("user/passphrase");
    let passphrase = passphrase.to_str().unwrap();
    let hardware = [
        "--passphrase-file",
        passphrase,
        "keys",
        "new",
        "hardware",
        "--p256",
    ];
    let made = circle.json(&hardware);
    let account = made["account"].as_str().unwrap();
    circle.ringfort(&["--key", "user", "account", "transfer", account, "100000"]);
    let by_hardware = ["--key", "hardware", "--passphrase-file", passphrase];
    circle.ringfort(&[&by_hardware[..], &["name", "register", "other.internal"]].concat());
    let kept = update_key(&circle, "user", "kept.internal");
    let other = update_key(&circle, "hardware", "other.internal");

    // Ed25519, over UDP; P-256, over TCP.
    let first = "update add www.kept.internal 60 A 192.0.2.7\n\
                 update add www.kept.internal 60 A 192.0.2.8\n\
                 update add kept.internal 60 TXT \"two words\"";
    let (done, said) = nsupdate(&circle, &kept, &[], first);
    assert!(done, "{said}");
    served(
        &circle,
        "www.kept.internal",
        "A",
        &["192.0.2.7", "192.0.2.8"],
    );
    served(&circle, "kept.internal", "TXT", &["\"two words\""]);
    let alias = "update add *.other.internal 60 CNAME www.kept.internal";
    let (done, said) = nsupdate(&circle, &other, &["-v"], alias);
    assert!(done, "{said}");
    served(
        &circle,
        "any.other.internal",
        "A",
        &["192.0.2.7", "192.0.2.8", "www.kept.internal."],
    );

    // What BIND's manual shows: a change only if things are as expected.
    let guarded = "prereq yxrrset www.kept.internal A 192.0.2.7\n\
                   update delete www.kept.internal A";
    let (done, said) = nsupdate(&circle, &kept, &[], guarded);
    assert!(!done && said.contains("NXRRSET"), "{said}");
    let guarded = "prereq nxrrset www.kept.internal AAAA\n\
                   update delete www.kept.internal A 192.0.2.7\n\
                   update delete kept.internal";
    let (done, said) = nsupdate(&circle, &kept, &[], guarded);
    assert!(done, "{said}");
    served(&circle, "www.kept.internal", "A", &["192.0.2.8"]);
    served(&circle, "kept.internal", "TXT", &[]);

    over_https(&circle, &kept);

    // Another owner's key, and a name that nobody has.
    let theft = "update add www.kept.internal 60 A 192.0.2.66";
    let foreign = update_key(&circle, "hardware", "kept.internal");
    let (done, said) = nsupdate(&circle, &foreign, &[], theft);
    assert!(!done && said.contains("REFUSED"), "{said}");
    let (done, said) = nsupdate(&circle, &other, &[], theft);
    assert!(!done && said.contains("REFUSED"), "{said}");
    let nobodys = "update add nobody.internal 60 A 192.0.2.66";
    let nobody = update_key(&circle, "hardware", "nobody.internal");
    let (done, said) = nsupdate(&circle, &nobody, &[], nobodys);
    assert!(!done && said.contains("NOTZONE"), "{said}");
    served(&circle, "www.kept.internal", "A", &["192.0.2.8"]);
}
