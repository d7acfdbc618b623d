//! What does a request say? Paths, queries and bodies, refused with a hint
//! where they are malformed.

use std::{str::FromStr, time::Duration};

use axum::{
    body::Bytes,
    extract::{
        FromRequest, FromRequestParts, Path as AxumPath, Query as AxumQuery, Request,
        rejection::BytesRejection,
    },
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{MAX_BODY_BYTES, error::ApiError};

/// One part of the path, as the type that it stands for.
pub(crate) struct Path<T>(pub T);

impl<S: Send + Sync, T: FromStr<Err: std::fmt::Display>> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let AxumPath(text) = AxumPath::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::bad_request(error.body_text(), "see /openapi.json"))?;
        match text.parse() {
            Ok(value) => Ok(Self(value)),
            Err(error) => Err(ApiError::bad_request(
                format!("the path's `{}` is not understood: {error}", shorten(&text)),
                "see /openapi.json",
            )),
        }
    }
}

/// The query.
pub(crate) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match AxumQuery::<T>::from_request_parts(parts, state).await {
            Ok(AxumQuery(query)) => Ok(Self(query)),
            Err(error) => Err(ApiError::bad_request(
                error.body_text(),
                "see /openapi.json for the query's fields",
            )),
        }
    }
}

/// How long a body may take: the largest one at 10 kB/s, with room.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// The body as it came.
pub(crate) struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
            .await
            .map_err(|_| ApiError::slow())?
            .map(Self)
            .map_err(|error| match error {
                BytesRejection::FailedToBufferBody(failed)
                    if failed.status() == StatusCode::PAYLOAD_TOO_LARGE =>
                {
                    ApiError::too_large(MAX_BODY_BYTES)
                }
                other => ApiError::bad_request(other.body_text(), "send the whole body"),
            })
    }
}

impl Body {
    /// The body as JSON, whatever its content type says.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.0).map_err(|error| {
            ApiError::bad_request(
                format!("the body is not the JSON that is wanted: {error}"),
                "see /openapi.json for its form",
            )
        })
    }
}

/// Bytes written in hex.
pub(crate) struct Hex(pub Vec<u8>);

impl FromStr for Hex {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).map(Self)
    }
}

impl<'de> serde::Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Enough of a text to recognise it by in an error.
fn shorten(text: &str) -> &str {
    text.char_indices()
        .nth(80)
        .map_or(text, |(end, _)| &text[..end])
}
