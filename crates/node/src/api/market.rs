//! What would the market do with a request?

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wire::{AccountId, RequestTerms, match_report::MatchReport};

use super::{Api, error::ApiError, request::Body};

/// A request that is not posted.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct DryRun {
    /// Who would post it; none for somebody who holds enough.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    user: Option<AccountId>,
    /// What would be asked for.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    terms: RequestTerms,
}

/// A dry run: each open offer with its price or every reason for which it does
/// not fit, and what the request would be matched with and cost.
///
/// The body is the request's terms, with `user` beside them where balance and
/// names of that account should count.
#[utoipa::path(post, path = "/v1/market/match", request_body = DryRun,
    responses((status = 200, body = serde_json::Value), (status = 400, body = ApiError)))]
pub(crate) async fn dry_run(
    State(api): State<Api>,
    body: Body,
) -> Result<Json<MatchReport>, ApiError> {
    let DryRun { user, terms } = body.json()?;
    api.read(move |snapshot| {
        let next = snapshot.height().plus(1);
        let user = user.unwrap_or_default();
        Ok(Json(ledger::market::dry_run(snapshot, &terms, user, next)))
    })
    .await
}
