//! Ringfort beside its peers: what docs/performance.md quotes.
//!
//! Every comparison is made in one run on one machine, in alternating rounds,
//! and given as a ratio. A figure without its machine and versions is not
//! printed.

mod circle;
mod dns;
mod etcd;
mod ledger;
mod load;
mod machine;
mod payload;
mod run;
mod service;
mod statistics;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Benchmarks; see docs/performance.md.
#[derive(Parser)]
struct Arguments {
    /// The `ringfort` binary to measure.
    #[arg(long, global = true, default_value = "target/release/ringfort")]
    ringfort: PathBuf,
    /// The `wasmtime` binary to measure beside it.
    #[arg(long, global = true, default_value = "wasmtime")]
    wasmtime: PathBuf,
    /// The hello-world component.
    #[arg(long, global = true, default_value = "target/components/hello.wasm")]
    component: PathBuf,
    /// Alternating rounds.
    #[arg(long, global = true, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each round.
    #[arg(long, global = true, default_value_t = 5)]
    seconds: u64,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Finality, and transfers beside etcd's writes.
    Ledger,
    /// From `ringfort run` to the first answer, step by step.
    Run,
    /// A hello-world component beside `wasmtime serve`.
    Service,
    /// Payload encryption beside `openssl speed`.
    Payload,
    /// Authoritative answers over UDP beside Knot DNS, NSD and an echo.
    Dns {
        /// Names in the zone.
        #[arg(long, default_value_t = 100_000)]
        names: usize,
    },
    /// The name server that `dns` measures.
    #[command(hide = true)]
    DnsServer {
        /// Where to answer.
        address: SocketAddr,
        /// Names in the zone.
        #[arg(long)]
        names: usize,
        /// Whether names change meanwhile.
        #[arg(long)]
        changes: bool,
        /// Where to write the zone.
        #[arg(long)]
        file: PathBuf,
    },
    /// The echo that `dns` measures.
    #[command(hide = true)]
    DnsEcho {
        /// Where to answer.
        address: SocketAddr,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.what {
        What::DnsServer {
            address,
            names,
            changes,
            file,
        } => return dns::serve(*address, *names, *changes, file).await,
        What::DnsEcho { address } => match dns::echo(*address)? {},
        _ => {}
    }
    let wasmtime = arguments.wasmtime.to_string_lossy().into_owned();
    let ringfort = arguments.ringfort.to_string_lossy().into_owned();
    machine::print(&[
        (&ringfort, &["--version"]),
        ("etcd", &["--version"]),
        (&wasmtime, &["--version"]),
        ("openssl", &["version"]),
        ("knotd", &["--version"]),
        ("nsd", &["-v"]),
    ]);
    let round = Duration::from_secs(arguments.seconds);
    let rounds = arguments.rounds;
    match arguments.what {
        What::Ledger => {
            let lengths = ledger::Lengths {
                light: round * 6,
                round,
                rounds,
            };
            ledger::run(&arguments.ringfort, &lengths).await
        }
        What::Dns { names } => dns::run(names, rounds, round),
        What::DnsServer { .. } | What::DnsEcho { .. } => Ok(()),
        What::Run => run::run(&arguments.ringfort, &arguments.component, rounds),
        What::Service => {
            let (own, peer) = (&arguments.ringfort, &arguments.wasmtime);
            service::run(own, peer, &arguments.component, rounds, round).await
        }
        What::Payload => payload::run(rounds, arguments.seconds),
    }
}
