//! ACME accounts (RFC 8555 §7.3). Contacts are not kept: the ledger is public.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use wire::{
    AcmeAccountChange, AcmeAccountOpen, Action, Digest, OwnerBinding, record::AcmeAccount,
    state_key,
};

use super::{
    ACCOUNTS_PER_SECOND, Acme, Server, Signed,
    external::{self, BindingError, CredentialRequest, Credentials},
    jose::{self, Jwk, Message},
    problem::Problem,
};
use crate::{
    ledger::{Ledger, Post},
    names::now_ms,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount {
    #[serde(default)]
    only_return_existing: bool,
    external_account_binding: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Update {
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyChange {
    account: String,
    old_key: Jwk,
}

pub(super) async fn open<L: Ledger + Post>(
    State(server): State<Server<L>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    server.dress(server.open_account(&headers, &body).await)
}

pub(super) async fn update<L: Ledger + Post>(
    State(server): State<Server<L>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    server.dress(server.update_account(&id, &headers, &body).await)
}

/// The orders of an account are not listed: they are few and short-lived, and
/// no client asks (RFC 8555 §7.1.2.1 lets a server leave out older ones).
pub(super) async fn orders<L: Ledger + Post>(
    State(server): State<Server<L>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = format!("account/{id}/orders");
    let answer = server.authenticate_account(&path, &headers, &body).await;
    server.dress(answer.map(|_| Json(json!({ "orders": [] })).into_response()))
}

pub(super) async fn change_key<L: Ledger + Post>(
    State(server): State<Server<L>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    server.dress(server.change_account_key(&headers, &body).await)
}

/// Gives a name's owner the credentials with which an ACME client's account is
/// bound to its ledger key.
pub(super) async fn credentials<L: Ledger + Post>(
    State(server): State<Server<L>>,
    body: Bytes,
) -> Response {
    server.dress(server.credentials(&body))
}

impl<L: Ledger + Post> Acme<L> {
    async fn open_account(&self, headers: &HeaderMap, body: &[u8]) -> Result<Response, Problem> {
        let signed = self.authenticate("new-account", headers, body).await?;
        let Signed {
            payload,
            key,
            account: None,
        } = signed
        else {
            return Err(Problem::malformed(
                "a new account is asked for by its key: jwk",
            ));
        };
        let wish: NewAccount = jose::json(&payload)?;
        let thumbprint = key.thumbprint()?;
        let known: Option<Digest> = self.read(state_key::acme_key(thumbprint)).await?;
        if let Some(id) = known {
            let account: Option<AcmeAccount> = self.read(state_key::acme_account(id)).await?;
            let account = account.filter(|account| !account.key.is_empty());
            let account =
                account.ok_or_else(|| Problem::unauthorized("the account is deactivated"))?;
            return Ok(self.account_answer(StatusCode::OK, id, &account));
        }
        if wish.only_return_existing {
            let status = StatusCode::BAD_REQUEST;
            let detail = "there is no account with that key";
            return Err(Problem::new(status, "accountDoesNotExist", detail));
        }
        let binding = wish
            .external_account_binding
            .map(|binding| self.binding(&binding, &key))
            .transpose()?;
        // An owner is known by what its name costs; anyone else is counted.
        if binding.is_none() {
            self.count_account()?;
        }
        let action = AcmeAccountOpen {
            key: key.canonical()?.into_bytes(),
            binding,
        };
        self.post(vec![Action::AcmeAccountOpen(action)]).await?;
        let account = self
            .read_until::<AcmeAccount>(state_key::acme_account(thumbprint), |_| true)
            .await?;
        Ok(self.account_answer(StatusCode::CREATED, thumbprint, &account))
    }

    fn binding(&self, binding: &serde_json::Value, key: &Jwk) -> Result<OwnerBinding, Problem> {
        let url = self.url("new-account");
        external::check(&self.authority, self.account, binding, key, &url, now_ms()).map_err(
            |error| match error {
                BindingError::Jose(error) => error.into(),
                BindingError::Authority(error) => error.into(),
                other => Problem::unauthorized(other),
            },
        )
    }

    fn count_account(&self) -> Result<(), Problem> {
        let second = now_ms() / 1000;
        let mut opened = self
            .opened
            .lock()
            .map_err(|_| Problem::rate_limited("try again"))?;
        if opened.0 != second {
            *opened = (second, 0);
        }
        opened.1 += 1;
        if opened.1 > ACCOUNTS_PER_SECOND {
            return Err(Problem::rate_limited("too many accounts are being opened"));
        }
        Ok(())
    }

    fn account_answer(&self, status: StatusCode, id: Digest, account: &AcmeAccount) -> Response {
        let url = self.url(&format!("account/{id}"));
        let valid = if account.key.is_empty() {
            "deactivated"
        } else {
            "valid"
        };
        let document = json!({
            "status": valid,
            "orders": format!("{url}/orders"),
            "termsOfServiceAgreed": true,
        });
        (status, [(header::LOCATION, url)], Json(document)).into_response()
    }

    async fn update_account(
        &self,
        id: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, Problem> {
        let path = format!("account/{id}");
        let (own, mut account, payload) = self.authenticate_account(&path, headers, body).await?;
        if own.to_string() != id {
            return Err(Problem::unauthorized("this is another's account"));
        }
        if !payload.is_empty() {
            let update: Update = jose::json(&payload)?;
            if update.status.as_deref() == Some("deactivated") {
                let action = AcmeAccountChange {
                    account: own,
                    key: None,
                };
                self.post(vec![Action::AcmeAccountChange(action)]).await?;
                account.key.clear();
            }
        }
        Ok(self.account_answer(StatusCode::OK, own, &account))
    }

    /// RFC 8555 §7.3.5: the inner message is signed by the new key.
    async fn change_account_key(
        &self,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, Problem> {
        let signed = self.authenticate("key-change", headers, body).await?;
        let (id, _) = signed
            .account
            .ok_or_else(|| Problem::malformed("the request is signed by an account: kid"))?;
        let inner = Message::parse(&signed.payload)?;
        let new = inner
            .header
            .jwk
            .clone()
            .ok_or_else(|| Problem::malformed("the inner message brings the new key"))?;
        let change: KeyChange = jose::json(inner.verify(&new)?)?;
        let same = change.old_key.canonical()? == signed.key.canonical()?;
        let url = self.url("key-change");
        if inner.header.url != url || !same || change.account != self.url(&format!("account/{id}"))
        {
            return Err(Problem::malformed(
                "the inner message is for another change",
            ));
        }
        let thumbprint = new.thumbprint()?;
        if let Some(taken) = self.read::<Digest>(state_key::acme_key(thumbprint)).await? {
            let status = StatusCode::CONFLICT;
            let location = self.url(&format!("account/{taken}"));
            let problem = Problem::new(status, "malformed", "another account has that key");
            return Ok(([(header::LOCATION, location)], problem).into_response());
        }
        let key = new.canonical()?.into_bytes();
        let action = AcmeAccountChange {
            account: id,
            key: Some(key.clone()),
        };
        self.post(vec![Action::AcmeAccountChange(action)]).await?;
        let account = self
            .read_until::<AcmeAccount>(state_key::acme_account(id), |found| found.key == key)
            .await?;
        Ok(self.account_answer(StatusCode::OK, id, &account))
    }

    fn credentials(&self, body: &[u8]) -> Result<Response, Problem> {
        let request: CredentialRequest =
            serde_json::from_slice(body).map_err(Problem::malformed)?;
        let now = now_ms();
        if now.abs_diff(request.time_ms) > external::CLOCK_LIMIT_MS {
            return Err(Problem::unauthorized(
                "the clock is off by over five minutes",
            ));
        }
        let binding = request
            .check(self.authority.circle(), self.account)
            .ok_or_else(|| Problem::unauthorized("the owner's signatures do not hold"))?;
        let (kid, key) = external::credentials(&self.authority, &binding)?;
        let credentials = Credentials {
            kid,
            hmac_key: jose::encode(&key),
            directory: self.url("directory"),
        };
        Ok(Json(credentials).into_response())
    }
}
