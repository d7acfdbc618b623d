//! Signed transfers against a circle's HTTP API, and writes against etcd, under
//! the same closed loop: each worker waits for its acknowledgement before it
//! sends again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use wire::{
    AccountId, Action, Amount, CircleId, Height, Receipt, SignedTransaction, SigningKey,
    Transaction, TransactionResult, Transfer,
};

use crate::etcd;

/// Blocks after which an unapplied transaction of a benchmark expires.
const EXPIRY_BLOCKS: u64 = 100_000;

/// A connection pool to one node.
#[derive(Clone)]
pub struct Node {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Node {
    /// A pool to the API at `base` (`http://HOST:PORT`).
    pub fn new(base: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_max_idle_per_host(usize::MAX)
            .build(connector);
        Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
        }
    }

    async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/octet-stream")
            .body(Full::new(Bytes::from(body)))?;
        let response = self.http.request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// The JSON of a GET.
    pub async fn get(&self, path: &str) -> Result<serde_json::Value> {
        let (status, body) = self.call(Method::GET, path, Vec::new()).await?;
        if !status.is_success() {
            bail!("{path}: {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(serde_json::from_slice(&body)?)
    }

    /// Sends and waits until the transaction is final and applied; waits as told
    /// where the node is full.
    pub async fn submit(&self, signed: &SignedTransaction) -> Result<Receipt> {
        let bytes = signed.encode();
        loop {
            let (status, body) = self
                .call(Method::POST, "/v1/transactions?wait=final", bytes.clone())
                .await?;
            if status == StatusCode::TOO_MANY_REQUESTS {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            if status != StatusCode::OK {
                bail!(
                    "a transfer was answered {status}: {}",
                    String::from_utf8_lossy(&body)
                );
            }
            let receipt: Receipt = serde_json::from_slice(&body)?;
            if receipt.result != TransactionResult::Applied {
                bail!("a transfer was not applied: {receipt:?}");
            }
            return Ok(receipt);
        }
    }
}

/// An account with its next sequence.
pub struct Payer {
    key: SigningKey,
    sequence: u64,
    circle: CircleId,
}

impl Payer {
    /// The account of `key`, whose next sequence is `sequence`.
    pub fn new(key: SigningKey, sequence: u64, circle: CircleId) -> Self {
        Self {
            key,
            sequence,
            circle,
        }
    }

    /// Its id.
    pub fn account(&self) -> AccountId {
        self.key.public().account()
    }

    /// The next transaction, signed; the sequence moves on.
    pub fn sign(&mut self, actions: Vec<Action>) -> SignedTransaction {
        let transaction = Transaction {
            version: Transaction::VERSION,
            circle: self.circle,
            sender: self.key.public(),
            sequence: self.sequence,
            expires_at: Height(EXPIRY_BLOCKS),
            fee_limit: Amount(1_000_000),
            actions,
        };
        self.sequence += 1;
        transaction.sign(&self.key)
    }

    /// The next transfer of one unit.
    pub fn transfer(&mut self, to: AccountId) -> SignedTransaction {
        self.sign(vec![Action::Transfer(Transfer {
            to,
            amount: Amount(1),
        })])
    }
}

/// Makes `count` accounts and funds each with `amount` from `funder`.
pub async fn fund(
    node: &Node,
    funder: &mut Payer,
    count: usize,
    amount: u64,
) -> Result<Vec<Payer>> {
    let payers: Vec<Payer> = (0..count)
        .map(|index| {
            let mut seed = *b"ringfort benchmark account 00000";
            seed[24..].copy_from_slice(&(index as u64).to_be_bytes());
            Payer::new(SigningKey::ed25519(seed), 0, funder.circle)
        })
        .collect();
    for chunk in payers.chunks(wire::limits::MAX_ACTIONS) {
        let actions = chunk
            .iter()
            .map(|payer| {
                Action::Transfer(Transfer {
                    to: payer.account(),
                    amount: Amount(amount),
                })
            })
            .collect();
        node.submit(&funder.sign(actions))
            .await
            .context("the accounts cannot be funded")?;
    }
    Ok(payers)
}

/// Acknowledged operations and their latencies in one round.
pub struct Round {
    /// Acknowledged a second.
    pub per_second: f64,
    /// Of each acknowledged operation.
    pub latencies: Vec<Duration>,
}

/// Runs one closed loop for each of `payers` for `length`; payers are spread
/// over `nodes` and come back with their sequences moved on.
pub async fn transfers(
    nodes: &[Node],
    payers: Vec<Payer>,
    length: Duration,
) -> Result<(Round, Vec<Payer>)> {
    let start = Instant::now();
    let tasks: Vec<_> = payers
        .into_iter()
        .enumerate()
        .map(|(index, mut payer)| {
            let node = nodes[index % nodes.len()].clone();
            let to = AccountId([index as u8; 32]);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while start.elapsed() < length {
                    let signed = payer.transfer(to);
                    let sent = Instant::now();
                    node.submit(&signed).await?;
                    latencies.push(sent.elapsed());
                }
                anyhow::Ok((latencies, payer))
            })
        })
        .collect();
    let mut latencies = Vec::new();
    let mut payers = Vec::new();
    for task in tasks {
        let (of_task, payer) = task.await??;
        latencies.extend(of_task);
        payers.push(payer);
    }
    let per_second = latencies.len() as f64 / start.elapsed().as_secs_f64();
    Ok((
        Round {
            per_second,
            latencies,
        },
        payers,
    ))
}

/// One transfer every `interval` for `length`, each waited for on its own.
pub async fn light_load(
    node: &Node,
    payer: &mut Payer,
    interval: Duration,
    length: Duration,
) -> Result<Vec<Duration>> {
    let nodes = std::slice::from_ref(node);
    steady_load(nodes, std::slice::from_mut(payer), interval, length).await
}

/// As [`light_load`], from each of `payers` and to each of `nodes` in turn.
pub async fn steady_load(
    nodes: &[Node],
    payers: &mut [Payer],
    interval: Duration,
    length: Duration,
) -> Result<Vec<Duration>> {
    let mut ticks = tokio::time::interval(interval);
    let start = Instant::now();
    let mut tasks = Vec::new();
    while start.elapsed() < length {
        ticks.tick().await;
        let turn = tasks.len();
        let payer = &mut payers[turn % payers.len()];
        let signed = payer.transfer(AccountId([1; 32]));
        let node = nodes[turn % nodes.len()].clone();
        tasks.push(tokio::spawn(async move {
            let sent = Instant::now();
            node.submit(&signed).await.map(|_| sent.elapsed())
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.push(task.await??);
    }
    Ok(latencies)
}

/// `workers` closed loops of writes of `value_bytes` for `length`.
pub async fn etcd_writes(
    clients: &[etcd::Client],
    workers: usize,
    value_bytes: usize,
    length: Duration,
) -> Result<Round> {
    let start = Instant::now();
    let keys = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..workers)
        .map(|index| {
            let mut client = clients[index % clients.len()].clone();
            let keys = Arc::clone(&keys);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while start.elapsed() < length {
                    let key = keys.fetch_add(1, Ordering::Relaxed).to_be_bytes().to_vec();
                    let sent = Instant::now();
                    client.put(key, vec![0xa5; value_bytes]).await?;
                    latencies.push(sent.elapsed());
                }
                anyhow::Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let per_second = latencies.len() as f64 / start.elapsed().as_secs_f64();
    Ok(Round {
        per_second,
        latencies,
    })
}
