//! Labels: granted, and rotated to their next epoch.

use wire::{
    Event, GrantLabel, HolderPolicy, LabelName, Reject, RotateLabel, record::Label, state_key,
};

use crate::execution::{Execution, Sender};

/// Grants a label to its owner's service.
///
/// Errors: [`Reject::LabelMalformed`], [`Reject::LabelExists`].
/// Source: docs/spec/keys.md §8.
pub(crate) fn grant(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &GrantLabel,
) -> Result<(), Reject> {
    let name = LabelName {
        owner: sender.account,
        service: action.service.clone(),
        version: action.version,
    };
    if !name.is_well_formed() {
        return Err(Reject::LabelMalformed);
    }
    if execution.state.contains(&state_key::label(&name)) {
        return Err(Reject::LabelExists);
    }
    put(execution, name, 1, &action.policy)
}

/// Begins a label's next epoch. The policy holds for the epoch before as well,
/// whose key is still needed to read what was written under it.
///
/// Errors: [`Reject::LabelNotFound`], [`Reject::LabelMalformed`].
/// Source: docs/spec/keys.md §8.
pub(crate) fn rotate(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &RotateLabel,
) -> Result<(), Reject> {
    let name = LabelName {
        owner: sender.account,
        service: action.service.clone(),
        version: action.version,
    };
    let label: Label = execution
        .state
        .get(&state_key::label(&name))
        .ok_or(Reject::LabelNotFound)?;
    put(execution, name, label.epoch + 1, &action.policy)
}

fn put(
    execution: &mut Execution<'_>,
    name: LabelName,
    epoch: u64,
    policy: &HolderPolicy,
) -> Result<(), Reject> {
    if !policy.is_well_formed() {
        return Err(Reject::LabelMalformed);
    }
    let label = Label {
        name: name.clone(),
        epoch,
        policy: policy.clone(),
        changed_at: execution.height,
    };
    execution.state.put(state_key::label(&name), &label);
    execution.emit(Event::LabelChanged { label: name, epoch });
    Ok(())
}
