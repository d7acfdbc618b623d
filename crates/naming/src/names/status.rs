//! The name server's own interface over HTTP: is it well, and what does it know.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;
use wire::Height;

use super::{
    answer::Freshness,
    fronts::{
        Identity,
        counters::{Counters, exposition, rcode_name},
    },
    gateway::{Gateway, GatewayStatus},
    published::{Published, now_ms},
};

/// What `GET /v1/status` says.
#[derive(Debug, Serialize)]
pub struct NamesStatus {
    /// The height that is served; none before the first.
    pub height: Option<Height>,
    /// Time of the newest header proven, Unix milliseconds.
    pub time_ms: Option<u64>,
    /// How far that lies behind this machine's clock, milliseconds.
    pub lag_ms: Option<u64>,
    /// `fresh`, `stale`, `expired` or `not_ready`.
    pub freshness: &'static str,
    /// Registered names that resolve.
    pub names: usize,
    /// The zones served.
    pub apexes: Vec<String>,
    /// Answers since the start, by outcome (`NOERROR`, `NXDOMAIN`, …).
    pub answers: BTreeMap<String, u64>,
    /// Whether there is a certificate for the encrypted transports; none if
    /// there are no such transports.
    pub certified: Option<bool>,
    /// What a gateway keeps, and how old it is; none of what follows zones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayStatus>,
}

/// What the interface shows.
#[derive(Clone)]
pub(super) struct Shown {
    pub published: Arc<Published>,
    pub counters: Arc<[Arc<Counters>]>,
    pub identity: Option<Arc<Identity>>,
    pub gateway: Option<Gateway>,
}

impl Shown {
    fn status(&self) -> NamesStatus {
        match &self.gateway {
            Some(gateway) => self.status_with(gateway),
            None => self.of_image(),
        }
    }

    fn of_image(&self) -> NamesStatus {
        let zone = self.published.zone();
        let now_ms = now_ms();
        let freshness = zone
            .as_deref()
            .map(|zone| self.published.freshness(zone, now_ms));
        let mut sums = Default::default();
        for counters in self.counters.iter() {
            counters.add_to(&mut sums);
        }
        let answers = (0u16..)
            .zip(sums)
            .filter(|(_, count)| *count > 0)
            .map(|(rcode, count)| (rcode_name(rcode), count))
            .collect();
        NamesStatus {
            height: zone.as_ref().map(|zone| zone.height()),
            time_ms: zone.as_ref().map(|zone| zone.time_ms()),
            lag_ms: zone
                .as_ref()
                .map(|zone| now_ms.saturating_sub(zone.time_ms())),
            freshness: freshness_name(freshness),
            names: zone.as_ref().map_or(0, |zone| zone.names()),
            apexes: zone.as_ref().map_or_else(Vec::new, |zone| {
                zone.apex_texts().map(ToString::to_string).collect()
            }),
            answers,
            certified: self
                .identity
                .as_ref()
                .map(|identity| identity.is_certified()),
            gateway: None,
        }
    }

    /// The same of a gateway, which has no image.
    fn status_with(&self, gateway: &Gateway) -> NamesStatus {
        let now_ms = now_ms();
        let plain = self.of_image();
        let kept = gateway.status(now_ms);
        let names = kept.names;
        let Some((height, time_ms, apexes, freshness)) = gateway.newest(now_ms) else {
            return NamesStatus {
                gateway: Some(kept),
                ..plain
            };
        };
        NamesStatus {
            height: Some(height),
            time_ms: Some(time_ms),
            lag_ms: Some(now_ms.saturating_sub(time_ms)),
            freshness: freshness_name(Some(freshness)),
            names,
            apexes,
            gateway: Some(kept),
            ..plain
        }
    }
}

fn freshness_name(freshness: Option<Freshness>) -> &'static str {
    match freshness {
        Some(Freshness::Fresh) => "fresh",
        Some(Freshness::Stale) => "stale",
        Some(Freshness::Expired) => "expired",
        Some(Freshness::Unproven) | None => "not_ready",
    }
}

/// The interface's routes.
pub(super) fn routes(shown: Shown) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/v1/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(shown)
}

/// 200 while answers are given and fresh, else 503 and why.
async fn healthz(State(shown): State<Shown>) -> (StatusCode, &'static str) {
    match shown.status().freshness {
        "fresh" => (StatusCode::OK, "ok\n"),
        "stale" => (StatusCode::SERVICE_UNAVAILABLE, "stale\n"),
        "expired" => (StatusCode::SERVICE_UNAVAILABLE, "expired\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn status(State(shown): State<Shown>) -> Json<NamesStatus> {
    Json(shown.status())
}

/// The same for Prometheus (text format 0.0.4).
async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let status = shown.status();
    let mut text = exposition(&shown.counters);
    let height = status.height.map_or(0, |height| height.0);
    for (name, help, value) in [
        ("height", "The ledger height that is served.", height),
        (
            "lag_milliseconds",
            "How far the newest proven header lies behind this machine's clock.",
            status.lag_ms.unwrap_or(0),
        ),
        (
            "names",
            "Registered names that resolve.",
            status.names as u64,
        ),
        (
            "fresh",
            "Whether answers are fresh.",
            u64::from(status.freshness == "fresh"),
        ),
        (
            "certified",
            "Whether there is a certificate for the encrypted transports.",
            u64::from(status.certified == Some(true)),
        ),
    ] {
        text.push_str(&format!(
            "# HELP ringfort_names_{name} {help}\n# TYPE ringfort_names_{name} gauge\n\
             ringfort_names_{name} {value}\n"
        ));
    }
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], text)
}
