//! What each kind of change needs, and what it does.
//!
//! A change is checked when it is proposed and again when it is enacted: the
//! circle may have changed in between.

use wire::{
    AccountId, Change, Event, JoinRequest, MemberRole, MemberTerms, MemberUpdate, Parameters,
    Policy, PublicKey, ReferenceValue, Reject, SeatReplacement, Subject, ValidatorPolicy,
    limits::{MAX_LIST, MAX_MEMBERS},
    record::{Member, Rules},
    state_key,
};

use super::{
    epoch,
    roster::{self, is_address, terms_are_sound},
};
use crate::{execution::Execution, keys, market};

/// Reference values and authorities of a circle: each is looked through when
/// an offer is placed or a certificate recorded.
const MAX_LISTED: usize = 16 * MAX_LIST;

/// Whether the change is possible now.
///
/// Errors: the change's own; see docs/spec/members.md §3.
pub(super) fn check(execution: &Execution<'_>, change: &Change) -> Result<(), Reject> {
    let rules = &execution.rules;
    match change {
        Change::AddMember(request) => check_join(execution, request),
        Change::RemoveMember(member) => {
            roster::find(execution, *member)?;
            require_validator_besides(execution, *member)
        }
        Change::UpdateMember { member, update } => check_update(execution, *member, update),
        Change::ReplaceSeat(replacement) => check_seat(execution, replacement),
        Change::Reshare => changes(epoch::current(&execution.state).reshare_since.is_none()),
        Change::SetParameters(parameters) => check_parameters(&rules.parameters, parameters),
        Change::AdmitCode(value) => check_code(rules, value),
        Change::ExpelCode(value) => changes(rules.reference_values.contains(value)),
        Change::AddAuthority(account) => {
            changes(!rules.certificate_authorities.contains(account))?;
            fits(rules.certificate_authorities.len() < MAX_LISTED)
        }
        Change::RemoveAuthority(account) => {
            changes(rules.certificate_authorities.contains(account))
        }
        Change::AddZoneSigner(account) => {
            changes(!rules.zone_signers.contains(account))?;
            fits(rules.zone_signers.len() < MAX_LISTED)
        }
        Change::RemoveZoneSigner(account) => changes(rules.zone_signers.contains(account)),
        Change::SetEvidence(evidence) => {
            changes(rules.evidence != **evidence)?;
            fits(evidence.policy.is_well_formed())
        }
        Change::SetValidatorPolicy(policy) => check_validator_policy(rules, policy),
        Change::SetKeykeepers { keepers, window } => keys::check(execution, keepers, *window),
        Change::SetPolicy { subject, policy } => check_policy(rules, *subject, *policy),
        Change::Upgrade { version, height } => {
            let later = *version > rules.version && *height > execution.height;
            if later {
                Ok(())
            } else {
                Err(Reject::UpgradePast)
            }
        }
    }
}

fn changes(differs: bool) -> Result<(), Reject> {
    if differs {
        Ok(())
    } else {
        Err(Reject::NothingChanges)
    }
}

fn fits(fits: bool) -> Result<(), Reject> {
    if fits {
        Ok(())
    } else {
        Err(Reject::LimitExceeded)
    }
}

fn check_join(execution: &Execution<'_>, request: &JoinRequest) -> Result<(), Reject> {
    let reachable = request
        .terms
        .seat
        .as_ref()
        .is_none_or(|seat| is_address(&seat.address));
    if !terms_are_sound(&request.terms) || !reachable {
        return Err(Reject::MemberMalformed);
    }
    if !request.is_signed(execution.rules.circle) {
        return Err(Reject::NotSigned);
    }
    let members = roster::all(execution);
    fits(members.len() < MAX_MEMBERS)?;
    let account = request.key.account();
    let seat = request.terms.seat.as_ref().map(|seat| seat.key);
    if members.iter().any(|(id, _)| *id == account) || seat.is_some_and(|key| taken(&members, key))
    {
        return Err(Reject::MemberExists);
    }
    Ok(())
}

fn taken(members: &[(AccountId, Member)], key: PublicKey) -> bool {
    members.iter().any(|(_, member)| {
        let seat = member.terms.seat.as_ref();
        seat.is_some_and(|seat| seat.key == key)
    })
}

fn require_validator_besides(execution: &Execution<'_>, leaver: AccountId) -> Result<(), Reject> {
    let stays = roster::all(execution)
        .iter()
        .any(|(id, member)| *id != leaver && member.terms.role == MemberRole::Validator);
    if stays {
        Ok(())
    } else {
        Err(Reject::LastValidator)
    }
}

/// The terms after an update.
fn updated(mut terms: MemberTerms, update: &MemberUpdate) -> MemberTerms {
    if let Some(role) = update.role {
        terms.role = role;
    }
    if let Some(level) = update.level {
        terms.level = level;
    }
    if let Some(facts) = &update.facts {
        terms.facts.clone_from(facts);
    }
    if let (Some(address), Some(seat)) = (&update.address, &mut terms.seat) {
        seat.address.clone_from(address);
    }
    terms
}

fn check_update(
    execution: &Execution<'_>,
    member: AccountId,
    update: &MemberUpdate,
) -> Result<(), Reject> {
    let before = roster::find(execution, member)?.terms;
    let after = updated(before.clone(), update);
    let reachable = update
        .address
        .as_ref()
        .is_none_or(|address| after.seat.is_some() && is_address(address));
    if !terms_are_sound(&after) || !reachable {
        return Err(Reject::MemberMalformed);
    }
    changes(after != before)?;
    if after.role == MemberRole::Validator {
        Ok(())
    } else {
        require_validator_besides(execution, member)
    }
}

fn check_seat(execution: &Execution<'_>, replacement: &SeatReplacement) -> Result<(), Reject> {
    let member = roster::find(execution, replacement.member)?;
    let mut terms = member.terms;
    terms.seat = Some(replacement.seat.clone());
    if !terms_are_sound(&terms) || !is_address(&replacement.seat.address) {
        return Err(Reject::MemberMalformed);
    }
    let message = SeatReplacement::message(
        execution.rules.circle,
        replacement.member,
        &replacement.seat,
    );
    let key = replacement.seat.key;
    if key
        .verify(SeatReplacement::PURPOSE, &message, &replacement.signature)
        .is_err()
    {
        return Err(Reject::NotSigned);
    }
    if taken(&roster::all(execution), key) {
        return Err(Reject::MemberExists);
    }
    Ok(())
}

/// What open commitments, epochs and running engines rely on cannot change.
fn check_parameters(now: &Parameters, wanted: &Parameters) -> Result<(), Reject> {
    let fixed = |parameters: &Parameters| {
        (
            parameters.reveal_within,
            parameters.epoch_length,
            parameters.min_block_interval_ms,
            parameters.idle_block_interval_ms,
        )
    };
    if fixed(now) != fixed(wanted) || wanted.check().is_err() {
        return Err(Reject::ParameterFixed);
    }
    changes(now != wanted)
}

fn check_code(rules: &Rules, value: &ReferenceValue) -> Result<(), Reject> {
    changes(!rules.reference_values.contains(value))?;
    fits(rules.reference_values.len() < MAX_LISTED)?;
    let development = value.kind == wire::EvidenceKind::Development;
    if development && rules.kind == wire::CircleKind::Production {
        // As in a genesis: whoever holds a development root can claim anything.
        return Err(Reject::EvidenceNotAdmitted);
    }
    Ok(())
}

/// Validators can only show code that the circle admits, and must have two
/// epochs to show it again, or all would lapse between two blocks.
fn check_validator_policy(rules: &Rules, policy: &ValidatorPolicy) -> Result<(), Reject> {
    changes(rules.validator_policy != *policy)?;
    let twice = |(at, code): (usize, &ReferenceValue)| policy.codes[..at].contains(code);
    fits(policy.codes.len() <= MAX_LIST && !policy.codes.iter().enumerate().any(twice))?;
    let admitted = |code: &ReferenceValue| rules.reference_values.contains(code);
    if !policy.codes.iter().all(admitted) {
        return Err(Reject::EvidenceNotAdmitted);
    }
    let least = rules.parameters.epoch_length.saturating_mul(2);
    fits(policy.codes.is_empty() || policy.renew_within >= least)
}

fn check_policy(rules: &Rules, subject: Subject, policy: Policy) -> Result<(), Reject> {
    match policy {
        // The block's context will bring randomness here once the engine's
        // certificates carry a seed; until then a draw could be biased.
        Policy::RandomOfLevel { .. } => Err(Reject::RandomnessUnavailable),
        Policy::Threshold { need: 0 } => Err(Reject::LimitExceeded),
        _ => changes(rules.policy(subject) != policy),
    }
}

/// Makes a change that [`check`] found possible.
pub(super) fn enact(execution: &mut Execution<'_>, change: &Change) -> Result<(), Reject> {
    match change {
        Change::AddMember(request) => {
            let member = Member {
                key: request.key,
                terms: request.terms.clone(),
                since: execution.height,
            };
            store(execution, request.key.account(), Some(&member));
        }
        Change::RemoveMember(id) => store(execution, *id, None),
        Change::UpdateMember { member: id, update } => {
            let mut member = roster::find(execution, *id)?;
            member.terms = updated(member.terms, update);
            store(execution, *id, Some(&member));
        }
        Change::ReplaceSeat(replacement) => {
            let mut member = roster::find(execution, replacement.member)?;
            member.terms.seat = Some(replacement.seat.clone());
            store(execution, replacement.member, Some(&member));
        }
        Change::Reshare => epoch::want_resharing(execution),
        Change::SetKeykeepers { keepers, window } => keys::begin(execution, keepers, *window),
        _ => enact_rules(execution, change),
    }
    Ok(())
}

fn store(execution: &mut Execution<'_>, id: AccountId, member: Option<&Member>) {
    let key = state_key::member(id);
    match member {
        Some(member) => execution.state.put(key, member),
        None => execution.state.delete(key),
    }
    keys::recount_holders(execution);
    execution.emit(Event::MemberChanged { member: id });
}

fn enact_rules(execution: &mut Execution<'_>, change: &Change) {
    let mut rules = execution.rules.clone();
    match change {
        Change::SetParameters(parameters) => rules.parameters = (**parameters).clone(),
        Change::AdmitCode(value) => {
            rules.reference_values.push(*value);
            market::readmit(execution, &rules, value.measurement);
        }
        Change::ExpelCode(value) => {
            rules.reference_values.retain(|listed| listed != value);
            market::readmit(execution, &rules, value.measurement);
        }
        Change::AddAuthority(account) => rules.certificate_authorities.push(*account),
        Change::RemoveAuthority(account) => {
            rules
                .certificate_authorities
                .retain(|listed| listed != account);
        }
        Change::AddZoneSigner(account) => rules.zone_signers.push(*account),
        Change::RemoveZoneSigner(account) => rules.zone_signers.retain(|listed| listed != account),
        Change::SetEvidence(evidence) => rules.evidence = (**evidence).clone(),
        Change::SetValidatorPolicy(policy) => {
            rules.validator_policy = policy.clone();
            rules.validator_policy_since = execution.height;
        }
        Change::SetPolicy { subject, policy } => {
            rules.policies.retain(|(listed, _)| listed != subject);
            rules.policies.push((*subject, *policy));
            rules.policies.sort_unstable_by_key(|(subject, _)| *subject);
        }
        Change::Upgrade { version, height } => rules.upgrade = Some((*version, *height)),
        Change::AddMember(_)
        | Change::RemoveMember(_)
        | Change::UpdateMember { .. }
        | Change::ReplaceSeat(_)
        | Change::Reshare
        | Change::SetKeykeepers { .. } => return,
    }
    execution.set_rules(rules);
}
