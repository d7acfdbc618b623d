//! Evidence and keys: quotes of each kind (`quotes.rs`); a label's key derived by 4
//! and by 7 keykeepers; shares handed on among 4, 16 and 50.
//!
//! Keykeepers, validators and who asks share one machine, so a derivation's time is
//! that of two blocks (request and answers) and of everybody's checks on it.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use attest::development::{QuotingCertificate, QuotingKey};
use client::{
    Client,
    account::Account,
    keyfile::{KeyKind, UnlockedKey},
};
use keyhost::Remote;
use threshold::{Board, Keeper, Phase, Post, Task, Verdict};
use wire::{
    Action, Change, CircleId, Digest, LabelName, Measurement, ProposalId, Propose, SigningKey,
    Vote, record::KeyCommittee, state_key,
};

use crate::{circle::Circle, quotes, statistics::Samples};

/// Requests under way at once, where throughput is measured.
const AT_ONCE: usize = 8;

/// How long shares may take to be handed on.
const HANDED_ON_WITHIN: Duration = Duration::from_secs(120);

/// A part of the benchmark.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Quotes of each kind beside the libraries.
    Quotes,
    /// A resharing's cryptography, in memory.
    Resharing,
    /// Keys of labels, and resharings, in circles of 4 and of 7 keykeepers.
    Circles,
}

/// Runs the benchmark, with circles of `binary`; `only` one part, if it is given.
///
/// Errors: a quote does not verify; a circle does not start; a key is not derived.
pub async fn run(
    binary: &Path,
    only: Option<Part>,
    committees: &[usize],
    rounds: usize,
    round: Duration,
) -> Result<()> {
    let wanted = |part| only.is_none_or(|only| only == part);
    if wanted(Part::Quotes) {
        quotes::run(rounds, round)?;
    }
    if wanted(Part::Resharing) {
        for keykeepers in committees {
            resharing(*keykeepers)?;
        }
    }
    if wanted(Part::Circles) {
        for keykeepers in [4, 7] {
            keys(binary, keykeepers, rounds, round).await?;
        }
    }
    Ok(())
}

/// Hands the shares of so many keykeepers on to the same ones, on one core and without
/// a ledger: what the cryptography costs a keykeeper, and the ledger that judges.
fn resharing(count: usize) -> Result<()> {
    let seed = |index: usize| Digest::of(&[&index.to_le_bytes()]).0;
    let mut keepers: Vec<Keeper> = (0..count).map(|index| Keeper::new(seed(index))).collect();
    let invited: Vec<_> = keepers.iter().map(Keeper::key).collect();
    let mut previous = None;
    // The first makes the key; the second is the one that is measured.
    for number in 1..=2 {
        let task = Task::first(CircleId([1; 32]), number, previous.take(), invited.clone());
        let mut board = Board::new(task)?;
        let (mut own, mut judged) = (Duration::ZERO, Duration::ZERO);
        while board.phase() != Phase::Closed {
            for (index, keeper) in keepers.iter_mut().enumerate() {
                let started = Instant::now();
                let post = keeper.act(&board, seed(index + count))?;
                own += started.elapsed();
                let started = Instant::now();
                match post.context("each has something to post")? {
                    Post::Join(join) => board.join(keeper.key(), join)?,
                    Post::Deal(dealing) => board.deal(keeper.key(), dealing)?,
                    Post::Answer(answer) => board.answer(keeper.key(), answer)?,
                }
                judged += started.elapsed();
            }
            board.close_phase();
        }
        let started = Instant::now();
        let verdict = board.verdict();
        judged += started.elapsed();
        let Some(Verdict::Done(conclusion)) = verdict else {
            anyhow::bail!("a round of honest keykeepers failed");
        };
        for keeper in &mut keepers {
            let started = Instant::now();
            keeper.settle(&board)?;
            own += started.elapsed();
        }
        previous = Some(conclusion.committee);
        if number == 2 {
            println!(
                "{count} keykeepers, resharing: {:.2} s of work for each, {:.2} s for the ledger, on one core",
                own.as_secs_f64() / count as f64,
                judged.as_secs_f64()
            );
        }
    }
    Ok(())
}

/// A circle with its user, who asks.
struct Place {
    circle: Circle,
    client: Client,
    remote: Remote,
    label: LabelName,
    quoting: Arc<QuotingKey>,
    code: Measurement,
}

impl Place {
    async fn new(binary: &Path, keykeepers: u16) -> Result<Self> {
        let started = Instant::now();
        let circle = Circle::up_with(binary, &["--keykeepers", &keykeepers.to_string()])?;
        println!(
            "{keykeepers} keykeepers: up, with a first key, after {:.1} s",
            started.elapsed().as_secs_f64()
        );
        circle.run(&["key", "grant", "bench"])?;
        let client = circle.client()?;
        let key = Arc::new(circle.user_key()?);
        let label = LabelName {
            owner: key.account(),
            service: "bench".to_owned(),
            version: 1,
        };
        let account = Account::new(client.clone(), key, None);
        let rules = client.rules().await?;
        let code = rules.reference_values.first().context("admitted code")?;
        Ok(Self {
            remote: Remote::new(account),
            label,
            quoting: Arc::new(quoting_key(&circle.state().join("providers/0"))?),
            code: code.measurement,
            client,
            circle,
        })
    }

    async fn derive(&self) -> Result<Duration> {
        let started = Instant::now();
        let evidence = |report_data| Ok(self.quoting.quote(self.code, report_data, [5; 32]));
        keykeeper::derive(&self.remote, &self.label, None, evidence).await?;
        Ok(started.elapsed())
    }

    async fn committee(&self) -> Result<KeyCommittee> {
        let read = self.client.proven(state_key::key_committee()).await?;
        read.0.context("keykeepers in office")
    }

    /// Has three validators vote for the same keykeepers once more; until new shares
    /// are in office.
    async fn hand_on(&self) -> Result<Duration> {
        let before = self.committee().await?;
        let founders = (0..3)
            .map(|index| self.founder(index))
            .collect::<Result<Vec<_>>>()?;
        let started = Instant::now();
        let change = Change::SetKeykeepers {
            keepers: before.keepers.clone(),
            window: 1000,
        };
        let propose = Action::Propose(Propose { change });
        let sent = founders[0].send(vec![propose]).await?;
        let proposal = ProposalId::made_by(sent.transaction, 0);
        for founder in &founders[1..] {
            let vote = Vote {
                proposal,
                approve: true,
            };
            founder.send(vec![Action::Vote(vote)]).await?;
        }
        while self.committee().await?.round == before.round {
            ensure!(started.elapsed() < HANDED_ON_WITHIN, "no resharing");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(started.elapsed())
    }

    fn founder(&self, index: usize) -> Result<Account> {
        let path = format!("nodes/{index}/identity.seed");
        let text = fs::read_to_string(self.circle.state().join(path))?;
        let seed: [u8; 32] = hex::decode(text.trim())?
            .try_into()
            .ok()
            .context("a seed of 32 bytes")?;
        let key = UnlockedKey::from_seed("founder", KeyKind::Ed25519, seed.into())
            .context("a founder's key")?;
        Ok(Account::new(self.client.clone(), Arc::new(key), None))
    }
}

fn quoting_key(directory: &Path) -> Result<QuotingKey> {
    let read = |name: &str| -> Result<Vec<u8>> {
        let text = fs::read_to_string(directory.join(name))?;
        Ok(hex::decode(text.trim())?)
    };
    let seed: [u8; 32] = read("quoting.seed")?
        .try_into()
        .ok()
        .context("a seed of 32 bytes")?;
    let certificate = QuotingCertificate::decode(&read("quoting.certificate")?)?;
    Ok(QuotingKey::new(SigningKey::ed25519(seed), certificate)?)
}

async fn keys(binary: &Path, keykeepers: u16, rounds: usize, round: Duration) -> Result<()> {
    let place = Arc::new(Place::new(binary, keykeepers).await?);
    let mut alone = Vec::new();
    let length = round * u32::try_from(rounds)?;
    let started = Instant::now();
    while started.elapsed() < length {
        alone.push(place.derive().await?);
    }
    let alone = Samples::milliseconds(&alone);
    println!(
        "{keykeepers} keykeepers: a key after {:.0} ms (p50), {:.0} ms (p99), of {} one after the other",
        alone.percentile(50.0),
        alone.percentile(99.0),
        alone.count()
    );
    let started = Instant::now();
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let place = place.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while started.elapsed() < length {
                    times.push(place.derive().await?);
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await??);
    }
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    let times = Samples::milliseconds(&times);
    println!(
        "{keykeepers} keykeepers: {rate:.1} keys/s with {AT_ONCE} asked for at once; \
         {:.0} ms (p50), {:.0} ms (p99)",
        times.percentile(50.0),
        times.percentile(99.0)
    );
    let mut handed_on = Vec::new();
    for _ in 0..rounds {
        handed_on.push(place.hand_on().await?);
    }
    let handed_on = Samples::milliseconds(&handed_on);
    let (low, high) = handed_on.range();
    println!(
        "{keykeepers} keykeepers: shares handed on in {:.1} s, the vote included ({:.1} to {:.1})",
        handed_on.median() / 1e3,
        low / 1e3,
        high / 1e3
    );
    Ok(())
}
