//! How does the API say that it does not answer, whose fault that is, and
//! what to do about it?

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;
use wire::{Height, Reject};

use crate::{
    mempool::{Refusal, Rejected},
    store::{Snapshot, StoreError},
};

/// Seconds after which to try again where the node is full.
const RETRY_AFTER_SECONDS: &str = "1";

/// An answer that is none.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ApiError {
    /// What is wrong.
    pub error: ErrorBody,
    #[serde(skip)]
    status: u16,
}

/// What is wrong, for programs and for people.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// A stable name.
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// The ledger's reject number, where the ledger refuses a transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject: Option<u8>,
}

impl ApiError {
    fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            status: status.as_u16(),
            error: ErrorBody {
                code,
                message: message.into(),
                hint: hint.into(),
                reject: None,
            },
        }
    }

    /// The request is malformed.
    pub(crate) fn bad_request(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message, hint)
    }

    /// What was asked for does not exist.
    pub(crate) fn not_found(what: &str, hint: impl Into<String>) -> Self {
        let message = format!("there is no such {what}");
        Self::new(StatusCode::NOT_FOUND, "not_found", message, hint)
    }

    /// The block is not here, or not any more.
    pub(crate) fn no_block(snapshot: &Snapshot) -> Self {
        let first = snapshot.first_height().unwrap_or_default();
        let hint = format!("this node has blocks {first} to {}", snapshot.height());
        Self::not_found("block", hint)
    }

    /// A stream should begin with a block that is not kept.
    pub(crate) fn gone(first: Height) -> Self {
        Self::new(
            StatusCode::GONE,
            "history_gone",
            format!("the node keeps events from block {first} on"),
            "read the present state, go on from its height, or ask another node",
        )
    }

    /// The path exists, the method does not.
    pub(crate) fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "the path has no such method",
            "see /openapi.json for what there is",
        )
    }

    /// The body is over its limit.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is over the limit of {limit} bytes"),
            "send less at a time",
        )
    }

    /// The node has too much to do.
    pub(crate) fn busy(what: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            format!("too many {what} are under way"),
            "try again, or ask another node",
        )
    }

    /// Requests from one address come too fast.
    pub(crate) fn too_often() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_often",
            "too many requests come from this address",
            "try again after the time in Retry-After, or ask another node",
        )
    }

    /// No token, or none that suffices.
    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this is for the node's operators",
            "show a token that the node's file of operators names: Authorization: Bearer TOKEN",
        )
    }

    /// The body did not come in time.
    pub(crate) fn slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow",
            "the body did not come in time",
            "send it at once, after it is whole",
        )
    }

    /// The node has stopped until its operator has done something.
    pub(crate) fn waiting(why: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "waiting",
            why,
            "ask another node; this one goes on by itself once its operator has made room",
        )
    }

    /// The mempool or its queue is full.
    pub(crate) fn full(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "full",
            message,
            "try again after the time in Retry-After",
        )
    }

    /// There is nothing to prove with.
    pub(crate) fn unproven() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_certificate",
            "no recent block has a certificate of its own",
            "try again in a moment, or read without proof",
        )
    }

    /// Our fault. The cause is logged, not told.
    pub(crate) fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(cause = %chain(cause), "cannot answer a request");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the node cannot answer",
            "ask another node; this one's operator finds the cause in its log",
        )
    }

    /// A transaction waited and was dropped.
    pub(crate) fn given_up() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "given_up",
            "the transaction waited and can no longer be applied",
            "read the account's sequence and balance, and sign again",
        )
    }

    fn ledger(reject: Reject) -> Self {
        let mut error = Self::new(
            StatusCode::CONFLICT,
            "rejected",
            reject.describe(),
            format!("reject {} of the ledger", reject.number()),
        );
        error.error.reject = Some(reject.number());
        error
    }

    /// Why a transaction was not taken.
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Check(error) => Self::new(
                StatusCode::BAD_REQUEST,
                "invalid_transaction",
                error.to_string(),
                "the body is an encoded signed transaction for this circle",
            ),
            Refusal::Ledger(reject) => Self::ledger(*reject),
            Refusal::Mempool(error @ (Rejected::Full | Rejected::SenderFull)) => {
                Self::full(error.to_string())
            }
            Refusal::Mempool(error @ Rejected::SequenceTaken(_)) => Self::new(
                StatusCode::CONFLICT,
                "sequence_taken",
                error.to_string(),
                "wait for it, then read the account's sequence and sign again",
            ),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            let after = HeaderValue::from_static(RETRY_AFTER_SECONDS);
            response.headers_mut().insert(RETRY_AFTER, after);
        }
        response
    }
}
