//! Handing out and revoking certificates (RFC 8555 §7.4.2, §7.6). What is
//! handed out is read from the ledger's log.

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use wire::{
    Action, CertificateSerial, Digest, DomainName, RevokeCertificate,
    record::{Intermediate, IssuedFor, LoggedCertificate, Name},
    state_key,
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _,
    public_key::PublicKey,
};

use super::{
    Acme, Server, Signed,
    jose::{self, Jwk},
    problem::Problem,
};
use crate::ledger::{Ledger, Post};

#[derive(Deserialize)]
struct Revoke {
    certificate: String,
    reason: Option<u8>,
}

pub(super) async fn show<L: Ledger + Post>(
    State(server): State<Server<L>>,
    Path((domain, serial)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = format!("certificate/{domain}/{serial}");
    let answer = server
        .certificate(&path, (&domain, &serial), false, &headers, &body)
        .await;
    server.dress(answer)
}

/// The alternate chain: with the root, for servers that are to send it.
pub(super) async fn show_with_root<L: Ledger + Post>(
    State(server): State<Server<L>>,
    Path((domain, serial)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = format!("certificate/{domain}/{serial}/with-root");
    let answer = server
        .certificate(&path, (&domain, &serial), true, &headers, &body)
        .await;
    server.dress(answer)
}

pub(super) async fn revoke<L: Ledger + Post>(
    State(server): State<Server<L>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    server.dress(server.revoke(&headers, &body).await)
}

/// A certificate's PEM (RFC 7468).
pub(crate) fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

/// A serial number as its URL has it.
pub(super) fn serial(text: &str) -> Option<CertificateSerial> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(CertificateSerial(bytes))
}

impl<L: Ledger + Post> Acme<L> {
    async fn certificate(
        &self,
        path: &str,
        (domain, number): (&str, &str),
        with_root: bool,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, Problem> {
        let (account, _, _) = self.authenticate_account(path, headers, body).await?;
        let missing = || Problem::not_found("there is no such certificate");
        let domain: DomainName = domain.parse().map_err(|_| missing())?;
        let number = serial(number).ok_or_else(missing)?;
        let logged: LoggedCertificate = self
            .read(state_key::logged_certificate(&domain, number))
            .await?
            .ok_or_else(missing)?;
        if !is_for(&logged, account) {
            return Err(Problem::unauthorized(
                "this is another account's certificate",
            ));
        }
        let intermediate: Intermediate = self
            .read(state_key::intermediate(logged.authority, &domain))
            .await?
            .ok_or_else(missing)?;
        let mut chain = pem(&logged.certificate) + &pem(&intermediate.certificate);
        if with_root {
            chain += self.authority.roots_pem();
        }
        let url = self.url(&format!("certificate/{domain}/{number}/with-root"));
        let headers = [
            (
                header::CONTENT_TYPE,
                "application/pem-certificate-chain".to_owned(),
            ),
            (header::LINK, format!("<{url}>;rel=\"alternate\"")),
        ];
        Ok((headers, chain).into_response())
    }

    /// By the account that ordered it, by one that acts for the name's owner,
    /// or by whoever holds the certificate's own key.
    async fn revoke(&self, headers: &HeaderMap, body: &[u8]) -> Result<Response, Problem> {
        let signed = self.authenticate("revoke", headers, body).await?;
        let wish: Revoke = jose::json(&signed.payload)?;
        let der = jose::decode(&wish.certificate)?;
        let (domain, number) = self.find(&der).await?;
        let logged: LoggedCertificate = self
            .read(state_key::logged_certificate(&domain, number))
            .await?
            .filter(|logged: &LoggedCertificate| logged.certificate == der)
            .ok_or_else(|| Problem::not_found("the ledger has no such certificate"))?;
        if !self.may_revoke(&signed, &logged, &domain).await? {
            return Err(Problem::unauthorized("the certificate is another's"));
        }
        let reason = wish.reason.unwrap_or(0);
        if ![0, 1, 3, 4, 5, 9].contains(&reason) {
            let status = StatusCode::BAD_REQUEST;
            let detail = "the reason is 0, 1, 3, 4, 5 or 9";
            return Err(Problem::new(status, "badRevocationReason", detail));
        }
        let action = RevokeCertificate {
            domain,
            serial: number,
            reason,
        };
        self.post(vec![Action::RevokeCertificate(action)]).await?;
        Ok(StatusCode::OK.into_response())
    }

    async fn may_revoke(
        &self,
        signed: &Signed,
        logged: &LoggedCertificate,
        domain: &DomainName,
    ) -> Result<bool, Problem> {
        let Some((id, account)) = &signed.account else {
            let own = key_of(&logged.certificate).and_then(|key| key.canonical().ok());
            return Ok(own.is_some_and(|own| signed.key.canonical().ok() == Some(own)));
        };
        if is_for(logged, *id) {
            return Ok(true);
        }
        let name: Option<Name> = self.read(state_key::name(domain)).await?;
        Ok(name.is_some_and(|name| account.owner == Some(name.owner)))
    }

    /// Where a certificate would be in the log.
    async fn find(&self, der: &[u8]) -> Result<(DomainName, CertificateSerial), Problem> {
        let unknown = || Problem::malformed("this is no certificate of this circle");
        let (_, leaf) = X509Certificate::from_der(der).map_err(|_| unknown())?;
        let number = leaf.raw_serial().try_into().map(CertificateSerial);
        let number = number.map_err(|_| unknown())?;
        let names = leaf.subject_alternative_name().ok().flatten();
        let first = names.and_then(|names| names.value.general_names.first().cloned());
        let Some(GeneralName::DNSName(first)) = first else {
            return Err(unknown());
        };
        let name: DomainName = first
            .trim_start_matches("*.")
            .parse()
            .map_err(|_| unknown())?;
        let mut candidate = Some(name);
        while let Some(name) = candidate.filter(|name| self.authority.covers(name)) {
            let key = state_key::logged_certificate(&name, number);
            if self.read::<LoggedCertificate>(key).await?.is_some() {
                return Ok((name, number));
            }
            candidate = name.parent();
        }
        Err(Problem::not_found("the ledger has no such certificate"))
    }
}

fn is_for(logged: &LoggedCertificate, id: Digest) -> bool {
    matches!(logged.issued_for, IssuedFor::Order { account, .. } if account == id)
}

/// The key of a certificate as a JWK.
fn key_of(der: &[u8]) -> Option<Jwk> {
    let (_, leaf) = X509Certificate::from_der(der).ok()?;
    match leaf.public_key().parsed().ok()? {
        PublicKey::EC(point) => Jwk::of_point(point.data()),
        PublicKey::RSA(key) => Some(Jwk::Rsa {
            n: jose::encode(key.modulus),
            e: jose::encode(key.exponent),
        }),
        _ => None,
    }
}
