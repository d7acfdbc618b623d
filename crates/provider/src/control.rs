//! The control interface: ciphertext of logs and results, and the provider's
//! own status. It holds no secret, so it asks nobody who they are.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use client::run::{SealedPage, SealedRecord};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::Semaphore};
use tower_http::services::ServeFile;
use wire::{ContractId, EvidenceKind, Height, Measurement, OfferId, PublicKey};

use crate::{
    contract_files::contracts_directory,
    host::{ContractState, ContractStatus, Host},
    router::RouterCounts,
};

/// Bytes of sealed records in one page.
const PAGE_BYTES: usize = 1024 * 1024;

/// The longest that a request for logs is held until there are some.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Requests for logs that are held at the same time.
const MAX_WAITING: usize = 1024;

/// The provider's status.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderStatus {
    /// The provider's key.
    pub key: PublicKey,
    /// The version of this program.
    pub version: &'static str,
    /// The highest block that it has seen proven.
    pub height: Height,
    /// The enclave code that it launches.
    pub measurement: Measurement,
    /// Evidence that it can give. Development evidence does not keep this host
    /// from reading payloads.
    pub evidence: Vec<EvidenceKind>,
    /// Its standing offer.
    pub offer: Option<OfferStatus>,
    /// Its contracts, live and over.
    pub contracts: Vec<ContractStatus>,
    /// The services' door.
    pub services: RouterCounts,
    /// Whether all is well.
    pub healthy: bool,
    /// If not, why.
    pub why: Vec<String>,
}

/// The standing offer in the status.
#[derive(Clone, Debug, Serialize)]
pub struct OfferStatus {
    /// Its id.
    pub id: OfferId,
    /// Whether it can still be matched.
    pub open: bool,
    /// When it expires.
    pub expires_at: Height,
}

#[derive(Clone)]
struct Control {
    host: Arc<Host>,
    waiting: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default)]
    from: u64,
    #[serde(default)]
    wait_ms: u64,
}

/// Answers until the future is dropped.
///
/// Errors: the listener's.
pub(crate) async fn serve(host: Arc<Host>, listener: TcpListener) -> std::io::Result<()> {
    let control = Control {
        host,
        waiting: Arc::new(Semaphore::new(MAX_WAITING)),
    };
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/logs/{contract}", get(logs))
        .route("/v1/outputs/{contract}", get(output))
        .route("/healthz", get(healthy))
        .with_state(control);
    axum::serve(listener, router).await
}

async fn status(State(control): State<Control>) -> Json<ProviderStatus> {
    Json(report(&control.host))
}

async fn healthy(State(control): State<Control>) -> StatusCode {
    if control.host.troubles().is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// The status as it is now.
pub(crate) fn report(host: &Host) -> ProviderStatus {
    let why = host.troubles();
    ProviderStatus {
        key: host.account.public(),
        version: env!("CARGO_PKG_VERSION"),
        height: host.client.seen(),
        measurement: host.measurement(),
        evidence: host.config.offer.evidence.clone(),
        offer: host.offer().map(|(id, offer)| OfferStatus {
            id,
            open: offer.open,
            expires_at: offer.terms.expires_at,
        }),
        contracts: host.statuses(),
        services: host.router.counts(),
        healthy: why.is_empty(),
        why,
    }
}

/// An error in the form that the nodes' API gives too.
fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "code": code, "message": message, "hint": "" } });
    (status, Json(body)).into_response()
}

/// A contract that this provider has or had; one of an earlier life is opened
/// from disk.
fn find(host: &Host, contract: ContractId) -> Option<Arc<ContractState>> {
    if let Some(state) = host.contract(contract) {
        return Some(state);
    }
    let directory = contracts_directory(&host.config.data_dir).join(contract.to_string());
    if !directory.is_dir() {
        return None;
    }
    ContractState::open(&host.config, contract)
        .ok()
        .map(Arc::new)
}

async fn logs(
    State(control): State<Control>,
    Path(contract): Path<ContractId>,
    Query(query): Query<LogQuery>,
) -> Response {
    let Some(state) = find(&control.host, contract) else {
        return refuse(
            StatusCode::NOT_FOUND,
            "not_found",
            "no such contract was here",
        );
    };
    if query.wait_ms > 0 {
        let Ok(_place) = control.waiting.try_acquire() else {
            return refuse(
                StatusCode::TOO_MANY_REQUESTS,
                "busy",
                "too many wait for logs",
            );
        };
        let wait = Duration::from_millis(query.wait_ms).min(MAX_WAIT);
        // Whether there is something new or not, the page says what there is.
        let _ = tokio::time::timeout(wait, state.log.reaches(query.from)).await;
    }
    let read = tokio::task::spawn_blocking(move || state.log.page(query.from, PAGE_BYTES)).await;
    match read {
        Ok(Ok(page)) => Json(SealedPage {
            first: page.first,
            next: page.next,
            records: page
                .records
                .into_iter()
                .map(|(sequence, sealed)| SealedRecord {
                    sequence,
                    sealed: BASE64_STANDARD.encode(sealed),
                })
                .collect(),
        })
        .into_response(),
        _ => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "log",
            "the log could not be read",
        ),
    }
}

async fn output(
    State(control): State<Control>,
    Path(contract): Path<ContractId>,
    request: Request,
) -> Response {
    let directory = contracts_directory(&control.host.config.data_dir);
    let path = directory.join(contract.to_string()).join("output");
    match ServeFile::new(path).try_call(request).await {
        Ok(response) => response.into_response(),
        Err(_) => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "output",
            "the output could not be read",
        ),
    }
}
