//! How does a node that is new, or was away for long, get to the head?
//!
//! Before its engine starts, it asks the nodes that its configuration names for
//! checkpoints, takes the newest that is far enough ahead, recent enough and
//! certified under the circle's key, and fetches it chunk by chunk from whoever
//! has it. A node that gives something else than the certified state is named
//! in the log and asked no more. Chunks gather in a file of their own, which
//! takes the place of the ledger's when it is whole; a crash before that loses
//! some chunks at most. From there on the engine follows the blocks.
//!
//! Trusts the circle's key and this machine's clock.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;
use wire::{CircleId, CircleKey, Digest, Height};

use super::{
    assembly::Assembly,
    format::{CheckedManifest, FormatError, MAX_CHUNK_BYTES, MAX_MANIFEST_BYTES, Manifest},
    restore::RestoreError,
};
use crate::store::{Store, StoreError};

/// Opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One request: a chunk of the largest size over a slow link.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Rounds over all nodes before a chunk is given up.
const ROUNDS: u32 = 5;
/// The wait between two rounds.
const ROUND_PAUSE: Duration = Duration::from_millis(500);
/// States that are tried, each newer than the one before, until one comes whole:
/// nodes drop an old one while it is fetched, and a liar may be alone with one.
const STATES: usize = 3;
/// The largest list of checkpoints.
const MAX_LIST_BYTES: usize = 64 * 1024;
/// How far ahead of this machine's clock a header's time may be: as a block's.
const MAX_CLOCK_SKEW_MS: u64 = crate::chain::MAX_CLOCK_SKEW_MS;

/// The file in which chunks gather.
const STAGING: &str = "incoming.redb";
/// The ledger's file.
pub(crate) const LEDGER: &str = "ledger.redb";

/// Whether a node fetches the state, and from whom.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyncConfig {
    /// Base URLs of the APIs of nodes; none to execute every block.
    pub peers: Vec<String>,
    /// The oldest state that is taken. A state that is older may still be the
    /// newest, if the circle has stood still: raise it then.
    pub max_age_hours: u64,
    /// Blocks that a checkpoint must be ahead of this node's own to be fetched.
    pub min_blocks_behind: u64,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            max_age_hours: 72,
            min_blocks_behind: 4_096,
        }
    }
}

/// Why no state was fetched.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Our store or disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our disk failed.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A URL or the HTTP client's setup is wrong.
    #[error("the list of nodes to fetch the state from cannot be used")]
    Peers(#[source] reqwest::Error),
    /// Nobody gave a chunk that is proven.
    #[error("no node gives chunk {index} of the state of block {height}")]
    NoPeer {
        /// The chunk's number.
        index: u32,
        /// The checkpoint's height.
        height: Height,
    },
    /// A node's answer is of no use.
    #[error("{node} gives no answer that is of use")]
    Answer {
        /// The node's URL.
        node: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The restoration failed for a reason of our own.
    #[error(transparent)]
    Restore(RestoreError),
}

/// Why a node's answer is of no use.
#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error("it does not answer")]
    Http(#[from] reqwest::Error),
    #[error("it answers {0}")]
    Status(reqwest::StatusCode),
    #[error("its answer is over {0} bytes")]
    TooLarge(usize),
    #[error("its list is not understood")]
    List(#[from] serde_json::Error),
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl PeerError {
    /// Whether it gave something false, rather than nothing.
    fn is_false(&self) -> bool {
        matches!(self, Self::TooLarge(_) | Self::List(_) | Self::Format(_))
    }

    /// Whether it says that it does not have it.
    fn is_absence(&self) -> bool {
        matches!(self, Self::Status(reqwest::StatusCode::NOT_FOUND))
    }
}

/// The nodes that are asked.
pub(super) struct Peers {
    http: reqwest::Client,
    urls: Vec<String>,
    /// Of each, whether it has given something false.
    refused: Vec<bool>,
}

/// Whose state is fetched, and by which measure.
pub(crate) struct Wanted<'a> {
    pub circle: CircleId,
    pub key: &'a CircleKey,
    pub config: &'a SyncConfig,
    pub data_dir: &'a Path,
}

/// A checkpoint and the numbers of the nodes that have it.
struct Offer {
    manifest: CheckedManifest,
    peers: Vec<usize>,
}

/// Fetches the newest state if this node is far behind it; the height, if so.
///
/// Errors: [`SyncError`]; what was fetched stays for the next time.
pub(crate) async fn fast_forward(wanted: &Wanted<'_>) -> Result<Option<Height>, SyncError> {
    if wanted.config.peers.is_empty() {
        return Ok(None);
    }
    let mut peers = Peers::new(&wanted.config.peers)?;
    let own = own_tip(wanted)?;
    let staging = wanted.data_dir.join(STAGING);
    let (mut passed_over, mut failed) = (None, None);
    for _ in 0..STATES {
        let mut offers = peers.offers(wanted, own).await;
        offers.retain(|height, _| Some(*height) > passed_over);
        let staged = staged(&staging)?;
        let Some(offer) = choose(offers, staged) else {
            break;
        };
        let height = offer.manifest.header.height;
        match peers.fetch(&offer, staged, &staging).await {
            // By now the nodes may have dropped it for newer ones.
            Err(error @ SyncError::NoPeer { .. }) => {
                tracing::info!(%error, "looks for a newer state");
                (passed_over, failed) = (Some(height), Some(error));
            }
            Err(error) => return Err(error),
            Ok(()) => {
                replace(&staging, &wanted.data_dir.join(LEDGER))?;
                tracing::info!(%height, "has the state and goes on from there");
                return Ok(Some(height));
            }
        }
    }
    match failed {
        Some(error) => Err(error),
        None => {
            tracing::info!(?own, "no node has a checkpoint to go forward to");
            Ok(None)
        }
    }
}

/// The height of a state that [`fast_forward`] would fetch for a node whose tip
/// is `own`; it need not be stopped for the question.
///
/// Errors: [`SyncError::Peers`].
pub(crate) async fn ahead(wanted: &Wanted<'_>, own: Height) -> Result<Option<Height>, SyncError> {
    let mut peers = Peers::new(&wanted.config.peers)?;
    let offers = peers.offers(wanted, Some(own)).await;
    Ok(offers.into_keys().next_back())
}

/// The tip of the ledger's file; none where there is none.
fn own_tip(wanted: &Wanted<'_>) -> Result<Option<Height>, SyncError> {
    let path = wanted.data_dir.join(LEDGER);
    if !path.exists() {
        return Ok(None);
    }
    let store = Store::open(&path)?;
    Ok(store.snapshot()?.map(|snapshot| snapshot.height()))
}

/// The digest of the header whose state is staged at `path`.
fn staged(path: &Path) -> Result<Option<Digest>, SyncError> {
    if !path.exists() {
        return Ok(None);
    }
    let staged = Store::open(path).and_then(|store| store.staged());
    match staged {
        Ok(staged) => Ok(staged.map(|(manifest, _)| manifest.header.digest())),
        Err(error) => {
            tracing::warn!(%error, "begins anew: what was fetched before cannot be used");
            Ok(None)
        }
    }
}

/// What was begun goes before what is newer: it will be whole sooner.
fn choose(offers: BTreeMap<Height, Offer>, staged: Option<Digest>) -> Option<Offer> {
    let mut newest = None;
    for (_, offer) in offers {
        if staged == Some(offer.manifest.header.digest()) {
            return Some(offer);
        }
        newest = Some(offer);
    }
    newest
}

async fn assemble(path: &Path, manifest: &CheckedManifest) -> Result<Assembly, SyncError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(system("make the node's folder"))?;
    }
    let opened = Assembly::open(path.to_owned(), manifest.clone()).await;
    match opened.map_err(system("start a thread"))? {
        Err(RestoreError::Other(_)) => {
            fs::remove_file(path).map_err(system("remove an outdated state"))?;
            let opened = Assembly::open(path.to_owned(), manifest.clone()).await;
            opened.map_err(system("start a thread"))?
        }
        opened => opened,
    }
    .map_err(SyncError::Restore)
}

/// Puts a whole state in the place of the ledger's file.
pub(crate) fn replace(whole: &Path, ledger: &Path) -> Result<(), SyncError> {
    fs::rename(whole, ledger).map_err(system("put the state in its place"))?;
    let folder = ledger.parent().unwrap_or(Path::new("."));
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(system("sync the node's folder"))
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> SyncError {
    let what = what.into();
    move |source| SyncError::System { what, source }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[derive(Deserialize)]
struct Listed {
    height: Height,
}

#[derive(Deserialize)]
struct List {
    checkpoints: Vec<Listed>,
}

impl Peers {
    pub(super) fn new(urls: &[String]) -> Result<Self, SyncError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(SyncError::Peers)?;
        let urls: Vec<String> = urls
            .iter()
            .map(|url| url.trim_end_matches('/').to_owned())
            .collect();
        Ok(Self {
            http,
            refused: vec![false; urls.len()],
            urls,
        })
    }

    /// An answer's body, if it is one and within its limit.
    async fn get(&self, peer: usize, path: &str, limit: usize) -> Result<Vec<u8>, PeerError> {
        let url = format!("{}{path}", self.urls[peer]);
        let mut response = self.http.get(url).send().await?;
        if !response.status().is_success() {
            return Err(PeerError::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await? {
            if body.len() + part.len() > limit {
                return Err(PeerError::TooLarge(limit));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    /// The newest checkpoint of the first node.
    pub(super) async fn newest(&self) -> Result<Option<Height>, SyncError> {
        let list = self.list(0).await;
        let heights = list.map_err(|error| self.no_answer(error))?;
        Ok(heights.into_iter().max())
    }

    /// The manifest of the first node, as it came.
    pub(super) async fn manifest_bytes(&self, height: Height) -> Result<Vec<u8>, SyncError> {
        let path = format!("/v1/checkpoints/{height}");
        let bytes = self.get(0, &path, MAX_MANIFEST_BYTES).await;
        bytes.map_err(|error| self.no_answer(error))
    }

    /// A chunk of the first node, as it came; it is asked again if it is busy.
    pub(super) async fn any_chunk(&self, height: Height, index: u32) -> Result<Vec<u8>, SyncError> {
        let path = format!("/v1/checkpoints/{height}/chunks/{index}");
        let mut round = 0;
        loop {
            match self.get(0, &path, MAX_CHUNK_BYTES).await {
                Ok(bytes) => return Ok(bytes),
                Err(PeerError::Status(reqwest::StatusCode::TOO_MANY_REQUESTS))
                    if round < ROUNDS =>
                {
                    round += 1;
                    tokio::time::sleep(ROUND_PAUSE * round).await;
                }
                Err(error) => return Err(self.no_answer(error)),
            }
        }
    }

    fn no_answer(&self, source: PeerError) -> SyncError {
        let node = self.urls[0].clone();
        let source = Box::new(source);
        SyncError::Answer { node, source }
    }

    /// Names a node that gave something false; it is asked no more.
    fn refuse(&mut self, peer: usize, error: &dyn std::error::Error) {
        let node = &self.urls[peer];
        let reason = error.source().map(ToString::to_string);
        tracing::warn!(node, %error, reason, "a node gives a false state; it is asked no more");
        self.refused[peer] = true;
    }

    /// The checkpoints that this node would take, with who has them.
    async fn offers(
        &mut self,
        wanted: &Wanted<'_>,
        own: Option<Height>,
    ) -> BTreeMap<Height, Offer> {
        let mut offers: BTreeMap<Height, Offer> = BTreeMap::new();
        let behind = wanted.config.min_blocks_behind;
        // What is new has to be fetched however few blocks there are.
        let least = own
            .filter(|own| own.0 > 0)
            .map_or(1, |own| own.0.saturating_add(behind));
        for peer in 0..self.urls.len() {
            let heights = match self.list(peer).await {
                Ok(heights) => heights,
                Err(error) => {
                    tracing::info!(node = self.urls[peer], %error, "has no list of checkpoints");
                    continue;
                }
            };
            for height in heights.into_iter().filter(|height| height.0 >= least) {
                match self.manifest(peer, height, wanted).await {
                    Ok(Some(manifest)) => match offers.get_mut(&height) {
                        Some(offer) if same_cut(&offer.manifest, &manifest) => {
                            offer.peers.push(peer);
                        }
                        Some(_) => {}
                        None => {
                            let peers = vec![peer];
                            offers.insert(height, Offer { manifest, peers });
                        }
                    },
                    Ok(None) => {}
                    Err(error) if error.is_false() => {
                        self.refuse(peer, &error);
                        break;
                    }
                    Err(error) => {
                        tracing::info!(node = self.urls[peer], %height, %error, "no checkpoint");
                    }
                }
            }
        }
        offers.retain(|_, offer| {
            offer.peers.retain(|peer| !self.refused[*peer]);
            !offer.peers.is_empty()
        });
        offers
    }

    async fn list(&self, peer: usize) -> Result<Vec<Height>, PeerError> {
        let body = self.get(peer, "/v1/checkpoints", MAX_LIST_BYTES).await?;
        let list: List = serde_json::from_slice(&body)?;
        let newest = list.checkpoints.into_iter().take(MAX_LISTED);
        Ok(newest.map(|listed| listed.height).collect())
    }

    /// Fetches what `staging` lacks of a state, until it is whole there.
    async fn fetch(
        &mut self,
        offer: &Offer,
        staged: Option<Digest>,
        staging: &Path,
    ) -> Result<(), SyncError> {
        let header = offer.manifest.header;
        let resumed = staged == Some(header.digest());
        if !resumed && staging.exists() {
            fs::remove_file(staging).map_err(system("remove an outdated state"))?;
        }
        tracing::info!(height = %header.height, chunks = offer.manifest.chunks, resumed, "fetches the state");
        let mut assembly = assemble(staging, &offer.manifest).await?;
        while let Some(index) = assembly.next_chunk() {
            if let Err(error) = self.chunk(offer, &mut assembly, index).await {
                let closed = assembly.close().await;
                closed.map_err(system("close a state that is not whole"))?;
                return Err(error);
            }
        }
        let finished = assembly.finish().await;
        if let Err(error) = finished.map_err(system("put the state together"))? {
            // The manifest was for fewer chunks than the state has.
            fs::remove_file(staging).map_err(system("remove a state that is not whole"))?;
            return Err(SyncError::Restore(error));
        }
        Ok(())
    }

    /// The manifest, checked; none of a state that is too old.
    async fn manifest(
        &self,
        peer: usize,
        height: Height,
        wanted: &Wanted<'_>,
    ) -> Result<Option<CheckedManifest>, PeerError> {
        let path = format!("/v1/checkpoints/{height}");
        let body = self.get(peer, &path, MAX_MANIFEST_BYTES).await?;
        let manifest = Manifest::decode(&body)?.check(wanted.circle, wanted.key)?;
        let time_ms = manifest.header.time_ms;
        let (now, max_age_ms) = (
            now_ms(),
            wanted.config.max_age_hours.saturating_mul(3_600_000),
        );
        let recent = time_ms.saturating_add(max_age_ms) >= now
            && time_ms <= now.saturating_add(MAX_CLOCK_SKEW_MS);
        if !recent || manifest.header.height != height {
            tracing::warn!(
                node = self.urls[peer], %height, time_ms,
                "a node offers a state that is not of this time"
            );
            return Ok(None);
        }
        Ok(Some(manifest))
    }

    /// Fetches a chunk from whoever gives a good one, and adds it.
    async fn chunk(
        &mut self,
        offer: &Offer,
        assembly: &mut Assembly,
        index: u32,
    ) -> Result<(), SyncError> {
        let height = offer.manifest.header.height;
        let path = format!("/v1/checkpoints/{height}/chunks/{index}");
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(ROUND_PAUSE * round).await;
            }
            let mut dropped = 0;
            for turn in 0..offer.peers.len() {
                // Another one is asked first for each chunk.
                let peer = offer.peers[(turn + index as usize) % offer.peers.len()];
                if self.refused[peer] {
                    dropped += 1;
                    continue;
                }
                let bytes = match self.get(peer, &path, MAX_CHUNK_BYTES).await {
                    Ok(bytes) => bytes,
                    Err(error) if error.is_false() => {
                        self.refuse(peer, &error);
                        continue;
                    }
                    Err(error) => {
                        let node = &self.urls[peer];
                        tracing::info!(node, index, %error, "no chunk; asks another node");
                        dropped += usize::from(error.is_absence());
                        continue;
                    }
                };
                let added = assembly.add(bytes).await;
                match added.map_err(system("put the state together"))? {
                    Ok(()) => return Ok(()),
                    Err(error) if error.blames_giver() => {
                        self.refuse(peer, &error);
                        // After a bad chunk an earlier one may be wanted.
                        if assembly.next_chunk() != Some(index) {
                            return Ok(());
                        }
                    }
                    Err(error) => return Err(SyncError::Restore(error)),
                }
            }
            // Who no longer has it will not have it in the next round.
            if dropped == offer.peers.len() {
                break;
            }
        }
        Err(SyncError::NoPeer { index, height })
    }
}

/// Checkpoints of one node that are looked at.
const MAX_LISTED: usize = 8;

/// Whether chunks of one are chunks of the other.
fn same_cut(one: &Manifest, other: &Manifest) -> bool {
    one.header == other.header && one.chunk_bytes == other.chunk_bytes && one.chunks == other.chunks
}

/// Where a data directory has its ledger.
pub fn ledger_file(data_dir: &Path) -> PathBuf {
    data_dir.join(LEDGER)
}
