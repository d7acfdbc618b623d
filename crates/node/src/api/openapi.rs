//! What can be asked, for programs that make clients.

use axum::Json;
use utoipa::OpenApi;

use super::{
    blocks, checkpoints, circle, entries, events, headers, market, records, status, transactions,
};

/// The description of this API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ringfort node",
        version = "1",
        description = "The HTTP API of a circle's node. Believe what is proven: \
            docs/spec/proofs.md says how to check it with the circle's key alone."
    ),
    paths(
        status::status,
        status::ready,
        status::alive,
        status::metrics,
        status::engine_metrics,
        circle::circle,
        transactions::submit,
        transactions::receipt,
        entries::entry,
        entries::list,
        entries::prove_many,
        headers::header,
        blocks::block,
        checkpoints::list,
        checkpoints::manifest,
        checkpoints::chunk,
        events::events,
        records::account,
        records::lock,
        records::name,
        records::names,
        records::released,
        records::recovery,
        records::bids,
        records::address_names,
        records::notarised,
        records::appraisals,
        records::offer,
        records::offers,
        records::request,
        records::contract,
        records::enclave,
        records::certificate,
        market::dry_run,
    ),
    // A query's type, which the paths do not bring along.
    components(schemas(transactions::Wait))
)]
struct Description;

/// This description.
pub(crate) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}
