//! Private keys that this process does not have.
//!
//! The zone signer and the authority ask a [`KeyHolder`] for what comes of one
//! key that it holds for them: in a product's circle the key of a label, in a
//! protected process, which no one holds alone (docs/spec/keys.md §11).

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use wire::{AccountId, DomainName};
use zeroize::Zeroizing;

/// Which label, and what comes to its key (`label` in `signer.toml` and `ca.toml`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSettings {
    /// The label's service.
    pub service: String,
    /// Its version.
    #[serde(default = "first")]
    pub version: u32,
    /// The account that grants it; the daemon's own if not given, which then
    /// grants it to itself the first time.
    #[serde(default)]
    pub owner: Option<AccountId>,
    /// The program that holds the key, `ringfort-keykeeper`; the circle must
    /// admit its SHA-256.
    pub program: PathBuf,
    /// Where the label's epoch is written down.
    pub data_dir: PathBuf,
    /// Development evidence's quoting key: a 32-byte seed, in hex.
    pub quoting_key: PathBuf,
    /// Its certificate, in hex.
    pub quoting_certificate: PathBuf,
}

fn first() -> u32 {
    1
}

/// A key of the holder's did not serve.
#[derive(Debug, thiserror::Error)]
#[error("the holder of the keys fails: {0}")]
pub struct HolderFailed(pub String);

/// Makes signatures and secrets from one key, apart by context.
pub trait KeyHolder: fmt::Debug + Send + Sync + 'static {
    /// The public half of the P-256 key of `context`: 4, x and y (SEC 1).
    ///
    /// Errors: [`HolderFailed`].
    fn point(&self, context: &str) -> Result<[u8; 65], HolderFailed>;

    /// An ECDSA signature by that key over SHA-256 of `message`: r and s.
    ///
    /// Errors: [`HolderFailed`].
    fn sign(&self, context: &str, message: &[u8]) -> Result<[u8; 64], HolderFailed>;

    /// The secret of `context`, which leaves the holder.
    ///
    /// Errors: [`HolderFailed`].
    fn secret(&self, context: &str) -> Result<Zeroizing<[u8; 32]>, HolderFailed>;
}

/// The context of a key of a zone. No two keys of a circle share one: a number
/// is never used again.
pub(crate) fn zone_key(apex: &DomainName, number: u64) -> String {
    format!("zone/{apex}/{number}")
}

/// The context of the authority's root key.
pub(crate) const ROOT_KEY: &str = "ca/root";

/// The context of the key of a registered name's intermediate.
pub(crate) fn intermediate_key(name: &DomainName) -> String {
    format!("ca/intermediate/{name}")
}

/// The context of a secret of the authority.
pub(crate) fn authority_secret(purpose: &str) -> String {
    format!("ca/secret/{purpose}")
}
