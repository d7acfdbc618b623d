//! Takes transactions, and tells what became of them.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::Instant};
use utoipa::{IntoParams, ToSchema};
use wire::{Receipt, Reject, TransactionId, limits::MAX_TRANSACTION_BYTES};

use super::{
    Api,
    error::ApiError,
    request::{Body, Path, Query},
};
use crate::mempool::Refusal;

/// How long `?wait=final` waits, unless the query says otherwise.
const DEFAULT_WAIT_MS: u64 = 30_000;

/// How long it waits at most: proxies on the way close what idles for longer.
pub(super) const MAX_WAIT_MS: u64 = 60_000;

/// How often who waits looks whether the mempool still has the transaction:
/// often enough for one that is given up, and seldom beside blocks, each of
/// which would wake all who wait for another.
const LOOK: Duration = Duration::from_millis(250);

/// Whether to wait for the receipt.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Waiting {
    /// `final`: answer with the receipt once the transaction is in a final block.
    wait: Option<Wait>,
    /// How long to wait, in milliseconds; 30,000 unless given, at most 60,000.
    timeout_ms: Option<u64>,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wait {
    /// A final block.
    Final,
}

/// A transaction that is not in a final block yet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The transaction's id.
    #[schema(value_type = String)]
    transaction: TransactionId,
    /// `pending`.
    status: &'static str,
}

fn accepted(transaction: TransactionId) -> Response {
    let body = Accepted {
        transaction,
        status: "pending",
    };
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

/// Takes a signed transaction (`application/octet-stream`). Sending the same
/// one again is harmless and gives the same answer.
#[utoipa::path(post, path = "/v1/transactions", params(Waiting),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "the receipt (with wait=final, or if it is final already)",
            body = serde_json::Value),
        (status = 202, description = "it waits for a block", body = Accepted),
        (status = 400, description = "not a valid transaction of this circle", body = ApiError),
        (status = 409, description = "the ledger would refuse it: see `reject`", body = ApiError),
        (status = 413, description = "too large", body = ApiError),
        (status = 429, description = "full: see Retry-After", body = ApiError)))]
pub(crate) async fn submit(
    State(api): State<Api>,
    Query(waiting): Query<Waiting>,
    Body(body): Body,
) -> Result<Response, ApiError> {
    if body.len() > MAX_TRANSACTION_BYTES {
        return Err(ApiError::too_large(MAX_TRANSACTION_BYTES));
    }
    let id = TransactionId::of_encoded(&body);
    // From here on no receipt can be missed: it is in the snapshot or comes.
    let receipt = api.tip.wait_for(id);
    let answer = answer(&api, id, body.to_vec(), &waiting, receipt).await;
    api.tip.leave(&id);
    answer
}

async fn answer(
    api: &Api,
    id: TransactionId,
    encoded: Vec<u8>,
    waiting: &Waiting,
    receipt: oneshot::Receiver<Receipt>,
) -> Result<Response, ApiError> {
    let verdict = api
        .intake
        .submit(encoded)
        .map_err(|busy| ApiError::full(busy.to_string()))?
        .await
        .map_err(|closed| ApiError::internal(&closed))?;
    match verdict {
        Ok(_) => {}
        // A transaction that is final already has used its sequence up.
        Err(refusal @ Refusal::Ledger(Reject::SequenceMismatch | Reject::Expired)) => {
            return match stored(api, id).await? {
                Some(receipt) => Ok(Json(receipt).into_response()),
                None => Err(ApiError::refused(&refusal)),
            };
        }
        Err(refusal) => return Err(ApiError::refused(&refusal)),
    }
    if waiting.wait.is_none() {
        return Ok(accepted(id));
    }
    let wait_ms = waiting.timeout_ms.unwrap_or(DEFAULT_WAIT_MS);
    let deadline = Instant::now() + Duration::from_millis(wait_ms.min(MAX_WAIT_MS));
    match finality(api, id, receipt, deadline).await? {
        Some(receipt) => Ok(Json(receipt).into_response()),
        None => Ok(accepted(id)),
    }
}

async fn stored(api: &Api, id: TransactionId) -> Result<Option<Receipt>, ApiError> {
    api.read(move |snapshot| Ok(snapshot.receipt(&id)?)).await
}

/// The receipt, or none if it does not come by `deadline`.
///
/// Errors: where the mempool has given the transaction up meanwhile.
async fn finality(
    api: &Api,
    id: TransactionId,
    mut receipt: oneshot::Receiver<Receipt>,
    deadline: Instant,
) -> Result<Option<Receipt>, ApiError> {
    let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
    let mut stopped = api.stopped.clone();
    loop {
        tokio::select! {
            biased;
            answer = &mut receipt => return answer
                .map(Some)
                .map_err(|closed| ApiError::internal(&closed)),
            () = tokio::time::sleep_until(deadline) => return Ok(None),
            // The guard that the watch gives must not outlive its own branch.
            () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => return Ok(None),
            _ = look.tick() => {
                if api.mempool.contains(&id) {
                    continue;
                }
                // It left the mempool for a block, whose tip is published before,
                // or was given up.
                return match stored(api, id).await? {
                    Some(receipt) => Ok(Some(receipt)),
                    None => Err(ApiError::given_up()),
                };
            }
        }
    }
}

/// What became of a transaction.
#[utoipa::path(get, path = "/v1/transactions/{id}", responses(
    (status = 200, description = "the receipt", body = serde_json::Value),
    (status = 202, description = "it waits for a block", body = Accepted),
    (status = 404, description = "unknown here", body = ApiError)),
    params(("id" = String, Path, description = "64 hex digits")))]
pub(crate) async fn receipt(
    State(api): State<Api>,
    Path(id): Path<TransactionId>,
) -> Result<Response, ApiError> {
    if let Some(receipt) = stored(&api, id).await? {
        return Ok(Json(receipt).into_response());
    }
    if api.mempool.contains(&id) {
        return Ok(accepted(id));
    }
    Err(ApiError::not_found(
        "transaction",
        "this node has not seen it, or has given it up; send it again",
    ))
}
