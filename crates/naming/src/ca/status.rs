//! The authority's own interface over HTTP: its root, its health, its counts.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;
use wire::AccountId;

use super::{
    authority::Authority,
    certify::{Progress, ProgressReport},
    trust,
};
use crate::names::now_ms;

/// How old the newest proof may be before the authority counts as cut off:
/// idle it reads every few seconds.
const MAX_LAG_MS: u64 = 60_000;

/// What `GET /v1/status` says.
#[derive(Debug, Serialize)]
pub struct CaStatus {
    /// The account that posts; the circle must list it as an authority.
    pub account: AccountId,
    /// How far the newest proof lies behind this machine's clock, milliseconds.
    pub lag_ms: u64,
    /// What was done since the start.
    #[serde(flatten)]
    pub progress: ProgressReport,
}

#[derive(Clone)]
pub(super) struct Shown {
    pub account: AccountId,
    pub authority: Arc<Authority>,
    pub progress: Arc<Progress>,
}

impl Shown {
    fn status(&self) -> CaStatus {
        let progress = self.progress.report();
        CaStatus {
            account: self.account,
            lag_ms: now_ms().saturating_sub(progress.time_ms),
            progress,
        }
    }
}

pub(super) fn routes(shown: Shown) -> Router {
    Router::new()
        .route("/roots.pem", get(roots))
        .route("/roots.mobileconfig", get(mobileconfig))
        .route("/policies/chromium.json", get(chromium))
        .route("/policies/firefox.json", get(firefox))
        .route("/healthz", get(healthz))
        .route("/v1/status", get(status))
        .with_state(shown)
}

async fn roots(State(shown): State<Shown>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "application/x-pem-file")];
    (kind, shown.authority.roots_pem().to_owned())
}

async fn mobileconfig(State(shown): State<Shown>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "application/x-apple-aspen-config")];
    (kind, trust::mobileconfig(&shown.authority))
}

async fn chromium(State(shown): State<Shown>) -> Json<serde_json::Value> {
    Json(trust::chromium(&shown.authority))
}

async fn firefox(State(shown): State<Shown>) -> Json<serde_json::Value> {
    Json(trust::firefox(&shown.authority))
}

/// 200 while the ledger is followed, else 503.
async fn healthz(State(shown): State<Shown>) -> (StatusCode, &'static str) {
    if shown.status().lag_ms <= MAX_LAG_MS {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the ledger is not followed\n",
        )
    }
}

async fn status(State(shown): State<Shown>) -> Json<CaStatus> {
    Json(shown.status())
}
