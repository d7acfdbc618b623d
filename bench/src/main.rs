//! Ringfort beside its peers: what docs/performance.md quotes.
//!
//! Every comparison is made in one run on one machine, in alternating rounds,
//! and given as a ratio. A figure without its machine and versions is not
//! printed.

mod acme;
mod circle;
mod dns;
mod etcd;
mod faults;
mod host;
mod ledger;
mod load;
mod machine;
mod names;
mod payload;
mod postgres;
mod quotes;
mod run;
mod service;
mod state;
mod statistics;
mod trust;

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
    /// Finality, and transfers beside etcd's and PostgreSQL's writes.
    Ledger,
    /// Finality while one validator of four is stopped.
    Faults,
    /// From `ringfort run` to the first answer, step by step.
    Run,
    /// A hello-world component beside `wasmtime serve`.
    Service,
    /// A new node: executing every block beside going forward to a checkpoint.
    State {
        /// Names in the state.
        #[arg(long, default_value_t = 100_000)]
        names: u64,
    },
    /// The new node of `state`.
    #[command(hide = true)]
    StateNode {
        /// How it gets the state.
        how: state::How,
        /// What there is to get, and where the node's store goes.
        folder: PathBuf,
    },
    /// Payload encryption beside `openssl speed`.
    Payload,
    /// Evidence verified, keys of labels derived, shares handed on.
    Trust {
        /// One part alone.
        #[arg(long, value_enum)]
        only: Option<trust::Part>,
        /// Among how many keykeepers shares are handed on in memory.
        #[arg(long, value_delimiter = ',', default_value = "4,16,50")]
        committees: Vec<usize>,
    },
    /// A host's measurement list beside Keylime.
    Host {
        /// An interpreter that has Keylime; left out if not given.
        #[arg(long)]
        python: Option<String>,
    },
    /// Certificates by ACME beside Pebble.
    Acme,
    /// From a name's change to the answer that shows it; what its proof costs.
    Names,
    /// Authoritative DNS over UDP beside Knot DNS, NSD and a bare echo.
    Dns {
        /// Names in the zone.
        #[arg(long, default_value_t = 100_000)]
        names: u32,
    },
    /// Authoritative DNS over TLS and HTTPS beside NSD and dnsdist.
    Encrypted {
        /// Names in the zone.
        #[arg(long, default_value_t = 20_000)]
        names: u32,
    },
    /// The zone signer of `dns`.
    #[command(hide = true)]
    DnsSigner(dns::Arguments),
    /// The name server of `dns`.
    #[command(hide = true)]
    DnsServer(dns::Arguments),
    /// The echo of `dns`.
    #[command(hide = true)]
    DnsEcho {
        /// Where it answers.
        address: SocketAddr,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.what {
        What::DnsSigner(arguments) => return dns::sign(arguments).await,
        What::DnsServer(arguments) => return dns::serve(arguments).await,
        What::DnsEcho { address } => match dns::echo(*address)? {},
        _ => {}
    }
    if let What::StateNode { how, folder } = &arguments.what {
        return state::take(*how, folder).await;
    }
    let wasmtime = arguments.wasmtime.to_string_lossy().into_owned();
    let ringfort = arguments.ringfort.to_string_lossy().into_owned();
    machine::print(&[
        (&ringfort, &["--version"]),
        ("etcd", &["--version"]),
        ("dpkg-query", &["--show", "postgresql"]),
        (&wasmtime, &["--version"]),
        ("openssl", &["version"]),
        ("knotd", &["--version"]),
        ("nsd", &["-v"]),
        ("dnsdist", &["--version"]),
        ("dpkg-query", &["--show", "dnsperf"]),
        ("h2load", &["--version"]),
        ("dpkg-query", &["--show", "pebble"]), // it does not say its own
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
        What::Faults => faults::run(&arguments.ringfort, round * 6).await,
        What::Run => run::run(&arguments.ringfort, &arguments.component, rounds),
        What::Service => {
            let (own, peer) = (&arguments.ringfort, &arguments.wasmtime);
            service::run(own, peer, &arguments.component, rounds, round).await
        }
        What::State { names } => state::run(names),
        What::Payload => payload::run(rounds, arguments.seconds),
        What::Trust { only, committees } => {
            trust::run(&arguments.ringfort, only, &committees, rounds, round).await
        }
        What::Host { python } => host::run(python.as_deref(), rounds, arguments.seconds),
        What::Acme => acme::run(&arguments.ringfort, rounds).await,
        What::Names => names::run(&arguments.ringfort, rounds).await,
        What::Dns { names } => dns::run(names, rounds, round),
        What::Encrypted { names } => dns::run_encrypted(names, rounds, round),
        What::DnsSigner(_) | What::DnsServer(_) | What::DnsEcho { .. } | What::StateNode { .. } => {
            Ok(())
        }
    }
}
