//! Registers a keykeeper: its evidence shows that its key is inside admitted code.

use wire::{
    Event, EvidencePolicy, PublicKey, RegisterKeykeeper, Reject, record::Keykeeper, state_key,
};

use super::evidence;
use crate::execution::{Execution, Sender};

/// Anyone whose evidence passes may register, and again with newer evidence;
/// who holds a share is for the members to decide.
///
/// Errors: [`Reject::NotKeykeeper`] for a key that is not Ed25519; those of the
///         evidence.
/// Source: docs/spec/keys.md §7.
pub(crate) fn register(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &RegisterKeykeeper,
) -> Result<(), Reject> {
    if !matches!(sender.key, PublicKey::Ed25519(_)) {
        return Err(Reject::NotKeykeeper);
    }
    let report_data = RegisterKeykeeper::report_data(execution.rules.circle, &sender.key);
    let result = evidence::appraise(
        execution,
        &action.evidence,
        report_data,
        None,
        &EvidencePolicy::default(),
    )?;
    let keykeeper = Keykeeper {
        evidence: action.evidence.clone(),
        result,
        registered_at: execution.height,
    };
    execution
        .state
        .put(state_key::keykeeper(&sender.key), &keykeeper);
    execution.emit(Event::KeykeeperRegistered { keeper: sender.key });
    Ok(())
}
