//! ACME accounts: opened by a key, bound to a name owner or not.

use wire::{
    AcmeAccountChange, AcmeAccountOpen, Digest, OwnerBinding, Reject,
    limits::{BINDING_LIFE_MS, MAX_JWK_BYTES},
    record::AcmeAccount,
    state_key,
};

use super::authority;
use crate::execution::{Execution, Sender};

/// Errors: [`Reject::NotAuthority`], [`Reject::LimitExceeded`],
///         [`Reject::AcmeAccountExists`], [`Reject::AcmeBindingInvalid`].
pub(crate) fn open_account(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &AcmeAccountOpen,
) -> Result<(), Reject> {
    authority(execution, sender)?;
    let id = fresh_thumbprint(execution, &action.key)?;
    // The id stays with an account whose key changed since.
    if execution.state.contains(&state_key::acme_account(id)) {
        return Err(Reject::AcmeAccountExists);
    }
    if let Some(binding) = &action.binding {
        use_binding(execution, sender, binding)?;
    }
    let account = AcmeAccount {
        key: action.key.clone(),
        owner: action.binding.map(|binding| binding.owner),
        orders: 0,
        opened_at: execution.height,
    };
    execution.state.put(state_key::acme_key(id), &id);
    execution.state.put(state_key::acme_account(id), &account);
    Ok(())
}

/// An owner's word is good for one account and one day: it stands on the
/// ledger from then on, where anyone can read it.
fn use_binding(
    execution: &mut Execution<'_>,
    sender: &Sender,
    binding: &OwnerBinding,
) -> Result<(), Reject> {
    let key = state_key::acme_binding(binding.owner.account());
    let last: Option<u64> = execution.state.get(&key);
    let fresh = last.is_none_or(|last| last < binding.time_ms)
        && binding.time_ms.abs_diff(execution.time_ms) <= BINDING_LIFE_MS;
    let ours = binding.authority == sender.account;
    if !fresh || !ours || !binding.holds(execution.rules.circle) {
        return Err(Reject::AcmeBindingInvalid);
    }
    execution.state.put(key, &binding.time_ms);
    Ok(())
}

/// Errors: [`Reject::NotAuthority`], [`Reject::AcmeAccountNotFound`],
///         [`Reject::LimitExceeded`], [`Reject::AcmeAccountExists`].
pub(crate) fn change_account(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &AcmeAccountChange,
) -> Result<(), Reject> {
    authority(execution, sender)?;
    let mut account = live_account(execution, action.account)?;
    let former = Digest::of(&[&account.key]);
    match &action.key {
        Some(key) => {
            let thumbprint = fresh_thumbprint(execution, key)?;
            account.key.clone_from(key);
            execution.state.delete(state_key::acme_key(former));
            execution
                .state
                .put(state_key::acme_key(thumbprint), &action.account);
        }
        // The key's entry stays: a deactivated account is not opened again.
        None => account.key.clear(),
    }
    execution
        .state
        .put(state_key::acme_account(action.account), &account);
    Ok(())
}

/// The account, unless it is deactivated.
pub(super) fn live_account(execution: &Execution<'_>, id: Digest) -> Result<AcmeAccount, Reject> {
    execution
        .state
        .get::<AcmeAccount>(&state_key::acme_account(id))
        .filter(|account| !account.key.is_empty())
        .ok_or(Reject::AcmeAccountNotFound)
}

fn fresh_thumbprint(execution: &Execution<'_>, key: &[u8]) -> Result<Digest, Reject> {
    if !(1..=MAX_JWK_BYTES).contains(&key.len()) {
        return Err(Reject::LimitExceeded);
    }
    let thumbprint = Digest::of(&[key]);
    if execution.state.contains(&state_key::acme_key(thumbprint)) {
        return Err(Reject::AcmeAccountExists);
    }
    Ok(thumbprint)
}
