//! Problem documents (RFC 7807, RFC 8555 §6.7).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use wire::Reject;

use super::jose::{ALGORITHMS, JoseError};
use crate::{
    ca::{authority::AuthorityError, intermediates::IntermediateError, request::RequestError},
    ledger::LedgerError,
};

/// An error that a client is told.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, detail: impl ToString) -> Self {
        Self {
            status,
            kind,
            detail: detail.to_string(),
        }
    }

    pub(super) fn malformed(detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    pub(super) fn unauthorized(detail: impl ToString) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub(super) fn forbidden(kind: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::FORBIDDEN, kind, detail)
    }

    pub(super) fn not_found(detail: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, "malformed", detail)
    }

    pub(super) fn rate_limited(detail: impl ToString) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rateLimited", detail)
    }

    pub(super) fn document(&self) -> serde_json::Value {
        json!({
            "type": format!("urn:ietf:params:acme:error:{}", self.kind),
            "detail": self.detail,
            "status": self.status.as_u16(),
        })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut document = self.document();
        if self.kind == "badSignatureAlgorithm" {
            document["algorithms"] = json!(ALGORITHMS);
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, Json(document)).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        if self.kind == "rateLimited" {
            let later = HeaderValue::from_static("5");
            response.headers_mut().insert(header::RETRY_AFTER, later);
        }
        response
    }
}

impl From<JoseError> for Problem {
    fn from(error: JoseError) -> Self {
        let kind = match &error {
            JoseError::Malformed(_) => "malformed",
            JoseError::Algorithm => "badSignatureAlgorithm",
            JoseError::Key => "badPublicKey",
            JoseError::Signature => "unauthorized",
        };
        Self::new(StatusCode::BAD_REQUEST, kind, error)
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "badCSR", error)
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Rejected(reject) => reject.into(),
            // What went wrong within is not the client's to know.
            other => {
                tracing::warn!(error = %crate::ledger::chain(&other), "an ACME request failed");
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, "serverInternal", "the ledger cannot be reached")
            }
        }
    }
}

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::LimitExceeded | Reject::CertificateLimit => Self::rate_limited(reject),
            Reject::AcmeNamesRefused | Reject::NameNotFound => {
                Self::forbidden("rejectedIdentifier", reject)
            }
            Reject::CertificateForbidden => Self::forbidden("caa", reject),
            Reject::AcmeAccountNotFound
            | Reject::AcmeBindingInvalid
            | Reject::NotOwner
            | Reject::NameSuspended => Self::unauthorized(reject),
            Reject::AcmeAccountExists => Self::malformed(reject),
            Reject::AcmeOrderState => Self::forbidden("orderNotReady", reject),
            Reject::AcmeOrderNotFound => Self::not_found(reject),
            Reject::CertificateNotFound => {
                Self::new(StatusCode::BAD_REQUEST, "alreadyRevoked", reject)
            }
            other => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(status, "serverInternal", other)
            }
        }
    }
}

impl From<AuthorityError> for Problem {
    fn from(error: AuthorityError) -> Self {
        tracing::error!(error = %crate::ledger::chain(&error), "a certificate cannot be made");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "serverInternal", "no certificate could be made")
    }
}

impl From<IntermediateError> for Problem {
    fn from(error: IntermediateError) -> Self {
        match error {
            IntermediateError::Ledger(error) => error.into(),
            IntermediateError::Authority(error) => error.into(),
        }
    }
}
