//! Certificates by ACME (RFC 8555): whole orders a second, and how long one
//! takes, on a running circle beside Pebble.
//!
//! One client, the same for both, of eight accounts at once. The circle's
//! accounts are bound to the key of the names' owner; each order is opened,
//! finalized, recorded on the ledger by consensus of four validators, and its
//! certificate fetched. Pebble keeps all in memory on one process, and takes
//! every challenge for answered without looking: it is what ACME itself costs.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::{circle::Circle, statistics::Samples};

/// Accounts that order at once.
const ACCOUNTS: usize = 8;

/// Names that are ordered beneath: a registered name has at most 256 certificates.
const NAMES: usize = 4;

/// Orders of an account in all: the ledger takes 64 in four hours.
const ORDERS_PER_ACCOUNT: usize = 60;

/// The pause between two looks at an order that is being worked on.
const POLL: Duration = Duration::from_millis(5);

/// Looks before an order is given up.
const MAX_POLLS: usize = 6000;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// An ACME account, and its way to the server.
struct Client {
    http: reqwest::Client,
    directory: Value,
    key: EcdsaKeyPair,
    jwk: Value,
    account: Option<String>,
    nonce: Option<String>,
    /// Of every certificate: making keys is not what is measured.
    subject: KeyPair,
}

impl Client {
    async fn open(directory: &str, binding: Option<(&str, &str)>) -> Result<Self> {
        let http = reqwest::Client::builder()
            // Pebble's own certificate, of this run and this machine.
            .tls_danger_accept_invalid_certs(true)
            .build()?;
        let directory: Value =
            serde_json::from_slice(&http.get(directory).send().await?.bytes().await?)?;
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())?;
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({ "crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y) });
        let mut client = Self {
            http,
            directory,
            key,
            jwk,
            account: None,
            nonce: None,
            subject: KeyPair::generate()?,
        };
        let url = client.place("newAccount")?;
        let mut payload = json!({ "termsOfServiceAgreed": true });
        if let Some((kid, mac_key)) = binding {
            payload["externalAccountBinding"] = client.binding(&url, kid, mac_key)?;
        }
        let (headers, _) = client.post(&url, Some(&payload)).await?;
        client.account = Some(location(&headers)?);
        Ok(client)
    }

    fn place(&self, of: &str) -> Result<String> {
        let url = self.directory[of].as_str();
        Ok(url
            .with_context(|| format!("the directory has no {of}"))?
            .to_owned())
    }

    /// RFC 8555 §7.3.4.
    fn binding(&self, url: &str, kid: &str, mac_key: &str) -> Result<Value> {
        let protected = encode(json!({ "alg": "HS256", "kid": kid, "url": url }).to_string());
        let payload = encode(self.jwk.to_string());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_URL_SAFE_NO_PAD.decode(mac_key)?);
        let tag = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
        Ok(json!({ "protected": protected, "payload": payload, "signature": encode(tag) }))
    }

    /// A signed POST; without a payload, a signed GET (RFC 8555 §6.3).
    async fn post(&mut self, url: &str, payload: Option<&Value>) -> Result<(HeaderMap, Vec<u8>)> {
        // A nonce may be refused, which gives another (RFC 8555 §6.5).
        for _ in 0..3 {
            let nonce = match self.nonce.take() {
                Some(nonce) => nonce,
                None => {
                    let answer = self.http.head(self.place("newNonce")?).send().await?;
                    nonce_of(answer.headers()).context("there is no nonce")?
                }
            };
            let mut protected = json!({ "alg": "ES256", "nonce": nonce, "url": url });
            match &self.account {
                Some(account) => protected["kid"] = json!(account),
                None => protected["jwk"] = self.jwk.clone(),
            }
            let protected = encode(protected.to_string());
            let payload = payload.map_or_else(String::new, |payload| encode(payload.to_string()));
            let signed = format!("{protected}.{payload}");
            let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes())?;
            let body = json!({
                "protected": protected,
                "payload": payload,
                "signature": encode(signature),
            });
            let request = self
                .http
                .post(url)
                .header("content-type", "application/jose+json");
            let answer = request.body(body.to_string()).send().await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            self.nonce = nonce_of(&headers);
            let bytes = answer.bytes().await?.to_vec();
            if status.is_success() {
                return Ok((headers, bytes));
            }
            let said = String::from_utf8_lossy(&bytes);
            if !said.contains("badNonce") {
                bail!("{url}: {status}: {said}");
            }
        }
        bail!("{url}: no nonce is good")
    }

    async fn get(&mut self, url: &str) -> Result<Value> {
        let (_, bytes) = self.post(url, None).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// A whole order: the certificate's chain, PEM.
    async fn order(&mut self, name: &str) -> Result<Vec<u8>> {
        let wish = json!({ "identifiers": [{ "type": "dns", "value": name }] });
        let (headers, bytes) = self.post(&self.place("newOrder")?, Some(&wish)).await?;
        let url = location(&headers)?;
        let mut order: Value = serde_json::from_slice(&bytes)?;
        if order["status"] == "pending" {
            for authorization in order["authorizations"].as_array().into_iter().flatten() {
                let authorization = authorization.as_str().context("a URL")?;
                let document = self.get(authorization).await?;
                let challenge = document["challenges"][0]["url"]
                    .as_str()
                    .context("a challenge")?;
                self.post(challenge, Some(&json!({}))).await?;
            }
            order = self.until(&url, "ready").await?;
        }
        let params = CertificateParams::new(vec![name.to_owned()])?;
        let request = params.serialize_request(&self.subject)?;
        let finalize = order["finalize"].as_str().context("a URL")?.to_owned();
        let payload = json!({ "csr": encode(request.der()) });
        let (_, bytes) = self.post(&finalize, Some(&payload)).await?;
        order = serde_json::from_slice(&bytes)?;
        if order["status"] != "valid" {
            order = self.until(&url, "valid").await?;
        }
        let certificate = order["certificate"].as_str().context("a certificate")?;
        let (_, chain) = self.post(certificate, None).await?;
        if !chain.starts_with(b"-----BEGIN CERTIFICATE-----") {
            bail!("what came is no certificate");
        }
        Ok(chain)
    }

    async fn until(&mut self, url: &str, wanted: &str) -> Result<Value> {
        for _ in 0..MAX_POLLS {
            let order = self.get(url).await?;
            if order["status"] == wanted {
                return Ok(order);
            }
            if order["status"] == "invalid" {
                bail!("the order failed: {order}");
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("the order did not become {wanted}")
    }
}

fn nonce_of(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("replay-nonce")?.to_str().ok()?.to_owned())
}

fn location(headers: &HeaderMap) -> Result<String> {
    let location = headers.get("location").context("there is no location")?;
    Ok(location.to_str()?.to_owned())
}

/// One server, with accounts at it.
struct Side {
    name: &'static str,
    clients: Vec<Client>,
    /// How an order's name ends.
    beneath: fn(usize) -> String,
    ordered: usize,
    rates: Vec<f64>,
    took: Vec<Duration>,
}

impl Side {
    fn new(name: &'static str, clients: Vec<Client>, beneath: fn(usize) -> String) -> Self {
        Self {
            name,
            clients,
            beneath,
            ordered: 0,
            rates: Vec::new(),
            took: Vec::new(),
        }
    }

    /// Has every account make `orders` orders, one after the other.
    async fn round(&mut self, orders: usize) -> Result<()> {
        let (first, beneath) = (self.ordered, self.beneath);
        self.ordered += orders;
        let start = Instant::now();
        let each = self
            .clients
            .iter_mut()
            .enumerate()
            .map(|(at, client)| async move {
                let mut took = Vec::new();
                for index in first..first + orders {
                    let begun = Instant::now();
                    client
                        .order(&format!("c{at}-{index}.{}", beneath(at)))
                        .await?;
                    took.push(begun.elapsed());
                }
                anyhow::Ok(took)
            });
        let done = futures_util::future::try_join_all(each).await?;
        let took: Vec<Duration> = done.into_iter().flatten().collect();
        self.rates
            .push(took.len() as f64 / start.elapsed().as_secs_f64());
        self.took.extend(took);
        Ok(())
    }

    fn print(&self) {
        let (rates, took) = (
            Samples::new(self.rates.clone()),
            Samples::milliseconds(&self.took),
        );
        let (low, high) = rates.range();
        println!(
            "  {:<10} {:>8.1} certificates/s ({low:.1} to {high:.1})   p50 {:.0} ms, p99 {:.0} ms   {} orders",
            self.name,
            rates.median(),
            took.median(),
            took.percentile(99.0),
            took.count()
        );
    }
}

/// Prints orders a second over `rounds` alternating rounds.
pub async fn run(binary: &Path, rounds: usize) -> Result<()> {
    let rounds = rounds.clamp(1, ORDERS_PER_ACCOUNT);
    let orders = (ORDERS_PER_ACCOUNT / rounds).min(12);
    let circle = Circle::up(binary)?;
    let mut own = Side::new("ringfort", bound(&circle).await?, registered);
    let directory = tempfile::tempdir()?;
    let pebble = Pebble::start(directory.path()).await?;
    let mut clients = Vec::new();
    for _ in 0..ACCOUNTS {
        clients.push(Client::open(&pebble.directory, None).await?);
    }
    let mut peer = Side::new("pebble", clients, |_| "pebble.example".to_owned());
    for _ in 0..rounds {
        own.round(orders).await?;
        peer.round(orders).await?;
    }
    println!(
        "certificates by ACME, {ACCOUNTS} accounts at once, medians of {rounds} alternating rounds"
    );
    own.print();
    peer.print();
    println!(
        "  pebble looks at no challenge, keeps nothing and agrees with nobody: no goal is held to it"
    );
    Ok(())
}

fn registered(account: usize) -> String {
    format!("acme{}.internal", account % NAMES)
}

/// Accounts at the circle's authority, bound to the user's key.
async fn bound(circle: &Circle) -> Result<Vec<Client>> {
    for index in 0..NAMES {
        circle.run(&["name", "register", &registered(index)])?;
    }
    let config = std::fs::read_to_string(circle.state().join("ca/ca.toml"))?;
    let http = config.lines().find_map(|line| line.strip_prefix("http = "));
    let http = http
        .context("ca.toml says where the authority answers")?
        .trim_matches('"');
    let authority = format!("http://{http}");
    let mut clients = Vec::new();
    for _ in 0..ACCOUNTS {
        let made = circle.json(&["cert", "credentials", "--authority", &authority])?;
        let text = |field: &str| made[field].as_str().context("credentials");
        let binding = (text("kid")?, text("hmac_key")?);
        clients.push(Client::open(text("directory")?, Some(binding)).await?);
    }
    Ok(clients)
}

/// Pebble, Debian's; ended when dropped.
struct Pebble {
    process: Child,
    directory: String,
}

impl Pebble {
    async fn start(at: &Path) -> Result<Self> {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let (certificate, key) = (at.join("pebble.pem"), at.join("pebble.key"));
        std::fs::write(&certificate, own.cert.pem())?;
        std::fs::write(&key, own.signing_key.serialize_pem())?;
        let (port, management) = (free_port()?, free_port()?);
        let config = at.join("pebble.json");
        let text = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": certificate,
            "privateKey": key,
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        std::fs::write(&config, text.to_string())?;
        let process = Command::new("pebble")
            .arg("-config")
            .arg(&config)
            // No challenge is looked at, nothing waits, no nonce is refused.
            .env("PEBBLE_VA_ALWAYS_VALID", "1")
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("pebble cannot be run: script/setup --bench installs it")?;
        let pebble = Self {
            process,
            directory: format!("https://localhost:{port}/dir"),
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            if Instant::now() > deadline {
                bail!("pebble does not listen");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(pebble)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}
