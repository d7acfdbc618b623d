//! Answers over TLS and over HTTPS, one core served: beside NSD, which speaks
//! the first, and dnsdist before Knot DNS, which speaks both.
//!
//! dnsperf asks, over connections that it keeps, and then over connections of
//! one query each, which is what the handshake costs. One core of it does not
//! outrun one core of every server, so that the processor time which a server
//! takes for a query is the figure, and the rate is what dnsperf came to.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::{
    ledger, serve,
    servers::{self, LOADER_CORE, Server},
};
use crate::statistics::Samples;

/// Connections at a time.
const CONNECTIONS: &str = "16";

/// The key and the certificate that all servers show.
const KEY_FILE: &str = "server.key";
const CERTIFICATE_FILE: &str = "server.pem";

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Tls,
    Https,
}

impl Way {
    fn describe(self) -> &'static str {
        match self {
            Self::Tls => "over TLS",
            Self::Https => "over HTTPS (GET)",
        }
    }

    /// Queries outstanding on all connections. dnsperf 2.10 loses responses, of any
    /// server, where an HTTP/2 connection has several.
    fn outstanding(self) -> &'static str {
        match self {
            Self::Tls => "256",
            Self::Https => CONNECTIONS,
        }
    }

    /// dnsperf's word.
    fn mode(self) -> &'static str {
        match self {
            Self::Tls => "dot",
            Self::Https => "doh",
        }
    }
}

/// How long a connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Kept,
    OneQuery,
}

impl Life {
    fn describe(self) -> &'static str {
        match self {
            Self::Kept => "connections are kept",
            Self::OneQuery => "a connection for each query",
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
            Way::Tls => self.tls,
            Way::Https => self.https,
        }
    }
}

/// What one run of dnsperf came to.
struct Round {
    per_second: f64,
    completed: f64,
}

/// Measures both ways.
pub fn run(names: u32, rounds: usize, length: Duration) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let at = directory.path();
    let keys = at.join("keys.json");
    println!("a signed zone of {names} names; one core serves, dnsperf has the other");
    serve::write_zone(names, &keys, &at.join("zone"))?;
    write_identity(at)?;
    write_questions(names, &at.join("questions"))?;
    let peers = open(names, at, &keys)?;
    for peer in &peers {
        peer.server.wait()?;
    }
    for way in [Way::Tls, Way::Https] {
        for life in [Life::Kept, Life::OneQuery] {
            measure(way, life, &peers, at, rounds, length)?;
        }
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
fn write_questions(names: u32, file: &Path) -> Result<()> {
    let mut text = String::new();
    for index in 0..u64::from(names) {
        let at = index * 7_368_787 % u64::from(names);
        writeln!(text, "{} A", ledger::name_of(at as u32))?;
    }
    Ok(fs::write(file, text)?)
}

fn measure(
    way: Way,
    life: Life,
    peers: &[Peer],
    at: &Path,
    rounds: usize,
    length: Duration,
) -> Result<()> {
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
            // Connections are made and caches filled before it counts.
            ask(way, life, address, at, Duration::from_secs(1))
                .with_context(|| peer.server.name)?;
            let (before, _) = peer.server.processor_ns();
            let measured = ask(way, life, address, at, length)?;
            let (after, _) = peer.server.processor_ns();
            rates[index].push(measured.per_second);
            costs[index].push((after - before) as f64 / measured.completed / 1000.0);
        }
    }
    println!(
        "\nA {}, {}, medians of {rounds} alternating rounds",
        way.describe(),
        life.describe()
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

/// Runs dnsperf for `length`.
///
/// Errors: it cannot be run; more than one query in a hundred has no answer.
fn ask(way: Way, life: Life, server: SocketAddr, at: &Path, length: Duration) -> Result<Round> {
    let ip: IpAddr = server.ip();
    let mut command = Command::new("taskset");
    command
        .args(["-c", LOADER_CORE, "dnsperf", "-m", way.mode()])
        .args(["-s", &ip.to_string(), "-p", &server.port().to_string()])
        .args(["-c", CONNECTIONS, "-q", way.outstanding(), "-T", "1"])
        .args(["-l", &length.as_secs().max(1).to_string()])
        .arg("-d")
        .arg(at.join("questions"));
    if life == Life::OneQuery {
        command.args(["-O", "num-queries-per-conn=1"]);
    }
    let output = command
        .output()
        .context("dnsperf does not start: script/setup --bench installs it")?;
    let text = String::from_utf8_lossy(&output.stdout);
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
        bail!("dnsperf: {text}{}", String::from_utf8_lossy(&output.stderr));
    };
    if completed < sent * 0.99 || completed < 1.0 || !text.contains("NOERROR") {
        bail!("{sent} queries, of which {completed} were answered: {text}");
    }
    Ok(Round {
        per_second,
        completed,
    })
}
