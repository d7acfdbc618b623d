//! The same questions to Knot DNS, serving the same zones: the two must agree.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    net::UdpSocket,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use domain::{
    base::{Message, MessageBuilder, Name, ParsedName, Rtype, rdata::ComposeRecordData as _},
    rdata::AllRecordData,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{Freshness, Transport, View, answer, fuzz};
use crate::names::zone::Zone;

/// Questions put to both.
const QUESTIONS: u16 = 2_000;

const TYPES: &[u16] = &[1, 2, 5, 6, 15, 16, 28, 33, 39, 43, 52, 65_280];

struct Knot {
    process: Child,
    socket: UdpSocket,
    _directory: tempfile::TempDir,
}

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Knot {
    fn serve(zone: &Zone) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        let port = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .unwrap()
            .port();
        let mut config = format!(
            "server:\n  listen: 127.0.0.1@{port}\n  rundir: {at}\n\
             log:\n  - target: stderr\n    any: warning\n\
             database:\n  storage: {at}/db\nzone:\n"
        );
        for apex in zone.apexes() {
            let name = apex.name();
            let mut text = String::new();
            for (owner, set) in apex.records() {
                for data in &set.data {
                    let mut octets = Vec::new();
                    data.compose_rdata(&mut octets).unwrap();
                    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
                    let (ttl, rtype) = (set.ttl.as_secs(), set.rtype.to_int());
                    let (owner, length) = (owner.fmt_with_dot(), octets.len());
                    writeln!(text, "{owner} {ttl} IN TYPE{rtype} \\# {length} {hex}").unwrap();
                }
            }
            std::fs::write(directory.path().join(format!("{name}.zone")), text).unwrap();
            write!(
                config,
                "  - domain: {name}\n    storage: {at}\n    file: {name}.zone\n    \
                 semantic-checks: off\n    zonefile-sync: -1\n"
            )
            .unwrap();
        }
        let path = directory.path().join("knot.conf");
        std::fs::write(&path, config).unwrap();
        let process = Command::new("knotd")
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("knotd cannot be run ({error}): run script/setup, which installs it")
            });
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        let knot = Self {
            process,
            socket,
            _directory: directory,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        let probe = question(u16::MAX, "internal", 6, Some(1232));
        let short = Some(Duration::from_millis(200));
        knot.socket.set_read_timeout(short).unwrap();
        while knot
            .try_ask(&probe)
            .is_none_or(|octets| octets[3] & 0x0f != 0)
        {
            assert!(Instant::now() < deadline, "knotd did not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        knot.socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        knot
    }

    fn try_ask(&self, query: &[u8]) -> Option<Vec<u8>> {
        self.socket.send(query).ok()?;
        let mut response = vec![0; 4096];
        loop {
            let length = self.socket.recv(&mut response).ok()?;
            // Late answers to earlier probes are passed over.
            if response[..2] == query[..2] {
                response.truncate(length);
                return Some(response);
            }
        }
    }
}

fn question(id: u16, name: &str, rtype: u16, edns: Option<u16>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    let name: Name<Vec<u8>> = Name::vec_from_str(name).unwrap();
    builder.push((name, Rtype::from_int(rtype))).unwrap();
    let mut builder = builder.additional();
    if let Some(size) = edns {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(size);
                Ok(())
            })
            .unwrap();
    }
    builder.finish()
}

/// What a response says, so that order and letters' case do not matter.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    rcode: u8,
    aa: bool,
    tc: bool,
    answer: BTreeSet<String>,
    authority: BTreeSet<String>,
    additional: BTreeSet<String>,
}

fn said(octets: &[u8]) -> Said {
    let message = Message::from_octets(octets).unwrap();
    let header = message.header();
    let lines = |section: domain::base::message::RecordSection<'_, &[u8]>| {
        section
            .map(Result::unwrap)
            .filter(|record| record.rtype() != Rtype::OPT)
            .map(|record| {
                let record = record
                    .to_any_record::<AllRecordData<_, ParsedName<_>>>()
                    .unwrap();
                let ttl = record.ttl().as_secs();
                let line = format!(
                    "{} {ttl} {} {}",
                    record.owner(),
                    record.rtype(),
                    record.data()
                );
                line.to_ascii_lowercase()
            })
            .collect()
    };
    Said {
        rcode: header.rcode().to_int(),
        aa: header.aa(),
        tc: header.tc(),
        answer: lines(message.answer().unwrap()),
        authority: lines(message.authority().unwrap()),
        additional: lines(message.additional().unwrap()),
    }
}

/// A name from what exists, or a little beside it.
fn some_name(random: &mut StdRng, known: &[String]) -> String {
    let labels = [
        "a", "host", "sub", "*", "beside", "_443", "_tcp", "mx", "under", "ring",
    ];
    let mut name = known.choose(random).unwrap().clone();
    match random.random_range(0..4) {
        0 => {}
        1 => name = format!("{}.{name}", labels.choose(random).unwrap()),
        2 => {
            let (one, two) = (
                labels.choose(random).unwrap(),
                labels.choose(random).unwrap(),
            );
            name = format!("{one}.{two}.{name}");
        }
        _ => {
            let parent = name.split_once('.').map_or(name.as_str(), |(_, rest)| rest);
            name = format!("{}.{parent}", labels.choose(random).unwrap());
        }
    }
    if random.random_bool(0.1) {
        name = name.to_ascii_uppercase();
    }
    name
}

#[test]
fn knot_answers_alike() {
    let zone = fuzz::zone();
    let known: Vec<String> = zone
        .apexes()
        .iter()
        .flat_map(|apex| apex.records())
        .map(|(owner, _)| owner.to_string())
        .chain(["example.org".to_owned()])
        .collect();
    let knot = Knot::serve(&zone);
    let seed = 0x5eed;
    let mut random = StdRng::seed_from_u64(seed);
    let mut differences = Vec::new();
    for id in 0..QUESTIONS {
        let name = some_name(&mut random, &known);
        let rtype = *TYPES.choose(&mut random).unwrap();
        let edns = [None, Some(512), Some(1232)]
            .choose(&mut random)
            .copied()
            .flatten();
        let query = question(id, &name, rtype, edns);
        let view = View {
            zone: Some(&zone),
            designation: None,
            freshness: Freshness::Fresh,
        };
        let ours = said(&answer(&query, Transport::Udp.into(), view).unwrap().octets);
        let theirs = said(&knot.try_ask(&query).expect("knotd answers"));
        if ours != theirs {
            differences.push(format!(
                "{name} TYPE{rtype} {edns:?}\n ours {ours:?}\n knot {theirs:?}"
            ));
        }
    }
    differences.sort();
    differences.dedup();
    assert!(
        differences.is_empty(),
        "seed {seed:#x}: {} differences\n{}",
        differences.len(),
        differences[..differences.len().min(12)].join("\n")
    );
}
