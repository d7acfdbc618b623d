//! `testkit`: simulations of the production node, by seed.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Instant,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use testkit::{Scenario, Violation, mutations, mutations::Known};

/// Simulates the production node under faults and judges what comes out
/// (docs/spec/simulation.md).
#[derive(Parser)]
struct Arguments {
    /// What the nodes should log, as in `warn,engine=info`.
    #[arg(long, global = true)]
    log: Option<String>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs seeds, one after the other on each core; ends with 1 if one fails.
    Simulate {
        /// How many.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Only this scenario: chaos, power, partition, outage, members or
        /// absence; each seed has its own otherwise.
        #[arg(long)]
        scenario: Option<String>,
        /// Seeds at a time; as many as there are cores if not given.
        #[arg(long)]
        jobs: Option<usize>,
    },
    /// Breaks the node on purpose and shows which judge finds it.
    Mutations {
        /// Looks for other seeds than the known ones, among so many.
        #[arg(long)]
        search: Option<u64>,
        /// Only this one: skip-lock, accept-stale-share or drop-flush.
        #[arg(long)]
        only: Option<String>,
    },
    /// Validators in eight places of the world: finality and throughput by their
    /// number, in simulated time.
    Scale {
        /// How many validators, one run for each.
        #[arg(long, value_delimiter = ',', default_values_t = [4, 16, 50, 100])]
        validators: Vec<usize>,
        /// Transfers that clients offer in a second.
        #[arg(long, default_value_t = 160)]
        offered: u64,
        /// Where to write the picture.
        #[arg(long)]
        picture: Option<std::path::PathBuf>,
    },
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match &arguments.log {
        Some(filter) => {
            let filter = tracing_subscriber::EnvFilter::try_new(filter)?;
            tracing_subscriber::fmt().with_env_filter(filter).init();
        }
        // A panic of a simulated node is a finding, told as such.
        None => std::panic::set_hook(Box::new(|_| {})),
    }
    let passed = match arguments.what {
        What::Simulate {
            seeds,
            from,
            scenario,
            jobs,
        } => {
            let scenario = scenario
                .map(|name| Scenario::named(&name).with_context(|| format!("no scenario {name}")))
                .transpose()?;
            let jobs = jobs.or(std::thread::available_parallelism().ok().map(usize::from));
            simulate(from, seeds, scenario, jobs.unwrap_or(1))
        }
        What::Mutations { search, only } => {
            let known: Vec<Known> = match only {
                None => mutations::KNOWN.to_vec(),
                Some(name) => vec![Known::named(&name).context("no such mutation")?],
            };
            match search {
                None => show_mutations(&known),
                Some(seeds) => search_mutations(&known, seeds),
            }
        }
        What::Scale {
            validators,
            offered,
            picture,
        } => scale(&validators, offered, picture.as_deref())?,
    };
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs seeds side by side and prints each; whether all passed.
fn simulate(from: u64, seeds: u64, scenario: Option<Scenario>, jobs: usize) -> bool {
    let began = Instant::now();
    let next = AtomicU64::new(from);
    let end = from.saturating_add(seeds);
    let failed = AtomicUsize::new(0);
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let scenario = scenario.unwrap_or_else(|| Scenario::of(seed));
            if !one(seed, scenario) {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(worker);
        }
    });
    let failed = failed.into_inner();
    let seconds = began.elapsed().as_secs_f64();
    println!("{seeds} seeds, {failed} failed, {seconds:.0} s");
    failed == 0
}

fn one(seed: u64, scenario: Scenario) -> bool {
    let began = Instant::now();
    let name = scenario.name();
    match scenario.run(seed, None) {
        Ok(report) => {
            println!(
                "seed {seed} {name}: height {}, {} acknowledged, {} reads ({} stale), \
                 {} power losses, {:.1} s of {:.1}",
                report.height,
                report.applied,
                report.reads.0,
                report.reads.1,
                report.power_losses,
                began.elapsed().as_secs_f64(),
                report.simulated_ms as f64 / 1_000.0,
            );
            true
        }
        Err(Violation { checker, what }) => {
            println!("seed {seed} {name}: FAILED, {checker:?}: {what}");
            println!(
                "  again: cargo run -p testkit -- --log warn simulate \
                 --scenario {name} --from {seed} --seeds 1"
            );
            false
        }
    }
}

fn show_mutations(all_known: &[Known]) -> bool {
    let mut all = true;
    for known in all_known {
        let shown = known.show(known.seed);
        println!("{}: {}", known.name, known.what);
        println!("  scenario {}, seed {}", known.scenario.name(), known.seed);
        let is_found = match &shown.broken {
            Err(violation) => {
                println!("  broken: found by {violation}");
                violation.checker == known.checker
            }
            Ok(_) => {
                println!("  broken: NOT FOUND");
                false
            }
        };
        match &shown.sound {
            Ok(report) => println!("  sound:  passes, height {}", report.height),
            Err(violation) => println!("  sound:  FAILED, {violation}"),
        }
        all &= is_found && shown.sound.is_ok();
    }
    all
}

/// Measures each number of validators and writes a picture; whether all kept
/// their promises.
fn scale(validators: &[usize], offered: u64, picture: Option<&std::path::Path>) -> Result<bool> {
    let mut all = Vec::new();
    println!(
        "validators  offered/s  final/s  blocks/s  block ms p50/p99  transfer ms p50/p99  took"
    );
    for &count in validators {
        let began = Instant::now();
        let one = match testkit::scale::measure(count, offered) {
            Ok(one) => one,
            Err(violation) => {
                println!("{count:10}  FAILED, {violation}");
                return Ok(false);
            }
        };
        println!(
            "{:10}  {:9}  {:7.0}  {:8.1}  {:8}/{:<7}  {:11}/{:<7}  {:.0} s",
            one.validators,
            one.offered,
            one.final_per_second,
            one.blocks_per_second,
            one.block_ms.0,
            one.block_ms.1,
            one.transfer_ms.0,
            one.transfer_ms.1,
            began.elapsed().as_secs_f64(),
        );
        all.push(one);
        // After each number, since the next may take an hour.
        if let Some(path) = picture {
            std::fs::write(path, testkit::scale::picture(&all))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(true)
}

fn search_mutations(all_known: &[Known], seeds: u64) -> bool {
    for known in all_known {
        for seed in 0..seeds {
            let found = known.scenario.run(seed, Some(known.mutation));
            let text = match found {
                Ok(_) => "not found".to_owned(),
                Err(violation) => violation.to_string(),
            };
            println!("{}, {} {seed}: {text}", known.name, known.scenario.name());
        }
    }
    true
}
