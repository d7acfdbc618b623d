//! Steps of keykeepers: registration, rounds, labels, requests and answers, and escrow.

use std::collections::BTreeMap;

use threshold::{Join, Keeper};
use wire::{
    record::{EscrowHolders, KeyCommittee, KeyRound, Label},
    *,
};

use super::{BEGINNING, KEEPERS, Step, ids, pick, seed_of, under};
use crate::{escrow, keys, world::*};

/// Blocks of a phase: longer than most sequences, so that a round waits for messages.
const WINDOW: u32 = 40;

/// Makes a key among the keykeepers in real rounds, with members who hold escrow keys, a
/// label, and another round that waits for its first messages.
pub fn begin(world: &mut World) -> BTreeMap<u8, Keeper> {
    let keepers = keys::found(world, &KEEPERS);
    escrow::enrol_all(world);
    keys::grant(world, |_| ()).unwrap();
    keys::enact(world, keys::set_keykeepers(&KEEPERS, WINDOW)).unwrap();
    keepers
}

pub fn register(world: &World, step: Step) -> (u8, Action) {
    let keeper = KEEPERS[usize::from(step.b % 3)];
    let report_data = RegisterKeykeeper::report_data(world.circle, &key(keeper).public());
    let evidence = quoting_key().quote(CODE, report_data, [9; 32]);
    let action = RegisterKeykeeper { evidence };
    (step.sender(keeper), Action::RegisterKeykeeper(action))
}

/// A keykeeper's join where one is awaited; in later phases bytes that are no message.
pub fn post(world: &World, step: Step) -> (u8, Action) {
    let round: KeyRound = world.get(&state_key::key_round()).unwrap();
    let phase = match step.is_wild() {
        true => KeyPhase::Deal,
        false => round.phase,
    };
    let posted = |key: &PublicKey| {
        world
            .state
            .contains_key(&state_key::key_message(phase, key))
    };
    let mut missing = round.invited.iter().filter(|key| !posted(key));
    let keeper = missing.next().and_then(seed_of).unwrap_or(KEEPERS[0]);
    let message = match phase {
        KeyPhase::Join => {
            let keys = vec![[9; 32]; round.invited.len()];
            Join { keys }.encode()
        }
        KeyPhase::Deal | KeyPhase::Answer => vec![step.b; usize::from(step.amount % 300)],
    };
    let action = PostKeyRound {
        round: round.round,
        phase,
        message,
    };
    (step.sender(keeper), Action::PostKeyRound(action))
}

pub fn grant(_: &World, step: Step) -> (u8, Action) {
    let action = GrantLabel {
        service: "mail.example".to_owned(),
        version: u32::from(step.amount % 8),
        policy: keys::policy(),
    };
    (step.trader(), Action::GrantLabel(action))
}

/// A label of the state.
fn label(world: &World, step: Step) -> Label {
    let all: Vec<Label> = under(world, state_key::LABELS)
        .map(|(_, value)| record::decode(value).unwrap())
        .collect();
    all[usize::from(step.b) % all.len()].clone()
}

pub fn rotate(world: &World, step: Step) -> (u8, Action) {
    let name = label(world, step).name;
    let owner = (1..5).find(|actor| account(*actor) == name.owner);
    let action = RotateLabel {
        service: name.service,
        version: name.version,
        policy: keys::policy(),
    };
    let actor = step.sender(owner.unwrap_or(step.trader()));
    (actor, Action::RotateLabel(action))
}

pub fn request(world: &World, step: Step) -> (u8, Action) {
    let label = label(world, step);
    let epoch = label.epoch.saturating_sub(u64::from(step.a % 3)).max(1);
    let height = Height(world.height.0 - 1);
    let block = World::header(height);
    let one_time_key = [step.b; 32];
    let report_data =
        RequestKey::report_data(world.circle, &label.name, epoch, &one_time_key, block, None);
    let action = RequestKey {
        label: label.name,
        epoch,
        one_time_key,
        contract: None,
        height,
        block,
        evidence: quoting_key().quote(CODE, report_data, [9; 32]),
    };
    (step.trader(), Action::RequestKey(action))
}

/// Mostly of a keykeeper in office that has not answered the request.
pub fn answer(world: &World, step: Step) -> (u8, Action) {
    let request = KeyRequestId(pick(&ids(world, state_key::KEY_REQUESTS), step.b));
    let committee: KeyCommittee = world.get(&state_key::key_committee()).unwrap();
    let answered = |keeper: &PublicKey| {
        let key = state_key::key_answer(request, keeper);
        world.state.contains_key(&key)
    };
    let mut missing = committee.keepers.iter().filter(|keeper| !answered(keeper));
    let keeper = missing.next().and_then(seed_of).unwrap_or(KEEPERS[0]);
    let sealed = vec![step.b; 1 + usize::from(step.amount % 101)];
    let action = AnswerKey { request, sealed };
    (step.sender(keeper), Action::AnswerKey(action))
}

pub fn set_escrow_key(_: &World, step: Step) -> (u8, Action) {
    let member = VALIDATORS[usize::from(step.b % 4)];
    let gone = step.amount.is_multiple_of(8);
    let public = || threshold::escrow_public(&[1 + step.a % 16; 32]);
    let key = (!gone).then(|| EscrowKey(public()));
    let action = SetEscrowKey { key };
    (step.sender(member), Action::SetEscrowKey(action))
}

/// A keykeeper's real share in escrow, as long as its committee is in office and enough
/// members hold keys; bytes that are none afterwards.
pub fn post_escrow(world: &World, step: Step) -> (u8, Action) {
    let keeper = KEEPERS[usize::from(step.b % 3)];
    let committee: KeyCommittee = world.get(&state_key::key_committee()).unwrap();
    let before: KeyCommittee = BEGINNING.world.get(&state_key::key_committee()).unwrap();
    let holders: EscrowHolders = world.get(&state_key::escrow_holders()).unwrap();
    let action = if committee == before && holders.suffice() && !step.is_wild() {
        escrow::escrow_of(world, &BEGINNING.keepers[&keeper], keeper)
    } else {
        PostEscrow {
            round: committee.round,
            holders: holders.digest(),
            escrow: vec![step.b; usize::from(step.amount % 500)],
        }
    };
    (step.sender(keeper), Action::PostEscrow(action))
}
