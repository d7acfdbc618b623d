//! `ringfort cert`: the ledger's log of certificates, revocation, credentials
//! for ACME clients, and what a certificate proves by itself.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use client::certificate::ProvenCertificate;
use naming::ca::acme::{CredentialRequest, Credentials};
use serde::Serialize;
use wire::{
    AccountId, Action, CertificateSerial, CertifiedName, CircleKey, DomainName, Height,
    OwnerBinding, RevokeCertificate,
    record::{IssuedFor, LoggedCertificate, Revocation},
    state_key,
};

use super::sent::SentReport;
use crate::{
    failure::{Advice, Status},
    server_key::ServerKeyPlace,
    session::Session,
    terminal::table,
    tpm_key, user,
};

/// Certificates that are listed at most: all that a name can have.
const MAX_LISTED: usize = wire::limits::MAX_CERTIFICATES_PER_NAME as usize;

/// The longest file that is read as a certificate.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Commands on certificates.
#[derive(clap::Subcommand)]
pub enum Cert {
    /// List every certificate of a registered name that has not expired: the
    /// ledger's log, proven.
    List {
        /// The registered name.
        name: DomainName,
    },
    /// Revoke a certificate of a name of yours.
    Revoke {
        /// The registered name.
        name: DomainName,
        /// The serial number, as `list` shows it.
        #[arg(value_parser = serial)]
        serial: CertificateSerial,
        /// Why (RFC 5280): 0 unspecified, 1 key compromise, 3 affiliation
        /// changed, 4 superseded, 5 cessation of operation, 9 privilege withdrawn.
        #[arg(long, default_value_t = 0)]
        reason: u8,
    },
    /// Verify what a certificate proves by itself, with the circle's key alone.
    Verify {
        /// The certificate, PEM or DER; of a chain, the first.
        file: PathBuf,
        /// The circle's key; the one in the state directory if not given.
        #[arg(long, value_name = "KEY")]
        circle: Option<CircleKey>,
    },
    /// Get credentials with which an ACME client acts for your key: it then
    /// needs no challenge for your names.
    Credentials {
        /// The authority's URL, such as http://127.0.0.1:26860.
        #[arg(long, value_name = "URL")]
        authority: String,
        /// Act for the node that serves a delegated subdomain instead: its key
        /// on the ledger, a PKCS #8 file or tpm:LABEL[@DEVICE].
        #[arg(long, value_name = "FILE")]
        server_key: Option<ServerKeyPlace>,
    },
}

fn serial(text: &str) -> Result<CertificateSerial, String> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| "a serial number has 32 hex digits")?;
    Ok(CertificateSerial(bytes))
}

/// Carries out a command on certificates.
pub fn execute(session: &Session, command: Cert) -> anyhow::Result<Status> {
    match command {
        Cert::List { name } => list(session, &name),
        Cert::Revoke {
            name,
            serial,
            reason,
        } => {
            let action = RevokeCertificate {
                domain: name,
                serial,
                reason,
            };
            SentReport::send(session, Action::RevokeCertificate(action), "revoked")
        }
        Cert::Verify { file, circle } => verify(session, &file, circle),
        Cert::Credentials {
            authority,
            server_key,
        } => credentials(session, &authority, server_key),
    }
}

#[derive(Serialize)]
struct Row {
    serial: CertificateSerial,
    names: Vec<CertifiedName>,
    not_after_ms: u64,
    issued_for: IssuedFor,
    authority: AccountId,
    logged_at: Height,
    revoked: Option<Revocation>,
    #[serde(with = "hex::serde")]
    certificate: Vec<u8>,
}

fn list(session: &Session, name: &DomainName) -> anyhow::Result<Status> {
    let client = user::client(session)?;
    let prefix = state_key::certificate_log(name);
    let rows = super::runtime()?.block_on(async {
        let keys = client.list_keys(&prefix, MAX_LISTED).await?;
        let mut rows = Vec::new();
        for keys in keys.chunks(client::MAX_PROVEN_KEYS) {
            for proven in client.proven_many(keys.to_vec()).await? {
                let found = client::decode::<LoggedCertificate>(&proven)?;
                let place = state_key::parse_logged_certificate(proven.key());
                if let (Some(found), Some((_, serial))) = (found, place) {
                    rows.push(Row {
                        serial,
                        names: found.names,
                        not_after_ms: found.not_after_ms,
                        issued_for: found.issued_for,
                        authority: found.authority,
                        logged_at: found.logged_at,
                        revoked: found.revoked,
                        certificate: found.certificate,
                    });
                }
            }
        }
        anyhow::Ok(rows)
    })?;
    session.print(&rows, |rows| {
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let names: Vec<String> = row.names.iter().map(ToString::to_string).collect();
                let issued_for = match row.issued_for {
                    IssuedFor::Contract(contract) => format!("contract {}", contract.short()),
                    IssuedFor::Order { account, .. } => format!("account {}", account.short()),
                };
                let state = match row.revoked {
                    Some(revoked) => format!("revoked ({})", revoked.reason),
                    None => "good".to_owned(),
                };
                vec![
                    row.serial.to_string(),
                    names.join(" "),
                    row.logged_at.to_string(),
                    issued_for,
                    state,
                ]
            })
            .collect();
        table(&["SERIAL", "NAMES", "LOGGED AT", "FOR", "STATE"], &cells)
    })?;
    Ok(Status::Done)
}

#[derive(Serialize)]
struct Verified {
    circle: wire::CircleId,
    names: Vec<CertifiedName>,
    owner: wire::PublicKey,
    key: wire::Digest,
    height: Height,
    time_ms: u64,
    not_after_ms: u64,
    proof_bytes: usize,
}

/// Verifies a certificate's own proof; nothing else is asked.
///
/// Errors: no such file; it proves nothing under the circle's key.
pub fn verify(session: &Session, file: &Path, circle: Option<CircleKey>) -> anyhow::Result<Status> {
    let circle = super::proof::circle_key(session, circle)?;
    let metadata = std::fs::metadata(file).with_context(|| format!("read {}", file.display()))?;
    if metadata.len() > MAX_FILE_BYTES {
        anyhow::bail!("{} is too long for a certificate", file.display());
    }
    let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let shown = client::certificate::read(&bytes)
        .and_then(|der| client::certificate::verify(&der, &circle))
        .with_context(|| {
            Advice::new(
                "the certificate proves nothing",
                "it is of another circle, carries no proof, or whoever gave it lied",
            )
            .with_status(Status::NotProven)
        })?;
    let ProvenCertificate {
        circle,
        names,
        owner,
        key,
        height,
        time_ms,
        not_after_ms,
        proof_bytes,
    } = shown;
    let verified = Verified {
        circle,
        names,
        owner,
        key,
        height,
        time_ms,
        not_after_ms,
        proof_bytes,
    };
    session.print(&verified, |shown| {
        let names: Vec<String> = shown.names.iter().map(ToString::to_string).collect();
        format!(
            "names   {}\nowner   {}\nkey     {}\ncircle  {}\nproven  at height {}, time {} ms, in {} octets\n",
            names.join(" "),
            shown.owner,
            shown.key,
            shown.circle,
            shown.height,
            shown.time_ms,
            shown.proof_bytes
        )
    })?;
    Ok(Status::Done)
}

fn credentials(
    session: &Session,
    authority: &str,
    server_key: Option<ServerKeyPlace>,
) -> anyhow::Result<Status> {
    let circle = session.state.read()?.circle;
    let place = match server_key {
        Some(place) => Some(place),
        None => session
            .key
            .as_deref()
            .and_then(tpm_key::place)
            .map(ServerKeyPlace::Tpm),
    };
    let key = match &place {
        Some(_) => None,
        None => Some(user::unlock(session)?.1),
    };
    let base = authority.trim_end_matches('/');
    let credentials: Credentials = super::runtime()?.block_on(async {
        let http = reqwest::Client::new();
        let status: serde_json::Value = http
            .get(format!("{base}/v1/status"))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let account = status["account"].as_str().unwrap_or_default().parse();
        let account: AccountId = account.context("the authority does not say its account")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let time_ms = u64::try_from(now.as_millis())?;
        let request = match (&place, &key) {
            (Some(place), _) => {
                let message = OwnerBinding::message(circle, account, time_ms);
                let purposes = [OwnerBinding::PURPOSE, OwnerBinding::REQUEST_PURPOSE];
                let (owner, signatures) = place.sign(purposes, &message)?;
                CredentialRequest::signed(owner, time_ms, signatures)
            }
            (None, Some(key)) => CredentialRequest::sign(&key.signer(), circle, account, time_ms),
            (None, None) => anyhow::bail!("there is no key"),
        };
        let answer = http
            .post(format!("{base}/acme/external-account"))
            .json(&request)
            .send()
            .await?
            .error_for_status()?;
        anyhow::Ok(answer.json().await?)
    })?;
    session.print(&credentials, |credentials| {
        format!(
            "directory  {}\nkid        {}\nhmac key   {}\n",
            credentials.directory, credentials.kid, credentials.hmac_key
        )
    })?;
    Ok(Status::Done)
}
