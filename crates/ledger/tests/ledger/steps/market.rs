//! Steps of accounts, locks, and of the market: from an offer to a finished job.

use super::{Step, ids, pick};
use crate::world::*;
use wire::*;

pub fn transfer(_: &World, step: Step) -> (u8, Action) {
    let to = account(1 + step.b % 4);
    let amount = match step.is_wild() {
        true => Amount(u64::MAX - u64::from(step.amount)),
        false => Amount(u64::from(step.amount)),
    };
    (step.trader(), Action::Transfer(Transfer { to, amount }))
}

pub fn lock(world: &World, step: Step) -> (u8, Action) {
    let until = world.height.plus(u64::from(step.b % 16));
    let action = LockFunds {
        amount: Amount(u64::from(step.amount)),
        condition: Condition::AfterHeight(until),
    };
    (step.trader(), Action::LockFunds(action))
}

pub fn unlock(world: &World, step: Step) -> (u8, Action) {
    let action = UnlockFunds {
        lock: LockId(pick(&ids(world, b"l/"), step.b)),
        to: account(STRANGER),
        witness: Witness::default(),
    };
    (step.trader(), Action::UnlockFunds(action))
}

pub fn post_offer(world: &World, step: Step) -> (u8, Action) {
    let mut terms = offer_terms();
    terms.min_price = Amount(u64::from(step.amount % 12));
    terms.concurrency = u16::from(step.a % 4);
    terms.capacity.cpu_milli = 1000 << (step.b % 4);
    terms.replica_limit.cpu_milli = 1000;
    terms.expires_at = world.height.plus(u64::from(step.amount % 100));
    (step.trader(), Action::PostOffer(PostOffer { terms }))
}

pub fn withdraw_offer(world: &World, step: Step) -> (u8, Action) {
    let id = OfferId(pick(&ids(world, state_key::OFFERS), step.b));
    let offer: Option<record::Offer> = world.get(&state_key::offer(id));
    let provider = offer.and_then(|offer| (1..5).find(|actor| account(*actor) == offer.provider));
    let actor = step.sender(provider.unwrap_or(step.trader()));
    (actor, Action::WithdrawOffer(WithdrawOffer { offer: id }))
}

pub fn post_request(world: &World, step: Step) -> (u8, Action) {
    let mut terms = request_terms();
    terms.replicas = 1 + u16::from(step.a % 3);
    terms.duration = 1 + u64::from(step.b % 40);
    terms.escrow = Amount(u64::from(step.amount % 700));
    terms.require_spread = step.amount.is_multiple_of(3);
    terms.match_until = world.height.plus(u64::from(step.b));
    terms.name = (step.a & 1 == 0).then(|| name("hello.internal"));
    if step.amount.is_multiple_of(3) && terms.name.is_none() {
        terms.payload_kind = PayloadKind::Job;
    }
    (USER, Action::PostRequest(PostRequest { terms }))
}

fn request(world: &World, step: Step) -> RequestId {
    RequestId(pick(&ids(world, state_key::REQUESTS), step.b))
}

pub fn fund_request(world: &World, step: Step) -> (u8, Action) {
    let request = request(world, step);
    let amount = Amount(u64::from(step.amount));
    let action = FundRequest { request, amount };
    (step.trader(), Action::FundRequest(action))
}

pub fn operate(world: &World, step: Step) -> (u8, Action) {
    let operation = match step.a < 128 {
        true => Operation::Start,
        false => Operation::Stop,
    };
    let request = request(world, step);
    (USER, Action::Operate(Operate { request, operation }))
}

pub fn close_request(world: &World, step: Step) -> (u8, Action) {
    let request = request(world, step);
    let actor = step.sender(USER);
    (actor, Action::CloseRequest(CloseRequest { request }))
}

/// A contract of whose record `wanted` holds, or else one that lives, or else any; now and
/// then one that may have ended.
fn contract(
    world: &World,
    step: Step,
    wanted: impl Fn(&record::Contract) -> bool,
) -> (ContractId, u8, Option<record::Contract>) {
    let all = ids(world, state_key::CONTRACTS);
    let choose = |holds: &dyn Fn(&record::Contract) -> bool| -> Vec<[u8; 32]> {
        let of = |id: &&[u8; 32]| holds(&world.contract(ContractId(**id)));
        all.iter().filter(of).copied().collect()
    };
    let lives =
        |contract: &record::Contract| !matches!(contract.status, record::ContractStatus::Ended(_));
    let mut among = choose(&|contract| lives(contract) && wanted(contract));
    if among.is_empty() {
        among = choose(&lives);
    }
    if among.is_empty() || step.is_wild() {
        among.clone_from(&all);
    }
    let id = ContractId(pick(&among, step.b));
    let record = (!all.is_empty()).then(|| world.contract(id));
    let provider = record.as_ref().map_or(PROVIDER, |_| world.provider_of(id));
    (id, provider, record)
}

fn at(stages: &[record::Stage]) -> impl Fn(&record::Contract) -> bool {
    move |contract| stages.contains(&contract.stage)
}

pub fn register_enclave(world: &World, step: Step) -> (u8, Action) {
    let (id, provider, record) = contract(world, step, at(&[record::Stage::AwaitingEnclave]));
    let keys = enclave_keys(false);
    let action = match record {
        Some(_) => world.registration(id),
        None => RegisterEnclave {
            contract: id,
            evidence: quoting_key().quote(CODE, Digest([1; 32]), [9; 32]),
            keys,
        },
    };
    (step.sender(provider), Action::RegisterEnclave(action))
}

pub fn handshake_message(world: &World, step: Step) -> (u8, Action) {
    use record::Stage::{AwaitingChallenge, AwaitingClientResponse, AwaitingServerResponse};
    let stages = [
        AwaitingChallenge,
        AwaitingServerResponse,
        AwaitingClientResponse,
    ];
    let (id, provider, record) = contract(world, step, at(&stages));
    let (stage, operation) = record.map_or((AwaitingChallenge, 1), |record| {
        (record.stage, record.operation)
    });
    let (actor, due) = match stage {
        AwaitingServerResponse => (provider, HandshakeStep::ServerResponse),
        AwaitingClientResponse => (USER, HandshakeStep::ClientResponse),
        _ => (USER, HandshakeStep::ClientChallenge),
    };
    let action = Action::HandshakeMessage(message(id, operation, due));
    (step.sender(actor), action)
}

pub fn post_outcome(world: &World, step: Step) -> (u8, Action) {
    let (id, provider, record) = contract(world, step, at(&[record::Stage::AwaitingOutcome]));
    let outcome = match step.b % 8 {
        0 => Outcome::Rejected,
        1 => Outcome::Error,
        _ => Outcome::Confirmed,
    };
    let operation = record.map_or(1, |record| record.operation);
    let action = Action::PostOutcome(outcome_message(id, operation, outcome));
    (step.sender(provider), action)
}

pub fn heartbeats(world: &World, step: Step) -> (u8, Action) {
    let (_, provider, _) = contract(world, step, at(&[record::Stage::Done]));
    let back = u64::from(step.a % 4);
    let height = Height(world.height.0.saturating_sub(back));
    let theirs = |id: &[u8; 32]| {
        let id = ContractId(*id);
        let done = world.contract(id).stage == record::Stage::Done;
        step.is_wild() || done && world.provider_of(id) == provider
    };
    let beats = ids(world, state_key::CONTRACTS)
        .into_iter()
        .filter(theirs)
        .take(limits::MAX_HEARTBEATS)
        .map(|id| beat(ContractId(id), height))
        .collect();
    (provider, heartbeat(beats))
}

pub fn complete_job(world: &World, step: Step) -> (u8, Action) {
    let runs = |contract: &record::Contract| {
        let request: record::Request = world.get(&state_key::request(contract.request)).unwrap();
        contract.stage == record::Stage::Done && request.terms.payload_kind == PayloadKind::Job
    };
    let (id, provider, _) = contract(world, step, runs);
    let output = payload_reference();
    let bytes = CompleteJob::signed_bytes(id, &[1], output.sha256, output.bytes);
    let action = CompleteJob {
        contract: id,
        sealed: vec![1],
        output,
        signature: enclave_key().sign(CompleteJob::PURPOSE, &bytes),
    };
    (step.sender(provider), Action::CompleteJob(action))
}

pub fn end_contract(world: &World, step: Step) -> (u8, Action) {
    let (contract, provider, _) = contract(world, step, |_| true);
    let reasons = [
        EndReason::PayloadCorrupt,
        EndReason::PayloadFailed,
        EndReason::ProviderWithdrew,
        EndReason::UserClosed,
    ];
    let reason = reasons[usize::from(step.a % 4)];
    let action = EndContract { contract, reason };
    (step.sender(provider), Action::EndContract(action))
}

/// Whatever some contract waits for.
pub fn next_step(world: &World, step: Step) -> (u8, Action) {
    use record::Stage;
    let (_, _, record) = contract(world, step, |_| true);
    match record.map(|record| record.stage) {
        // What a contract takes to begin.
        None if ids(world, state_key::OFFERS).is_empty() => post_offer(world, step),
        None => post_request(world, step),
        Some(Stage::AwaitingEnclave) => register_enclave(world, step),
        Some(Stage::AwaitingOutcome) => post_outcome(world, step),
        Some(Stage::Done) => heartbeats(world, step),
        Some(_) => handshake_message(world, step),
    }
}

pub fn record_appraisal(_: &World, step: Step) -> (u8, Action) {
    let entries = u64::from(step.amount);
    let result = HostResult {
        report: Digest([1; 32]),
        index: Digest([2; 32]),
        entries,
        known: match step.is_wild() {
            true => entries + 1,
            false => entries / 2,
        },
        boot_events: 70,
        findings: u32::from(step.b % 2),
    };
    let host = Digest([step.b % 4; 32]);
    (
        step.trader(),
        Action::RecordAppraisal(RecordAppraisal { host, result }),
    )
}
