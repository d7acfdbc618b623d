//! Answers over TLS and over HTTPS, one core served: beside NSD, which speaks
//! the first, and dnsdist before Knot DNS, which speaks both.
//!
//! Over TLS dnsperf asks, over connections that it keeps and then over ones of
//! one query each, which shows what a handshake costs; over HTTPS h2load does
//! (dnsperf 2.10 loses responses there, whoever gives them). One core of either
//! does not outrun one core of every server: the figure is the processor time
//! that a server takes for a query, and the rate is what the loader came to.

use std::{
    fmt::Write as _, fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path,
    process::Command, time::Duration,
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::{
    ledger, serve,
    servers::{self, LOADER_CORE, Server},
};
use crate::statistics::Samples;

/// Connections at a time.
const CONNECTIONS: &str = "16";

/// Queries outstanding on each of them, and on all.
const OF_EACH: &str = "16";
const OF_ALL: &str = "256";

/// How long dnsperf waits for an answer, seconds: a server whose core others have
/// too is slow, and answers.
const PATIENCE: &str = "30";

/// The key and the certificate that all servers show.
const KEY_FILE: &str = "server.key";
const CERTIFICATE_FILE: &str = "server.pem";

/// What is asked: as dnsperf reads it, and as h2load does.
const QUESTIONS: &str = "questions";
const PLACES: &str = "places";

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Tls,
    /// A connection for each query.
    TlsOnce,
    Https,
}

impl Way {
    const ALL: [Self; 3] = [Self::Tls, Self::TlsOnce, Self::Https];

    fn describe(self) -> &'static str {
        match self {
            Self::Tls => "over TLS",
            Self::TlsOnce => "over TLS, a connection for each query",
            Self::Https => "over HTTPS (HTTP/2, GET)",
        }
    }

    /// Asks for `length`.
    ///
    /// Errors: the loader cannot be run; more than one query in a hundred has no
    ///         answer.
    fn ask(self, server: SocketAddr, at: &Path, length: Duration) -> Result<Round> {
        let seconds = length.as_secs().max(1).to_string();
        match self {
            Self::Tls => dnsperf(server, at, &seconds, &[]),
            Self::TlsOnce => dnsperf(server, at, &seconds, &["-O", "num-queries-per-conn=1"]),
            Self::Https => h2load(server, at, &seconds),
        }
    }
}

struct Peer {
    server: Server,
    tls: Option<SocketAddr>,
    https: Option<SocketAddr>,
}

impl Peer {
    fn address(&self, way: Way) -> Option<SocketAddr> {
        match way {
            Way::Tls | Way::TlsOnce => self.tls,
            Way::Https => self.https,
        }
    }
}

/// What one run of a loader came to.
struct Round {
    per_second: f64,
    completed: f64,
}

/// Measures both ways.
pub fn run(names: u32, rounds: usize, length: Duration) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let at = directory.path();
    let keys = at.join("keys.json");
    println!("a signed zone of {names} names; one core serves, the other loads");
    serve::write_zone(names, &keys, &at.join("zone"))?;
    write_identity(at)?;
    write_questions(names, at)?;
    let peers = open(names, at, &keys)?;
    for peer in &peers {
        peer.server.wait()?;
        for address in peer.tls.into_iter().chain(peer.https) {
            peer.server.wait_for_connections(address)?;
        }
    }
    for way in Way::ALL {
        measure(way, &peers, at, rounds, length)?;
    }
    Ok(())
}

fn open(names: u32, at: &Path, keys: &Path) -> Result<Vec<Peer>> {
    let (tls, https) = (servers::free()?, servers::free()?);
    let identity = (at.join(KEY_FILE), at.join(CERTIFICATE_FILE));
    let encrypted = [
        ("--tls", tls.to_string()),
        ("--https", https.to_string()),
        ("--key-file", identity.0.to_string_lossy().into_owned()),
        (
            "--certificate-file",
            identity.1.to_string_lossy().into_owned(),
        ),
    ];
    let ours = Peer {
        server: servers::ours(names, keys, &encrypted)?,
        tls: Some(tls),
        https: Some(https),
    };
    let tls = servers::free()?;
    let nsd = Peer {
        server: servers::nsd_with_tls(at, tls, &identity.0, &identity.1)?,
        tls: Some(tls),
        https: None,
    };
    let (tls, https) = (servers::free()?, servers::free()?);
    let dnsdist = Peer {
        server: servers::dnsdist(at, tls, https, (&identity.0, &identity.1), names)?,
        tls: Some(tls),
        https: Some(https),
    };
    Ok(vec![ours, nsd, dnsdist])
}

/// A key and a certificate of its own, P-256.
fn write_identity(at: &Path) -> Result<()> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    let path = at.join(KEY_FILE);
    fs::write(&path, key.serialize_pem())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    fs::write(at.join(CERTIFICATE_FILE), certificate.pem())?;
    Ok(())
}

/// Every name once, in an order that no cache likes.
fn write_questions(names: u32, at: &Path) -> Result<()> {
    let mut text = String::new();
    let mut places = String::new();
    for index in 0..u64::from(names) {
        let name = ledger::name_of((index * 7_368_787 % u64::from(names)) as u32);
        writeln!(text, "{name} A")?;
        let message = BASE64_URL_SAFE_NO_PAD.encode(super::query(name.as_str(), false));
        writeln!(places, "https://localhost/dns-query?dns={message}")?;
    }
    fs::write(at.join(QUESTIONS), text)?;
    Ok(fs::write(at.join(PLACES), places)?)
}

fn measure(way: Way, peers: &[Peer], at: &Path, rounds: usize, length: Duration) -> Result<()> {
    let asked: Vec<(&Peer, SocketAddr)> = peers
        .iter()
        .filter_map(|peer| Some((peer, peer.address(way)?)))
        .collect();
    let mut rates = vec![Vec::new(); asked.len()];
    let mut costs = vec![Vec::new(); asked.len()];
    for round in 0..rounds {
        // Another one begins each round.
        for turn in 0..asked.len() {
            let index = (round + turn) % asked.len();
            let (peer, address) = asked[index];
            // As over UDP: an image whose ledger stands still is stale, and answered
            // from another way.
            if let Some(changes) = &peer.server.changes {
                changes.set_running(true);
            }
            // Connections are made and caches filled before it counts.
            way.ask(address, at, Duration::from_secs(1))
                .with_context(|| peer.server.name)?;
            let (before, _) = peer.server.processor_ns();
            let measured = way.ask(address, at, length)?;
            let (after, _) = peer.server.processor_ns();
            if let Some(changes) = &peer.server.changes {
                changes.set_running(false);
            }
            rates[index].push(measured.per_second);
            costs[index].push((after - before) as f64 / measured.completed / 1000.0);
        }
    }
    println!(
        "\nA {}, medians of {rounds} alternating rounds",
        way.describe()
    );
    for (index, (peer, _)) in asked.iter().enumerate() {
        let (rate, cost) = (
            Samples::new(rates[index].clone()),
            Samples::new(costs[index].clone()),
        );
        println!(
            "  {:<14} {:>8.0} answers/s   {:>7.1} µs of processor a query: {:>8.0} a second of one core",
            peer.server.name,
            rate.median(),
            cost.median(),
            1e6 / cost.median(),
        );
    }
    for (index, (peer, _)) in asked.iter().enumerate().skip(1) {
        let ratios = costs[index].iter().zip(&costs[0]);
        let ratios = Samples::new(ratios.map(|(theirs, ours)| theirs / ours).collect());
        let (low, high) = ratios.range();
        println!(
            "  by processor time, ratio to {:<10} {:>5.2} ({low:.2} to {high:.2})",
            peer.server.name,
            ratios.median()
        );
    }
    Ok(())
}

/// Runs a loader on its core; what it says.
fn load(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new("taskset")
        .args(["-c", LOADER_CORE, program])
        .args(arguments)
        .output()
        .with_context(|| format!("{program} does not start: script/setup installs it"))?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn dnsperf(server: SocketAddr, at: &Path, seconds: &str, more: &[&str]) -> Result<Round> {
    let questions = at.join(QUESTIONS);
    let questions = questions.to_str().context("a path in UTF-8")?;
    let (ip, port) = (server.ip().to_string(), server.port().to_string());
    let mut arguments = vec!["-m", "dot", "-s", &ip, "-p", &port, "-T", "1"];
    arguments.extend([
        "-c",
        CONNECTIONS,
        "-q",
        OF_ALL,
        "-t",
        PATIENCE,
        "-l",
        seconds,
        "-d",
        questions,
    ]);
    arguments.extend(more);
    let text = load("dnsperf", &arguments)?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(name))?;
        let value = line.split_once(':')?.1.split_whitespace().next()?;
        value.parse::<f64>().ok()
    };
    let figures = (
        field("Queries sent"),
        field("Queries completed"),
        field("Queries per second"),
    );
    let (Some(sent), Some(completed), Some(per_second)) = figures else {
        bail!("dnsperf: {text}");
    };
    if completed < sent * 0.99 || completed < 1.0 || !text.contains("NOERROR") {
        bail!("{sent} queries, of which {completed} were answered: {text}");
    }
    Ok(Round {
        per_second,
        completed,
    })
}

fn h2load(server: SocketAddr, at: &Path, seconds: &str) -> Result<Round> {
    let places = at.join(PLACES);
    let places = places.to_str().context("a path in UTF-8")?;
    let base = format!("https://{server}");
    let arguments = ["-t", "1", "-c", CONNECTIONS, "-m", OF_EACH, "-D", seconds];
    let text = load(
        "h2load",
        &[&arguments[..], &["-B", &base, "-i", places]].concat(),
    )?;
    let after = |line: &str, word: &str| {
        let line = text.lines().find(|one| one.starts_with(line))?;
        let before = line.split_once(word)?.0;
        before
            .split([' ', ','])
            .rfind(|text| !text.is_empty())?
            .parse::<f64>()
            .ok()
    };
    let figures = (
        after("requests:", " done"),
        after("status codes:", " 2xx"),
        after("finished in", " req/s"),
    );
    let (Some(done), Some(completed), Some(per_second)) = figures else {
        bail!("h2load: {text}");
    };
    if completed < done * 0.99 || completed < 1.0 {
        bail!("{done} requests, of which {completed} were answered: {text}");
    }
    Ok(Round {
        per_second,
        completed,
    })
}
