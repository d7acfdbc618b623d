//! What does a node answer over HTTP, and to how many at a time?
//!
//! Version 1, JSON; one file for each resource. Nothing here is trusted by a
//! client that checks proofs, and nothing here trusts a client: bodies,
//! queries, requests at a time and time itself are bounded. The chain's
//! threads are never waited for; what is read is a snapshot of the store.

mod blocks;
mod checkpoints;
mod circle;
mod entries;
mod error;
mod events;
mod headers;
mod market;
mod openapi;
mod operators;
mod rates;
mod records;
mod request;
mod server;
mod status;
mod transactions;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use engine::EngineHandle;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot, watch},
};
use wire::{CircleId, Genesis, limits::MAX_TRANSACTION_BYTES};

use crate::{
    attesting::Attesting,
    checkpoint::Shelf,
    mempool::{Intake, Mempool},
    store::Snapshot,
    tip::Tip,
};
use error::ApiError;
use operators::Operators;
use rates::Rates;

/// Requests that are answered at a time; each holds little more than its body.
const MAX_REQUESTS: usize = 4096;

/// Streams of events at a time; each reads one block after another.
const MAX_STREAMS: usize = 256;

/// A body: the largest transaction, or a list of keys in hex.
const MAX_BODY_BYTES: usize = 2 * MAX_TRANSACTION_BYTES + 8 * 1024;

/// A request that is not answered by then gets an error; above
/// [`transactions::MAX_WAIT_MS`].
const REQUEST_TIMEOUT: Duration = Duration::from_secs(70);

/// Entries in a listing.
const MAX_LISTED: usize = 256;

/// What the API's tasks share.
#[derive(Clone)]
pub struct Api {
    circle: CircleId,
    genesis: Arc<Genesis>,
    tip: Arc<Tip>,
    mempool: Arc<Mempool>,
    intake: Intake,
    pub(crate) engine: EngineHandle,
    shelf: Arc<Shelf>,
    attesting: Arc<Attesting>,
    requests: Arc<Semaphore>,
    chunk_reads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// None where figures are for everybody.
    operators: Option<Arc<Operators>>,
    rates: Arc<Rates>,
    stopped: watch::Receiver<bool>,
}

impl Api {
    /// The API of a node whose engine runs.
    pub(crate) fn new(
        genesis: Genesis,
        tip: Arc<Tip>,
        mempool: Arc<Mempool>,
        intake: Intake,
        engine: EngineHandle,
        shelf: Arc<Shelf>,
        attesting: Arc<Attesting>,
    ) -> Self {
        Self {
            circle: genesis.circle(),
            genesis: Arc::new(genesis),
            tip,
            mempool,
            intake,
            engine,
            shelf,
            attesting,
            chunk_reads: Arc::new(Semaphore::new(checkpoints::MAX_CHUNK_READS)),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            operators: None,
            rates: Arc::new(Rates::new(0)),
            stopped: watch::channel(false).1,
        }
    }

    /// Shows figures only to whom the file at `operators` names, if there is one,
    /// and answers each address so many requests a second; 0 for no limit.
    pub(crate) fn guarded(mut self, operators: Option<&Path>, per_second: u32) -> Self {
        self.operators = operators.map(|path| Arc::new(Operators::new(path)));
        self.rates = Arc::new(Rates::new(per_second));
        self
    }

    /// Reads the store as of the tip, on a thread where that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let snapshot = self.tip.snapshot();
        tokio::task::spawn_blocking(move || read(&snapshot))
            .await
            .map_err(|panic| ApiError::internal(&panic))?
    }
}

/// Serves the API until `stopped` turns true, and ends what is under way.
pub async fn serve(listener: TcpListener, mut api: Api, mut stopped: watch::Receiver<bool>) {
    api.stopped = stopped.clone();
    let end = async move {
        // A sender that is gone means the same.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    server::serve(listener, router(api), server::Bounds::default(), end).await;
}

/// Tells everybody why this node does not answer, until `stopped`.
pub(crate) async fn serve_nothing(
    listener: TcpListener,
    why: String,
    stopped: oneshot::Receiver<()>,
) {
    let end = async {
        // A sender that is gone means the same.
        let _ = stopped.await;
    };
    let waiting = move || async move { status::waiting(why) };
    let router = Router::new()
        // It needs room, and no restart.
        .route("/healthz", get(async || "ok\n"))
        .fallback(waiting);
    server::serve(listener, router, server::Bounds::default(), end).await;
}

fn router(api: Api) -> Router {
    let figures = Router::new()
        .route("/metrics", get(status::metrics))
        .route("/v1/engine/metrics", get(status::engine_metrics))
        .layer(middleware::from_fn_with_state(
            api.clone(),
            operators::require_monitor,
        ));
    let bounded = figures
        .route("/v1/status", get(status::status))
        .route("/readyz", get(status::ready))
        .route("/healthz", get(status::alive))
        .route("/openapi.json", get(openapi::openapi))
        .route("/v1/circle", get(circle::circle))
        .route("/v1/transactions", post(transactions::submit))
        .route("/v1/transactions/{id}", get(transactions::receipt))
        .route("/v1/entries", get(entries::list))
        .route("/v1/entries/proofs", post(entries::prove_many))
        .route("/v1/entries/{key}", get(entries::entry))
        .route("/v1/headers/{height}", get(headers::header))
        .route("/v1/blocks/{height}", get(blocks::block))
        .route("/v1/checkpoints", get(checkpoints::list))
        .route("/v1/checkpoints/{height}", get(checkpoints::manifest))
        .route(
            "/v1/checkpoints/{height}/chunks/{index}",
            get(checkpoints::chunk),
        )
        .route("/v1/accounts/{id}", get(records::account))
        .route("/v1/locks/{id}", get(records::lock))
        .route("/v1/names", get(records::names))
        .route("/v1/names/{name}", get(records::name))
        .route("/v1/names/{name}/released", get(records::released))
        .route("/v1/names/{name}/recovery", get(records::recovery))
        .route("/v1/names/{name}/bids", get(records::bids))
        .route("/v1/addresses/{address}/names", get(records::address_names))
        .route("/v1/notarised/{digest}", get(records::notarised))
        .route("/v1/hosts/{host}", get(records::appraisals))
        .route("/v1/market/offers", get(records::offers))
        .route("/v1/market/offers/{id}", get(records::offer))
        .route("/v1/market/requests/{id}", get(records::request))
        .route("/v1/market/contracts/{id}", get(records::contract))
        .route("/v1/market/match", post(market::dry_run))
        .route("/v1/enclaves/{contract}", get(records::enclave))
        .route("/v1/certificates/{contract}", get(records::certificate))
        .layer(middleware::from_fn_with_state(api.clone(), bound));
    Router::new()
        .route("/v1/events", get(events::events))
        .merge(bounded)
        .fallback(async || ApiError::not_found("path", "see /openapi.json for what there is"))
        .method_not_allowed_fallback(async || ApiError::method())
        .layer(middleware::from_fn_with_state(api.clone(), count))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(api)
}

/// Bounds the rate of requests from one address.
async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<server::ClientAddress>();
    let counted = address.map_or(Ok(()), |from| api.rates.count(from.0, Instant::now()));
    match counted {
        Ok(()) => next.run(request).await,
        Err(_) => ApiError::too_often().into_response(),
    }
}

/// Bounds requests at a time and the time of each.
async fn bound(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Ok(_permit) = api.requests.try_acquire() else {
        return ApiError::busy("requests").into_response();
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::busy("answers").into_response(),
    }
}
