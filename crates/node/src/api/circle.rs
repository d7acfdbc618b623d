//! Which circle does the node belong to?

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use wire::{CircleId, CircleKey, Genesis};

use super::Api;

/// A circle: its id is the digest of the genesis, so that who knows the id can
/// check the rest.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Circle {
    /// The circle's id.
    #[schema(value_type = String)]
    circle: CircleId,
    /// The key under which every header is certified.
    #[schema(value_type = String)]
    circle_key: CircleKey,
    /// The whole genesis.
    #[schema(value_type = Object)]
    genesis: Genesis,
}

/// The circle and its genesis.
#[utoipa::path(get, path = "/v1/circle", responses((status = 200, body = Circle)))]
pub(crate) async fn circle(State(api): State<Api>) -> Json<Circle> {
    Json(Circle {
        circle: api.circle,
        circle_key: api.genesis.circle_key,
        genesis: (*api.genesis).clone(),
    })
}
