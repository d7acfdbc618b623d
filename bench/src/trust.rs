//! Evidence and keys: quotes of each kind verified on one core; a label's key
//! derived by 4 and by 7 keykeepers; shares handed on.
//!
//! Keykeepers, validators and who asks share one machine, so a derivation's time is
//! that of two blocks (request and answers) and of everybody's checks on it.

use std::{
    fs,
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use attest::{
    Moment, Roots,
    dcap::{self, Collateral},
    development::{QuotingCertificate, QuotingKey},
    snp,
};
use client::{
    Client, SecretString, Url,
    account::Account,
    keyfile::{self, KeyKind, UnlockedKey},
};
use keyhost::Remote;
use serde_json::Value;
use wire::{
    Action, Change, Evidence, Height, LabelName, Measurement, ProposalId, Propose, SigningKey,
    Vote, record::KeyCommittee, state_key,
};

use crate::{circle::Circle, statistics::Samples};

/// Requests under way at once, where throughput is measured.
const AT_ONCE: usize = 8;

/// How long shares may take to be handed on.
const HANDED_ON_WITHIN: Duration = Duration::from_secs(120);

/// Runs the benchmark with circles of `binary`.
///
/// Errors: a circle does not start; a key is not derived.
pub async fn run(binary: &Path, rounds: usize, round: Duration) -> Result<()> {
    quotes(rounds, round)?;
    for keykeepers in [4, 7] {
        keys(binary, keykeepers, rounds, round).await?;
    }
    Ok(())
}

/// A captured quote, and a moment at which it held, Unix milliseconds.
struct Captured {
    name: &'static str,
    evidence: Evidence,
    time_ms: u64,
}

fn captured() -> Result<Vec<Captured>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/attest/tests/data");
    let read = |name: &str| fs::read(data.join(name)).with_context(|| name.to_owned());
    let intel = |name: &str| -> Result<Evidence> {
        let collateral = read(&format!("intel/{name}_collateral.json"))?;
        let collateral = Collateral::from_json(&collateral)?;
        Ok(dcap::pack(&read(&format!("intel/{name}"))?, collateral)?)
    };
    let text = String::from_utf8(read("amd/report_milan.hex")?)?;
    let report = hex::decode(text.split_whitespace().collect::<String>())?;
    let certificate = read("amd/vcek_milan.der")?;
    // 2025-06-20 and 2026-01-01.
    let (summer, winter) = (1_750_377_600_000, 1_767_225_600_000);
    Ok(vec![
        Captured {
            name: "SGX quote",
            evidence: intel("sgx_quote")?,
            time_ms: summer,
        },
        Captured {
            name: "TDX quote",
            evidence: intel("tdx_quote")?,
            time_ms: summer,
        },
        Captured {
            name: "SEV-SNP report",
            evidence: snp::pack(&report, &certificate, None),
            time_ms: winter,
        },
    ])
}

fn quotes(rounds: usize, round: Duration) -> Result<()> {
    for one in captured()? {
        let moment = Moment {
            height: Height(0),
            time_ms: one.time_ms,
        };
        let mut rates = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let (started, mut count) = (Instant::now(), 0u32);
            while started.elapsed() < round {
                black_box(attest::verify(&one.evidence, &Roots::default(), moment)?);
                count += 1;
            }
            rates.push(f64::from(count) / started.elapsed().as_secs_f64());
        }
        let rates = Samples::new(rates);
        let (low, high) = rates.range();
        println!(
            "{}: {:.0} verifications/s on one core ({low:.0} to {high:.0})",
            one.name,
            rates.median()
        );
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
        let shown = circle.json(&["circle", "show"])?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("circle show");
        let nodes = shown["nodes"].as_array().context("circle show")?;
        let nodes = nodes
            .iter()
            .map(|url| Ok(Url::parse(&text(url)?)?))
            .collect::<Result<Vec<_>>>()?;
        let circle_key = text(&shown["circle_key"])?.parse()?;
        let client = Client::new(nodes, circle_key, text(&shown["circle"])?.parse()?)?;
        let user = circle.state().join("user");
        let passphrase = fs::read_to_string(user.join("passphrase"))?;
        let passphrase = SecretString::from(passphrase.trim().to_owned());
        let key = Arc::new(keyfile::open(&user.join("user.key"), &passphrase)?);
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
