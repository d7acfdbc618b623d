//! How long from a change of a name to the answer that shows it, and what its
//! proof weighs and costs to verify, in a running circle.
//!
//! The owner's change goes to one validator; the name server that is asked
//! over UDP follows the ledger by proofs and serves what the zone signer has
//! signed. All of them share one machine.

use std::{
    net::UdpSocket,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use client::{Client, account::Account, names};
use wire::{Action, Digest, DomainName, NameSecure, NameSet, RecordSet, SigningKey, state_key};

use crate::{circle::Circle, dns, statistics::Samples};

/// The name that changes.
const NAME: &str = "bench.internal";

/// Changes in each round.
const CHANGES: u32 = 40;

/// The pause between two questions.
const POLL: Duration = Duration::from_millis(1);

/// How long a change may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// How long a change is to take at most, at p99.
const GOAL_SEEN_MS: f64 = 1_000.0;

/// What a proof is to weigh at most, octets, and to cost to verify.
const GOAL_BYTES: usize = 1_024;
const GOAL_VERIFIED_MS: f64 = 1.0;

/// Verifications that are timed in each round.
const VERIFICATIONS: u32 = 200;

const TYPE_A: u16 = 1;

/// Prints both.
///
/// Errors: the circle does not start; a change is refused or never seen.
pub async fn run(binary: &Path, rounds: usize) -> Result<()> {
    let circle = Circle::up(binary)?;
    circle.run(&["name", "register", NAME])?;
    let account = circle.owner()?;
    let name: DomainName = NAME.parse()?;
    let server = name_server(&circle)?;
    let (mut is_final, mut seen) = (Vec::new(), Vec::new());
    for turn in 0..CHANGES * rounds as u32 {
        let (final_after, seen_after) = change(&account, &name, &server, turn).await?;
        is_final.push(final_after);
        seen.push(seen_after);
    }
    println!("{} changes, one after the other", seen.len());
    print("final", &is_final);
    let p99 = print("answered over DNS", &seen);
    println!(
        "  goal p99 {GOAL_SEEN_MS} ms: {}",
        reached(p99 <= GOAL_SEEN_MS)
    );
    proof(&account, &name, rounds).await
}

fn reached(is_reached: bool) -> &'static str {
    if is_reached { "reached" } else { "missed" }
}

/// Prints one line; the 99th percentile, ms.
fn print(what: &str, took: &[Duration]) -> f64 {
    let samples = Samples::milliseconds(took);
    let p99 = samples.percentile(99.0);
    println!(
        "  {what:18} p50 {:>6.1} ms, p99 {p99:>6.1} ms, most {:>6.1} ms",
        samples.median(),
        samples.range().1
    );
    p99
}

/// The circle's own name server, over UDP.
fn name_server(circle: &Circle) -> Result<UdpSocket> {
    let config = std::fs::read_to_string(circle.state().join("names/names.toml"))?;
    let listen = config
        .lines()
        .find_map(|line| line.strip_prefix("listen = "));
    let listen = listen.context("names.toml says where it answers")?;
    let address = listen.trim_matches(['[', ']', '"']);
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(address).context(address.to_owned())?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    Ok(socket)
}

/// Gives the name another address; the time until that is final, and until it
/// is answered.
async fn change(
    account: &Account,
    name: &DomainName,
    server: &UdpSocket,
    turn: u32,
) -> Result<(Duration, Duration)> {
    let [_, high, mid, low] = turn.to_be_bytes();
    let address = [10, high, mid, low];
    let set = Action::NameSet(NameSet {
        name: name.clone(),
        records: vec![RecordSet {
            owner: None,
            rtype: TYPE_A,
            ttl: 1,
            data: vec![address.to_vec()],
        }],
    });
    let socket = server.try_clone()?;
    let begin = Instant::now();
    let watching = tokio::task::spawn_blocking(move || wait_until_seen(&socket, address, begin));
    account.send(vec![set]).await?;
    let is_final = begin.elapsed();
    Ok((is_final, watching.await??))
}

/// Asks until the answer has `address`.
fn wait_until_seen(server: &UdpSocket, address: [u8; 4], begin: Instant) -> Result<Duration> {
    let question = dns::query(NAME, false);
    let mut response = [0; 512];
    loop {
        ensure!(begin.elapsed() < SEEN_WITHIN, "the change is not seen");
        server.send(&question)?;
        // What does not arrive is asked again.
        let length = server.recv(&mut response).unwrap_or(0);
        let answer = &response[question.len().min(length)..length];
        if answer.windows(4).any(|octets| octets == address) {
            return Ok(begin.elapsed());
        }
        std::thread::sleep(POLL);
    }
}

/// What the proof of a name with an address, a server's key and its
/// certificate weighs and costs.
async fn proof(account: &Account, name: &DomainName, rounds: usize) -> Result<()> {
    let key = SigningKey::ed25519([9; 32]).public();
    let secure = NameSecure {
        name: name.clone(),
        owner: None,
        server: Some((key, Some(Digest([9; 32])))),
    };
    account.send(vec![Action::NameSecure(secure)]).await?;
    let client = account.client();
    let bytes = fetch(client, name).await?;
    let mut took = Vec::new();
    for _ in 0..VERIFICATIONS * rounds as u32 {
        let begin = Instant::now();
        let proven = names::verify_name(&bytes, client.circle_key())?;
        took.push(begin.elapsed());
        let record = proven.record.context("the name is registered")?;
        ensure!(record.keys.len() == 1, "the record has its server's key");
    }
    let samples = Samples::milliseconds(&took);
    let (median, p99) = (samples.median(), samples.percentile(99.0));
    println!("its proof, with address, server key and certificate");
    println!(
        "  {} octets in a circle that is this small: docs/spec/names.md §11 for larger ones; goal {GOAL_BYTES}: {}",
        bytes.len(),
        reached(bytes.len() <= GOAL_BYTES)
    );
    println!(
        "  verified in p50 {median:.2} ms, p99 {p99:.2} ms; goal {GOAL_VERIFIED_MS} ms: {}",
        reached(p99 <= GOAL_VERIFIED_MS)
    );
    Ok(())
}

async fn fetch(client: &Client, name: &DomainName) -> Result<Vec<u8>> {
    let path = format!("entries/{}?proof=true", hex::encode(state_key::name(name)));
    let shown = client.view(&path).await?;
    let text = shown["proof"].as_str().context("the node gives no proof")?;
    Ok(BASE64_STANDARD.decode(text)?)
}
