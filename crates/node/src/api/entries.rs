//! Entries of the state by their raw keys, with proofs.

use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use proof::{MAX_KEY_BYTES, Proof};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use wire::Height;

use super::{
    Api, MAX_LISTED,
    error::ApiError,
    request::{Body, Hex, Path, Query},
};
use crate::store::{self, Snapshot};

/// Keys in one request for proofs: some 60 KB of answer.
const MAX_PROVEN: usize = 64;

/// Entries in a listing, unless the query says otherwise.
const DEFAULT_LISTED: usize = 64;

/// Whether to prove the answer.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Proving {
    /// Answer as of the latest certified block, with a proof.
    #[serde(default)]
    pub proof: bool,
}

/// An entry of the state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Entry {
    /// The raw key, hex.
    key: String,
    /// The stored bytes, hex; none if there is no such entry.
    value: Option<String>,
    /// The height at which it is so.
    #[schema(value_type = u64)]
    height: Height,
    /// A `proof::Proof`, base64; none unless asked for.
    proof: Option<String>,
}

/// A value as of some height, proven or not.
pub(crate) struct Read {
    pub value: Option<Vec<u8>>,
    pub height: Height,
    pub proof: Option<String>,
}

impl Read {
    fn of(proof: Proof) -> Self {
        Self {
            proof: Some(BASE64.encode(proof.encode())),
            height: proof.header.height,
            value: proof.value,
        }
    }

    fn entry(self, key: &[u8]) -> Entry {
        Entry {
            key: hex::encode(key),
            value: self.value.map(hex::encode),
            height: self.height,
            proof: self.proof,
        }
    }
}

/// The value under `key`: at the tip, or proven at the latest certified height.
pub(crate) fn read(snapshot: &Snapshot, key: &[u8], prove: bool) -> Result<Read, ApiError> {
    if prove {
        let proof = snapshot.prove(key)?.ok_or_else(ApiError::unproven)?;
        return Ok(Read::of(proof));
    }
    Ok(Read {
        value: snapshot.entry(key)?,
        height: snapshot.height(),
        proof: None,
    })
}

fn check_key(key: &[u8]) -> Result<(), ApiError> {
    if key.len() <= MAX_KEY_BYTES {
        return Ok(());
    }
    Err(ApiError::bad_request(
        format!("a key has at most {MAX_KEY_BYTES} bytes"),
        "keys are in docs/spec/state.md",
    ))
}

/// One entry; its absence is an answer too, and is proven too.
#[utoipa::path(get, path = "/v1/entries/{key}", params(Proving,
        ("key" = String, Path, description = "the raw state key, hex")),
    responses((status = 200, body = Entry), (status = 400, body = ApiError),
        (status = 503, description = "nothing certified to prove with", body = ApiError)))]
pub(crate) async fn entry(
    State(api): State<Api>,
    Path(Hex(key)): Path<Hex>,
    Query(Proving { proof }): Query<Proving>,
) -> Result<Json<Entry>, ApiError> {
    check_key(&key)?;
    api.read(move |snapshot| Ok(Json(read(snapshot, &key, proof)?.entry(&key))))
        .await
}

/// Which entries to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// What the keys begin with, hex.
    #[param(value_type = String)]
    prefix: Hex,
    /// A key, hex: entries after it.
    #[param(value_type = Option<String>)]
    after: Option<Hex>,
    /// How many at most; 64 unless given, 256 at most.
    limit: Option<usize>,
}

/// One entry of a listing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listed {
    /// The raw key, hex.
    key: String,
    /// The stored bytes, hex.
    value: String,
}

/// A part of the state. Not proven: what is left out cannot be seen.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Entries {
    /// Keys ascending.
    entries: Vec<Listed>,
    /// The height at which it is so.
    #[schema(value_type = u64)]
    height: Height,
    /// Give this as `after` for the rest; none if there is none.
    next: Option<String>,
}

/// Entries and whether there are more.
pub(crate) type Page = (store::Entries, bool);

/// Up to `limit` entries after `after`.
pub(crate) fn page(
    snapshot: &Snapshot,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: Option<usize>,
) -> Result<Page, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_LISTED).clamp(1, MAX_LISTED);
    let mut entries = snapshot.entries(prefix, after, limit + 1)?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    Ok((entries, more))
}

/// Entries whose keys begin alike.
#[utoipa::path(get, path = "/v1/entries", params(Listing),
    responses((status = 200, body = Entries), (status = 400, body = ApiError)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Query(listing): Query<Listing>,
) -> Result<Json<Entries>, ApiError> {
    check_key(&listing.prefix.0)?;
    api.read(move |snapshot| {
        let after = listing.after.as_ref().map(|after| after.0.as_slice());
        let (entries, more) = page(snapshot, &listing.prefix.0, after, listing.limit)?;
        let next = entries
            .last()
            .filter(|_| more)
            .map(|(key, _)| hex::encode(key));
        let entries = entries
            .into_iter()
            .map(|(key, value)| Listed {
                key: hex::encode(key),
                value: hex::encode(value),
            })
            .collect();
        Ok(Json(Entries {
            entries,
            height: snapshot.height(),
            next,
        }))
    })
    .await
}

/// The keys to prove.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    /// Raw keys, hex; at most 64.
    #[schema(value_type = Vec<String>)]
    keys: Vec<Hex>,
}

/// Proven entries, all at one height.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProvenEntries {
    /// The height at which they are so.
    #[schema(value_type = u64)]
    height: Height,
    /// In the order of the keys.
    entries: Vec<Entry>,
}

/// Several entries, proven at one height.
#[utoipa::path(post, path = "/v1/entries/proofs", request_body = Keys,
    responses((status = 200, body = ProvenEntries), (status = 400, body = ApiError),
        (status = 503, description = "nothing certified to prove with", body = ApiError)))]
pub(crate) async fn prove_many(
    State(api): State<Api>,
    body: Body,
) -> Result<Json<ProvenEntries>, ApiError> {
    let Keys { keys } = body.json()?;
    if keys.len() > MAX_PROVEN {
        return Err(ApiError::bad_request(
            format!(
                "{} keys are asked for; {MAX_PROVEN} are proven at a time",
                keys.len()
            ),
            "ask several times",
        ));
    }
    keys.iter().try_for_each(|key| check_key(&key.0))?;
    api.read(move |snapshot| {
        let height = snapshot.certified()?.ok_or_else(ApiError::unproven)?;
        let entries = keys.iter().map(|Hex(key)| {
            let proof = snapshot.prove_at(key, height)?;
            Ok(Read::of(proof).entry(key))
        });
        Ok(Json(ProvenEntries {
            height,
            entries: entries.collect::<Result<_, ApiError>>()?,
        }))
    })
    .await
}
