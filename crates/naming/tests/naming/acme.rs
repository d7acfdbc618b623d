//! The ACME server with clients that nobody here wrote, over the ledger's own
//! rules; what it refuses; revocation as openssl and Chromium see it.

use std::{path::Path, sync::Arc};

use naming::{
    ca::{
        Authority, Progress,
        acme::{AcmeSettings, ChallengePorts, CredentialRequest, Credentials},
        routes,
    },
    names::now_ms,
};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use wire::{Action, NameCancel, NameTransfer, state_key};

use crate::{
    certificates::pem,
    programs::{Daemon, free_port, output, run, until},
    real_ledger::{RealLedger, key},
    values::{name_of, set},
};

const A: u16 = 1;
const TXT: u16 = 16;
const OWNER: u8 = 1;
const OTHER: u8 = 2;

/// A running authority, with its files.
struct Circle {
    ledger: RealLedger,
    authority: Arc<Authority>,
    url: String,
    directory: tempfile::TempDir,
    http_port: u16,
    tls_port: u16,
}

impl Circle {
    async fn start() -> Self {
        let ledger = RealLedger::new();
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let authority = Authority::open(
            &directory.path().join("ca.key"),
            &directory.path().join("roots.pem"),
            ledger.circle(),
            &[name_of("internal")],
            now_ms(),
        )
        .unwrap()
        .with_url(Some(url.clone()));
        let authority = Arc::new(authority);
        let (http_port, tls_port) = (free_port(), free_port());
        let settings = AcmeSettings {
            url: url.clone(),
            ports: ChallengePorts {
                http: http_port,
                tls: tls_port,
                loopback: true,
            },
            validity_ms: 7 * 24 * 60 * 60 * 1000,
        };
        let progress = Arc::<Progress>::default();
        let shared = Arc::new(ledger.clone());
        let (routes, working) = routes(&shared, &authority, &progress, settings);
        tokio::spawn(working);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            ledger,
            authority,
            url,
            directory,
            http_port,
            tls_port,
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn acme(&self) -> String {
        format!("{}/acme/directory", self.url)
    }

    /// Registers a name of the owner's at this machine.
    fn register(&self, name: &str) {
        let here = set(None, A, 60, &[&[127, 0, 0, 1]]);
        self.ledger.register(OWNER, name, vec![here]);
    }

    /// External account binding for an actor's key, as the CLI asks for it.
    async fn credentials(&self, actor: u8) -> Credentials {
        let authority = naming::ledger::Post::account(&self.ledger);
        let time_ms = now_ms();
        let circle = self.ledger.circle();
        let request = CredentialRequest::sign(&key(actor), circle, authority, time_ms);
        let url = format!("{}/acme/external-account", self.url);
        let client = reqwest::Client::new();
        let body = serde_json::to_vec(&request).unwrap();
        let answer = client.post(url).body(body).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    fn verify(&self, chain: &str, more: &[&str]) -> (bool, String) {
        let roots = self.path("roots.pem");
        let mut arguments = vec!["verify", "-x509_strict", "-purpose", "sslserver"];
        arguments.extend(["-CAfile", &roots, "-untrusted", chain]);
        arguments.extend(more);
        arguments.push(chain);
        let output = run("openssl", &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    }

    /// What a client obtained is the one certificate in the log of `name`, and
    /// openssl accepts it.
    fn check(&self, name: &str, chain: &str) {
        let (accepted, said) = self.verify(chain, &["-verify_hostname", name]);
        assert!(accepted, "{said}");
        let log = self.ledger.log(name);
        assert_eq!(log.len(), 1, "one certificate in the log");
        let logged = pem(&log[0].1.certificate);
        let handed_out = std::fs::read_to_string(chain).unwrap();
        assert!(
            handed_out.starts_with(logged.trim_end()),
            "what was handed out is what was logged"
        );
    }
}

fn certbot(circle: &Circle, more: &[&str]) -> std::process::Output {
    let directory = circle.path("certbot");
    let (port, server) = (circle.http_port.to_string(), circle.acme());
    let mut arguments = vec![
        "certonly",
        "--non-interactive",
        "--agree-tos",
        "--register-unsafely-without-email",
        "--server",
        &server,
        "--http-01-port",
        &port,
        "--config-dir",
        &directory,
        "--work-dir",
        &directory,
        "--logs-dir",
        &directory,
    ];
    arguments.extend(more);
    run("certbot", &arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn certbot_obtains_a_certificate_over_http_01_and_revokes_it() {
    let circle = Circle::start().await;
    circle.register("hello.internal");
    let said = certbot(&circle, &["--standalone", "-d", "hello.internal"]);
    assert!(said.status.success(), "{said:?}");
    let chain = circle.path("certbot/live/hello.internal/fullchain.pem");
    circle.check("hello.internal", &chain);
    let directory = circle.path("certbot");
    let server = circle.acme();
    let arguments = [
        "revoke",
        "--non-interactive",
        "--no-delete-after-revoke",
        "--reason",
        "keycompromise",
        "--server",
        &server,
        "--config-dir",
        &directory,
        "--work-dir",
        &directory,
        "--logs-dir",
        &directory,
        "--cert-path",
        &chain,
    ];
    let said = run("certbot", &arguments);
    assert!(said.status.success(), "{said:?}");
    let revoked = circle.ledger.log("hello.internal")[0].1.revoked.unwrap();
    assert_eq!(revoked.reason, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn certbot_gets_nothing_for_a_name_that_does_not_answer_or_is_not_there() {
    let circle = Circle::start().await;
    // The name's address is another machine's, where nobody answers.
    let there = set(None, A, 60, &[&[127, 9, 9, 9]]);
    circle.ledger.register(OWNER, "far.internal", vec![there]);
    let said = certbot(
        &circle,
        &[
            "--standalone",
            "--http-01-address",
            "127.0.0.1",
            "-d",
            "far.internal",
        ],
    );
    assert!(!said.status.success(), "{said:?}");
    assert!(circle.ledger.log("far.internal").is_empty());
    let said = certbot(&circle, &["--standalone", "-d", "nobody.internal"]);
    assert!(!said.status.success());
    // What it was told is in its log; some of its versions stumble over
    // showing it.
    let log = circle.path("certbot/letsencrypt.log");
    let said = std::fs::read_to_string(log).unwrap();
    assert!(said.contains("rejectedIdentifier"), "{said}");
    assert!(said.contains("registered name"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lego_needs_no_challenge_for_the_owner_and_one_for_anyone_else() {
    let circle = Circle::start().await;
    circle.register("hello.internal");
    let lego = |credentials: &Credentials, folder: &str| {
        let (server, path) = (circle.acme(), circle.path(folder));
        // Nothing is reachable on this port: a challenge would fail.
        let nowhere = format!("127.0.0.1:{}", free_port());
        let arguments = [
            "--server",
            &server,
            "--accept-tos",
            "--email",
            "owner@example.org",
            "--path",
            &path,
            "--eab",
            "--kid",
            &credentials.kid,
            "--hmac",
            &credentials.hmac_key,
            "--domains",
            "www.hello.internal",
            "--domains",
            "hello.internal",
            "--http",
            "--http.port",
            &nowhere,
            "run",
        ];
        run("lego", &arguments)
    };
    let other = circle.credentials(OTHER).await;
    let said = lego(&other, "other");
    assert!(!said.status.success(), "{said:?}");
    assert!(circle.ledger.log("hello.internal").is_empty());
    let own = circle.credentials(OWNER).await;
    let said = lego(&own, "own");
    assert!(said.status.success(), "{said:?}");
    let chain = circle.path("own/certificates/www.hello.internal.crt");
    circle.check("hello.internal", &chain);
}

/// lego with credentials, and nothing behind any challenge.
fn lego_bound(
    circle: &Circle,
    credentials: &Credentials,
    folder: &str,
    names: &[&str],
) -> std::process::Output {
    let (server, path) = (circle.acme(), circle.path(folder));
    let nowhere = format!("127.0.0.1:{}", free_port());
    let mut arguments = vec!["--server", &server, "--accept-tos", "--path", &path];
    arguments.extend(["--email", "owner@example.org", "--eab"]);
    arguments.extend(["--kid", &credentials.kid, "--hmac", &credentials.hmac_key]);
    for name in names {
        arguments.extend(["--domains", name]);
    }
    arguments.extend(["--http", "--http.port", &nowhere, "run"]);
    run("lego", &arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_of_a_delegated_subdomain_is_certified_by_its_own_key_and_for_that_alone() {
    const CHILD: u8 = 40;
    let circle = Circle::start().await;
    circle.register("hello.internal");
    let name_server = b"\x02ns\x07example\x03com\x00";
    let cut = set(Some("sub"), 2, 60, &[name_server]);
    let delegation = vec![
        Action::NameSet(wire::NameSet {
            name: name_of("hello.internal"),
            records: vec![cut],
        }),
        Action::NameSecure(wire::NameSecure {
            name: name_of("hello.internal"),
            owner: Some("sub".parse().unwrap()),
            server: Some((key(CHILD).public(), None)),
        }),
    ];
    circle.ledger.act(&key(OWNER), delegation).unwrap();
    let child = circle.credentials(CHILD).await;
    let said = lego_bound(&circle, &child, "child", &["www.sub.hello.internal"]);
    assert!(said.status.success(), "{said:?}");
    let chain = circle.path("child/certificates/www.sub.hello.internal.crt");
    let (accepted, said) = circle.verify(&chain, &["-verify_hostname", "www.sub.hello.internal"]);
    assert!(accepted, "{said}");
    // Above its subdomain, and beside it, it is nobody.
    for (folder, other) in [
        ("above", "hello.internal"),
        ("beside", "www.hello.internal"),
    ] {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let child = circle.credentials(CHILD).await;
        let said = lego_bound(&circle, &child, folder, &[other]);
        assert!(!said.status.success(), "{other}: {said:?}");
    }
    assert_eq!(circle.ledger.log("hello.internal").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn certbot_obtains_a_certificate_for_an_alias_of_another_name() {
    let circle = Circle::start().await;
    // The address is the other's; the name of the certificate has none.
    let here = set(None, A, 60, &[&[127, 0, 0, 1]]);
    circle.ledger.register(OTHER, "proxy.internal", vec![here]);
    let alias = set(Some("www"), 5, 60, &[b"\x05proxy\x08internal\x00"]);
    circle.ledger.register(OWNER, "hello.internal", vec![alias]);
    let said = certbot(&circle, &["--standalone", "-d", "www.hello.internal"]);
    assert!(said.status.success(), "{said:?}");
    let chain = circle.path("certbot/live/www.hello.internal/fullchain.pem");
    let (accepted, said) = circle.verify(&chain, &["-verify_hostname", "www.hello.internal"]);
    assert!(accepted, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dehydrated_obtains_a_wildcard_by_a_record_on_the_ledger() {
    let circle = Circle::start().await;
    circle.register("hello.internal");
    // The hook writes down what to set, as an owner's script would; here the
    // owner watches the file.
    let wanted = circle.path("wanted");
    let hook = circle.path("hook.sh");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = deploy_challenge ]; then echo \"$4\" > {wanted}.new; \
         mv {wanted}.new {wanted}; while [ -e {wanted} ]; do sleep 0.1; done; fi\n"
    );
    std::fs::write(&hook, script).unwrap();
    output("chmod", &["+x", &hook]);
    let config = circle.path("config");
    let text = format!(
        "CA={}\nCHALLENGETYPE=dns-01\nHOOK={hook}\nBASEDIR={}\nKEY_ALGO=prime256v1\n",
        circle.acme(),
        circle.path("dehydrated"),
    );
    std::fs::write(&config, text).unwrap();
    std::fs::create_dir(circle.path("dehydrated")).unwrap();
    let register = run(
        "dehydrated",
        &["--config", &config, "--register", "--accept-terms"],
    );
    assert!(register.status.success(), "{register:?}");
    let arguments = [
        "--config",
        &config,
        "--cron",
        "--domain",
        "*.hello.internal",
        "--alias",
        "wild",
    ];
    let arguments = arguments.map(str::to_owned);
    let running = tokio::task::spawn_blocking(move || {
        run("dehydrated", &arguments.each_ref().map(String::as_str))
    });
    let ledger = circle.ledger.clone();
    tokio::task::spawn_blocking(move || {
        until("the hook", || Path::new(&wanted).exists());
        let text = std::fs::read_to_string(&wanted).unwrap().trim().to_owned();
        let mut data = vec![text.len() as u8];
        data.extend_from_slice(text.as_bytes());
        let record = set(Some("_acme-challenge"), TXT, 60, &[&data]);
        let action = wire::NameSet {
            name: name_of("hello.internal"),
            records: vec![record],
        };
        ledger
            .act(&key(OWNER), vec![Action::NameSet(action)])
            .unwrap();
        std::fs::remove_file(&wanted).unwrap();
    })
    .await
    .unwrap();
    let said = running.await.unwrap();
    assert!(said.status.success(), "{said:?}");
    let chain = circle.path("dehydrated/certs/wild/fullchain.pem");
    let (accepted, said) = circle.verify(&chain, &["-verify_hostname", "any.hello.internal"]);
    assert!(accepted, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_obtains_a_certificate_over_tls_alpn_01() {
    let circle = Circle::start().await;
    circle.register("hello.internal");
    let config = format!(
        "{{\n cert_issuer acme {{\n  dir {}\n  disable_http_challenge\n }}\n http_port {}\n \
         https_port {}\n admin off\n skip_install_trust\n storage file_system {}\n}}\n\
         hello.internal {{\n respond \"hello\"\n}}\n",
        circle.acme(),
        free_port(),
        circle.tls_port,
        circle.path("caddy"),
    );
    let file = circle.path("Caddyfile");
    std::fs::write(&file, config).unwrap();
    let arguments = ["run", "--adapter", "caddyfile", "--config", &file];
    let _caddy = Daemon::start("caddy", &arguments, circle.directory.path());
    let roots = circle.path("roots.pem");
    let port = circle.tls_port;
    let resolve = format!("hello.internal:{port}:127.0.0.1");
    let url = format!("https://hello.internal:{port}/");
    let get = ["-sS", "--cacert", &roots, "--resolve", &resolve, &url];
    let log = circle.path("daemon.log");
    until("caddy's certificate", || {
        let got = run("curl", &get);
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(!said.contains("will retry"), "{said}");
        got.status.success() && got.stdout == b"hello"
    });
    assert_eq!(circle.ledger.log("hello.internal").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_shows_of_a_binding_gets_nobody_the_owners_credentials() {
    let circle = Circle::start().await;
    let url = format!("{}/acme/external-account", circle.url);
    let client = reqwest::Client::new();
    let ask = async |request: &CredentialRequest| {
        let body = serde_json::to_vec(request).unwrap();
        let answer = client.post(&url).body(body).send().await.unwrap();
        answer.status().as_u16()
    };
    let authority = naming::ledger::Post::account(&circle.ledger);
    let asked = CredentialRequest::sign(&key(OWNER), circle.ledger.circle(), authority, now_ms());
    assert_eq!(ask(&asked).await, 200);
    // The binding's signature is on the ledger; the request's is not.
    let mut copied = asked.clone();
    copied.request = asked.signature;
    assert_eq!(ask(&copied).await, 401);
    let mut other = asked.clone();
    other.owner = key(OTHER).public();
    assert_eq!(ask(&other).await, 401);
    let hour = 60 * 60 * 1000;
    let circle_id = circle.ledger.circle();
    let old = CredentialRequest::sign(&key(OWNER), circle_id, authority, now_ms() - hour);
    assert_eq!(ask(&old).await, 401);
}

/// Lists of a circle as openssl wants them, PEM.
fn revocation_lists(circle: &Circle, name: &str) -> String {
    let mut all = String::new();
    for list in [name, "root"] {
        let (der, pem) = (circle.path("list.der"), circle.path("list.pem"));
        let url = format!("{}/crl/{list}.crl", circle.url);
        output("curl", &["-sSf", "-o", &der, &url]);
        output(
            "openssl",
            &["crl", "-inform", "DER", "-in", &der, "-out", &pem],
        );
        all += &std::fs::read_to_string(&pem).unwrap();
    }
    let path = circle.path("lists.pem");
    std::fs::write(&path, all).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_refuses_what_the_ledger_revoked_when_the_name_changed_hands() {
    let transfer = Action::NameTransfer(NameTransfer {
        name: name_of("hello.internal"),
        to: key(OTHER).public(),
    });
    let cancel = Action::NameCancel(NameCancel {
        name: name_of("hello.internal"),
    });
    for action in [transfer, cancel] {
        let circle = Circle::start().await;
        circle.register("hello.internal");
        let said = certbot(&circle, &["--standalone", "-d", "hello.internal"]);
        assert!(said.status.success(), "{said:?}");
        let chain = circle.path("certbot/live/hello.internal/fullchain.pem");
        let text = output("openssl", &["x509", "-in", &chain, "-noout", "-text"]);
        assert!(text.contains("/crl/hello.internal.crl"), "{text}");
        let before = revocation_lists(&circle, "hello.internal");
        let checks = ["-crl_check_all", "-CRLfile", &before];
        let (accepted, said) = circle.verify(&chain, &checks);
        assert!(accepted, "{said}");
        circle.ledger.act(&key(OWNER), vec![action]).unwrap();
        until("the list", || {
            let after = revocation_lists(&circle, "hello.internal");
            let (accepted, said) = circle.verify(&chain, &["-crl_check_all", "-CRLfile", &after]);
            !accepted && said.contains("revoked")
        });
    }
}

/// A server's files: chain and key.
fn serve(circle: &Circle, chain: &str, key: &KeyPair) -> (Daemon, u16) {
    std::fs::write(circle.path("served.pem"), chain).unwrap();
    std::fs::write(circle.path("served.key"), key.serialize_pem()).unwrap();
    let port = free_port();
    let accept = format!("127.0.0.1:{port}");
    let arguments = [
        "s_server",
        "-accept",
        &accept,
        "-cert",
        "served.pem",
        "-cert_chain",
        "served.pem",
        "-key",
        "served.key",
        "-www",
    ];
    let server = Daemon::start("openssl", &arguments, circle.directory.path());
    until("openssl s_server", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (server, port)
}

/// What Chromium shows of `https://NAME`, with the root in its user's store,
/// and what its network's log says.
fn chromium(home: &Path, name: &str, port: u16) -> (String, String) {
    let log = home.join(format!("{name}.json"));
    let resolve = format!("--host-resolver-rules=MAP {name} 127.0.0.1");
    let data = format!("--user-data-dir={}", home.join("profile").display());
    let output = std::process::Command::new("timeout")
        .args([
            "60",
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
        ])
        .args(["--disable-dev-shm-usage", "--no-first-run", "--dump-dom"])
        .arg(format!("--log-net-log={}", log.display()))
        .args([resolve, data, format!("https://{name}:{port}/")])
        .env("HOME", home)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    (shown, std::fs::read_to_string(log).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_accepts_a_leaf_and_refuses_one_outside_the_constraints() {
    let circle = Circle::start().await;
    let home = circle.directory.path().join("home");
    let store = home.join(".pki/nssdb");
    std::fs::create_dir_all(&store).unwrap();
    let database = format!("sql:{}", store.display());
    output("certutil", &["-d", &database, "-N", "--empty-password"]);
    let roots = circle.path("roots.pem");
    output(
        "certutil",
        &[
            "-d", &database, "-A", "-t", "C,,", "-n", "circle", "-i", &roots,
        ],
    );
    let root_key = KeyPair::from_pem(&std::fs::read_to_string(circle.path("ca.key")).unwrap());
    let root_pem = std::fs::read_to_string(&roots).unwrap();
    let root = Issuer::from_ca_cert_pem(&root_pem, root_key.unwrap()).unwrap();
    for (name, intermediate, good) in [
        ("hello.internal", true, true),
        ("other.internal", false, true),
        ("example.com", false, false),
    ] {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let now = time::OffsetDateTime::now_utc();
        params.not_before = now - time::Duration::hours(1);
        params.not_after = now + time::Duration::days(7);
        let leaf_key = KeyPair::generate().unwrap();
        let chain = if intermediate {
            // The real way: a request, an intermediate, a leaf.
            let asked = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let der = asked.serialize_request(&leaf_key).unwrap().der().to_vec();
            let names = ["hello.internal".parse().unwrap()];
            let request = naming::ca::CheckedRequest::for_order(&der, &names).unwrap();
            let domain = name_of("hello.internal");
            let life = 7 * 24 * 60 * 60 * 1000;
            let leaf = circle
                .authority
                .issue(&domain, &request, now_ms(), life, None)
                .unwrap();
            let intermediate = circle.authority.intermediate(&domain, now_ms()).unwrap();
            pem(&leaf.der) + &pem(&intermediate.der)
        } else {
            // Whoever holds the root's key still cannot speak for other names.
            params.signed_by(&leaf_key, &root).unwrap().pem()
        };
        let (_server, port) = serve(&circle, &chain, &leaf_key);
        let (shown, log) = chromium(&home, name, port);
        assert_eq!(
            shown.contains("s_server"),
            good,
            "{name}: {}",
            &shown[..shown.len().min(2000)]
        );
        if !good {
            let errors: Vec<&str> = log
                .lines()
                .filter(|line| line.contains("net_error\":-2"))
                .collect();
            assert!(!errors.is_empty(), "no error of a certificate in the log");
            // ERR_CERT_INVALID: what differs from the leaf before is the name.
            let refused = errors.iter().all(|line| line.contains("net_error\":-207"));
            assert!(refused, "{errors:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_earns_problem_documents() {
    let circle = Circle::start().await;
    let client = reqwest::Client::new();
    let url = format!("{}/acme/new-account", circle.url);
    let post = |body: &'static str, kind: &'static str| {
        let request = client.post(&url).header("content-type", kind).body(body);
        async move {
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            assert!(answer.headers().contains_key("replay-nonce"));
            let kind = answer.headers()["content-type"]
                .to_str()
                .unwrap()
                .to_owned();
            assert_eq!(kind, "application/problem+json");
            let bytes = answer.bytes().await.unwrap();
            let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            (status, document["type"].as_str().unwrap().to_owned())
        }
    };
    let malformed = "urn:ietf:params:acme:error:malformed".to_owned();
    assert_eq!(
        post("{}", "application/json").await,
        (415, malformed.clone())
    );
    assert_eq!(
        post("{}", "application/jose+json").await,
        (400, malformed.clone())
    );
    // The header is {"alg":"none","url":"x","kid":"y","nonce":"z"}.
    let none = r#"{"protected":"eyJhbGciOiJub25lIiwidXJsIjoieCIsImtpZCI6InkiLCJub25jZSI6InoifQ","payload":"","signature":""}"#;
    assert_eq!(
        post(none, "application/jose+json").await,
        (400, "urn:ietf:params:acme:error:badNonce".to_owned())
    );
    for path in [
        "roots.mobileconfig",
        "policies/chromium.json",
        "policies/firefox.json",
    ] {
        let answer = client
            .get(format!("{}/{path}", circle.url))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        assert!(answer.bytes().await.unwrap().len() > 40);
    }
    assert_eq!(
        circle
            .ledger
            .get::<u32>(&state_key::certificate_count(&name_of("x.internal"))),
        None
    );
}
