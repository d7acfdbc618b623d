//! How long does finality take while one validator of four is stopped, and
//! after one has died?
//!
//! Transfers leave at a fixed rate, whether the ones before were answered or
//! not, so that a pause of the circle is counted by everybody who waits for
//! its end. The stopped validator (SIGSTOP: it keeps its connections and says
//! nothing) is never the one that is asked.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    circle::Circle,
    load::{self, Node, Payer},
    statistics::Samples,
};

/// Transfers a second.
const PER_SECOND: u64 = 20;

/// Accounts that send in turn: a transfer waits for those before it of the same
/// account, which is not what is measured.
const PAYERS: usize = 40;

/// Units that each starts with.
const FUNDS: u64 = 50_000_000;

/// What finality is to stay within while one of four says nothing.
const GOAL_P99_MS: f64 = 1_000.0;

/// The validator that is stopped.
const STOPPED: &str = "node-2";

/// A validator that says nothing while this lives.
struct Stopped(u32);

impl Stopped {
    fn new(circle: &Circle) -> Result<Self> {
        let status = circle.json(&["status"])?;
        let parts = status["parts"].as_array().context("a list of parts")?;
        let part = parts.iter().find(|part| part["name"] == STOPPED);
        let pid = part.and_then(|part| part["pid"].as_u64());
        let pid = u32::try_from(pid.context("the validator has a process")?)?;
        signal(pid, "STOP")?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // One that is gone needs no telling.
        let _ = signal(self.0, "CONT");
    }
}

fn signal(pid: u32, signal: &str) -> Result<()> {
    let done = Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .status()?;
    ensure!(done.success(), "kill -{signal} {pid}");
    Ok(())
}

/// Prints finality with all validators, with one stopped from the moment on at
/// which it stops, and after it goes on.
pub async fn run(binary: &Path, length: Duration) -> Result<()> {
    let circle = Circle::up(binary)?;
    let nodes = circle.nodes()?;
    ensure!(nodes.len() == 4, "four validators");
    let mut funder = circle.funder(&nodes[0]).await?;
    let mut payers = load::fund(&nodes[0], &mut funder, PAYERS, FUNDS).await?;
    println!("finality at {PER_SECOND} transfers a second over 3 of 4 validators");
    measure("all four run", &nodes, &mut payers, length).await?;
    let stopped = Stopped::new(&circle)?;
    let p99 = measure("one stops", &nodes, &mut payers, length).await?;
    measure("it stays stopped", &nodes, &mut payers, length).await?;
    drop(stopped);
    measure("it goes on", &nodes, &mut payers, length).await?;
    println!(
        "  goal p99 {GOAL_P99_MS} ms while one is stopped: {}",
        if p99 <= GOAL_P99_MS {
            "reached"
        } else {
            "missed"
        }
    );
    Ok(())
}

async fn measure(
    what: &str,
    nodes: &[Node],
    payers: &mut [Payer],
    length: Duration,
) -> Result<f64> {
    let asked: Vec<Node> = [0, 1, 3].map(|index| nodes[index].clone()).into();
    let interval = Duration::from_millis(1000 / PER_SECOND);
    let latencies = load::steady_load(&asked, payers, interval, length).await?;
    let samples = Samples::milliseconds(&latencies);
    let p99 = samples.percentile(99.0);
    println!(
        "  {what:18} {:>5} samples, p50 {:>5.0} ms, p95 {:>5.0} ms, p99 {p99:>5.0} ms, most {:>5.0} ms",
        samples.count(),
        samples.median(),
        samples.percentile(95.0),
        samples.range().1
    );
    Ok(p99)
}
