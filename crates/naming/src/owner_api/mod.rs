//! The owner's names over the HTTP interface of PowerDNS: as much of it as
//! `octoDNS`, `lexicon` and `lego` use to keep records.
//!
//! It runs beside the owner and holds the owner's key: what comes with the API
//! key becomes a transaction of the owner's. A zone is a registered name, or an
//! apex with all names that this owner has beneath it. What it answers is
//! proven; what it is told is on the ledger once it answers.
//!
//! Source: docs/spec/names.md, "The owner's interface".

mod rrsets;
mod zones;

use std::{future::Future, net::SocketAddr, sync::Arc};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use client::{
    ClientError,
    account::{Account, AccountError},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::rrsets::Patch;

/// The interface's version that is spoken; programs look at it to learn what they may use.
const SPOKEN_VERSION: &str = "4.8.0";

/// The only server, by the name that PowerDNS gives its own.
const SERVER: &str = "localhost";

/// A request's body, at most: some thousand records.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// What was sent cannot be done.
    #[error("{0}")]
    Refused(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The circle refused it.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The circle cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Account(error) if error.reject().is_some() => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Account(_) | Self::Client(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let text = crate::ledger::chain(&self);
        (status, Json(json!({ "error": text }))).into_response()
    }
}

/// What the interface works with.
pub struct OwnerApi {
    account: Account,
    key: String,
}

impl OwnerApi {
    /// An interface to the names of `account`, for who shows `key`.
    pub fn new(account: Account, key: String) -> Arc<Self> {
        Arc::new(Self { account, key })
    }

    /// The routes.
    pub fn routes(self: &Arc<Self>) -> Router {
        let server = format!("/api/v1/servers/{SERVER}");
        Router::new()
            .route("/api", get(versions))
            .route("/api/v1/servers", get(servers))
            .route(&server, get(described))
            .route(&format!("{server}/zones"), get(list).post(create))
            .route(
                &format!("{server}/zones/{{zone}}"),
                get(show).patch(change).delete(remove),
            )
            .route(
                &format!("{server}/zones/{{zone}}/{{task}}"),
                put(nothing_to_do),
            )
            .fallback(unknown)
            .layer(middleware::from_fn_with_state(Arc::clone(self), authorized))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(Arc::clone(self))
    }

    /// Serves at `address`; gives the address (another if its port was 0) and
    /// what must run.
    ///
    /// Errors: the address cannot be listened at.
    pub async fn serve(
        self: Arc<Self>,
        address: SocketAddr,
    ) -> std::io::Result<(SocketAddr, impl Future<Output = std::io::Result<()>> + Send)> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let routes = self.routes();
        Ok((address, async move { axum::serve(listener, routes).await }))
    }
}

type Shared = State<Arc<OwnerApi>>;

/// Lets through who shows the key.
async fn authorized(State(api): Shared, request: Request, next: Next) -> Response {
    let shown = api_key(request.headers()).unwrap_or_default();
    if verify_slices_are_equal(shown.as_bytes(), api.key.as_bytes()).is_err() {
        let text =
            "the header X-API-Key is missing, or another than this interface was started with";
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": text }))).into_response();
    }
    next.run(request).await
}

fn api_key(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-api-key")?.to_str().ok()
}

async fn versions() -> Json<Value> {
    Json(json!([{ "version": 1, "url": "/api/v1" }]))
}

fn server() -> Value {
    let url = format!("/api/v1/servers/{SERVER}");
    json!({
        "type": "Server",
        "id": SERVER,
        "daemon_type": "authoritative",
        "version": SPOKEN_VERSION,
        "url": url,
        "config_url": format!("{url}/config{{/config_setting}}"),
        "zones_url": format!("{url}/zones{{/zone}}"),
    })
}

async fn servers() -> Json<Value> {
    Json(json!([server()]))
}

async fn described() -> Json<Value> {
    Json(server())
}

#[derive(Deserialize)]
struct Wanted {
    zone: Option<String>,
    rrsets: Option<String>,
}

async fn list(State(api): Shared, Query(wanted): Query<Wanted>) -> Result<Json<Value>, ApiError> {
    let zones = match &wanted.zone {
        None => zones::all(&api.account).await?,
        Some(text) => match zones::find(&api.account, text).await {
            Ok(zone) => vec![zone],
            Err(ApiError::NotFound(_)) => Vec::new(),
            Err(error) => return Err(error),
        },
    };
    Ok(Json(zones.iter().map(|zone| zone.json(false)).collect()))
}

async fn show(
    State(api): Shared,
    Path(zone): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    let zone = zones::find(&api.account, &zone).await?;
    Ok(Json(zone.json(wanted.rrsets.as_deref() != Some("false"))))
}

async fn change(
    State(api): Shared,
    Path(zone): Path<String>,
    body: Result<Json<Patch>, axum::extract::rejection::JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(patch) = body.map_err(|error| ApiError::Refused(error.body_text()))?;
    let zone = zones::find(&api.account, &zone).await?;
    let actions = rrsets::actions(&zone, &patch)?;
    if !actions.is_empty() {
        api.account.send(actions).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A name is bought, not made by an interface to its records.
async fn create() -> ApiError {
    ApiError::Refused("names are registered with `ringfort name register`".to_owned())
}

async fn remove() -> ApiError {
    ApiError::Refused("names are given up with `ringfort name cancel`".to_owned())
}

/// `notify`, `rectify` and the like: the ledger's change is the notice, and
/// zones are signed when it changes.
async fn nothing_to_do(
    State(api): Shared,
    Path((zone, task)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    zones::find(&api.account, &zone).await?;
    match task.as_str() {
        "notify" | "rectify" | "axfr-retrieve" => {
            Ok(Json(json!({ "result": "it happens by itself" })))
        }
        other => Err(ApiError::NotFound(format!("there is no {other} of a zone"))),
    }
}

async fn unknown() -> ApiError {
    ApiError::NotFound("this interface keeps records of zones and nothing else".to_owned())
}
