//! The whole state, for nodes that are new or were away for long.
//!
//! Chunks are read from files that do not change. Few are read at a time: they
//! are large, and consensus uses the same disk and network.

use axum::{
    Json,
    extract::{Path as AxumPath, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;
use wire::{Digest, Height};

use super::{Api, error::ApiError, request::Path};
use crate::checkpoint::CheckpointFile;

/// Chunks that are read at a time, all clients together.
pub(super) const MAX_CHUNK_READS: usize = 8;

/// The type of encoded manifests and chunks.
const BYTES: &str = "application/octet-stream";

/// A checkpoint that the node has. Nothing of it is proven here: the manifest is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckpointView {
    /// The height of the block after which the state was taken.
    #[schema(value_type = u64)]
    height: Height,
    /// That block's time, Unix milliseconds.
    time_ms: u64,
    /// The state's root.
    #[schema(value_type = String)]
    state_root: Digest,
    /// How many chunks there are.
    chunks: u32,
    /// How many entries the state has.
    entries: u64,
    /// Bytes of all chunks.
    bytes: u64,
}

/// The checkpoints that a node has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Checkpoints {
    /// Newest first.
    checkpoints: Vec<CheckpointView>,
}

fn view(file: &CheckpointFile) -> CheckpointView {
    let manifest = file.manifest();
    CheckpointView {
        height: manifest.header.height,
        time_ms: manifest.header.time_ms,
        state_root: manifest.header.state_root,
        chunks: manifest.chunks,
        entries: manifest.entries,
        bytes: manifest.bytes,
    }
}

/// The checkpoints that the node has.
#[utoipa::path(get, path = "/v1/checkpoints", responses((status = 200, body = Checkpoints)))]
pub(crate) async fn list(State(api): State<Api>) -> Json<Checkpoints> {
    let files = api.shelf.list();
    Json(Checkpoints {
        checkpoints: files.iter().map(|file| view(file)).collect(),
    })
}

fn none(height: u64) -> ApiError {
    let hint = "GET /v1/checkpoints lists what there is";
    ApiError::not_found(&format!("checkpoint of block {height}"), hint)
}

/// The manifest of a checkpoint: docs/spec/checkpoints.md §2.
#[utoipa::path(get, path = "/v1/checkpoints/{height}",
    params(("height" = u64, Path, description = "the checkpoint's height")),
    responses((status = 200, description = "the encoded manifest",
            content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, body = ApiError)))]
pub(crate) async fn manifest(
    State(api): State<Api>,
    Path(height): Path<u64>,
) -> Result<Response, ApiError> {
    let file = api.shelf.at(Height(height)).ok_or_else(|| none(height))?;
    let bytes = file.manifest_bytes().to_vec();
    Ok(([(CONTENT_TYPE, BYTES)], bytes).into_response())
}

/// A chunk of a checkpoint: docs/spec/checkpoints.md §3.
#[utoipa::path(get, path = "/v1/checkpoints/{height}/chunks/{index}",
    params(("height" = u64, Path, description = "the checkpoint's height"),
        ("index" = u32, Path, description = "the chunk's number, from 0")),
    responses((status = 200, description = "the encoded chunk",
            content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, body = ApiError),
        (status = 429, description = "too many chunks are read now", body = ApiError)))]
pub(crate) async fn chunk(
    State(api): State<Api>,
    AxumPath((height, index)): AxumPath<(String, String)>,
) -> Result<Response, ApiError> {
    let (Ok(height), Ok(index)) = (height.parse::<u64>(), index.parse::<u32>()) else {
        let message = "the path is not understood: a height and a number are wanted";
        return Err(ApiError::bad_request(message, "see /openapi.json"));
    };
    let file = api.shelf.at(Height(height)).ok_or_else(|| none(height))?;
    let _permit = api
        .chunk_reads
        .try_acquire()
        .map_err(|_| ApiError::full("too many chunks are being read"))?;
    let bytes = tokio::task::spawn_blocking(move || file.chunk(index))
        .await
        .map_err(|panic| ApiError::internal(&panic))?
        .map_err(|error| ApiError::internal(&error))?;
    match bytes {
        Some(bytes) => Ok(([(CONTENT_TYPE, BYTES)], bytes).into_response()),
        None => Err(ApiError::not_found(
            "chunk",
            "the manifest says how many there are",
        )),
    }
}
