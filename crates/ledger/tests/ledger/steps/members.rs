//! Steps of members: proposals of every sort, votes, dealings, validators' evidence.

use super::{EPOCH, Step, ids, pick, seed_of};
use crate::{
    keys::set_keykeepers,
    members::{JOINER, JOINER_SEAT, join_as},
    world::*,
};
use wire::{record::Epoch, *};

/// Code that members admit and expel.
const OTHER_CODE: Measurement = Measurement([0xc1; 32]);

/// Members vote for another validator, so that a resharing begins.
pub fn begin(world: &mut World) {
    for actor in [JOINER, JOINER_SEAT] {
        let amount = Amount(200_000);
        let to = account(actor);
        let transfer = Transfer { to, amount };
        world.send(USER, Action::Transfer(transfer)).unwrap();
    }
    let change = join_as(world, JOINER, JOINER_SEAT, |_| ());
    crate::keys::enact(world, change).unwrap();
}

fn value(measurement: Measurement) -> ReferenceValue {
    ReferenceValue {
        measurement,
        kind: EvidenceKind::Development,
    }
}

fn rules(world: &World) -> record::Rules {
    world.get(&state_key::rules()).unwrap()
}

fn epoch(world: &World) -> Epoch {
    world.get(&state_key::epoch()).unwrap()
}

fn toggled(listed: bool, add: Change, remove: Change) -> Change {
    if listed { remove } else { add }
}

fn change(world: &World, step: Step) -> Change {
    let rules = rules(world);
    let member = account(VALIDATORS[usize::from(step.a % 4)]);
    let someone = account(100 + (step.amount % 4) as u8);
    match step.b % 16 {
        0 => toggled(
            rules.certificate_authorities.contains(&someone),
            Change::AddAuthority(someone),
            Change::RemoveAuthority(someone),
        ),
        1 => toggled(
            rules.zone_signers.contains(&someone),
            Change::AddZoneSigner(someone),
            Change::RemoveZoneSigner(someone),
        ),
        2 | 3 => toggled(
            rules.reference_values.contains(&value(OTHER_CODE)),
            Change::AdmitCode(value(OTHER_CODE)),
            Change::ExpelCode(value(OTHER_CODE)),
        ),
        4 | 5 => {
            let there = world
                .state
                .contains_key(&state_key::member(account(JOINER)));
            let join = join_as(world, JOINER, JOINER_SEAT, |_| ());
            toggled(there, join, Change::RemoveMember(account(JOINER)))
        }
        6 if step.a < 64 => Change::RemoveMember(member),
        6 | 7 => {
            let update = MemberUpdate {
                role: (step.amount.is_multiple_of(4)).then_some(MemberRole::Voter),
                level: Some((step.amount % 7) as u8),
                ..MemberUpdate::default()
            };
            Change::UpdateMember { member, update }
        }
        8 => {
            let mut parameters = rules.parameters;
            parameters.fee_per_byte = Amount(u64::from(step.amount % 3));
            parameters.rent_per_period = Amount(400 + u64::from(step.amount % 200));
            parameters.rent_period = 5 + u64::from(step.a % 5);
            parameters.offer_deposit = Amount(1 + u64::from(step.amount % 900));
            Change::SetParameters(Box::new(parameters))
        }
        9 => {
            let mut policy = ValidatorPolicy {
                codes: vec![value(CODE)],
                renew_within: 2 * EPOCH + u64::from(step.a % 8),
            };
            if step.amount.is_multiple_of(3) {
                policy = ValidatorPolicy::default();
            }
            Change::SetValidatorPolicy(policy)
        }
        10 => {
            let mut evidence = rules.evidence;
            evidence.policy.max_collateral_age_ms = Some(u64::from(step.amount) + 1);
            Change::SetEvidence(Box::new(evidence))
        }
        11 => {
            let policy = match step.a % 3 {
                0 => Policy::Majority,
                1 => Policy::Threshold { need: 2 },
                _ => Policy::AnyOfLevel { level: 1 },
            };
            let subject = [Subject::Code, Subject::Names][usize::from(step.amount % 2)];
            Change::SetPolicy { subject, policy }
        }
        12 => Change::Upgrade {
            version: 2,
            // So far away that no sequence gets there: no build knows the version.
            height: Height(1_000_000 + u64::from(step.amount)),
        },
        13 => set_keykeepers(&[40, 41, 42][..2 + usize::from(step.a % 2)], 8),
        14 => Change::Reshare,
        _ => {
            let seat = ValidatorSeat {
                key: key(50 + step.a % 4).public(),
                address: "moved.example:4000".to_owned(),
            };
            let message = SeatReplacement::message(world.circle, member, &seat);
            let signature = key(50 + step.a % 4).sign(SeatReplacement::PURPOSE, &message);
            Change::ReplaceSeat(SeatReplacement {
                member,
                seat,
                signature,
            })
        }
    }
}

pub fn propose(world: &World, step: Step) -> (u8, Action) {
    let proposer = VALIDATORS[usize::from(step.amount % 4)];
    let change = change(world, step);
    (step.sender(proposer), Action::Propose(Propose { change }))
}

/// Mostly a vote that is still open, of one that has not voted.
pub fn vote(world: &World, step: Step) -> (u8, Action) {
    let all = ids(world, state_key::PROPOSALS);
    let record = |id: &[u8; 32]| -> record::Proposal {
        world.get(&state_key::proposal(ProposalId(*id))).unwrap()
    };
    let is_open = |id: &&[u8; 32]| record(id).status == record::ProposalStatus::Open;
    let open: Vec<_> = all.iter().filter(is_open).copied().collect();
    let id = pick(if open.is_empty() { &all } else { &open }, step.b);
    let voted: Vec<AccountId> = match all.contains(&id) {
        true => record(&id).votes.iter().map(|(voter, _)| *voter).collect(),
        false => Vec::new(),
    };
    let voters = VALIDATORS.into_iter().chain([JOINER]);
    let mut missing = voters.filter(|voter| !voted.contains(&account(*voter)));
    let voter = missing.next().unwrap_or(VALIDATORS[0]);
    let vote = Vote {
        proposal: ProposalId(id),
        approve: !step.amount.is_multiple_of(8),
    };
    (step.sender(voter), Action::Vote(vote))
}

/// Mostly of a validator in office that has not dealt in the resharing under way.
pub fn deal(world: &World, step: Step) -> (u8, Action) {
    let epoch = epoch(world);
    let round = epoch
        .resharing
        .as_ref()
        .map_or(1, |under_way| under_way.round);
    let dealt = |key: &PublicKey| world.state.contains_key(&state_key::dealing(round, key));
    let seats = epoch.committee.iter().map(|seat| seat.key);
    let dealer = seats
        .filter(|key| !dealt(key))
        .find_map(|key| seed_of(&key))
        .unwrap_or(VALIDATORS[0]);
    let dealing = vec![step.amount as u8; 1 + usize::from(step.b)];
    let action = Deal { round, dealing };
    (step.sender(dealer), Action::Deal(action))
}

pub fn attest(world: &World, step: Step) -> (u8, Action) {
    let actor = VALIDATORS[usize::from(step.b % 4)];
    let member: Option<record::Member> = world.get(&state_key::member(account(actor)));
    let seat = member.and_then(|member| member.terms.seat);
    let seat = seat.map_or(key(actor).public(), |seat| seat.key);
    let block = Height(world.height.0 - 1 - u64::from(step.a % 4));
    let digest = World::header(block);
    let report_data = AttestValidator::report_data(world.circle, &seat, digest);
    let evidence = quoting_key().quote(CODE, report_data, [9; 32]);
    let action = AttestValidator { block, evidence };
    (step.sender(actor), Action::AttestValidator(action))
}
