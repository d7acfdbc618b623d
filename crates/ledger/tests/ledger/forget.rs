//! What the ledger forgets, and when: requests closed long ago with all that
//! belongs to them, and messages of operations long past.

use ledger::StateRead as _;
use wire::{
    record::{ContractStatus, Request, Stage},
    *,
};

use crate::world::*;

/// Prefixes of contracts, enclaves, messages, outcomes, completions and certificates.
const OF_CONTRACTS: [&[u8]; 6] = [b"t/", b"e/", b"m/", b"u/", b"j/", b"x/"];

fn entries(world: &World, prefix: &[u8]) -> usize {
    world.state.scan(prefix, None, usize::MAX).len()
}

/// Opens an operation on a request and has its only contract carry it out.
fn operate(world: &mut World, request: RequestId, contract: ContractId, operation: Operation) {
    let action = Operate { request, operation };
    world.send(USER, Action::Operate(action)).unwrap();
    world.handshake(contract);
    world.outcome(contract, Outcome::Confirmed).unwrap();
}

#[test]
fn a_closed_request_is_kept_for_its_time_and_then_forgotten_with_its_contracts() {
    let mut world = World::with(|parameters| parameters.closed_kept = 5);
    let (request, contract) = world.running(request_terms());
    operate(&mut world, request, contract, Operation::Stop);
    world
        .send(USER, Action::CloseRequest(CloseRequest { request }))
        .unwrap();
    let until = world.request(request).forget_at.unwrap();
    assert_eq!(until, world.height.plus(5));
    world.idle_until(Height(until.0 - 1));
    assert!(matches!(
        world.contract(contract).status,
        ContractStatus::Ended(EndReason::UserClosed)
    ));
    assert!(
        world
            .get::<record::Enclave>(&state_key::enclave(contract))
            .is_some()
    );
    world.idle(1);
    assert_eq!(world.get::<Request>(&state_key::request(request)), None);
    for prefix in OF_CONTRACTS {
        let text = String::from_utf8_lossy(prefix);
        assert_eq!(entries(&world, prefix), 0, "of {text}");
    }
    assert_eq!(entries(&world, b"i/forget/"), 0);
    let action = FundRequest {
        request,
        amount: Amount(1),
    };
    assert_eq!(
        world.send(USER, Action::FundRequest(action)),
        Err(Reject::RequestNotFound)
    );
}

#[test]
fn a_request_of_many_contracts_is_forgotten_bit_by_bit() {
    // 64 replicas at a time are looked for: four attempts a block.
    let mut world = World::with(|parameters| parameters.closed_kept = 1);
    let terms = RequestTerms {
        replicas: 64,
        ..request_terms()
    };
    let mut offer = offer_terms();
    offer.concurrency = 10;
    world.post_offer(PROVIDER, offer);
    let request = world.post_request(terms);
    let made = usize::from(world.request(request).attempts);
    assert!(made > 4, "{made} contracts were made");
    world
        .send(USER, Action::CloseRequest(CloseRequest { request }))
        .unwrap();
    let mut left = vec![made];
    while world.get::<Request>(&state_key::request(request)).is_some() {
        // Every block is audited: counts and sums fit what is left.
        world.idle(1);
        left.push(entries(&world, b"t/"));
    }
    let expected: Vec<usize> = (0..=made.div_ceil(4))
        .map(|block| made.saturating_sub(4 * block))
        .collect();
    assert_eq!(left, expected);
}

#[test]
fn operations_long_past_leave_no_messages_and_cannot_be_replayed() {
    let mut world = World::new();
    let (request, contract) = world.running(request_terms());
    for round in 0..3 {
        operate(&mut world, request, contract, Operation::Stop);
        operate(&mut world, request, contract, Operation::Start);
        assert_eq!(entries(&world, b"m/"), 6, "in round {round}");
        assert_eq!(entries(&world, b"u/"), 2, "in round {round}");
    }
    for operation in [1, 5, 6] {
        let replayed = message(contract, operation, HandshakeStep::ClientChallenge);
        assert_eq!(
            world.send(USER, Action::HandshakeMessage(replayed)),
            Err(Reject::WrongOperation),
            "of operation {operation}"
        );
    }
}

#[test]
fn a_step_has_its_least_time_however_quick_the_blocks_are() {
    // Blocks are 250 ms apart in this world: ten of them are too short.
    let mut world = World::with(|parameters| {
        parameters.handshake_limit = 10;
        parameters.handshake_limit_ms = 30_000;
    });
    let (_, contract) = world.matched(request_terms());
    let matched = world.height;
    world.idle(119);
    assert_eq!(world.contract(contract).stage, Stage::AwaitingEnclave);
    assert_eq!(world.contract(contract).status, ContractStatus::Starting);
    world.idle(1);
    assert_eq!(world.height, matched.plus(120));
    assert_eq!(
        world.contract(contract).status,
        ContractStatus::Ended(EndReason::HandshakeTimeout)
    );
}
