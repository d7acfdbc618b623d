//! The ACME server (RFC 8555, RFC 8737, RFC 9773).
//!
//! Its state is the ledger's: accounts, orders and certificates are records
//! that any authority of the circle can continue. What this process keeps is
//! nonces, which clients renew by themselves.
//!
//! Source: docs/spec/acme.md.

mod account;
mod addresses;
mod certificate;
mod challenge;
mod external;
pub mod jose;
mod nonces;
mod order;
mod poster;
mod problem;
mod renewal;

use std::{collections::HashMap, sync::Arc, sync::Mutex, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use wire::{AccountId, Action, Digest, Height, record::AcmeAccount, state_key};

pub use self::{
    challenge::{ChallengePorts, answers},
    external::{CredentialRequest, Credentials},
};
use self::{jose::Jwk, nonces::Nonces, poster::Poster, problem::Problem};
use super::authority::Authority;
use crate::ledger::{self, Ledger, Post};

/// How long an effect that was posted is waited for: a node may be a block
/// behind the one that took the transaction.
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);

/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Challenges that are being fetched at once: each holds a connection.
const MAX_FETCHING: usize = 256;

/// Of them, those of one account: the names of one order, so that nobody's slow
/// servers take the place of all.
const MAX_FETCHING_PER_ACCOUNT: usize = wire::limits::MAX_ORDER_NAMES;

/// Accounts that are opened in one second without an owner's binding, over all
/// clients: an account costs the circle a record for ever.
const ACCOUNTS_PER_SECOND: u32 = 20;

/// What the server is told.
#[derive(Clone, Debug)]
pub struct AcmeSettings {
    /// The URL under which clients reach it, without a slash at the end.
    pub url: String,
    /// Where challenges are answered.
    pub ports: ChallengePorts,
    /// How long a leaf holds, milliseconds.
    pub validity_ms: u64,
}

/// The server.
pub(super) struct Acme<L> {
    ledger: Arc<L>,
    authority: Arc<Authority>,
    account: AccountId,
    settings: AcmeSettings,
    nonces: Nonces,
    poster: Poster,
    /// Challenges that are being fetched, order and name, and for which account.
    fetching: Mutex<HashMap<(Digest, u8), Digest>>,
    /// The second in which accounts were last opened, and how many.
    opened: Mutex<(u64, u32)>,
    names: renewal::Index,
}

type Server<L> = Arc<Acme<L>>;

/// A request whose signature and nonce hold.
struct Signed {
    payload: Vec<u8>,
    key: Jwk,
    /// The account, unless the request brought its own key.
    account: Option<(Digest, AcmeAccount)>,
}

/// The routes of a server, and what must run for it to work.
pub fn server<L: Ledger + Post>(
    ledger: Arc<L>,
    authority: Arc<Authority>,
    settings: AcmeSettings,
) -> (Router, impl Future<Output = ()> + Send) {
    let (poster, posting) = Poster::new(Arc::clone(&ledger));
    let server = Arc::new(Acme {
        account: ledger.account(),
        ledger,
        authority,
        settings,
        nonces: Nonces::default(),
        poster,
        fetching: Mutex::default(),
        opened: Mutex::default(),
        names: renewal::Index::default(),
    });
    let nonce = get(new_nonce::<L>).head(new_nonce::<L>);
    let routes = Router::new()
        .route("/acme/directory", get(directory::<L>))
        .route("/acme/new-nonce", nonce)
        .route("/acme/new-account", post(account::open::<L>))
        .route("/acme/account/{id}", post(account::update::<L>))
        .route("/acme/account/{id}/orders", post(account::orders::<L>))
        .route("/acme/external-account", post(account::credentials::<L>))
        .route("/acme/key-change", post(account::change_key::<L>))
        .route("/acme/new-order", post(order::open::<L>))
        .route("/acme/order/{id}", post(order::show::<L>))
        .route("/acme/order/{id}/finalize", post(order::finalize::<L>))
        .route("/acme/authz/{id}/{name}", post(order::authorization::<L>))
        .route(
            "/acme/challenge/{id}/{name}/{kind}",
            post(order::challenge::<L>),
        )
        .route(
            "/acme/certificate/{domain}/{serial}",
            post(certificate::show::<L>),
        )
        .route(
            "/acme/certificate/{domain}/{serial}/with-root",
            post(certificate::show_with_root::<L>),
        )
        .route("/acme/revoke", post(certificate::revoke::<L>))
        .route("/acme/renewal-info/{id}", get(renewal::show::<L>))
        .layer(DefaultBodyLimit::max(jose::MAX_BODY_BYTES))
        .with_state(server);
    (routes, posting)
}

impl<L: Ledger + Post> Acme<L> {
    fn url(&self, path: &str) -> String {
        format!("{}/acme/{path}", self.settings.url)
    }

    /// Reads one record, proven.
    async fn read<T: borsh::BorshDeserialize>(&self, key: Vec<u8>) -> Result<Option<T>, Problem> {
        let (found, _) = ledger::read_one(&*self.ledger, key, Height(0)).await?;
        Ok(found)
    }

    /// Reads a record until it is as `wanted` says: what was just posted.
    async fn read_until<T: borsh::BorshDeserialize>(
        &self,
        key: Vec<u8>,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<T, Problem> {
        let deadline = tokio::time::Instant::now() + VISIBLE_WITHIN;
        loop {
            if let Some(found) = self.read::<T>(key.clone()).await?
                && wanted(&found)
            {
                return Ok(found);
            }
            if tokio::time::Instant::now() >= deadline {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return Err(Problem::new(
                    status,
                    "serverInternal",
                    "the ledger does not show yet what was posted",
                ));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn post(&self, actions: Vec<Action>) -> Result<(), Problem> {
        Ok(self.poster.post(actions).await?)
    }

    /// Checks a POST to `path` (RFC 8555 §6.2 to §6.5).
    async fn authenticate(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Signed, Problem> {
        let kind = headers.get(header::CONTENT_TYPE);
        if kind.is_none_or(|kind| kind.as_bytes() != b"application/jose+json") {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            let detail = "the content type is application/jose+json";
            return Err(Problem::new(status, "malformed", detail));
        }
        let message = jose::Message::parse(body)?;
        if !message
            .header
            .nonce
            .as_deref()
            .is_some_and(|nonce| self.nonces.take(nonce))
        {
            let status = StatusCode::BAD_REQUEST;
            let detail = "the nonce is not one of ours, or was used: take the one of this answer";
            return Err(Problem::new(status, "badNonce", detail));
        }
        if message.header.url != self.url(path) {
            return Err(Problem::unauthorized("the message is for another URL"));
        }
        let (key, account) = match (&message.header.jwk, &message.header.kid) {
            (Some(key), _) => (key.clone(), None),
            (None, Some(kid)) => {
                let (id, account) = self.account_of(kid).await?;
                let key = serde_json::from_slice(&account.key)
                    .map_err(|_| Problem::unauthorized("the account's key does not decode"))?;
                (key, Some((id, account)))
            }
            (None, None) => return Err(Problem::malformed("there is no key")),
        };
        let payload = message.verify(&key)?.to_vec();
        Ok(Signed {
            payload,
            key,
            account,
        })
    }

    /// The live account that a `kid` names.
    async fn account_of(&self, kid: &str) -> Result<(Digest, AcmeAccount), Problem> {
        let missing = || {
            let detail = "there is no such account, or it is deactivated";
            Problem::new(StatusCode::BAD_REQUEST, "accountDoesNotExist", detail)
        };
        let id: Digest = kid
            .strip_prefix(&self.url("account/"))
            .and_then(|id| id.parse().ok())
            .ok_or_else(missing)?;
        let account: AcmeAccount = self
            .read(state_key::acme_account(id))
            .await?
            .ok_or_else(missing)?;
        if account.key.is_empty() {
            return Err(Problem::unauthorized("the account is deactivated"));
        }
        Ok((id, account))
    }

    /// As [`Acme::authenticate`], for requests that an account makes.
    async fn authenticate_account(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(Digest, AcmeAccount, Vec<u8>), Problem> {
        let signed = self.authenticate(path, headers, body).await?;
        let (id, account) = signed
            .account
            .ok_or_else(|| Problem::malformed("the request is signed by an account: kid"))?;
        Ok((id, account, signed.payload))
    }

    /// Adds what every answer carries: a nonce, and where the directory is.
    fn dress(&self, answer: Result<Response, Problem>) -> Response {
        let mut response = answer.unwrap_or_else(IntoResponse::into_response);
        let headers = response.headers_mut();
        if let Some(nonce) = self.nonces.give()
            && let Ok(nonce) = HeaderValue::from_str(&nonce)
        {
            headers.insert(HeaderName::from_static("replay-nonce"), nonce);
        }
        let index = format!("<{}>;rel=\"index\"", self.url("directory"));
        if let Ok(index) = HeaderValue::from_str(&index) {
            headers.append(header::LINK, index);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

async fn directory<L: Ledger + Post>(State(server): State<Server<L>>) -> Response {
    let caa: Vec<String> = server
        .authority
        .apexes()
        .iter()
        .map(ToString::to_string)
        .collect();
    Json(json!({
        "newNonce": server.url("new-nonce"),
        "newAccount": server.url("new-account"),
        "newOrder": server.url("new-order"),
        "revokeCert": server.url("revoke"),
        "keyChange": server.url("key-change"),
        "renewalInfo": server.url("renewal-info"),
        "meta": { "caaIdentities": caa, "externalAccountRequired": false },
    }))
    .into_response()
}

/// 200 for HEAD, 204 for GET (RFC 8555 §7.2).
async fn new_nonce<L: Ledger + Post>(
    State(server): State<Server<L>>,
    method: axum::http::Method,
    _body: Bytes,
) -> Response {
    let status = if method == axum::http::Method::HEAD {
        StatusCode::OK
    } else {
        StatusCode::NO_CONTENT
    };
    server.dress(Ok(status.into_response()))
}
