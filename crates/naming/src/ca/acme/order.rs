//! Orders, authorizations, challenges and finalization (RFC 8555 §7.4, §7.5).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::{
    AcmeFinalize, AcmeIssue, AcmeOrderOpen, AcmeValidate, Action, CertifiedName, Digest, Height,
    Reject, Validation, acme_key_authorization, acme_token,
    record::{AcmeOrder, AcmeOrderStatus},
    state_key,
};

use super::{
    Acme, MAX_FETCHING, MAX_FETCHING_PER_ACCOUNT, Server, addresses, challenge, jose,
    problem::Problem,
};
use crate::{
    ca::{intermediates, request::CheckedRequest},
    ledger::{self, Ledger, LedgerError, Post},
};

/// How often a challenge is looked at before it fails: its record may be a few
/// blocks away, its server about to start.
const ATTEMPTS: u32 = 5;

/// The pause between two of them.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Identifier {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder {
    identifiers: Vec<Identifier>,
    not_before: Option<serde::de::IgnoredAny>,
    not_after: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Finalize {
    csr: String,
}

#[derive(Deserialize)]
struct Update {
    status: Option<String>,
}

pub(super) async fn open<L: Ledger + Post>(
    State(server): State<Server<L>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    server.dress(server.open_order(&headers, &body).await)
}

pub(super) async fn show<L: Ledger + Post>(
    State(server): State<Server<L>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = format!("order/{id}");
    let answer = server.own_order(&path, &id, &headers, &body).await;
    server.dress(answer.map(|own| server.order_answer(StatusCode::OK, own.id, &own.order)))
}

pub(super) async fn finalize<L: Ledger + Post>(
    State(server): State<Server<L>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // In a task of its own: a client that hangs up must not leave the order
    // between two steps.
    let worker = Arc::clone(&server);
    let answer =
        tokio::spawn(async move { worker.finalize_order(&id, &headers, &body).await }).await;
    let ended = |_| Problem::rate_limited("the authority stops");
    server.dress(answer.map_err(ended).flatten())
}

pub(super) async fn authorization<L: Ledger + Post>(
    State(server): State<Server<L>>,
    Path((id, name)): Path<(String, u8)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    server.dress(server.authorization(&id, name, &headers, &body).await)
}

pub(super) async fn challenge<L: Ledger + Post>(
    State(server): State<Server<L>>,
    Path((id, name, kind)): Path<(String, u8, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = answer_challenge(&server, &id, name, &kind, &headers, &body).await;
    server.dress(answer)
}

/// An order of the account that asks.
struct Own {
    id: Digest,
    order: AcmeOrder,
    /// The thumbprint of the account's key.
    thumbprint: Digest,
    payload: Vec<u8>,
}

impl<L: Ledger + Post> Acme<L> {
    async fn open_order(&self, headers: &HeaderMap, body: &[u8]) -> Result<Response, Problem> {
        let (account, _, payload) = self
            .authenticate_account("new-order", headers, body)
            .await?;
        let wish: NewOrder = jose::json(&payload)?;
        // RFC 8555 §7.4: what cannot be fulfilled as asked is an error.
        if wish.not_before.is_some() || wish.not_after.is_some() {
            let detail = "the authority chooses how long a certificate holds";
            return Err(Problem::malformed(detail));
        }
        let mut names = Vec::new();
        for identifier in &wish.identifiers {
            if identifier.kind != "dns" {
                let status = StatusCode::BAD_REQUEST;
                let detail = "only DNS names are certified";
                return Err(Problem::new(status, "unsupportedIdentifier", detail));
            }
            let value = identifier.value.to_ascii_lowercase();
            let name: CertifiedName = value
                .parse()
                .map_err(|error| Problem::forbidden("rejectedIdentifier", error))?;
            names.push(name);
        }
        names.sort_unstable();
        names.dedup();
        if let Some(outside) = names.iter().find(|name| !self.authority.covers(&name.name)) {
            let detail = format!("{outside} is not beneath an apex of this circle");
            return Err(Problem::forbidden("rejectedIdentifier", detail));
        }
        let mut nonce = [0; 32];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Problem::rate_limited("no entropy"))?;
        let action = AcmeOrderOpen {
            account,
            names,
            nonce,
        };
        let id = action.id();
        self.post(vec![Action::AcmeOrderOpen(action)]).await?;
        let order = self
            .read_until::<AcmeOrder>(state_key::acme_order(id), |_| true)
            .await?;
        Ok(self.order_answer(StatusCode::CREATED, id, &order))
    }

    /// The order `id` of the account that signed a POST to `path`.
    async fn own_order(
        &self,
        path: &str,
        id: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Own, Problem> {
        let (account, record, payload) = self.authenticate_account(path, headers, body).await?;
        let missing = || Problem::not_found("there is no such order, or it has expired");
        let id: Digest = id.parse().map_err(|_| missing())?;
        let order: AcmeOrder = self
            .read(state_key::acme_order(id))
            .await?
            .ok_or_else(missing)?;
        if order.account != account {
            return Err(Problem::unauthorized("this is another account's order"));
        }
        Ok(Own {
            id,
            order,
            thumbprint: Digest::of(&[&record.key]),
            payload,
        })
    }

    fn order_answer(&self, status: StatusCode, id: Digest, order: &AcmeOrder) -> Response {
        let url = self.url(&format!("order/{id}"));
        let state = match order.status {
            AcmeOrderStatus::Pending => "pending",
            AcmeOrderStatus::Ready => "ready",
            AcmeOrderStatus::Processing { .. } => "processing",
            AcmeOrderStatus::Valid { .. } => "valid",
            AcmeOrderStatus::Invalid { .. } => "invalid",
        };
        let identifiers: Vec<Value> = order
            .names
            .iter()
            .map(|name| json!({ "type": "dns", "value": name }))
            .collect();
        let authorizations: Vec<String> = (0..order.names.len())
            .map(|index| self.url(&format!("authz/{id}/{index}")))
            .collect();
        let mut document = json!({
            "status": state,
            "expires": timestamp(order.expires_ms),
            "identifiers": identifiers,
            "authorizations": authorizations,
            "finalize": format!("{url}/finalize"),
        });
        match order.status {
            AcmeOrderStatus::Valid { serial } => {
                let path = format!("certificate/{}/{serial}", order.domain);
                document["certificate"] = json!(self.url(&path));
            }
            AcmeOrderStatus::Invalid { name } => {
                let problem = failed(order.names.get(usize::from(name)));
                document["error"] = problem.document();
            }
            _ => {}
        }
        let headers = [
            (header::LOCATION, url),
            (header::RETRY_AFTER, "1".to_owned()),
        ];
        (status, headers, Json(document)).into_response()
    }

    async fn authorization(
        &self,
        id: &str,
        name: u8,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, Problem> {
        let path = format!("authz/{id}/{name}");
        let mut own = self.own_order(&path, id, headers, body).await?;
        if own.order.names.len() <= usize::from(name) {
            return Err(Problem::not_found("the order has fewer names"));
        }
        if !own.payload.is_empty() {
            let update: Update = jose::json(&own.payload)?;
            let pending = own.order.status == AcmeOrderStatus::Pending;
            if update.status.as_deref() == Some("deactivated") && pending {
                self.record(own.id, name, None).await?;
                own.order = self
                    .read_until(state_key::acme_order(own.id), |order: &AcmeOrder| {
                        order.status != AcmeOrderStatus::Pending
                    })
                    .await?;
            }
        }
        Ok(Json(self.authorization_document(own.id, &own.order, name)).into_response())
    }

    fn authorization_document(&self, id: Digest, order: &AcmeOrder, index: u8) -> Value {
        let at = usize::from(index);
        let name = &order.names[at];
        let validation = order.validations[at];
        let status = match (validation, order.status) {
            (Some(_), _) => "valid",
            (None, AcmeOrderStatus::Invalid { name }) if name == index => "invalid",
            (None, AcmeOrderStatus::Invalid { .. }) => "deactivated",
            (None, _) => "pending",
        };
        let kinds: &[&str] = match validation {
            // The account acts for the owner: a record of the owner's would
            // have shown the same.
            Some(Validation::Owner | Validation::Delegate | Validation::Dns01) => &["dns-01"],
            Some(Validation::Http01(_)) => &["http-01"],
            Some(Validation::TlsAlpn01(_)) => &["tls-alpn-01"],
            None if name.wildcard => &["dns-01"],
            None => &["http-01", "dns-01", "tls-alpn-01"],
        };
        let challenges: Vec<Value> = kinds
            .iter()
            .map(|kind| self.challenge_document(id, order, index, kind, status))
            .collect();
        let mut document = json!({
            "identifier": { "type": "dns", "value": name.name },
            "status": status,
            "expires": timestamp(order.expires_ms),
            "challenges": challenges,
        });
        if name.wildcard {
            document["wildcard"] = json!(true);
        }
        document
    }

    fn challenge_document(
        &self,
        id: Digest,
        order: &AcmeOrder,
        index: u8,
        kind: &str,
        status: &str,
    ) -> Value {
        let fetching = self
            .fetching
            .lock()
            .is_ok_and(|fetching| fetching.contains_key(&(id, index)));
        let status = match status {
            "pending" if fetching => "processing",
            "deactivated" => "invalid",
            other => other,
        };
        let mut document = json!({
            "type": kind,
            "url": self.url(&format!("challenge/{id}/{index}/{kind}")),
            "status": status,
            "token": acme_token(id, index),
        });
        if status == "valid" {
            document["validated"] = json!(timestamp(
                order.expires_ms.saturating_sub(wire::limits::ORDER_LIFE_MS)
            ));
        }
        if status == "invalid" {
            let problem = failed(order.names.get(usize::from(index)));
            document["error"] = problem.document();
        }
        document
    }

    async fn record(
        &self,
        order: Digest,
        name: u8,
        validation: Option<Validation>,
    ) -> Result<(), LedgerError> {
        let action = AcmeValidate {
            order,
            name,
            validation,
        };
        self.poster.post(vec![Action::AcmeValidate(action)]).await
    }

    /// Looks for the answer of a challenge until it is there or the attempts
    /// are used up, and records what came of it.
    async fn validate(&self, own: &Own, index: u8, kind: &str) -> Result<(), LedgerError> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            }
            let Some(validation) = self.seek(own, index, kind).await? else {
                continue;
            };
            match self.record(own.id, index, Some(validation)).await {
                // The ledger does not show it; perhaps it soon does.
                Err(LedgerError::Rejected(Reject::AcmeNotProven)) => {}
                other => return other,
            }
        }
        self.record(own.id, index, None).await
    }

    /// What may be recorded now: dns-01 is for the ledger to judge, the others
    /// once an address of the name gave the answer.
    async fn seek(
        &self,
        own: &Own,
        index: u8,
        kind: &str,
    ) -> Result<Option<Validation>, LedgerError> {
        if kind == "dns-01" {
            return Ok(Some(Validation::Dns01));
        }
        let name = &own.order.names[usize::from(index)].name;
        let ports = self.settings.ports;
        let token = acme_token(own.id, index);
        let authorization = acme_key_authorization(&token, own.thumbprint);
        let digest = Digest::of(&[authorization.as_bytes()]);
        let found = addresses::look_up(&*self.ledger, &self.authority, name).await?;
        for address in ports.admit(found) {
            let answered = if kind == "http-01" {
                let at = SocketAddr::new(address, ports.http);
                challenge::http(name, at, &token, &authorization).await
            } else {
                let at = SocketAddr::new(address, ports.tls);
                challenge::tls_alpn(name, at, &digest.0).await
            };
            if answered {
                return Ok(Some(if kind == "http-01" {
                    Validation::Http01(address)
                } else {
                    Validation::TlsAlpn01(address)
                }));
            }
        }
        Ok(None)
    }

    async fn finalize_order(
        &self,
        id: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, Problem> {
        let path = format!("order/{id}/finalize");
        let own = self.own_order(&path, id, headers, body).await?;
        let (id, order) = (own.id, own.order);
        let wish: Finalize = jose::json(&own.payload)?;
        let request = CheckedRequest::for_order(&jose::decode(&wish.csr)?, &order.names)?;
        let key = request.key_digest();
        match order.status {
            AcmeOrderStatus::Ready => {
                let action = AcmeFinalize { order: id, key };
                self.post(vec![Action::AcmeFinalize(action)]).await?;
            }
            // Another authority, or this one before it was restarted, did not
            // come to the end: the client's repetition does.
            AcmeOrderStatus::Processing { key: granted } if granted == key => {}
            AcmeOrderStatus::Valid { .. } => {
                return Ok(self.order_answer(StatusCode::OK, id, &order));
            }
            _ => return Err(Reject::AcmeOrderState.into()),
        }
        let order_key = state_key::acme_order(id);
        let granted = AcmeOrderStatus::Processing { key };
        let order = self
            .read_until::<AcmeOrder>(order_key.clone(), |order| order.status == granted)
            .await?;
        let grant = state_key::grant(&id.0);
        let (_, reading) =
            ledger::read_one::<wire::record::Grant>(&*self.ledger, grant.clone(), Height(0))
                .await?;
        let proof = self.ledger.prove(grant, reading.height).await?;
        let domain = &order.domain;
        let issued = self.authority.issue(
            domain,
            &request,
            reading.time_ms,
            self.settings.validity_ms,
            proof.as_deref(),
        )?;
        let publish = intermediates::missing(
            &*self.ledger,
            &self.authority,
            self.account,
            domain,
            reading.height,
        )
        .await?;
        let mut actions: Vec<Action> = publish
            .map(Action::PublishIntermediate)
            .into_iter()
            .collect();
        actions.push(Action::AcmeIssue(AcmeIssue {
            order: id,
            serial: issued.serial,
            certificate: issued.der,
            not_after_ms: issued.not_after_ms,
        }));
        // The client is told of the certificate by the order alone, and the
        // order is valid only once the certificate is in the log.
        match self.poster.post(actions).await {
            // Another machine of this authority came to the end before.
            Ok(()) | Err(LedgerError::Rejected(Reject::AcmeOrderState)) => {}
            Err(error) => return Err(error.into()),
        }
        self.names.remember(domain, issued.serial);
        let order = self
            .read_until::<AcmeOrder>(order_key, |order| {
                matches!(order.status, AcmeOrderStatus::Valid { .. })
            })
            .await?;
        Ok(self.order_answer(StatusCode::OK, id, &order))
    }
}

async fn answer_challenge<L: Ledger + Post>(
    server: &Server<L>,
    id: &str,
    index: u8,
    kind: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Problem> {
    let path = format!("challenge/{id}/{index}/{kind}");
    let own = server.own_order(&path, id, headers, body).await?;
    let name = own.order.names.get(usize::from(index));
    let known = match kind {
        "dns-01" => name.is_some(),
        "http-01" | "tls-alpn-01" => name.is_some_and(|name| !name.wildcard),
        _ => false,
    };
    if !known {
        return Err(Problem::not_found("there is no such challenge"));
    }
    let authorization = server.url(&format!("authz/{id}/{index}"));
    let (order_id, order) = (own.id, own.order.clone());
    let open =
        order.status == AcmeOrderStatus::Pending && order.validations[usize::from(index)].is_none();
    // An empty payload only asks (POST-as-GET).
    if open && !own.payload.is_empty() {
        let begins = {
            let mut fetching = server
                .fetching
                .lock()
                .map_err(|_| Problem::rate_limited("try again"))?;
            let own = fetching
                .values()
                .filter(|account| **account == order.account)
                .count();
            if fetching.len() >= MAX_FETCHING || own >= MAX_FETCHING_PER_ACCOUNT {
                return Err(Problem::rate_limited(
                    "too many challenges are being fetched",
                ));
            }
            fetching.insert((order_id, index), order.account).is_none()
        };
        if begins {
            let (worker, kind) = (Arc::clone(server), kind.to_owned());
            tokio::spawn(async move {
                if let Err(error) = worker.validate(&own, index, &kind).await {
                    tracing::warn!(error = %ledger::chain(&error), "a challenge was not recorded");
                }
                if let Ok(mut fetching) = worker.fetching.lock() {
                    fetching.remove(&(order_id, index));
                }
            });
        }
    }
    let status = match (order.validations[usize::from(index)], order.status) {
        (Some(_), _) => "valid",
        (None, AcmeOrderStatus::Invalid { .. }) => "invalid",
        (None, _) => "pending",
    };
    let document = server.challenge_document(order_id, &order, index, kind, status);
    let up = format!("<{authorization}>;rel=\"up\"");
    Ok(([(header::LINK, up)], Json(document)).into_response())
}

/// What a client is told of a challenge that failed.
fn failed(name: Option<&CertifiedName>) -> Problem {
    let name = name.map_or_else(String::new, ToString::to_string);
    let detail = format!(
        "nothing that the ledger proves for {name} gave the challenge's answer: \
         for dns-01, set the TXT record on the ledger; for http-01 and tls-alpn-01, \
         answer at an address of the name's own A and AAAA records"
    );
    Problem::forbidden("unauthorized", detail)
}

/// RFC 3339, UTC, in seconds.
pub(super) fn timestamp(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(0);
    let at = time::OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}
