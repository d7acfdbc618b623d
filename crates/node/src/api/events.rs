//! What happened, block by block, from any height on and as it happens.
//!
//! Past and present come the same way: each stream reads the next block from
//! the store and waits for the tip where there is none yet. A slow reader
//! costs one place in the list of streams and nothing else.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{self, KeepAlive, Sse},
};
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::{IntoParams, ToSchema};
use wire::{Digest, Event, Height, TransactionId};

use super::{Api, error::ApiError, request::Query};
use crate::store::{Snapshot, StoreError};

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// The first height; the next block's unless given. The header
    /// `Last-Event-ID`, which clients send when they reconnect, goes before it.
    from: Option<u64>,
}

/// One block's events: the data of an event `block`, whose id is the height.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlockEvents {
    /// The block's height.
    #[schema(value_type = u64)]
    height: Height,
    /// The block's time, Unix milliseconds.
    time_ms: u64,
    /// The header's digest.
    #[schema(value_type = String)]
    digest: Digest,
    /// In the order in which they happened.
    events: Vec<TransactionEvent>,
}

/// An event, and the transaction that caused it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TransactionEvent {
    /// The transaction; none for what the end of a block does.
    #[schema(value_type = Option<String>)]
    transaction: Option<TransactionId>,
    /// What happened: `event` names it, beside its own fields.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    event: Event,
}

/// Server-sent events: one for each block, past ones first.
#[utoipa::path(get, path = "/v1/events", params(From), responses(
    (status = 200, description = "events named `block`; each's id is its height, its data this",
        body = BlockEvents, content_type = "text/event-stream"),
    (status = 410, description = "the first block is not kept any more", body = ApiError),
    (status = 503, description = "too many streams", body = ApiError)))]
pub(crate) async fn events(
    State(api): State<Api>,
    Query(From { from }): Query<From>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, ApiError> {
    let permit = api
        .streams
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError::busy("streams"))?;
    let last_seen = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse::<u64>().ok())
        .and_then(|height| height.checked_add(1));
    let tip = api.tip.snapshot().height();
    let first = api.read(|snapshot| Ok(snapshot.first_whole()?)).await?;
    let next = last_seen.or(from).map_or(tip.plus(1), Height);
    if next < first {
        return Err(ApiError::gone(first));
    }
    let reader = Reader {
        next,
        tips: api.tip.watch(),
        stopped: api.stopped.clone(),
        _permit: permit,
    };
    let blocks = stream::unfold(reader, async |mut reader| {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(blocks).keep_alive(KeepAlive::default()))
}

struct Reader {
    next: Height,
    tips: watch::Receiver<Arc<Snapshot>>,
    stopped: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// The next block's events; none when the node ends or its store fails.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            let snapshot = self.tips.borrow_and_update().clone();
            let height = self.next;
            if height <= snapshot.height() {
                let text = tokio::task::spawn_blocking(move || text(&snapshot, height)).await;
                let text = match text {
                    Ok(Ok(text)) => text,
                    Ok(Err(error)) => {
                        tracing::error!(%height, ?error, "cannot read a block's events");
                        return None;
                    }
                    Err(_) => return None,
                };
                self.next = height.plus(1);
                let event = sse::Event::default().event("block").id(height.to_string());
                return Some(event.data(text));
            }
            drop(snapshot);
            tokio::select! {
                _ = self.stopped.wait_for(|stopped| *stopped) => return None,
                changed = self.tips.changed() => changed.ok()?,
            }
        }
    }
}

fn text(snapshot: &Snapshot, height: Height) -> Result<String, StoreError> {
    let missing = || StoreError::Damaged(format!("nothing is stored of block {height}"));
    let header = snapshot.header_at(height)?.ok_or_else(missing)?;
    let receipts = snapshot.receipts(height)?.ok_or_else(missing)?;
    let lists = snapshot.events(height)?.ok_or_else(missing)?;
    // One list for each transaction, then one for the end of the block.
    let causes = receipts
        .iter()
        .map(|receipt| Some(receipt.transaction))
        .chain([None]);
    let events = causes
        .zip(lists)
        .flat_map(|(transaction, list)| {
            list.into_iter()
                .map(move |event| TransactionEvent { transaction, event })
        })
        .collect();
    let block = BlockEvents {
        height,
        time_ms: header.time_ms,
        digest: header.digest(),
        events,
    };
    serde_json::to_string(&block)
        .map_err(|error| StoreError::Damaged(format!("block {height}: {error}")))
}
