//! What the fronts count, and how it is told in Prometheus' text form.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::base::iana::OptRcode;

use crate::names::answer::Transport;

/// Outcomes that are counted one by one; the last counts all others.
pub(in crate::names) const COUNTED_RCODES: usize = 24;

/// What a front's worker counts. Each has one of its own, so that counting
/// contends for no cache line.
#[derive(Debug)]
#[repr(align(128))]
pub(in crate::names) struct Counters {
    transport: Transport,
    /// Responses by outcome.
    rcodes: [AtomicU64; COUNTED_RCODES],
    /// What arrived and was no query.
    pub ignored: AtomicU64,
    /// Responses that the rate limit kept back.
    pub dropped: AtomicU64,
    /// Responses that the rate limit replaced by how to come back.
    pub slipped: AtomicU64,
    /// Queries whose cookie proved the client's address.
    pub proved: AtomicU64,
    /// Connections opened.
    pub connections: AtomicU64,
    /// Connections turned away for want of room.
    pub refused: AtomicU64,
}

impl Counters {
    pub fn new(transport: Transport) -> Arc<Self> {
        Arc::new(Self {
            transport,
            rcodes: [const { AtomicU64::new(0) }; COUNTED_RCODES],
            ignored: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            slipped: AtomicU64::new(0),
            proved: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    pub fn count(&self, rcode: u16) {
        let at = usize::from(rcode).min(COUNTED_RCODES - 1);
        add(&self.rcodes[at]);
    }

    /// Counts many responses of one outcome.
    pub fn count_many(&self, rcode: u16, responses: u64) {
        let at = usize::from(rcode).min(COUNTED_RCODES - 1);
        self.rcodes[at].fetch_add(responses, Ordering::Relaxed);
    }

    /// Adds each outcome's count to `sums`, which is indexed by outcome.
    pub fn add_to(&self, sums: &mut [u64; COUNTED_RCODES]) {
        for (sum, count) in sums.iter_mut().zip(&self.rcodes) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
}

/// Counts one.
pub(in crate::names) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// An outcome's name, as dig writes it.
pub(in crate::names) fn rcode_name(rcode: u16) -> String {
    OptRcode::masked_from_int(rcode).to_string()
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Https => "https",
        Transport::Quic => "quic",
    }
}

const TRANSPORTS: [Transport; 5] = [
    Transport::Udp,
    Transport::Tcp,
    Transport::Tls,
    Transport::Https,
    Transport::Quic,
];

type Reader = fn(&Counters) -> &AtomicU64;

/// Counters beside the outcomes: name, help and where they are.
const PLAIN: [(&str, &str, Reader); 6] = [
    ("ignored", "What arrived and was no query.", |all| {
        &all.ignored
    }),
    (
        "rate_limited_dropped",
        "Responses that the rate limit kept back.",
        |all| &all.dropped,
    ),
    (
        "rate_limited_slipped",
        "Responses that the rate limit replaced by how to come back.",
        |all| &all.slipped,
    ),
    (
        "cookies_valid",
        "Queries whose cookie proved the client's address.",
        |all| &all.proved,
    ),
    ("connections", "Connections opened.", |all| &all.connections),
    (
        "connections_refused",
        "Connections turned away for want of room.",
        |all| &all.refused,
    ),
];

/// All counters in Prometheus' text form, summed for each transport.
pub(in crate::names) fn exposition(all: &[Arc<Counters>]) -> String {
    let mut text = String::new();
    header(
        &mut text,
        "responses",
        "Responses by transport and outcome.",
    );
    for transport in TRANSPORTS {
        let mut sums = [0; COUNTED_RCODES];
        for counters in of(all, transport) {
            counters.add_to(&mut sums);
        }
        for (rcode, count) in (0..).zip(sums).filter(|(_, count)| *count > 0) {
            let (transport, rcode) = (transport_name(transport), rcode_name(rcode));
            let _ = writeln!(
                text,
                "ringfort_names_responses_total{{transport=\"{transport}\",rcode=\"{rcode}\"}} {count}"
            );
        }
    }
    for (name, help, read) in PLAIN {
        header(&mut text, name, help);
        for transport in TRANSPORTS {
            if of(all, transport).next().is_none() {
                continue;
            }
            let sum: u64 = of(all, transport)
                .map(|counters| read(counters).load(Ordering::Relaxed))
                .sum();
            let transport = transport_name(transport);
            let _ = writeln!(
                text,
                "ringfort_names_{name}_total{{transport=\"{transport}\"}} {sum}"
            );
        }
    }
    text
}

fn header(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP ringfort_names_{name}_total {help}");
    let _ = writeln!(text, "# TYPE ringfort_names_{name}_total counter");
}

fn of(all: &[Arc<Counters>], transport: Transport) -> impl Iterator<Item = &Arc<Counters>> {
    all.iter()
        .filter(move |counters| counters.transport == transport)
}
