//! Authoritative answers over UDP, one core served: beside Knot DNS, NSD and a
//! bare echo, on the same signed zone, in alternating rounds.
//!
//! Ours is fed as in a circle, by a zone signer and by proofs, out of a ledger
//! that follows from its height; a hundred of its names change each second
//! while it is measured. The peers hold the zone from a file and stand still.

mod encrypted;
mod ledger;
mod load;
mod serve;
mod servers;

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};

use self::servers::Server;
pub use self::{
    encrypted::run as run_encrypted,
    load::echo,
    serve::{Arguments, serve, sign},
};
use crate::statistics::Samples;

/// The zone.
const APEX: &str = "internal";

/// Queries that are asked in turn, at most.
const MAX_QUERIES: u32 = 200_000;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    /// A of names that exist.
    Positive,
    /// The same, one in ten of a name that does not.
    Mixed,
    /// A with DO.
    Signed,
    /// A with DO of names that do not exist.
    SignedNegative,
}

impl Workload {
    const ALL: [Self; 4] = [
        Self::Positive,
        Self::Mixed,
        Self::Signed,
        Self::SignedNegative,
    ];

    fn describe(self) -> &'static str {
        match self {
            Self::Positive => "A",
            Self::Mixed => "A, 10 % of no such name",
            Self::Signed => "A with DO",
            Self::SignedNegative => "A with DO, of no such name",
        }
    }

    /// Ratio to Knot and NSD that we hold ourselves to.
    fn goal(self) -> f64 {
        match self {
            Self::SignedNegative => 1.0,
            _ => 2.0,
        }
    }

    fn queries(self, names: u32) -> Vec<Vec<u8>> {
        // A stride that is coprime to any count of names visits all, in an
        // order that no cache likes.
        (0..names.min(MAX_QUERIES))
            .map(|index| {
                let exists = match self {
                    Self::Positive | Self::Signed => true,
                    Self::Mixed => index % 10 != 0,
                    Self::SignedNegative => false,
                };
                let at = u64::from(index) * 7_368_787 % u64::from(names);
                let name = ledger::name_of(at as u32);
                let dnssec_ok = matches!(self, Self::Signed | Self::SignedNegative);
                if exists {
                    query(name.as_str(), dnssec_ok)
                } else {
                    // Between two names that exist.
                    query(&name.as_str().replacen('.', "x.", 1), dnssec_ok)
                }
            })
            .collect()
    }
}

/// An A query in wire form (RFC 1035 §4.1), with DO if asked.
pub fn query(name: &str, dnssec_ok: bool) -> Vec<u8> {
    let mut octets = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(dnssec_ok)];
    for label in name.split('.') {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.extend_from_slice(&[0, 0, 1, 0, 1]);
    if dnssec_ok {
        octets.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    }
    octets
}

/// One server's rounds of one workload.
struct Figures {
    name: &'static str,
    per_second: Vec<f64>,
    ns_per_query: Vec<f64>,
    ns_answering: Vec<f64>,
    lost: u64,
    positive: f64,
}

/// Measures every workload.
pub fn run(names: u32, rounds: usize, length: Duration) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let keys = directory.path().join("keys.json");
    println!(
        "a signed zone of {names} names; one core serves, the other loads; {} names change each second",
        ledger::CHANGES_PER_BLOCK * ledger::BLOCKS_PER_SECOND
    );
    serve::write_zone(names, &keys, &directory.path().join("zone"))?;
    let servers = [
        servers::ours(names, &keys, &[])?,
        servers::knot(directory.path())?,
        servers::nsd(directory.path())?,
        servers::echo()?,
    ];
    for server in &servers {
        let loading = server.wait()?;
        println!(
            "  {:<10} answered after {:.1} s more",
            server.name,
            loading.as_secs_f64()
        );
    }
    pin_loader()?;
    print_memory(&servers, "before");
    for workload in Workload::ALL {
        measure(workload, &servers, names, rounds, length)?;
    }
    print_memory(&servers, "afterwards");
    Ok(())
}

fn print_memory(servers: &[Server], when: &str) {
    println!("memory {when}");
    for server in servers {
        println!("  {:<10} {:>8.1} MiB", server.name, server.resident_mib());
    }
}

/// Keeps this process off the servers' core.
fn pin_loader() -> Result<()> {
    let own = std::process::id().to_string();
    let status = Command::new("taskset")
        .args(["-a", "-c", "-p", servers::LOADER_CORE, &own])
        .stdout(std::process::Stdio::null())
        .status()
        .context("taskset, of util-linux")?;
    if !status.success() {
        bail!("taskset failed: two cores are needed");
    }
    Ok(())
}

fn measure(
    workload: Workload,
    servers: &[Server],
    names: u32,
    rounds: usize,
    length: Duration,
) -> Result<()> {
    let queries = workload.queries(names);
    let mut all: Vec<Figures> = servers
        .iter()
        .map(|server| Figures {
            name: server.name,
            per_second: Vec::new(),
            ns_per_query: Vec::new(),
            ns_answering: Vec::new(),
            lost: 0,
            positive: 0.0,
        })
        .collect();
    for round in 0..rounds {
        // Another one begins each round.
        for turn in 0..servers.len() {
            let at = (round + turn) % servers.len();
            let (server, figures) = (&servers[at], &mut all[at]);
            if let Some(changes) = &server.changes {
                changes.set_running(true);
            }
            let before = server.processor_ns();
            let measured = load::run(server.address, &queries, length)?;
            let used = server.processor_ns();
            if let Some(changes) = &server.changes {
                changes.set_running(false);
            }
            figures.per_second.push(measured.per_second);
            let per_query = |used: u64| used as f64 / measured.sent.max(1) as f64;
            figures.ns_per_query.push(per_query(used.0 - before.0));
            figures.ns_answering.push(per_query(used.1 - before.1));
            figures.lost += measured.lost;
            figures.positive = measured.positive;
        }
    }
    print(workload, &all);
    Ok(())
}

fn print(workload: Workload, all: &[Figures]) {
    let rounds = all.first().map_or(0, |figures| figures.per_second.len());
    println!(
        "\n{}, medians of {rounds} alternating rounds",
        workload.describe()
    );
    let median = |samples: &[f64]| Samples::new(samples.to_vec()).median();
    for figures in all {
        println!(
            "  {:<10} {:>9.0} answers/s  {:>6.0} ns of processor a query   {:>3.0} % with records, {} lost",
            figures.name,
            median(&figures.per_second),
            median(&figures.ns_per_query),
            figures.positive * 100.0,
            figures.lost
        );
        let answering = median(&figures.ns_answering);
        if answering > 0.0 {
            println!("  {:<10} {answering:>38.0} ns of them answering", "");
        }
    }
    let Some((ours, others)) = all.split_first() else {
        return;
    };
    for other in others {
        let ratios = |ours: &[f64], other: &[f64]| {
            let ratios = ours.iter().zip(other).map(|(ours, other)| ours / other);
            Samples::new(ratios.collect())
        };
        let rate = ratios(&ours.per_second, &other.per_second);
        let (low, high) = rate.range();
        let goal = match other.name {
            "echo" => 0.9,
            _ => workload.goal(),
        };
        let verdict = if rate.median() >= goal {
            "reached"
        } else {
            "missed"
        };
        println!(
            "  ratio to {:<10} {:>5.2} ({low:.2} to {high:.2})   goal {goal:.1}: {verdict}; by processor time {:.2}",
            other.name,
            rate.median(),
            ratios(&other.ns_per_query, &ours.ns_per_query).median(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_what_they_are_called() {
        let negative = Workload::SignedNegative.queries(10);
        let absent = |query: &&Vec<u8>| query[12] == 11;
        assert_eq!(negative.iter().filter(absent).count(), 10);
        assert!(negative.iter().all(|query| query[11] == 1));
        let mixed = Workload::Mixed.queries(100);
        assert_eq!(
            (mixed.len(), mixed.iter().filter(absent).count()),
            (100, 10)
        );
        let mut all = Workload::Positive.queries(1000);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 1000, "every name is asked for");
    }
}
