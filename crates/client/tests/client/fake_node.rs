//! A node in one file: real trees, real certificates, real HTTP; no consensus.
//!
//! A circle's key is one secret key here: a threshold signature is an ordinary
//! one under the group's key.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use blst::min_sig::SecretKey;
use client::{Client, Url};
use jmt::{
    KeyHash, OwnedValue, Sha256Jmt, Version,
    storage::{LeafNode, Node as TreeNode, NodeKey, TreeReader},
};
use proof::{Certificate, DOMAIN_SEPARATION_TAG, Proof};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use wire::{
    AccountId, Amount, CheckedTransaction, CircleId, CircleKey, CircleKind, Digest, Genesis,
    Header, HeaderSummary, Height, Parameters, Receipt, Reject, SigningKey, TransactionId,
    TransactionResult, Validator,
    record::{self, CircleRecord},
    state_key,
};

/// A tree of one version in memory.
#[derive(Default)]
struct Tree {
    nodes: BTreeMap<NodeKey, TreeNode>,
    values: BTreeMap<KeyHash, OwnedValue>,
}

impl TreeReader for Tree {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<TreeNode>> {
        Ok(self.nodes.get(key).cloned())
    }

    fn get_value_option(&self, _: Version, key: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(self.values.get(&key).cloned())
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Ok(None)
    }
}

fn key_hash(key: &[u8]) -> KeyHash {
    KeyHash(Digest::of(&[key]).0)
}

/// What a circle's nodes share.
pub struct Circle {
    secret: SecretKey,
    pub key: CircleKey,
    pub id: CircleId,
    genesis: Genesis,
}

/// How a node misbehaves.
#[derive(Clone, Default)]
pub struct Mischief {
    /// Answer this many requests with 429 and `Retry-After: 1`.
    pub busy: u32,
    /// Flip a bit of each proof's value.
    pub forge: bool,
    /// Prove with headers this much older.
    pub age_ms: u64,
    /// Prove a height that is lower by this much.
    pub behind: u64,
    /// Close event streams after this many blocks.
    pub events_per_connection: Option<usize>,
    /// Leave this block out of event streams, once.
    pub skip_block: Option<u64>,
    /// Apply the next transactions and break the connection instead of answering.
    pub swallow_receipts: u32,
}

pub struct Ledger {
    pub height: u64,
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
    pub receipts: BTreeMap<TransactionId, Receipt>,
    pub applied: Vec<CheckedTransaction>,
    waiting: Vec<CheckedTransaction>,
    /// Whether transactions are applied by the real state machine, a block
    /// each; else they only use their sequences.
    real: bool,
}

/// When the node stops answering, for a client that is broken off there.
#[derive(Default)]
struct Stop {
    /// Calls that are answered until then, and whether the next one is still
    /// carried out; none for never.
    at: Mutex<Option<(u32, bool)>>,
    reached: tokio::sync::Notify,
}

/// One node; several may share a ledger.
#[derive(Clone)]
pub struct Node {
    pub circle: Arc<Circle>,
    pub ledger: Arc<Mutex<Ledger>>,
    pub mischief: Arc<Mutex<Mischief>>,
    stop: Arc<Stop>,
    tip: watch::Sender<u64>,
    pub address: SocketAddr,
}

pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}

pub fn circle() -> Arc<Circle> {
    circle_with(Vec::new())
}

/// A circle whose genesis gives out `accounts`.
pub fn circle_with(accounts: Vec<(AccountId, Amount)>) -> Arc<Circle> {
    let secret = SecretKey::key_gen(&[5; 32], &[]).unwrap();
    let key = CircleKey(secret.sk_to_pk().compress());
    let genesis = Genesis {
        version: Genesis::VERSION,
        name: "fake".to_owned(),
        kind: CircleKind::Development,
        time_ms: 1,
        circle_key: key,
        sharing: Vec::new(),
        validators: vec![Validator {
            key: SigningKey::ed25519([1; 32]).public(),
            name: "one".to_owned(),
        }],
        accounts,
        apexes: vec!["internal".parse().unwrap()],
        certificate_authorities: Vec::new(),
        zone_signers: Vec::new(),
        name_servers: Vec::new(),
        keykeepers: Vec::new(),
        development_roots: Vec::new(),
        reference_values: Vec::new(),
        evidence: Default::default(),
        parameters: Parameters::default(),
        origin: None,
    };
    Arc::new(Circle {
        secret,
        key,
        id: genesis.circle(),
        genesis,
    })
}

impl Node {
    /// A node with a ledger of its own at `height`.
    pub async fn start(circle: &Arc<Circle>, height: u64) -> Self {
        let record = CircleRecord {
            genesis: circle.genesis.clone(),
        };
        let rules = record::Rules::founding(&circle.genesis, 1);
        let entries = BTreeMap::from([
            (state_key::circle(), record::encode(&record)),
            (state_key::rules(), record::encode(&rules)),
        ]);
        let ledger = Ledger {
            height,
            entries,
            receipts: BTreeMap::new(),
            applied: Vec::new(),
            waiting: Vec::new(),
            real: false,
        };
        Self::over(
            circle,
            Arc::new(Mutex::new(ledger)),
            watch::Sender::new(height),
        )
        .await
    }

    /// A node whose ledger is the real state machine, at its genesis.
    pub async fn real(circle: &Arc<Circle>) -> Self {
        let node = Self::start(circle, 0).await;
        {
            let mut ledger = node.ledger.lock().unwrap();
            ledger.entries.clear();
            let genesis = ledger::genesis(&circle.genesis).unwrap();
            ledger::write(&mut ledger.entries, genesis);
            ledger.real = true;
        }
        node
    }

    /// Answers `calls` calls and then no more; the next one is still carried
    /// out if `carried_out`.
    pub fn stop_after(&self, calls: u32, carried_out: bool) {
        *self.stop.at.lock().unwrap() = Some((calls, carried_out));
    }

    /// Returns once a call came that is not answered.
    pub async fn stopped(&self) {
        self.stop.reached.notified().await;
    }

    /// Answers again.
    pub fn go_on(&self) {
        *self.stop.at.lock().unwrap() = None;
    }

    /// The proof of an entry, encoded.
    pub fn proof(&self, key: &[u8]) -> Vec<u8> {
        let ledger = self.ledger.lock().unwrap();
        let keys = [key.to_vec()];
        prove(
            &self.circle,
            &ledger.entries,
            &keys,
            ledger.height,
            now_ms(),
        )[0]
        .encode()
    }

    /// Another node of the same ledger.
    pub async fn beside(&self) -> Self {
        Self::over(&self.circle, self.ledger.clone(), self.tip.clone()).await
    }

    async fn over(
        circle: &Arc<Circle>,
        ledger: Arc<Mutex<Ledger>>,
        tip: watch::Sender<u64>,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Self {
            circle: circle.clone(),
            ledger,
            mischief: Arc::default(),
            stop: Arc::default(),
            tip,
            address: listener.local_addr().unwrap(),
        };
        let router = Router::new()
            .route("/v1/entries/proofs", post(proofs))
            .route("/v1/entries", get(list))
            .route("/v1/transactions", post(submit))
            .route("/v1/transactions/{id}", get(receipt))
            .route("/v1/events", get(events))
            .layer(axum::middleware::from_fn_with_state(node.clone(), stops))
            .with_state(node.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        node
    }

    pub fn url(&self) -> Url {
        format!("http://{}", self.address).parse().unwrap()
    }

    /// Makes blocks up to `height`.
    pub fn advance_to(&self, height: u64) {
        self.ledger.lock().unwrap().height = height;
        self.tip.send_replace(height);
    }

    pub fn put<T: borsh::BorshSerialize>(&self, key: Vec<u8>, value: &T) {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.entries.insert(key, record::encode(value));
    }

    pub fn mischief(&self, change: impl FnOnce(&mut Mischief)) {
        change(&mut self.mischief.lock().unwrap());
    }
}

pub fn client(nodes: &[&Node]) -> Client {
    let circle = &nodes[0].circle;
    let urls = nodes.iter().map(|node| node.url()).collect();
    Client::new(urls, circle.key, circle.id).unwrap()
}

fn certify(header: &HeaderSummary, secret: &SecretKey) -> Certificate {
    let mut certificate = Certificate {
        epoch: 0,
        view: header.height.0,
        parent_view: header.height.0.saturating_sub(1),
        signature: [0; 48],
    };
    let message = certificate.message(header.circle, header.digest());
    certificate.signature = secret.sign(&message, DOMAIN_SEPARATION_TAG, &[]).compress();
    certificate
}

/// Proves `keys` in `entries` as of `height`.
pub fn prove(
    circle: &Circle,
    entries: &BTreeMap<Vec<u8>, Vec<u8>>,
    keys: &[Vec<u8>],
    height: u64,
    time_ms: u64,
) -> Vec<Proof> {
    let mut tree = Tree::default();
    let set: Vec<_> = entries
        .iter()
        .map(|(key, value)| (key_hash(key), Some(value.clone())))
        .collect();
    let (root, batch) = Sha256Jmt::new(&tree).put_value_set(set, 0).unwrap();
    tree.nodes = batch.node_batch.nodes().clone();
    tree.values = entries
        .iter()
        .map(|(key, value)| (key_hash(key), value.clone()))
        .collect();
    let header = Header {
        version: Header::VERSION,
        circle: circle.id,
        height: Height(height),
        time_ms,
        parent: Digest::default(),
        state_root: Digest(root.0),
        transactions: Digest::default(),
    }
    .summary();
    let certificate = certify(&header, &circle.secret);
    let path = |key: &[u8]| {
        let (_, proof) = Sha256Jmt::new(&tree)
            .get_with_proof(key_hash(key), 0)
            .unwrap();
        proof::Path::from_library(&borsh::to_vec(&proof).unwrap(), Digest::of(&[key])).unwrap()
    };
    keys.iter()
        .map(|key| Proof {
            header,
            certificate,
            key: key.clone(),
            value: entries.get(key).cloned(),
            path: path(key),
        })
        .collect()
}

/// Stops answering when it is time to.
async fn stops(
    State(node): State<Node>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let stop = {
        let mut at = node.stop.at.lock().unwrap();
        match &mut *at {
            None => None,
            Some((0, carried_out)) => Some(*carried_out),
            Some((left, _)) => {
                *left -= 1;
                None
            }
        }
    };
    let Some(carried_out) = stop else {
        return next.run(request).await;
    };
    if carried_out {
        next.run(request).await;
    }
    node.stop.reached.notify_one();
    std::future::pending().await
}

fn refuse(status: StatusCode, code: &str, reject: Option<Reject>) -> Response {
    let error = json!({ "error": {
        "code": code, "message": code, "hint": "", "reject": reject.map(Reject::number) } });
    (status, Json(error)).into_response()
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<String>,
}

async fn proofs(State(node): State<Node>, Json(keys): Json<Keys>) -> Response {
    let mischief = {
        let mut mischief = node.mischief.lock().unwrap();
        if mischief.busy > 0 {
            mischief.busy -= 1;
            let headers = [(header::RETRY_AFTER, "1")];
            return (headers, refuse(StatusCode::TOO_MANY_REQUESTS, "full", None)).into_response();
        }
        mischief.clone()
    };
    let keys: Vec<Vec<u8>> = keys
        .keys
        .iter()
        .map(|key| hex::decode(key).unwrap())
        .collect();
    let ledger = node.ledger.lock().unwrap();
    let height = ledger.height - mischief.behind;
    let time_ms = now_ms() - mischief.age_ms;
    let proofs = prove(&node.circle, &ledger.entries, &keys, height, time_ms);
    let entries: Vec<_> = proofs
        .into_iter()
        .map(|mut proof| {
            if mischief.forge
                && let Some(value) = &mut proof.value
            {
                *value.last_mut().unwrap() ^= 1;
            }
            json!({
                "key": hex::encode(&proof.key),
                "value": proof.value.as_ref().map(hex::encode),
                "height": height,
                "proof": BASE64_STANDARD.encode(proof.encode()),
            })
        })
        .collect();
    Json(json!({ "height": height, "entries": entries })).into_response()
}

#[derive(Deserialize)]
struct ListQuery {
    prefix: String,
    after: Option<String>,
    limit: usize,
}

async fn list(State(node): State<Node>, Query(query): Query<ListQuery>) -> Response {
    let prefix = hex::decode(query.prefix).unwrap();
    let after = query.after.map(|after| hex::decode(after).unwrap());
    let ledger = node.ledger.lock().unwrap();
    let mut found: Vec<_> = ledger
        .entries
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix) && after.as_ref().is_none_or(|a| *key > a))
        .take(query.limit + 1)
        .collect();
    let more = found.len() > query.limit;
    found.truncate(query.limit);
    let next = found
        .last()
        .filter(|_| more)
        .map(|(key, _)| hex::encode(key));
    let entries: Vec<_> = found
        .iter()
        .map(|(key, value)| json!({ "key": hex::encode(key), "value": hex::encode(value) }))
        .collect();
    Json(json!({ "entries": entries, "height": ledger.height, "next": next })).into_response()
}

/// Admission and application as the real ledger's: one sequence after the
/// other, later ones wait.
async fn submit(State(node): State<Node>, body: Bytes) -> Response {
    let Ok(checked) = CheckedTransaction::check(&body, node.circle.id) else {
        return refuse(StatusCode::BAD_REQUEST, "invalid_transaction", None);
    };
    let id = checked.id();
    let swallow = {
        let mut mischief = node.mischief.lock().unwrap();
        let swallow = mischief.swallow_receipts > 0;
        mischief.swallow_receipts = mischief.swallow_receipts.saturating_sub(1);
        swallow
    };
    {
        let mut ledger = node.ledger.lock().unwrap();
        if let Some(receipt) = ledger.receipts.get(&id) {
            return Json(receipt.clone()).into_response();
        }
        let next = ledger.account(&checked).sequence;
        if checked.transaction().sequence < next {
            let reject = Some(Reject::SequenceMismatch);
            return refuse(StatusCode::CONFLICT, "rejected", reject);
        }
        ledger.waiting.push(checked);
        ledger.apply_waiting();
        let height = ledger.height;
        node.tip.send_replace(height);
    }
    if swallow {
        // The connection is broken instead of answered.
        let broken =
            futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("broken")) });
        return axum::body::Body::from_stream(broken).into_response();
    }
    let mut tip = node.tip.subscribe();
    loop {
        if let Some(receipt) = node.ledger.lock().unwrap().receipts.get(&id) {
            return Json(receipt.clone()).into_response();
        }
        tip.changed().await.unwrap();
    }
}

impl Ledger {
    fn account(&self, checked: &CheckedTransaction) -> record::Account {
        let key = state_key::account(checked.transaction().sender.account());
        self.entries
            .get(&key)
            .map(|bytes| record::decode(bytes).unwrap())
            .unwrap_or_default()
    }

    /// A block of one transaction, by the real state machine.
    fn apply_really(&mut self, checked: CheckedTransaction) {
        let block = ledger::BlockContext {
            height: Height(self.height + 1),
            time_ms: self.height + 1,
            parent: Digest::default(),
        };
        let applied = ledger::apply(&self.entries, &block, std::slice::from_ref(&checked));
        ledger::write(&mut self.entries, applied.changes);
        ledger::audit(&self.entries).unwrap();
        self.height += 1;
        self.receipts
            .insert(checked.id(), applied.receipts[0].clone());
        self.applied.push(checked);
    }

    fn apply_waiting(&mut self) {
        loop {
            let position = self
                .waiting
                .iter()
                .position(|one| one.transaction().sequence == self.account(one).sequence);
            let Some(position) = position else { return };
            let checked = self.waiting.remove(position);
            if self.real {
                self.apply_really(checked);
                continue;
            }
            let mut account = self.account(&checked);
            account.sequence += 1;
            self.height += 1;
            let sender = checked.transaction().sender.account();
            self.entries
                .insert(state_key::account(sender), record::encode(&account));
            self.receipts.insert(
                checked.id(),
                Receipt {
                    transaction: checked.id(),
                    sender,
                    height: Height(self.height),
                    index: 0,
                    result: TransactionResult::Applied,
                    fee: Amount(1),
                },
            );
            self.applied.push(checked);
        }
    }
}

async fn receipt(State(node): State<Node>, Path(id): Path<TransactionId>) -> Response {
    match node.ledger.lock().unwrap().receipts.get(&id) {
        Some(receipt) => Json(receipt.clone()).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "not_found", None),
    }
}

#[derive(Deserialize)]
struct EventsQuery {
    from: u64,
}

async fn events(State(node): State<Node>, Query(query): Query<EventsQuery>) -> Response {
    let left = node.mischief.lock().unwrap().events_per_connection;
    let state = (node, query.from, left);
    let stream = futures_util::stream::unfold(state, |(node, mut next, left)| async move {
        if left == Some(0) {
            return None;
        }
        let mut tip = node.tip.subscribe();
        tip.wait_for(|tip| *tip >= next).await.ok()?;
        {
            let mut mischief = node.mischief.lock().unwrap();
            if mischief.skip_block == Some(next) {
                mischief.skip_block = None;
                next += 1;
            }
        }
        let data = json!({ "height": next, "time_ms": 1, "digest": Digest::default(),
            "events": [{ "transaction": null, "event": "pool_paid", "each": next }] });
        let text = format!(": a comment\nevent: block\nid: {next}\ndata: {data}\n\n");
        let item = Ok::<_, std::io::Error>(Bytes::from(text));
        Some((item, (node, next + 1, left.map(|left| left - 1))))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream")];
    (headers, axum::body::Body::from_stream(stream)).into_response()
}
