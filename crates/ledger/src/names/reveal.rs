//! Shows a committed name and registers it to the sender's key.

use wire::{
    Amount, DomainName, NameReveal, Reject, name_commitment,
    record::{Commitment, Name, NameStatus},
    state_key,
};

use crate::{
    accounts::debit,
    execution::{Execution, Sender},
    names::{commit::last_reveal, confusable, label, notice, reserved::is_reserved, store_changed},
};

/// Errors: [`Reject::NameOutsideApex`], [`Reject::NameReserved`],
///         [`Reject::LabelInvalid`], [`Reject::LabelMixesScripts`],
///         [`Reject::NameConfusable`], [`Reject::LimitExceeded`],
///         [`Reject::CommitmentNotFound`], [`Reject::CommitmentTooYoung`],
///         [`Reject::CommitmentExpired`], [`Reject::NameTaken`],
///         [`Reject::DepositTooSmall`], [`Reject::InsufficientBalance`].
pub(crate) fn reveal(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameReveal,
) -> Result<(), Reject> {
    check_name(&execution.rules.apexes, &action.name)?;
    let digest = name_commitment(
        execution.rules.circle,
        sender.account,
        &action.name,
        &action.nonce,
    );
    let key = state_key::commitment(digest);
    let commitment: Commitment = execution
        .state
        .get(&key)
        .ok_or(Reject::CommitmentNotFound)?;
    let parameters = &execution.rules.parameters;
    if execution.height < commitment.committed_at.plus(parameters.reveal_after) {
        return Err(Reject::CommitmentTooYoung);
    }
    let last = last_reveal(execution, &commitment);
    if execution.height > last {
        return Err(Reject::CommitmentExpired);
    }
    if execution.state.contains(&state_key::name(&action.name)) {
        return Err(Reject::NameTaken);
    }
    confusable::check_new(execution, &action.name, sender.account)?;
    let parameters = &execution.rules.parameters;
    let least = parameters
        .rent_per_period
        .checked_mul(parameters.min_rent_periods);
    if least.is_none_or(|least| action.deposit < least) {
        return Err(Reject::DepositTooSmall);
    }
    debit(execution, sender.account, action.deposit)?;
    execution.state.delete(key);
    execution
        .state
        .delete(state_key::commitment_due(last, digest));
    register(execution, sender, &action.name, action.deposit);
    Ok(())
}

fn register(execution: &mut Execution<'_>, sender: &Sender, name: &DomainName, deposit: Amount) {
    let rent_due = execution
        .height
        .plus(execution.rules.parameters.rent_period);
    execution.state.mark(state_key::rent_due(rent_due, name));
    let mut record = Name {
        name: name.clone(),
        owner: sender.key,
        deposit,
        status: NameStatus::Active,
        registered_at: execution.height,
        rent_due,
        changed_at: execution.height,
        notice_due: None,
        sale: None,
        records: Vec::new(),
        keys: Vec::new(),
        endpoints: Vec::new(),
    };
    notice::schedule(execution, &mut record);
    confusable::enter(execution, name);
    execution.state.delete(state_key::released(name));
    store_changed(execution, record);
}

/// A name is one label beneath an apex; an apex itself, and what speaks for
/// the whole zone, is reserved; the label follows the rules of labels.
fn check_name(apexes: &[DomainName], name: &DomainName) -> Result<(), Reject> {
    if apexes.contains(name) {
        return Err(Reject::NameReserved);
    }
    let (apex, label) = apexes
        .iter()
        .filter_map(|apex| Some((apex, name.prefix_under(apex)?)))
        .find(|(_, label)| !label.contains('.'))
        .ok_or(Reject::NameOutsideApex)?;
    if is_reserved(label) {
        return Err(Reject::NameReserved);
    }
    let right_to_left = apex.labels().any(|label| {
        let shown = label::shown(label);
        shown.is_ok_and(|shown| label::has_right_to_left(&shown))
    });
    label::check(label, right_to_left).map(|_| ())
}
