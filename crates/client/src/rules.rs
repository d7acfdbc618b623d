//! The circle's rules in force, which its members change by vote: kept for a
//! while, and read again when the ledger says that they have changed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use wire::{Amount, record, record::Rules, state_key};

use crate::{error::ClientError, ledger::Client};

/// How long rules are used before they are read again. What depends on them is
/// checked by the ledger too: one that is out of date is a refusal, no harm.
const RULES_AGE: Duration = Duration::from_secs(30);

/// The rules as they were last proven, and when.
#[derive(Default)]
pub(crate) struct KeptRules(Mutex<Option<(Instant, Arc<Rules>)>>);

impl KeptRules {
    fn recent(&self) -> Option<Arc<Rules>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, rules) = kept.as_ref()?;
        (at.elapsed() < RULES_AGE).then(|| Arc::clone(rules))
    }

    fn set(&self, rules: Option<Arc<Rules>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = rules.map(|rules| (Instant::now(), rules));
    }
}

impl Client {
    /// The circle's rules: proven, at most half a minute ago.
    ///
    /// Errors: as [`Client::require`].
    pub async fn rules(&self) -> Result<Arc<Rules>, ClientError> {
        match self.kept_rules().recent() {
            Some(rules) => Ok(rules),
            None => self.newest_rules().await,
        }
    }

    /// As [`Client::rules`], proven now: for what the ledger does not check again.
    ///
    /// Errors: as there.
    pub async fn newest_rules(&self) -> Result<Arc<Rules>, ClientError> {
        let what = || "the circle's rules".to_owned();
        let rules: record::Rules = self.require(state_key::rules(), what).await?;
        let rules = Arc::new(rules);
        self.kept_rules().set(Some(Arc::clone(&rules)));
        Ok(rules)
    }

    /// The fee of a transaction of `bytes` bytes, signature included.
    ///
    /// Errors: as [`Client::rules`].
    pub(crate) async fn fee(&self, bytes: u64) -> Result<Amount, ClientError> {
        let parameters = &self.rules().await?.parameters;
        Ok(parameters
            .fee_per_byte
            .checked_mul(bytes)
            .and_then(|fee| fee.checked_add(parameters.fee_per_transaction))
            .unwrap_or(Amount(u64::MAX)))
    }

    /// Has the rules read again at their next use.
    pub(crate) fn forget_rules(&self) {
        self.kept_rules().set(None);
    }
}
