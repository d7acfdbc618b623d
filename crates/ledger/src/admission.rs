//! What a transaction's envelope must satisfy: expiry, sequence and fee.
//!
//! The same checks serve the mempool ([`admit`]) and the block; the mempool
//! alone takes sequences ahead of the account's, within a window.

use wire::{
    Amount, CheckedTransaction, Height, Parameters, Reject,
    record::{Account, Rules},
    state_key,
};

use crate::{keys, members, overlay::Overlay, state::StateRead};

/// How many sequences ahead of the account's own a mempool takes: as many
/// transactions as one sender may have in flight.
pub const ADMISSION_WINDOW: u64 = 64;

/// The fee of a transaction of `bytes` encoded bytes.
///
/// Units: base units; saturates, so that no choice of parameters makes a fee small.
pub fn fee(parameters: &Parameters, bytes: usize) -> Amount {
    let by_size = parameters.fee_per_byte.0.saturating_mul(bytes as u64);
    Amount(parameters.fee_per_transaction.0.saturating_add(by_size))
}

/// What a transaction that passes costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charge {
    /// So much, applied or not.
    Fee(Amount),
    /// Nothing if it is applied; else it is as if it had not been sent.
    IfApplied,
}

/// Checks the envelope for a block at `height` and gives the fee.
///
/// Errors: nothing is charged and no sequence advances on any of them.
pub(crate) fn check_envelope(
    state: &Overlay<'_>,
    rules: &Rules,
    height: Height,
    checked: &CheckedTransaction,
) -> Result<Charge, Reject> {
    check(state, rules, height, checked, 0)
}

fn check(
    state: &Overlay<'_>,
    rules: &Rules,
    height: Height,
    checked: &CheckedTransaction,
    window: u64,
) -> Result<Charge, Reject> {
    let transaction = checked.transaction();
    if transaction.expires_at < height {
        return Err(Reject::Expired);
    }
    let account: Account = state
        .get(&state_key::account(transaction.sender.account()))
        .unwrap_or_default();
    let ahead = transaction.sequence.checked_sub(account.sequence);
    if ahead.is_none_or(|ahead| ahead > window) {
        return Err(Reject::SequenceMismatch);
    }
    if members::is_duty(state, transaction) || keys::is_duty(state, transaction) {
        return Ok(Charge::Fee(Amount::ZERO));
    }
    if members::is_evidence_due(state, rules, height, transaction) {
        return Ok(Charge::IfApplied);
    }
    let fee = fee(&rules.parameters, checked.encoded_bytes());
    if fee > transaction.fee_limit {
        return Err(Reject::FeeLimitTooLow);
    }
    if fee > account.balance {
        return Err(Reject::InsufficientBalance);
    }
    Ok(Charge::Fee(fee))
}

/// Whether a mempool should keep `checked` for a block at `next_height` or a
/// little later.
///
/// Errors: the envelope's [`Reject`]s; a sequence up to [`ADMISSION_WINDOW`]
///         ahead is admitted, since those before it may be on their way.
/// Panics: on a damaged store only; see the crate's documentation.
pub fn admit(
    state: &dyn StateRead,
    next_height: Height,
    checked: &CheckedTransaction,
) -> Result<(), Reject> {
    let state = Overlay::new(state);
    let rules: Rules = state
        .get(&state_key::rules())
        .expect("a state that a genesis founded holds the circle's rules");
    check(&state, &rules, next_height, checked, ADMISSION_WINDOW).map(|_| ())
}
