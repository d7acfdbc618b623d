//! The client of one circle: reads that are proven, and transactions that
//! become final.
//!
//! Trusts the circle's key alone. A proven read is verified against it, is
//! never older than what this client has seen, and never older than the
//! configured age. Listings are unproven and give ids only: prove each.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use borsh::BorshDeserialize;
use proof::{CertifiedHeader, Proof, Proven};
use reqwest::{Method, StatusCode, Url};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use wire::{
    CircleId, CircleKey, Genesis, Height, PublicKey, Receipt, RequestTerms, SignedTransaction,
    TransactionId,
    match_report::MatchReport,
    record::{self, CircleRecord},
    state_key,
};

use crate::{
    error::ClientError,
    events::EventStream,
    rules::KeptRules,
    transport::{Call, Transport},
};

/// The most keys of one call of [`Client::proven_many`]; the API's limit.
pub const MAX_PROVEN_KEYS: usize = 64;

/// The most entries of one page of [`Client::list`]; the API's limit.
pub const MAX_LIST_ENTRIES: usize = 256;

/// How long reads are tried again while every node is behind what was seen:
/// nodes learn of a block within one network round trip of each other.
const CATCH_UP: Duration = Duration::from_secs(5);

/// The pause between two such reads: about one block at full speed.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(15);

/// How long one call waits for a transaction to be final: above the API's own
/// limit of 30 s, so that the node answers rather than the connection break.
const FINAL_TIMEOUT: Duration = Duration::from_secs(35);

/// How long a transaction is followed in all.
const SUBMIT_DEADLINE: Duration = Duration::from_secs(120);

/// The pause before a transaction is shown to the nodes again.
const RESUBMIT_PAUSE: Duration = Duration::from_millis(200);

/// How long a height counts as recent: some hundred blocks at full speed.
const RECENT_MS: u64 = 5_000;

/// The age up to which a proof counts as current: a quiet circle makes a block
/// several times a second, and clocks differ by seconds.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(60);

/// A client of one circle. Clones share connections and what was seen.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    transport: Transport,
    circle: CircleId,
    key: CircleKey,
    max_age: Option<Duration>,
    /// The highest height that was seen proven.
    seen: AtomicU64,
    /// When that was, by this machine's clock, Unix milliseconds.
    seen_at_ms: AtomicU64,
    genesis: OnceCell<Genesis>,
    rules: KeptRules,
    /// The header verified last: proofs come many to a block.
    certified: Mutex<Option<CertifiedHeader>>,
}

/// A validator's view of itself: unproven, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The circle it serves.
    pub circle: CircleId,
    /// The circle's name.
    pub name: String,
    /// The height it has applied.
    pub height: Height,
    /// The height that it knows to be final.
    #[serde(default)]
    pub tip_height: Height,
    /// The applied block's time, Unix milliseconds.
    #[serde(default)]
    pub time_ms: u64,
    /// Whether it considers itself well.
    #[serde(default)]
    pub healthy: bool,
    /// If not, why.
    #[serde(default)]
    pub why: Vec<String>,
    /// Everything else it says.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// One page of an unproven listing.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Keys with their stored values, ascending by key.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// The height at which the node listed them.
    pub height: Height,
    /// The key after which the next page begins; none on the last.
    pub next: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct EntryAnswer {
    #[serde(with = "hex::serde")]
    key: Vec<u8>,
    proof: String,
}

#[derive(Deserialize)]
struct ProofsAnswer {
    entries: Vec<EntryAnswer>,
}

#[derive(Deserialize)]
struct ListAnswer {
    entries: Vec<ListEntry>,
    height: Height,
    next: Option<String>,
}

#[derive(Deserialize)]
struct ListEntry {
    #[serde(with = "hex::serde")]
    key: Vec<u8>,
    #[serde(with = "hex::serde")]
    value: Vec<u8>,
}

impl Client {
    /// A client of the circle `circle` under `key`, over `nodes` (base URLs of
    /// their APIs, in the order in which to ask them).
    ///
    /// Errors: no node, or a URL that is none; nothing is asked yet.
    pub fn new(nodes: Vec<Url>, key: CircleKey, circle: CircleId) -> Result<Self, ClientError> {
        Self::with_max_age(nodes, key, circle, Some(DEFAULT_MAX_AGE))
    }

    /// As [`Client::new`], accepting proofs up to `max_age` old; `None` accepts any age.
    ///
    /// Errors: as there.
    pub fn with_max_age(
        nodes: Vec<Url>,
        key: CircleKey,
        circle: CircleId,
        max_age: Option<Duration>,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            shared: Arc::new(Shared {
                transport: Transport::new(nodes)?,
                circle,
                key,
                max_age,
                seen: AtomicU64::new(0),
                seen_at_ms: AtomicU64::new(0),
                genesis: OnceCell::new(),
                rules: KeptRules::default(),
                certified: Mutex::default(),
            }),
        })
    }

    /// The circle.
    pub fn circle(&self) -> CircleId {
        self.shared.circle
    }

    /// The circle's key.
    pub fn circle_key(&self) -> &CircleKey {
        &self.shared.key
    }

    /// The nodes' base URLs.
    pub fn nodes(&self) -> &[Url] {
        self.shared.transport.nodes()
    }

    /// The highest height that this client has seen proven.
    pub fn seen(&self) -> Height {
        Height(self.shared.seen.load(Ordering::Relaxed))
    }

    /// A height that was proven moments ago; asks if none was.
    ///
    /// Errors: as [`Client::proven`].
    pub async fn recent_height(&self) -> Result<Height, ClientError> {
        let seen_at_ms = self.shared.seen_at_ms.load(Ordering::Relaxed);
        if now_ms().saturating_sub(seen_at_ms) > RECENT_MS {
            // Any entry does: the header that proves it is what is wanted.
            self.proven_many(vec![state_key::pool()]).await?;
        }
        Ok(self.seen())
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.shared.transport
    }

    /// What the node that is asked first says of itself; unproven.
    ///
    /// Errors: no node answers.
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        let answer = self.transport().call(&Call::get("v1/status")).await?;
        answer.json("status")
    }

    /// Any JSON document of the API below `v1/`, unproven; for people.
    ///
    /// Errors: no node answers, or the API's error.
    pub async fn view(&self, path: &str) -> Result<serde_json::Value, ClientError> {
        let path = format!("v1/{path}");
        let answer = self.transport().call(&Call::get(&path)).await?;
        answer.json("document")
    }

    /// The circle's genesis: proven, checked against the circle's id, and kept.
    ///
    /// Errors: [`ClientError::Genesis`] if the circle's record hashes to another id.
    pub async fn genesis(&self) -> Result<&Genesis, ClientError> {
        self.shared
            .genesis
            .get_or_try_init(|| async {
                let (record, _) = self.proven::<CircleRecord>(state_key::circle()).await?;
                let genesis = record
                    .ok_or_else(|| ClientError::Absent("genesis".to_owned()))?
                    .genesis;
                if genesis.circle() == self.shared.circle {
                    Ok(genesis)
                } else {
                    Err(ClientError::Genesis)
                }
            })
            .await
    }

    pub(crate) fn kept_rules(&self) -> &KeptRules {
        &self.shared.rules
    }

    /// The record under `key`, or its proven absence.
    ///
    /// Errors: no node answers; no node's proof holds; every node is behind
    ///         what was seen; the newest block is too old.
    pub async fn proven<T: BorshDeserialize>(
        &self,
        key: Vec<u8>,
    ) -> Result<(Option<T>, Proven), ClientError> {
        self.proven_since(key, self.seen()).await
    }

    /// As [`Client::proven`], at `height` or later: what a watcher that heard
    /// of an event reads, so that it sees the event's effect.
    ///
    /// Errors: as there.
    pub async fn proven_since<T: BorshDeserialize>(
        &self,
        key: Vec<u8>,
        height: Height,
    ) -> Result<(Option<T>, Proven), ClientError> {
        let mut all = self.proven_many_since(vec![key], height).await?;
        let proven = all.pop().ok_or(ClientError::OtherEntry)?;
        Ok((decode(&proven)?, proven))
    }

    /// As [`Client::proven`], for a record that must exist; `what` names it in the error.
    ///
    /// Errors: [`ClientError::Absent`] if it is proven absent.
    pub async fn require<T: BorshDeserialize>(
        &self,
        key: Vec<u8>,
        what: impl FnOnce() -> String,
    ) -> Result<T, ClientError> {
        let (record, _) = self.proven(key).await?;
        record.ok_or_else(|| ClientError::Absent(what()))
    }

    /// The entries under `keys`, in their order, all at one height.
    ///
    /// Shape:  at most [`MAX_PROVEN_KEYS`] keys.
    /// Errors: as [`Client::proven`].
    pub async fn proven_many(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Proven>, ClientError> {
        self.proven_many_since(keys, self.seen()).await
    }

    /// As [`Client::proven_many`], at `height` or later.
    ///
    /// Errors: as [`Client::proven`].
    pub async fn proven_many_since(
        &self,
        keys: Vec<Vec<u8>>,
        height: Height,
    ) -> Result<Vec<Proven>, ClientError> {
        let all = self.proofs_since(keys, height).await?;
        Ok(all.into_iter().map(|(proven, _)| proven).collect())
    }

    /// As [`Client::proven_many_since`], each with the proof itself in its
    /// canonical encoding, for whoever is to be shown it.
    ///
    /// Errors: as [`Client::proven`].
    pub async fn proofs_since(
        &self,
        keys: Vec<Vec<u8>>,
        height: Height,
    ) -> Result<Vec<(Proven, Vec<u8>)>, ClientError> {
        let deadline = Instant::now() + CATCH_UP;
        loop {
            let node = self.transport().preferred();
            let error = match self.proven_once(&keys, height).await {
                Ok(proven) => return Ok(proven),
                Err(error) => error,
            };
            match &error {
                // Another node may be ahead, and this one soon will be.
                ClientError::Behind { .. } => {}
                // This node lies or is damaged: another is asked.
                ClientError::Proof { .. }
                | ClientError::OtherEntry
                | ClientError::OtherCircle(_)
                | ClientError::Decode { .. }
                | ClientError::Stale { .. } => {
                    tracing::warn!(node = %self.nodes()[node], %error, "refused a node's proof");
                }
                _ => return Err(error),
            }
            if Instant::now() >= deadline {
                return Err(error);
            }
            self.transport().avoid(node);
            tokio::time::sleep(CATCH_UP_PAUSE).await;
        }
    }

    async fn proven_once(
        &self,
        keys: &[Vec<u8>],
        height: Height,
    ) -> Result<Vec<(Proven, Vec<u8>)>, ClientError> {
        #[derive(Serialize)]
        struct Keys {
            keys: Vec<String>,
        }
        let body = serde_json::to_vec(&Keys {
            keys: keys.iter().map(hex::encode).collect(),
        })
        .expect("a list of texts always encodes");
        let answer = self
            .transport()
            .call(&Call::post_json("v1/entries/proofs", body))
            .await?;
        let answer: ProofsAnswer = answer.json("list of proofs")?;
        if answer.entries.len() != keys.len() {
            return Err(ClientError::OtherEntry);
        }
        let mut proven = Vec::with_capacity(keys.len());
        for (key, entry) in keys.iter().zip(&answer.entries) {
            if &entry.key != key {
                return Err(ClientError::OtherEntry);
            }
            let bytes =
                BASE64_STANDARD
                    .decode(&entry.proof)
                    .map_err(|error| ClientError::Decode {
                        what: "proof",
                        reason: error.to_string(),
                    })?;
            let checked = self.check_proof(&bytes)?;
            if checked.key() != key.as_slice() {
                return Err(ClientError::OtherEntry);
            }
            proven.push((checked, bytes));
        }
        self.accept(proven.iter().map(|(proven, _)| proven), height)?;
        Ok(proven)
    }

    /// Verifies a proof that came from anyone, of any age; it does not move
    /// what was seen.
    ///
    /// Errors: it does not decode, does not hold, or is of another circle.
    pub fn check_proof(&self, bytes: &[u8]) -> Result<Proven, ClientError> {
        let proof = Proof::decode(bytes).map_err(|error| ClientError::Decode {
            what: "proof",
            reason: error.to_string(),
        })?;
        let certified = || {
            let lock = self.shared.certified.lock();
            lock.unwrap_or_else(PoisonError::into_inner)
        };
        // The lock is not held meanwhile: another thread verifies as well.
        let mut known = *certified();
        let proven = proof.verify_after(&self.shared.key, &mut known)?;
        *certified() = known;
        if proven.circle() != self.shared.circle {
            return Err(ClientError::OtherCircle(proven.circle()));
        }
        Ok(proven)
    }

    /// Refuses what is behind or stale; remembers the height otherwise.
    fn accept<'a>(
        &self,
        proven: impl Iterator<Item = &'a Proven> + Clone,
        wanted: Height,
    ) -> Result<(), ClientError> {
        let wanted = wanted.max(self.seen());
        for one in proven.clone() {
            if one.height() < wanted {
                return Err(ClientError::Behind {
                    have: one.height(),
                    wanted,
                });
            }
            if let Some(limit) = self.shared.max_age {
                let age_ms = now_ms().saturating_sub(one.time_ms());
                let limit_ms = limit.as_millis() as u64;
                if age_ms > limit_ms {
                    return Err(ClientError::Stale { age_ms, limit_ms });
                }
            }
        }
        if let Some(newest) = proven.map(Proven::height).max() {
            self.shared.seen.fetch_max(newest.0, Ordering::Relaxed);
            self.shared.seen_at_ms.store(now_ms(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// One page of the entries whose keys start with `prefix`: unproven, so
    /// take the ids and prove each.
    ///
    /// Shape:  keys ascending, strictly after `after`; at most
    ///         [`MAX_LIST_ENTRIES`].
    /// Errors: no node answers.
    pub async fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Listing, ClientError> {
        let mut path = format!(
            "v1/entries?prefix={}&limit={}",
            hex::encode(prefix),
            limit.clamp(1, MAX_LIST_ENTRIES)
        );
        if let Some(after) = after {
            path.push_str("&after=");
            path.push_str(&hex::encode(after));
        }
        let answer: ListAnswer = self
            .transport()
            .call(&Call::get(&path))
            .await?
            .json("list")?;
        let next =
            answer
                .next
                .map(hex::decode)
                .transpose()
                .map_err(|error| ClientError::Decode {
                    what: "list",
                    reason: error.to_string(),
                })?;
        Ok(Listing {
            entries: answer
                .entries
                .into_iter()
                .filter(|entry| entry.key.starts_with(prefix))
                .map(|entry| (entry.key, entry.value))
                .collect(),
            height: answer.height,
            next,
        })
    }

    /// Every key with `prefix`, page by page, up to `limit` keys; unproven.
    ///
    /// Errors: no node answers.
    pub async fn list_keys(
        &self,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, ClientError> {
        let mut keys = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        while keys.len() < limit {
            let page = self
                .list(prefix, after.as_deref(), limit - keys.len())
                .await?;
            let advanced = page
                .entries
                .last()
                .is_some_and(|(key, _)| Some(key) > after.as_ref());
            keys.extend(page.entries.into_iter().map(|(key, _)| key));
            // A node that repeats itself must not hold the caller forever.
            if page.next.is_none() || !advanced {
                break;
            }
            after = keys.last().cloned();
        }
        Ok(keys)
    }

    /// Every block's events from `from` on, past ones first. Events are hints
    /// of an untrusted node: they say what to read, and proofs say what is.
    pub fn events(&self, from: Height) -> EventStream {
        EventStream::new(self.clone(), from)
    }

    /// Shows a signed transaction to the nodes until it is final.
    ///
    /// It is idempotent: the same transaction applies at most once, whichever
    /// nodes heard of it. The receipt is the node's word; what matters is read
    /// with proof.
    ///
    /// Errors: the API's error when admission fails; [`ClientError::NotFinal`]
    ///         when it is neither applied nor refused in time.
    pub async fn submit(&self, signed: &SignedTransaction) -> Result<Receipt, ClientError> {
        let id = signed.id();
        let body = signed.encode();
        let deadline = Instant::now() + SUBMIT_DEADLINE;
        let mut shown = false;
        loop {
            let call = Call {
                method: Method::POST,
                path: "v1/transactions?wait=final",
                content_type: Some("application/octet-stream"),
                body: body.clone(),
                timeout: FINAL_TIMEOUT,
            };
            match self.transport().call(&call).await {
                Ok(answer) if answer.status == StatusCode::OK => return answer.json("receipt"),
                Ok(_) => shown = true,
                Err(error @ ClientError::Api(_)) => {
                    // Shown before, it may have been applied meanwhile, and a
                    // node then calls its sequence used.
                    if let Some(receipt) = self.receipt(id).await? {
                        return Ok(receipt);
                    }
                    if !shown || error.reject().is_some() || error.lost_its_sequence() {
                        return Err(error);
                    }
                }
                Err(error) if !shown && !may_have_arrived(&error) => return Err(error),
                Err(_) => {
                    shown = true;
                    if let Ok(Some(receipt)) = self.receipt(id).await {
                        return Ok(receipt);
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(ClientError::NotFinal(id));
            }
            tokio::time::sleep(RESUBMIT_PAUSE).await;
        }
    }

    /// A transaction's receipt, if a node knows it to be final; unproven.
    ///
    /// Errors: no node answers.
    pub async fn receipt(&self, id: TransactionId) -> Result<Option<Receipt>, ClientError> {
        let path = format!("v1/transactions/{id}");
        match self.transport().call(&Call::get(&path)).await {
            Ok(answer) if answer.status == StatusCode::OK => answer.json("receipt").map(Some),
            Ok(_) => Ok(None),
            Err(ClientError::Api(error)) if error.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The market's dry run: each open offer with its price or the reasons why
    /// it does not fit; unproven.
    ///
    /// Errors: no node answers, or the terms are malformed.
    pub async fn match_request(&self, terms: &RequestTerms) -> Result<MatchReport, ClientError> {
        let body = serde_json::to_vec(terms).expect("terms always encode");
        let answer = self
            .transport()
            .call(&Call::post_json("v1/market/match", body))
            .await?;
        answer.json("dry run")
    }

    /// An account's record; an account that holds nothing is empty.
    ///
    /// Errors: as [`Client::proven`].
    pub async fn account(&self, key: &PublicKey) -> Result<record::Account, ClientError> {
        let (account, _) = self.proven(state_key::account(key.account())).await?;
        Ok(account.unwrap_or_default())
    }
}

/// The record of a proven entry; none if it is proven absent.
///
/// Errors: [`wire::record::RecordError`] if this build does not know its form.
pub fn decode<T: BorshDeserialize>(
    proven: &Proven,
) -> Result<Option<T>, wire::record::RecordError> {
    proven.value().map(record::decode).transpose()
}

fn may_have_arrived(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { source, .. } => !source.is_connect(),
        _ => true,
    }
}

/// This machine's clock, Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
