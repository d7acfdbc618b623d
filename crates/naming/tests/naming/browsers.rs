//! A stock browser without a plug-in: names over our DNS over HTTPS,
//! certificates under the circle's root.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use naming::{
    ca::{Authority, CheckedRequest},
    names::now_ms,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use wire::{CircleId, Digest, record::Name};

use crate::{
    programs::{Daemon, free_port, output, until},
    server::{SERVER_NAME, Server},
    values::{endpoint, name, name_of},
};

/// Where the service answers.
const SERVICE: &str = "127.0.1.1";

/// A circle's authority, whose root the browser trusts.
struct Circle {
    directory: tempfile::TempDir,
    authority: Authority,
}

impl Circle {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |file: &str| directory.path().join(file);
        let apexes = [name_of("internal")];
        let circle = CircleId([9; 32]);
        let authority = Authority::open(
            &path("ca.key"),
            &path("roots.pem"),
            circle,
            &apexes,
            now_ms(),
        );
        Self {
            authority: authority.unwrap(),
            directory,
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// A leaf for `name` and `key`, DER.
    fn certify(&self, name: &str, key: &KeyPair) -> Vec<u8> {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let request = params.serialize_request(key).unwrap();
        let digest = Digest::of(&[&key.subject_public_key_info()]);
        let checked = CheckedRequest::check(request.der(), &name_of(name), digest).unwrap();
        let day_ms = 24 * 60 * 60 * 1000;
        self.authority
            .issue_from_root(&checked, now_ms(), day_ms)
            .unwrap()
            .der
    }

    /// Serves a page as `name`, from openssl.
    fn serve(&self, name: &str, port: u16) -> Daemon {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let (key_file, leaf_file) = (self.path("service.key"), self.path("service.der"));
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        std::fs::write(&leaf_file, self.certify(name, &key)).unwrap();
        let accept = format!("{SERVICE}:{port}");
        let arguments = [
            "s_server",
            "-accept",
            &accept,
            "-key",
            key_file.to_str().unwrap(),
            "-certform",
            "DER",
            "-cert",
            leaf_file.to_str().unwrap(),
            "-www",
        ];
        let daemon = Daemon::start("openssl", &arguments, self.directory.path());
        until("the service", || {
            std::net::TcpStream::connect(&accept).is_ok()
        });
        daemon
    }

    /// A home in which the browser trusts the root.
    fn home(&self) -> PathBuf {
        let home = self.path("home");
        let database = home.join(".pki/nssdb");
        std::fs::create_dir_all(&database).unwrap();
        let database = format!("sql:{}", database.display());
        output("certutil", &["-d", &database, "-N", "--empty-password"]);
        let root = self.path("roots.pem");
        let root = root.to_str().unwrap();
        output(
            "certutil",
            &[
                "-d", &database, "-A", "-t", "C,,", "-n", "circle", "-i", root,
            ],
        );
        home
    }
}

/// What Chromium makes of `url` if it asks `server` alone for names; a picture
/// of it lies at `picture` then.
fn browse(home: &Path, server: &Server, url: &str, picture: &Path) -> String {
    let profile = home.join("profile");
    std::fs::create_dir_all(&profile).unwrap();
    let port = server.fronts.https()[0].port();
    // The circle's root certifies no address: the name's address is told.
    let template = format!("https://{SERVER_NAME}:{port}/dns-query{{?dns}}");
    let servers = serde_json::json!({
        "servers": [{"template": template, "endpoints": [{"ips": ["127.0.0.1"]}]}],
    });
    let state = serde_json::json!({
        "dns_over_https": {"mode": "secure", "templates": servers.to_string()},
    });
    std::fs::write(profile.join("Local State"), state.to_string()).unwrap();
    let browse = |arguments: &[&str]| {
        let output = Command::new("timeout")
            .args([
                "60",
                "chromium",
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .args(["--no-first-run", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(arguments)
            .arg(url)
            .env("HOME", home)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("timeout cannot be run: {error}"));
        assert!(
            output.status.code() != Some(127),
            "chromium cannot be run: run script/setup, which installs it"
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    browse(&[&format!("--screenshot={}", picture.display())]);
    browse(&["--dump-dom"])
}

fn hello() -> Name {
    let mut hello = name("hello.internal");
    hello.endpoints = vec![endpoint(1, &[SERVICE], 8443, 0xaa)];
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_opens_a_name_through_our_https_and_finds_none_that_is_not_there() {
    let circle = Circle::new();
    let server = Server::start(&[hello()]).await;
    let key = std::fs::read_to_string(server.directory.path().join("names.key")).unwrap();
    let key = KeyPair::from_pem(&key).unwrap();
    let identity = server.fronts.identity().unwrap();
    identity
        .certify(vec![circle.certify(SERVER_NAME, &key)])
        .unwrap();
    let port = free_port();
    let _service = circle.serve("hello.internal", port);
    let home = circle.home();
    let url = format!("https://hello.internal:{port}/");
    // For people who would like to look.
    let pictures = std::env::var_os("RINGFORT_PICTURES").map(PathBuf::from);
    let picture = pictures
        .unwrap_or_else(|| circle.directory.path().to_owned())
        .join("chromium.png");
    let page = browse(&home, &server, &url, &picture);
    assert!(page.contains("s_server"), "{page}");
    assert!(std::fs::metadata(&picture).unwrap().len() > 1000);
    // Our server was asked, and nobody else could know the name.
    let http = server.fronts.http().unwrap();
    let metrics = output("curl", &["-sS", &format!("http://{http}/metrics")]);
    let asked = metrics.lines().any(|line| {
        line.starts_with("ringfort_names_responses_total{transport=\"https\",rcode=\"NOERROR\"}")
    });
    assert!(asked, "{metrics}");
    // A name that is not there is not looked for elsewhere.
    let url = format!("https://nobody.internal:{port}/");
    let page = browse(&home, &server, &url, &picture.with_extension("none.png"));
    assert!(!page.contains("s_server"), "{page}");
}
