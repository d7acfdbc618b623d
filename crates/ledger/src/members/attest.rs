//! Which code does a validator run, by evidence, and does that still count?
//!
//! With the policy on, a validator takes office, and stays, only while its
//! evidence counts: it is not older than the policy says, for the seat that the
//! member has now, and for code that is voted in now. Who lapses is left out of
//! the next committee; the epoch's end is when it matters.
//!
//! Source: docs/spec/members.md §9.

use wire::{
    AccountId, AttestValidator, Event, EvidencePolicy, ReferenceValue, Reject,
    record::{Member, ValidatorEvidence},
    state_key,
};

use super::roster;
use crate::{
    execution::{Execution, Sender},
    keys, recent,
};

/// Takes a validator's evidence.
///
/// Errors: [`Reject::MemberNotFound`] for a key that is neither a member's nor a
///         seat's; [`Reject::MemberMalformed`] for a member without a seat;
///         [`Reject::ReportDataMismatch`] also where the block is not recent;
///         those of the evidence.
pub(crate) fn attest(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &AttestValidator,
) -> Result<(), Reject> {
    let (id, member) = roster::all(execution)
        .into_iter()
        .find(|(id, member)| {
            let seat = member.terms.seat.as_ref().map(|seat| seat.key);
            *id == sender.account || seat == Some(sender.key)
        })
        .ok_or(Reject::MemberNotFound)?;
    let seat = member.terms.seat.ok_or(Reject::MemberMalformed)?.key;
    let block = recent::digest(execution, action.block).ok_or(Reject::ReportDataMismatch)?;
    let circle = execution.rules.circle;
    let report_data = AttestValidator::report_data(circle, &seat, block);
    let codes = execution.rules.validator_policy.codes.clone();
    let result = keys::appraise(
        execution,
        &action.evidence,
        report_data,
        (!codes.is_empty()).then_some(&codes),
        &EvidencePolicy::default(),
    )?;
    let evidence = ValidatorEvidence {
        seat,
        result,
        accepted_at: execution.height,
    };
    execution
        .state
        .put(state_key::validator_evidence(id), &evidence);
    execution.emit(Event::MemberChanged { member: id });
    Ok(())
}

/// Whether a validator has shown what the rules ask for, as of this block.
pub(super) fn counts(execution: &Execution<'_>, id: AccountId, member: &Member) -> bool {
    let rules = &execution.rules;
    let policy = &rules.validator_policy;
    // Whoever shows it first must not be left alone with the circle's key: for
    // an epoch after the vote, nobody is left out.
    let asked_for = execution.height.since(rules.validator_policy_since);
    if policy.codes.is_empty() || asked_for < rules.parameters.epoch_length {
        return true;
    }
    let key = state_key::validator_evidence(id);
    let Some(shown) = execution.state.get::<ValidatorEvidence>(&key) else {
        return false;
    };
    let value = ReferenceValue {
        measurement: shown.result.measurement,
        kind: shown.result.kind,
    };
    let seat = member.terms.seat.as_ref().map(|seat| seat.key);
    seat == Some(shown.seat)
        && execution.height.since(shown.accepted_at) <= policy.renew_within
        && policy.codes.contains(&value)
        && rules.reference_values.contains(&value)
}
