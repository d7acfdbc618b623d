//! Which code does a validator run, by evidence, and does that still count?
//!
//! With the policy on, a validator takes office, and stays, only while its
//! evidence counts: it is not older than the policy says, for the seat that the
//! member has now, and for code that is voted in now. Who lapses is left out of
//! the next committee; the epoch's end is when it matters.
//!
//! Source: docs/spec/members.md §9.

use wire::{
    AccountId, Action, AttestValidator, Event, EvidencePolicy, Height, MemberRole, PublicKey,
    ReferenceValue, Reject, Transaction,
    record::{Member, Rules, ValidatorEvidence},
    state_key,
};

use super::roster;
use crate::{
    execution::{Execution, Sender},
    keys,
    overlay::Overlay,
    recent,
    state::StateRead,
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
    standing(
        &execution.state,
        &execution.rules,
        execution.height,
        id,
        member,
    )
    .counts(execution.height)
}

/// How a validator stands to the evidence that the rules ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The last height at which it is not left out; none if nothing is asked for.
    pub until: Option<Height>,
    /// Whether it should show evidence now: what it has shown does not count, or has
    /// passed half of its time.
    pub due: bool,
}

impl Standing {
    /// Whether the validator is not left out at `height`.
    pub fn counts(&self, height: Height) -> bool {
        self.until.is_none_or(|until| height <= until)
    }
}

fn standing(
    state: &Overlay<'_>,
    rules: &Rules,
    height: Height,
    id: AccountId,
    member: &Member,
) -> Standing {
    let policy = &rules.validator_policy;
    if policy.codes.is_empty() {
        return Standing {
            until: None,
            due: false,
        };
    }
    // Whoever shows it first must not be left alone with the circle's key: for
    // an epoch after the vote, nobody is left out.
    let spared = rules.parameters.epoch_length.saturating_sub(1);
    let spared_until = rules.validator_policy_since.plus(spared);
    let seat = member.terms.seat.as_ref().map(|seat| seat.key);
    let shown = state
        .get::<ValidatorEvidence>(&state_key::validator_evidence(id))
        .filter(|shown| {
            let value = ReferenceValue {
                measurement: shown.result.measurement,
                kind: shown.result.kind,
            };
            seat == Some(shown.seat)
                && policy.codes.contains(&value)
                && rules.reference_values.contains(&value)
        });
    let shown_until = shown
        .as_ref()
        .map(|shown| shown.accepted_at.plus(policy.renew_within));
    Standing {
        until: Some(shown_until.map_or(spared_until, |until| until.max(spared_until))),
        due: shown.is_none_or(|shown| height.since(shown.accepted_at) > policy.renew_within / 2),
    }
}

/// The member whose validator has this key, if it is to validate, and how it stands at
/// the block of `height`; none of a key that is no validator's.
///
/// Panics: on a damaged store only; see the crate's documentation.
/// Source: docs/spec/members.md §9.
pub fn validator_standing(
    state: &dyn StateRead,
    height: Height,
    seat: &PublicKey,
) -> Option<Standing> {
    let state = Overlay::new(state);
    let rules: Rules = state
        .get(&state_key::rules())
        .expect("a state that a genesis founded holds the circle's rules");
    standing_of(&state, &rules, height, seat)
}

fn standing_of(
    state: &Overlay<'_>,
    rules: &Rules,
    height: Height,
    seat: &PublicKey,
) -> Option<Standing> {
    let (id, member) = roster::read(state).into_iter().find(|(_, member)| {
        let own = member.terms.seat.as_ref().map(|own| &own.key);
        member.terms.role == MemberRole::Validator && own == Some(seat)
    })?;
    Some(standing(state, rules, height, id, &member))
}

/// Whether a transaction is a validator's evidence that is due, from its seat: it is free
/// of charge if it is applied, so that a seat without funds can renew what it has shown.
pub(crate) fn is_duty(
    state: &Overlay<'_>,
    rules: &Rules,
    height: Height,
    transaction: &Transaction,
) -> bool {
    if !matches!(transaction.actions.as_slice(), [Action::AttestValidator(_)]) {
        return false;
    }
    let standing = standing_of(state, rules, height, &transaction.sender);
    standing.is_some_and(|standing| standing.due)
}
