//! Finality at light load, signed transfers at saturation beside etcd's writes and
//! PostgreSQL's, finality at half of that rate, and the memory of each validator.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use wire::AccountId;

use crate::{
    circle::Circle,
    etcd,
    load::{self, Payer},
    machine, postgres,
    statistics::{Samples, print_ratio},
};

/// Transfers a second at light load.
const LIGHT_PER_SECOND: u64 = 20;

/// What finality is to stay within at p99, ms.
const GOAL_P99_MS: f64 = 300.0;

/// Closed loops on each side; the largest of these rates is compared.
const CONCURRENCY: [usize; 3] = [64, 512, 2048];

/// The most of them that PostgreSQL is given: each is a process there.
const MOST_OF_POSTGRES: usize = 512;

/// Units that each account of the benchmark starts with.
const FUNDS: u64 = 50_000_000;

/// How long each part of the benchmark takes.
pub struct Lengths {
    /// Of the light load.
    pub light: Duration,
    /// Of each round at saturation.
    pub round: Duration,
    /// Rounds of each side.
    pub rounds: usize,
}

/// Runs both parts on one circle and prints them.
pub async fn run(binary: &Path, lengths: &Lengths) -> Result<()> {
    let circle = Circle::up(binary)?;
    let nodes = circle.nodes()?;
    let mut funder = circle.funder(&nodes[0]).await?;
    let most = CONCURRENCY[CONCURRENCY.len() - 1];
    let mut payers = load::fund(&nodes[0], &mut funder, most, FUNDS).await?;
    let value_bytes = payers[0].transfer(AccountId([0; 32])).encode().len();
    // The probe for the size took a sequence that was never sent.
    payers.remove(0);

    let interval = Duration::from_millis(1000 / LIGHT_PER_SECOND);
    let latencies = load::light_load(&nodes[0], &mut funder, interval, lengths.light).await?;
    print_finality(
        &format!("{LIGHT_PER_SECOND} transfers a second"),
        &latencies,
    );

    let pair = tokio::task::spawn_blocking(postgres::Pair::start).await??;
    let cluster = etcd::Cluster::start(3).await?;
    let mut clients = Vec::new();
    for member in 0..3 {
        clients.push(cluster.connect(member).await?);
    }
    println!("values of {value_bytes} bytes on all sides, closed loops of {CONCURRENCY:?}");
    let (mut ours, mut peer, mut replicated) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..lengths.rounds {
        let (rate, back) = best_of_ours(&nodes, payers, lengths.round).await?;
        payers = back;
        ours.push(rate);
        peer.push(best_of_etcd(&clients, value_bytes, lengths.round).await?);
        replicated.push(best_of_postgres(&pair, value_bytes, lengths.round)?);
    }
    drop((clients, cluster));
    print_ratio(
        "acknowledged writes",
        "1/s",
        1.0,
        &ours,
        "etcd, 3 members",
        &peer,
    );
    print_ratio(
        "acknowledged writes",
        "1/s",
        1.0,
        &ours,
        "PostgreSQL, 1+1",
        &replicated,
    );
    drop(pair);
    half_load(&nodes, &mut payers, &Samples::new(ours), lengths.light).await?;
    print_memory(&circle)
}

/// Finality while half of the median rate at saturation is sent, at a steady rate.
async fn half_load(
    nodes: &[load::Node],
    payers: &mut [Payer],
    saturated: &Samples,
    length: Duration,
) -> Result<()> {
    let per_second = saturated.median() / 2.0;
    let interval = Duration::from_secs_f64(1.0 / per_second.max(1.0));
    let latencies = load::steady_load(nodes, payers, interval, length).await?;
    print_finality(
        &format!("half load, {per_second:.0} transfers a second"),
        &latencies,
    );
    Ok(())
}

/// Prints how long transfers took until they were final, beside the goal.
fn print_finality(load: &str, latencies: &[Duration]) {
    let latencies = Samples::milliseconds(latencies);
    let p99 = latencies.percentile(99.0);
    println!("finality at {load}, {} samples", latencies.count());
    println!(
        "  p50 {:.1} ms, p99 {p99:.1} ms   goal p99 {GOAL_P99_MS:.0} ms: {}",
        latencies.median(),
        if p99 <= GOAL_P99_MS {
            "reached"
        } else {
            "missed"
        }
    );
}

/// Resident memory of each validator now, and at most so far.
fn print_memory(circle: &Circle) -> Result<()> {
    let status = circle.json(&["status"])?;
    let parts = status["parts"].as_array().context("status lists parts")?;
    for part in parts {
        let (Some(name), Some(pid)) = (part["name"].as_str(), part["pid"].as_u64()) else {
            continue;
        };
        if name.starts_with("node-") {
            let (now, most) = machine::resident_mb(&pid.to_string())?;
            println!("  {name}: {now:.0} MB resident, {most:.0} MB at most");
        }
    }
    Ok(())
}

fn best_of_postgres(pair: &postgres::Pair, value_bytes: usize, length: Duration) -> Result<f64> {
    let mut best = 0f64;
    for concurrency in CONCURRENCY
        .into_iter()
        .filter(|loops| *loops <= MOST_OF_POSTGRES)
    {
        let (per_second, latencies) = pair.writes(concurrency, value_bytes, length)?;
        let latencies = Samples::new(latencies);
        println!(
            "    postgres, {concurrency:>4} loops: {per_second:>8.0} 1/s, p50 {:.0} ms, p99 {:.0} ms",
            latencies.median(),
            latencies.percentile(99.0)
        );
        best = best.max(per_second);
    }
    Ok(best)
}

async fn best_of_ours(
    nodes: &[load::Node],
    mut payers: Vec<Payer>,
    length: Duration,
) -> Result<(f64, Vec<Payer>)> {
    let mut best = 0f64;
    for concurrency in CONCURRENCY {
        let idle = payers.split_off(concurrency.min(payers.len()));
        let (round, mut back) = load::transfers(nodes, payers, length).await?;
        let latencies = Samples::milliseconds(&round.latencies);
        println!(
            "    ringfort, {concurrency:>4} loops: {:>8.0} 1/s, p50 {:.0} ms, p99 {:.0} ms",
            round.per_second,
            latencies.median(),
            latencies.percentile(99.0)
        );
        best = best.max(round.per_second);
        back.extend(idle);
        payers = back;
    }
    Ok((best, payers))
}

async fn best_of_etcd(
    clients: &[etcd::Client],
    value_bytes: usize,
    length: Duration,
) -> Result<f64> {
    let mut best = 0f64;
    for concurrency in CONCURRENCY {
        let round = load::etcd_writes(clients, concurrency, value_bytes, length).await?;
        let latencies = Samples::milliseconds(&round.latencies);
        println!(
            "    etcd,     {concurrency:>4} loops: {:>8.0} 1/s, p50 {:.0} ms, p99 {:.0} ms",
            round.per_second,
            latencies.median(),
            latencies.percentile(99.0)
        );
        best = best.max(round.per_second);
    }
    Ok(best)
}
