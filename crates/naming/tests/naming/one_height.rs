//! Every answer is from one committed height, whatever changes meanwhile.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::{A, AllRecordData};
use naming::names::{
    FrontSettings, Fronts, Published, RateLimit, Tolerance, Zone, ZoneSettings, now_ms,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use wire::{Height, record};

use crate::values::{endpoint, name, name_of};

const NAMES: u32 = 100_000;

/// Images after the first, in each of which every name is another.
const CHANGES: u8 = 2;

/// Clients that ask meanwhile.
const CLIENTS: u64 = 3;

fn text(index: u32) -> String {
    format!("host{index}.internal")
}

/// A name with three replicas, all of one generation, which the second octet
/// of their addresses tells.
fn registered(index: u32, generation: u8) -> record::Name {
    let [_, _, high, low] = index.to_be_bytes();
    let addresses: Vec<String> = (1..=3)
        .map(|replica| format!("10.{generation}.{}.{}", high ^ replica, low))
        .collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    record::Name {
        endpoints: vec![endpoint(1, &addresses, 443, generation)],
        ..name(&text(index))
    }
}

fn image(before: &Zone, generation: u8) -> Zone {
    let names: Vec<record::Name> = (0..NAMES)
        .map(|index| registered(index, generation))
        .collect();
    let changes = names.iter().map(|name| (&name.name, Some(name)));
    before.next(Height(generation.into()), now_ms(), changes)
}

/// Generations that the records of a response are of: addresses', and the
/// SOA's serial.
fn generations(response: &[u8]) -> Vec<u64> {
    let message = Message::from_octets(response).unwrap();
    let sections = [message.answer().unwrap(), message.authority().unwrap()];
    let records = sections.into_iter().flatten().map(Result::unwrap);
    let generation = |record: domain::base::ParsedRecord<'_, &[u8]>| {
        let record = record.to_any_record::<AllRecordData<_, domain::base::ParsedName<_>>>();
        match record.unwrap().data() {
            AllRecordData::A(address) => u64::from(A::addr(address).octets()[1]),
            AllRecordData::Soa(soa) => u64::from(soa.serial().into_int()),
            other => panic!("nobody asked for {other}"),
        }
    };
    records.map(generation).collect()
}

fn query(id: u16, name: &str, rtype: Rtype) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    let mut question = builder.question();
    let name: Name<Vec<u8>> = Name::vec_from_str(name).unwrap();
    question.push((name, rtype)).unwrap();
    question.finish()
}

/// Asks until `ended`; counts the answers. They never go back in time.
fn ask(server: SocketAddr, seed: u64, ended: &AtomicBool, answered: &AtomicU64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    let patience = Duration::from_secs(30);
    socket.set_read_timeout(Some(patience)).unwrap();
    let (mut newest, mut response) = (0, [0; 2048]);
    while !ended.load(Ordering::Relaxed) {
        let index = rng.random_range(0..NAMES);
        let (name, rtype, records) = match rng.random_range(0..4) {
            0 => (format!("x{}", text(index)), Rtype::A, 1),
            1 => (text(index), Rtype::AAAA, 1),
            _ => (text(index), Rtype::A, 3),
        };
        socket.send(&query(rng.random(), &name, rtype)).unwrap();
        let length = socket.recv(&mut response).unwrap();
        let found = generations(&response[..length]);
        assert_eq!(found.len(), records, "{name} {rtype}");
        let first = found[0];
        assert!(found.iter().all(|one| *one == first), "{name}: {found:?}");
        assert!(first >= newest, "{name}: {first} after {newest}");
        newest = first;
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

// docs/spec/dns.md §1.1
#[tokio::test(flavor = "multi_thread")]
async fn while_100_000_names_change_every_answer_is_from_one_height() {
    let published = Arc::new(Published::new(Tolerance {
        stale_after_ms: u64::MAX,
        expire_after_ms: u64::MAX,
    }));
    let mut zone = image(
        &Zone::new(&[name_of("internal")], ZoneSettings::default()),
        1,
    );
    published.publish(&mut zone);
    let settings = FrontSettings {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        workers: std::num::NonZeroUsize::new(1),
        rate_limit: RateLimit::default(),
        ..FrontSettings::default()
    };
    let fronts = Fronts::start(&settings, &published).await.unwrap();
    let server = fronts.addresses().next().unwrap();
    let (ended, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (ended, answered) = (Arc::clone(&ended), Arc::clone(&answered));
            std::thread::spawn(move || ask(server, seed ^ client, &ended, &answered))
        })
        .collect();
    for generation in 2..=1 + CHANGES {
        let before = answered.load(Ordering::Relaxed);
        zone = image(&zone, generation);
        published.publish(&mut zone);
        // Answers go on while all names change, and after.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while answered.load(Ordering::Relaxed) < before + 1000 {
            assert!(std::time::Instant::now() < deadline, "no answers");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    ended.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no client saw two heights");
    }
}
