//! The providers' configuration files: two small machines in two regions.

use anyhow::Context as _;
use client::Url;
use provider::{DevelopmentConfig, Limits, OfferConfig, PayloadAccess, ProviderConfig};
use wire::{Amount, EvidenceKind, PayloadKind, Resources};

use crate::{
    founding,
    ports::Ports,
    state_directory::{CircleFile, Embedded, StateDirectory, write_toml},
};

/// What each provider offers in all: more than a development machine has, since
/// payloads there are small and seldom busy at once.
const CAPACITY: Resources = Resources {
    cpu_milli: 8000,
    memory_mib: 8192,
    storage_mib: 16_384,
};

/// The most that one replica may ask for.
const REPLICA_LIMIT: Resources = Resources {
    cpu_milli: 4000,
    memory_mib: 4096,
    storage_mib: 4096,
};

/// Replicas at the same time: each is a process with its own compiled program.
const CONCURRENCY: u16 = 16;

/// Price of a block; each provider asks one more than the one before it, so
/// that matching by price can be seen.
const FIRST_PRICE: u64 = 10;

/// A month of blocks at the idle pace.
const MAX_DURATION: u64 = 10_000_000;

/// Where the providers stand, in turn.
const LOCATIONS: [&str; 2] = ["eu/de/fra1", "eu/fi/hel1"];

/// Seconds for which connections may run out: `down` waits for them.
const DRAIN_SECONDS: u64 = 2;

/// Blocks for which an offer stands before it is renewed.
const STANDING: u64 = 20_000;

/// Writes the configuration of every provider.
///
/// Errors: a node's URL is malformed; a file cannot be written.
pub fn write(
    state: &StateDirectory,
    file: &CircleFile,
    embedded: &Embedded,
    ports: Ports,
) -> anyhow::Result<()> {
    for index in 0..embedded.providers {
        let config = configuration(state, file, embedded, ports, index)?;
        write_toml(&state.provider(index).join("provider.toml"), &config)?;
    }
    Ok(())
}

fn configuration(
    state: &StateDirectory,
    file: &CircleFile,
    embedded: &Embedded,
    ports: Ports,
    index: u16,
) -> anyhow::Result<ProviderConfig> {
    let directory = state.provider(index);
    let key_file = directory.join(founding::ACCOUNT_KEY);
    let parse = |url: &String| Url::parse(url).with_context(|| format!("parse {url}"));
    Ok(ProviderConfig {
        circle: file.circle,
        circle_key: file.circle_key,
        nodes: file.nodes.iter().map(parse).collect::<Result<_, _>>()?,
        passphrase_file: founding::keys::passphrase_file(&key_file),
        key_file,
        data_dir: directory.join("data"),
        enclave_binary: (!embedded.guest).then(|| state.enclave()),
        guest: embedded
            .guest
            .then(|| founding::enclave::guest(&state.guest())),
        service_listen: ports.service(index),
        control_listen: ports.control(index),
        hardware: None,
        development: Some(DevelopmentConfig {
            quoting_key: directory.join("quoting.seed"),
            quoting_certificate: directory.join("quoting.certificate"),
            enclave_diagnostics: false,
        }),
        payloads: PayloadAccess {
            // The stores of this circle are directories of this machine.
            file_roots: state.mirrors().to_vec(),
            private_addresses: true,
        },
        offer: offer(index, embedded.guest),
        limits: Limits {
            drain_seconds: DRAIN_SECONDS,
            ..Limits::default()
        },
    })
}

fn offer(index: u16, guest: bool) -> OfferConfig {
    let location = LOCATIONS[usize::from(index) % LOCATIONS.len()];
    OfferConfig {
        capacity: CAPACITY,
        replica_limit: if guest {
            founding::enclave::GUEST_REPLICA_LIMIT
        } else {
            REPLICA_LIMIT
        },
        concurrency: CONCURRENCY,
        min_price: Amount(FIRST_PRICE + u64::from(index)),
        min_duration: 1,
        max_duration: MAX_DURATION,
        location: location.to_owned(),
        evidence: vec![EvidenceKind::Development],
        payload_kinds: vec![PayloadKind::Service, PayloadKind::Job],
        technologies: vec!["wasmtime".to_owned()],
        addresses: Vec::new(),
        port: None,
        control: None,
        standing: STANDING,
    }
}
