//! External account binding (RFC 8555 §7.3.4): credentials that bind an ACME
//! account to the ledger key of a name's owner.
//!
//! The key id is the owner's own signed word, and the MAC key follows from it
//! and the authority's secret: nothing is kept, and every machine with the
//! authority's keys can check it. The ledger checks the owner's signature again,
//! and takes it once.

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use wire::{
    AccountId, CircleId, OwnerBinding, PublicKey, Signature, SigningKey, limits::BINDING_LIFE_MS,
};

use super::jose::{JoseError, Jwk, Message, decode, encode};
use crate::ca::authority::{Authority, AuthorityError};

/// How far the owner's clock may be from ours, milliseconds.
pub(super) const CLOCK_LIMIT_MS: u64 = 5 * 60 * 1000;

/// What an owner sends to get credentials.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialRequest {
    /// The owner's ledger key.
    pub owner: PublicKey,
    /// Its clock, Unix milliseconds.
    pub time_ms: u64,
    /// Over [`OwnerBinding::message`] for [`OwnerBinding::PURPOSE`]: it goes on
    /// the ledger with the account.
    pub signature: Signature,
    /// Over the same for [`OwnerBinding::REQUEST_PURPOSE`]: it goes nowhere
    /// else, so that whoever reads the ledger cannot ask again.
    pub request: Signature,
}

impl CredentialRequest {
    /// The binding, if both signatures hold.
    pub(super) fn check(&self, circle: CircleId, authority: AccountId) -> Option<OwnerBinding> {
        let binding = OwnerBinding {
            owner: self.owner,
            authority,
            time_ms: self.time_ms,
            signature: self.signature,
        };
        let message = OwnerBinding::message(circle, authority, self.time_ms);
        let asked = self
            .owner
            .verify(OwnerBinding::REQUEST_PURPOSE, &message, &self.request)
            .is_ok();
        (asked && binding.holds(circle)).then_some(binding)
    }

    /// A request for the holder of `owner`, whose `signatures` are over
    /// [`OwnerBinding::message`] for [`OwnerBinding::PURPOSE`] and
    /// [`OwnerBinding::REQUEST_PURPOSE`].
    pub fn signed(owner: PublicKey, time_ms: u64, signatures: [Signature; 2]) -> Self {
        let [signature, request] = signatures;
        Self {
            owner,
            time_ms,
            signature,
            request,
        }
    }

    /// Signs a request by the holder of `key`.
    pub fn sign(key: &SigningKey, circle: CircleId, authority: AccountId, time_ms: u64) -> Self {
        let message = OwnerBinding::message(circle, authority, time_ms);
        Self {
            owner: key.public(),
            time_ms,
            signature: key.sign(OwnerBinding::PURPOSE, &message),
            request: key.sign(OwnerBinding::REQUEST_PURPOSE, &message),
        }
    }
}

/// Credentials for an ACME client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credentials {
    /// The key id, for `--eab-kid`.
    pub kid: String,
    /// The MAC key, base64url, for `--eab-hmac-key`.
    pub hmac_key: String,
    /// Where the account is opened.
    pub directory: String,
}

/// The credentials of a binding.
pub(super) fn credentials(
    authority: &Authority,
    binding: &OwnerBinding,
) -> Result<(String, Vec<u8>), AuthorityError> {
    let bytes = borsh::to_vec(binding).map_err(|_| AuthorityError::Key)?;
    let kid = encode(&bytes);
    let secret = authority.secret("acme external account binding")?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &*secret);
    let mac = hmac::sign(&key, kid.as_bytes());
    Ok((kid, mac.as_ref().to_vec()))
}

/// Why a binding is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum BindingError {
    #[error(transparent)]
    Jose(#[from] JoseError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the external account binding is not of this authority, or has expired")]
    Unknown,
    #[error("the external account binding is for another key or URL")]
    Other,
}

/// Checks the binding of `key` within a newAccount request to `url`.
pub(super) fn check(
    authority: &Authority,
    account: AccountId,
    binding: &serde_json::Value,
    key: &Jwk,
    url: &str,
    now_ms: u64,
) -> Result<OwnerBinding, BindingError> {
    let body = serde_json::to_vec(binding).map_err(|_| BindingError::Unknown)?;
    let message = Message::parse(&body)?;
    let kid = message.header.kid.clone().ok_or(BindingError::Unknown)?;
    let claimed: OwnerBinding =
        borsh::from_slice(&decode(&kid)?).map_err(|_| BindingError::Unknown)?;
    let young = now_ms.saturating_sub(claimed.time_ms) <= BINDING_LIFE_MS;
    if claimed.authority != account || !young || !claimed.holds(authority.circle()) {
        return Err(BindingError::Unknown);
    }
    let (own, mac_key) = credentials(authority, &claimed)?;
    if own != kid {
        return Err(BindingError::Unknown);
    }
    let payload = message.verify_mac(&mac_key)?;
    let inner: Jwk = super::jose::json(payload)?;
    if inner.canonical()? != key.canonical()? || message.header.url != url {
        return Err(BindingError::Other);
    }
    Ok(claimed)
}
