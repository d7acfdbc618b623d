//! Which of an authority's intermediates is on the ledger, and when is a new
//! one due?

use wire::{AccountId, DomainName, PublishIntermediate, record::Intermediate, state_key};

use super::authority::{Authority, AuthorityError};
use crate::ledger::{self, Ledger, LedgerError};

/// How long before its end an intermediate is replaced: above the longest
/// leaf's life, so that no chain ends before its leaf.
const REPLACE_BEFORE_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Why an intermediate could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum IntermediateError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// The intermediate to publish before a leaf of `domain` is, if the ledger has
/// none that lasts.
pub(super) async fn missing(
    ledger: &impl Ledger,
    authority: &Authority,
    account: AccountId,
    domain: &DomainName,
    since: wire::Height,
) -> Result<Option<PublishIntermediate>, IntermediateError> {
    let key = state_key::intermediate(account, domain);
    let (found, reading) = ledger::read_one::<Intermediate>(ledger, key, since).await?;
    let lasts = found.is_some_and(|found| {
        found.not_after_ms > reading.time_ms.saturating_add(REPLACE_BEFORE_MS)
    });
    if lasts {
        return Ok(None);
    }
    let made = authority.intermediate(domain, reading.time_ms)?;
    Ok(Some(PublishIntermediate {
        domain: domain.clone(),
        certificate: made.der,
        not_after_ms: made.not_after_ms,
    }))
}
