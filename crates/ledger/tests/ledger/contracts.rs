//! Contracts: handshakes, outcomes, heartbeats, payment, faults and replacement.

use wire::{
    record::{ContractStatus, RequestStatus, Stage},
    *,
};

use crate::world::*;

const NO_CONTRACT: ContractId = ContractId([1; 32]);

fn send_message(
    world: &mut World,
    actor: u8,
    contract: ContractId,
    step: HandshakeStep,
    change: impl FnOnce(&mut HandshakeMessage),
) -> Verdict {
    let mut action = message(contract, 1, step);
    change(&mut action);
    world.send(actor, Action::HandshakeMessage(action))
}

fn end(world: &mut World, actor: u8, contract: ContractId, reason: EndReason) -> Verdict {
    world.send(actor, Action::EndContract(EndContract { contract, reason }))
}

fn challenged(world: &mut World) -> ContractId {
    let (_, contract) = world.matched(request_terms());
    world.register_enclave(contract).unwrap();
    world
        .step(contract, 1, HandshakeStep::ClientChallenge)
        .unwrap();
    contract
}

fn one_beat(world: &mut World, change: impl FnOnce(&World, &mut Beat)) -> Verdict {
    let (_, contract) = world.running(request_terms());
    world.idle(2);
    let mut beat = beat(contract, world.height);
    change(world, &mut beat);
    world.send(PROVIDER, heartbeat(vec![beat]))
}

fn job_terms() -> RequestTerms {
    RequestTerms {
        payload_kind: PayloadKind::Job,
        ..request_terms()
    }
}

fn completion(contract: ContractId) -> CompleteJob {
    let output = payload_reference();
    let sealed = vec![4; 48];
    let bytes = CompleteJob::signed_bytes(contract, &sealed, output.sha256, output.bytes);
    CompleteJob {
        contract,
        sealed,
        output,
        signature: enclave_key().sign(CompleteJob::PURPOSE, &bytes),
    }
}

fn complete(
    world: &mut World,
    contract: ContractId,
    change: impl FnOnce(&mut CompleteJob),
) -> Verdict {
    let mut action = completion(contract);
    change(&mut action);
    world.send(PROVIDER, Action::CompleteJob(action))
}

pub const CASES: &[Case] = &[
    (
        "rejects a message for no contract",
        Err(Reject::ContractNotFound),
        |world| {
            send_message(
                world,
                USER,
                NO_CONTRACT,
                HandshakeStep::ClientChallenge,
                |_| (),
            )
        },
    ),
    (
        "rejects a message for an ended contract",
        Err(Reject::ContractEnded),
        |world| {
            let (_, contract) = world.matched(request_terms());
            end(world, PROVIDER, contract, EndReason::LaunchFailed)?;
            send_message(
                world,
                USER,
                contract,
                HandshakeStep::ClientChallenge,
                |_| (),
            )
        },
    ),
    (
        "rejects a challenge by the provider",
        Err(Reject::NotParty),
        |world| {
            let (_, contract) = world.matched(request_terms());
            world.register_enclave(contract)?;
            send_message(
                world,
                PROVIDER,
                contract,
                HandshakeStep::ClientChallenge,
                |_| (),
            )
        },
    ),
    (
        "rejects a server response by the user",
        Err(Reject::NotParty),
        |world| {
            let contract = challenged(world);
            send_message(world, USER, contract, HandshakeStep::ServerResponse, |_| ())
        },
    ),
    (
        "rejects a message for another operation",
        Err(Reject::WrongOperation),
        |world| {
            let (_, contract) = world.matched(request_terms());
            world.register_enclave(contract)?;
            send_message(
                world,
                USER,
                contract,
                HandshakeStep::ClientChallenge,
                |message| {
                    message.operation = 2;
                },
            )
        },
    ),
    (
        "rejects a challenge before the enclave",
        Err(Reject::WrongStage),
        |world| {
            let (_, contract) = world.matched(request_terms());
            send_message(
                world,
                USER,
                contract,
                HandshakeStep::ClientChallenge,
                |_| (),
            )
        },
    ),
    (
        "rejects a replayed challenge",
        Err(Reject::WrongStage),
        |world| {
            let contract = challenged(world);
            send_message(
                world,
                USER,
                contract,
                HandshakeStep::ClientChallenge,
                |_| (),
            )
        },
    ),
    (
        "rejects an empty message",
        Err(Reject::LimitExceeded),
        |world| {
            let (_, contract) = world.matched(request_terms());
            world.register_enclave(contract)?;
            send_message(
                world,
                USER,
                contract,
                HandshakeStep::ClientChallenge,
                |message| {
                    message.sealed.clear();
                },
            )
        },
    ),
    (
        "rejects a message over its limit",
        Err(Reject::LimitExceeded),
        |world| {
            let (_, contract) = world.matched(request_terms());
            world.register_enclave(contract)?;
            send_message(
                world,
                USER,
                contract,
                HandshakeStep::ClientChallenge,
                |message| {
                    message.sealed = vec![0; limits::MAX_SEALED_BYTES + 1];
                },
            )
        },
    ),
    (
        "rejects an unsigned server response",
        Err(Reject::EnclaveSignature),
        |world| {
            let contract = challenged(world);
            send_message(
                world,
                PROVIDER,
                contract,
                HandshakeStep::ServerResponse,
                |message| {
                    message.signature = None;
                },
            )
        },
    ),
    (
        "rejects a server response that was changed",
        Err(Reject::EnclaveSignature),
        |world| {
            let contract = challenged(world);
            send_message(
                world,
                PROVIDER,
                contract,
                HandshakeStep::ServerResponse,
                |message| {
                    message.sealed[0] ^= 1;
                },
            )
        },
    ),
    (
        "rejects a signed challenge",
        Err(Reject::EnclaveSignature),
        |world| {
            let (_, contract) = world.matched(request_terms());
            world.register_enclave(contract)?;
            send_message(
                world,
                USER,
                contract,
                HandshakeStep::ClientChallenge,
                |message| {
                    message.signature = Some(Signature([0; 64]));
                },
            )
        },
    ),
    (
        "rejects an outcome before the handshake",
        Err(Reject::WrongStage),
        |world| {
            let (_, contract) = world.matched(request_terms());
            world.register_enclave(contract)?;
            world.outcome(contract, Outcome::Confirmed)
        },
    ),
    (
        "rejects a confirmation without a client response",
        Err(Reject::WrongStage),
        |world| {
            let contract = challenged(world);
            world.outcome(contract, Outcome::Confirmed)
        },
    ),
    (
        "an enclave may reject the challenge itself",
        Ok(()),
        |world| {
            let contract = challenged(world);
            world.outcome(contract, Outcome::Rejected)
        },
    ),
    (
        "rejects a replayed outcome",
        Err(Reject::WrongStage),
        |world| {
            let (_, contract) = world.running(request_terms());
            world.outcome(contract, Outcome::Confirmed)
        },
    ),
    (
        "rejects an outcome of another operation",
        Err(Reject::WrongOperation),
        |world| {
            let (_, contract) = world.running(request_terms());
            let action = outcome_message(contract, 2, Outcome::Confirmed);
            world.send(PROVIDER, Action::PostOutcome(action))
        },
    ),
    (
        "rejects an outcome by the user",
        Err(Reject::NotParty),
        |world| {
            let (_, contract) = world.matched(request_terms());
            let action = outcome_message(contract, 1, Outcome::Confirmed);
            world.send(USER, Action::PostOutcome(action))
        },
    ),
    (
        "rejects an outcome that was changed",
        Err(Reject::EnclaveSignature),
        |world| {
            let (_, contract) = world.matched(request_terms());
            world.register_enclave(contract)?;
            world.handshake(contract);
            let mut action = outcome_message(contract, 1, Outcome::Error);
            action.outcome = Outcome::Confirmed;
            world.send(PROVIDER, Action::PostOutcome(action))
        },
    ),
    ("pays for a heartbeat", Ok(()), |world| {
        one_beat(world, |_, _| ())
    }),
    (
        "rejects a heartbeat without beats",
        Err(Reject::LimitExceeded),
        |world| world.send(PROVIDER, heartbeat(Vec::new())),
    ),
    (
        "rejects too many beats",
        Err(Reject::LimitExceeded),
        |world| {
            let (_, contract) = world.running(request_terms());
            let beats = vec![beat(contract, world.height); limits::MAX_HEARTBEATS + 1];
            world.send(PROVIDER, heartbeat(beats))
        },
    ),
    (
        "rejects a beat for no contract",
        Err(Reject::ContractNotFound),
        |world| one_beat(world, |_, beat| beat.contract = NO_CONTRACT),
    ),
    (
        "rejects a beat by a stranger",
        Err(Reject::NotParty),
        |world| {
            let (_, contract) = world.running(request_terms());
            world.idle(1);
            let beat = beat(contract, world.height);
            world.send(STRANGER, heartbeat(vec![beat]))
        },
    ),
    (
        "rejects a beat before the payload runs",
        Err(Reject::NotRunning),
        |world| {
            let (_, contract) = world.matched(request_terms());
            world.beat(contract)
        },
    ),
    (
        "rejects a beat for a settled height",
        Err(Reject::HeartbeatStale),
        |world| {
            let (_, contract) = world.running(request_terms());
            let settled = world.contract(contract).settled_at;
            world.send(PROVIDER, heartbeat(vec![beat(contract, settled)]))
        },
    ),
    (
        "rejects a beat for a block not yet made",
        Err(Reject::HeartbeatStale),
        |world| {
            let (_, contract) = world.running(request_terms());
            let beat = beat(contract, world.height.plus(1));
            world.send(PROVIDER, heartbeat(vec![beat]))
        },
    ),
    (
        "rejects a beat on another chain's block",
        Err(Reject::HeartbeatBlock),
        |world| {
            one_beat(world, |_, beat| {
                let block = Digest([1; 32]);
                let bytes = Beat::signed_bytes(beat.contract, beat.height, block);
                beat.block = block;
                beat.signature = enclave_key().sign(Beat::PURPOSE, &bytes);
            })
        },
    ),
    (
        "rejects a beat of an earlier height's making",
        Err(Reject::EnclaveSignature),
        |world| {
            one_beat(world, |world, beat| {
                beat.height = Height(world.height.0 - 1);
                beat.block = World::header(beat.height);
            })
        },
    ),
    ("completes a job", Ok(()), |world| {
        let (_, contract) = world.running(job_terms());
        complete(world, contract, |_| ())
    }),
    (
        "rejects the completion of a service",
        Err(Reject::NotAJob),
        |world| {
            let (_, contract) = world.running(request_terms());
            complete(world, contract, |_| ())
        },
    ),
    (
        "rejects a completion before the start",
        Err(Reject::NotRunning),
        |world| {
            let (_, contract) = world.matched(job_terms());
            complete(world, contract, |_| ())
        },
    ),
    (
        "rejects another output than the enclave's",
        Err(Reject::EnclaveSignature),
        |world| {
            let (_, contract) = world.running(job_terms());
            complete(world, contract, |action| {
                action.output.sha256 = Digest([9; 32])
            })
        },
    ),
    (
        "rejects a completion by a stranger",
        Err(Reject::NotParty),
        |world| {
            let (_, contract) = world.running(job_terms());
            world.send(STRANGER, Action::CompleteJob(completion(contract)))
        },
    ),
    (
        "rejects a second completion",
        Err(Reject::ContractEnded),
        |world| {
            let (_, contract) = world.running(job_terms());
            complete(world, contract, |_| ())?;
            complete(world, contract, |_| ())
        },
    ),
    (
        "rejects too many places of an output",
        Err(Reject::LimitExceeded),
        |world| {
            let (_, contract) = world.running(job_terms());
            complete(world, contract, |action| {
                action.output.locations = vec!["a".to_owned(); limits::MAX_LOCATIONS + 1];
            })
        },
    ),
    (
        "rejects a reason that is not a provider's",
        Err(Reject::ReasonNotAllowed),
        |world| {
            let (_, contract) = world.matched(request_terms());
            end(world, PROVIDER, contract, EndReason::UserClosed)
        },
    ),
    (
        "rejects a bad payload once it ran",
        Err(Reject::ReasonNotAllowed),
        |world| {
            let (_, contract) = world.running(request_terms());
            end(world, PROVIDER, contract, EndReason::PayloadCorrupt)
        },
    ),
    (
        "rejects an end by the user",
        Err(Reject::NotParty),
        |world| {
            let (_, contract) = world.matched(request_terms());
            end(world, USER, contract, EndReason::ProviderWithdrew)
        },
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn a_heartbeat_pays_price_times_blocks_up_to_the_height_it_names() {
    let mut world = World::new();
    let (request, contract) = world.running(request_terms());
    let settled = world.contract(contract).settled_at;
    world.idle(9);
    let before = world.balance(PROVIDER);
    let height = world.height;
    let transaction = world.sign(PROVIDER, heartbeat(vec![beat(contract, height)]));
    let fee = world.block(&[transaction]).receipts[0].fee;
    let blocks = height.since(settled);
    assert_eq!(blocks, 9);
    assert_eq!(world.balance(PROVIDER).0, before.0 - fee.0 + 5 * blocks);
    let record = world.contract(contract);
    assert_eq!((record.settled_at, record.served), (height, blocks));
    assert_eq!(record.deadline, Some(height.plus(40)));
    assert_eq!(world.request(request).escrow.0, 20_000 - 5 * blocks);
}

#[test]
fn a_beat_that_does_not_count_does_not_void_the_others() {
    let mut world = World::new();
    let mut terms = request_terms();
    terms.replicas = 2;
    let (request, first) = world.matched(terms);
    let second = world.live(request, 1);
    world.start(first);
    world.start(second);
    world.idle(2);
    let mut bad = beat(first, world.height);
    bad.signature.0[0] ^= 1;
    let good = beat(second, world.height);
    // The second beat of one contract is stale, which makes no difference.
    world
        .send(PROVIDER, heartbeat(vec![bad, good, good]))
        .unwrap();
    assert_eq!(world.contract(first).served, 0);
    assert!(world.contract(second).served > 0);
}

#[test]
fn a_replica_that_was_served_for_its_duration_ends_and_the_rest_comes_back() {
    let mut world = World::new();
    let mut terms = request_terms();
    terms.duration = 5;
    let (request, contract) = world.running(terms);
    world.idle(9);
    world.beat(contract).unwrap();
    let record = world.contract(contract);
    assert_eq!(
        record.status,
        ContractStatus::Ended(EndReason::DurationServed)
    );
    assert_eq!((record.served, record.paid), (5, Amount(25)));
    let record = world.request(request);
    assert_eq!(
        record.status,
        RequestStatus::Closed(EndReason::DurationServed)
    );
    assert_eq!(record.paid, Amount(25));
}

#[test]
fn an_escrow_that_cannot_pay_another_block_ends_the_contract() {
    let mut world = World::new();
    let mut terms = request_terms();
    terms.escrow = Amount(13);
    let (request, contract) = world.running(terms);
    world.idle(9);
    world.beat(contract).unwrap();
    let record = world.contract(contract);
    assert_eq!(record.status, ContractStatus::Ended(EndReason::EscrowEmpty));
    assert_eq!(record.paid, Amount(10));
    assert_eq!(
        world.request(request).status,
        RequestStatus::Closed(EndReason::EscrowEmpty)
    );
}

#[test]
fn a_silent_provider_is_paid_to_its_last_beat_excluded_and_replaced() {
    let mut world = World::new();
    let (request, contract) = world.running(request_terms());
    world.idle(4);
    world.beat(contract).unwrap();
    let paid = world.contract(contract).paid;
    let mut dearer = offer_terms();
    dearer.min_price = Amount(7);
    world.post_offer(OTHER_PROVIDER, dearer);
    world.idle_until(world.contract(contract).deadline.unwrap());
    let record = world.contract(contract);
    assert_eq!(
        record.status,
        ContractStatus::Ended(EndReason::ProviderSilent)
    );
    assert_eq!(record.paid, paid);
    let record = world.request(request);
    assert_eq!(record.excluded, [account(PROVIDER)]);
    assert_eq!(record.replacements, 1);
    let next = world.contract(world.live(request, 0));
    assert_eq!(next.provider, account(OTHER_PROVIDER));
    assert_eq!((next.price, next.operation), (Amount(7), 1));
}

#[test]
fn a_providers_missing_step_counts_against_it() {
    for steps in [0, 2] {
        let mut world = World::new();
        let (request, contract) = world.matched(request_terms());
        if steps > 0 {
            world.register_enclave(contract).unwrap();
            world
                .step(contract, 1, HandshakeStep::ClientChallenge)
                .unwrap();
        }
        world.idle_until(world.contract(contract).deadline.unwrap());
        assert_eq!(
            world.contract(contract).status,
            ContractStatus::Ended(EndReason::HandshakeTimeout)
        );
        let record = world.request(request);
        assert_eq!(record.excluded, [account(PROVIDER)]);
        assert_eq!(
            record.status,
            RequestStatus::Started,
            "it looks for another"
        );
    }
}

#[test]
fn the_users_missing_step_counts_against_nobody() {
    let mut world = World::new();
    let (request, contract) = world.matched(request_terms());
    world.register_enclave(contract).unwrap();
    let deadline = world.contract(contract).deadline.unwrap();
    world.idle_until(deadline);
    assert_eq!(
        world.contract(contract).status,
        ContractStatus::Ended(EndReason::HandshakeTimeout)
    );
    let record = world.request(request);
    assert!(record.excluded.is_empty());
    assert_eq!(record.replacements, 0);
    assert_eq!(
        record.status,
        RequestStatus::Closed(EndReason::HandshakeTimeout)
    );
}

#[test]
fn a_step_may_come_in_its_last_block() {
    let mut world = World::new();
    let (_, contract) = world.matched(request_terms());
    let deadline = world.contract(contract).deadline.unwrap();
    world.idle_until(Height(deadline.0 - 1));
    world.register_enclave(contract).unwrap();
    assert_eq!(world.height, deadline);
    assert_eq!(world.contract(contract).stage, Stage::AwaitingChallenge);
}

#[test]
fn a_provider_that_withdrew_may_be_matched_again() {
    let mut world = World::new();
    let (request, contract) = world.running(request_terms());
    end(&mut world, PROVIDER, contract, EndReason::ProviderWithdrew).unwrap();
    let record = world.request(request);
    assert!(record.excluded.is_empty());
    assert_eq!(record.replacements, 1);
    let next = world.live(request, 0);
    assert_ne!(next, contract);
    assert_eq!(world.contract(next).provider, account(PROVIDER));
}

#[test]
fn a_restart_after_honest_service_costs_no_replacement() {
    let mut world = World::new();
    let (request, contract) = world.running(request_terms());
    for _ in 0..3 {
        world.idle(20);
        world.beat(contract).unwrap();
    }
    end(&mut world, PROVIDER, contract, EndReason::ProviderWithdrew).unwrap();
    assert_eq!(world.request(request).replacements, 0);
}

#[test]
fn a_request_closes_after_too_many_failures() {
    let mut world = World::new();
    let (request, _) = world.matched(request_terms());
    for failures in 1..=4 {
        let contract = world.live(request, 0);
        end(&mut world, PROVIDER, contract, EndReason::ProviderWithdrew).unwrap();
        assert_eq!(world.request(request).replacements, failures);
    }
    let record = world.request(request);
    assert_eq!(
        record.status,
        RequestStatus::Closed(EndReason::TooManyFailures)
    );
    assert_eq!(record.escrow, Amount::ZERO);
}

#[test]
fn a_payload_that_every_provider_finds_corrupt_closes_the_request_with_that_reason() {
    for reason in [EndReason::PayloadCorrupt, EndReason::PayloadUnavailable] {
        let mut world = World::new();
        let (request, first) = world.matched(request_terms());
        world.post_offer(OTHER_PROVIDER, offer_terms());
        end(&mut world, PROVIDER, first, reason).unwrap();
        let second = world.live(request, 0);
        assert_eq!(world.contract(second).provider, account(OTHER_PROVIDER));
        end(&mut world, OTHER_PROVIDER, second, reason).unwrap();
        assert_eq!(world.request(request).status, RequestStatus::Closed(reason));
    }
}

#[test]
fn a_rejected_start_ends_the_request_and_a_failed_one_is_tried_elsewhere() {
    let mut world = World::new();
    let (request, contract) = world.matched(request_terms());
    world.register_enclave(contract).unwrap();
    world.handshake(contract);
    world.outcome(contract, Outcome::Rejected).unwrap();
    let record = world.request(request);
    assert_eq!(
        record.status,
        RequestStatus::Closed(EndReason::ResponseRejected)
    );

    let mut world = World::new();
    let (request, contract) = world.matched(request_terms());
    world.post_offer(OTHER_PROVIDER, offer_terms());
    world.register_enclave(contract).unwrap();
    world.handshake(contract);
    world.outcome(contract, Outcome::Error).unwrap();
    assert_eq!(
        world.contract(contract).status,
        ContractStatus::Ended(EndReason::PayloadFailed)
    );
    let next = world.contract(world.live(request, 0));
    assert_eq!(next.provider, account(OTHER_PROVIDER));
}

#[test]
fn a_job_is_paid_to_its_end_and_its_request_closes_with_the_last_replica() {
    let mut world = World::new();
    let mut terms = job_terms();
    terms.replicas = 2;
    let (request, first) = world.matched(terms);
    let second = world.live(request, 1);
    world.start(first);
    let started = world.height;
    world.start(second);
    complete(&mut world, first, |_| ()).unwrap();
    let record = world.contract(first);
    assert_eq!(record.status, ContractStatus::Ended(EndReason::Completed));
    assert_eq!(record.served, world.height.since(started));
    assert_eq!(world.request(request).status, RequestStatus::Started);
    complete(&mut world, second, |_| ()).unwrap();
    assert_eq!(
        world.request(request).status,
        RequestStatus::Closed(EndReason::Completed)
    );
    let completion: Option<record::Completion> = world.get(&state_key::completion(second));
    assert_eq!(completion.unwrap().completed_at, world.height);
}

#[test]
fn a_late_failure_is_replaced_although_the_first_wait_is_over() {
    let mut world = World::new();
    let mut terms = request_terms();
    terms.match_until = Height(20);
    let (request, contract) = world.running(terms);
    while world.height < Height(30) {
        world.idle(5);
        world.beat(contract).unwrap();
    }
    world.post_offer(OTHER_PROVIDER, offer_terms());
    world.idle_until(world.contract(contract).deadline.unwrap());
    let next = world.contract(world.live(request, 0));
    assert_eq!(next.provider, account(OTHER_PROVIDER));
}
