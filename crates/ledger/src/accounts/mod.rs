//! Accounts: balances, and the one place where they change.
//!
//! The sum of all amounts on a ledger is constant and below 2^63
//! ([`wire::Genesis::supply`]), so a credit cannot overflow.

mod transfer;

use wire::{
    AccountId, Amount, Reject,
    record::{Account, Pool},
    state_key,
};

use crate::execution::Execution;
pub(crate) use transfer::transfer;

/// Adds `amount` to an account, which exists from then on.
pub(crate) fn credit(execution: &mut Execution<'_>, id: AccountId, amount: Amount) {
    if amount == Amount::ZERO {
        return;
    }
    let key = state_key::account(id);
    let mut account: Account = execution.state.get(&key).unwrap_or_default();
    account.balance = account
        .balance
        .checked_add(amount)
        .expect("the sum of all balances is below 2^63");
    execution.state.put(key, &account);
}

/// Takes `amount` from an account.
///
/// Errors: [`Reject::InsufficientBalance`]; nothing changes.
pub(crate) fn debit(
    execution: &mut Execution<'_>,
    id: AccountId,
    amount: Amount,
) -> Result<(), Reject> {
    let key = state_key::account(id);
    let mut account: Account = execution.state.get(&key).unwrap_or_default();
    account.balance = account
        .balance
        .checked_sub(amount)
        .ok_or(Reject::InsufficientBalance)?;
    execution.state.put(key, &account);
    Ok(())
}

/// Adds `amount` to what the validators will share.
pub(crate) fn credit_pool(execution: &mut Execution<'_>, amount: Amount) {
    let key = state_key::pool();
    let mut pool: Pool = execution.state.get(&key).unwrap_or_default();
    pool.balance = pool
        .balance
        .checked_add(amount)
        .expect("the sum of all balances is below 2^63");
    execution.state.put(key, &pool);
}

/// Takes the fee of a transaction whose envelope was checked, and advances
/// the sender's sequence.
pub(crate) fn charge(execution: &mut Execution<'_>, sender: AccountId, fee: Amount) {
    let key = state_key::account(sender);
    let mut account: Account = execution.state.get(&key).unwrap_or_default();
    account.balance = account
        .balance
        .checked_sub(fee)
        .expect("the envelope's check saw the balance");
    // The check admits the account's own sequence only; reaching the last
    // would take longer than any circle lasts, and saturating merely bars it.
    account.sequence = account.sequence.saturating_add(1);
    execution.state.put(key, &account);
    credit_pool(execution, fee);
}
