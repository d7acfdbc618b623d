//! Offers and requests, before they meet.

use wire::{
    record::{ContractStatus, RequestStatus, Stage},
    *,
};

use crate::world::*;

fn offer(world: &mut World, change: impl FnOnce(&mut OfferTerms)) -> Verdict {
    let mut terms = offer_terms();
    change(&mut terms);
    world.send(PROVIDER, Action::PostOffer(PostOffer { terms }))
}

fn request(world: &mut World, change: impl FnOnce(&mut RequestTerms)) -> Verdict {
    let mut terms = request_terms();
    change(&mut terms);
    world.send(USER, Action::PostRequest(PostRequest { terms }))
}

fn withdraw(world: &mut World, actor: u8, offer: OfferId) -> Verdict {
    world.send(actor, Action::WithdrawOffer(WithdrawOffer { offer }))
}

fn fund(world: &mut World, request: RequestId, amount: u64) -> Verdict {
    let action = FundRequest {
        request,
        amount: Amount(amount),
    };
    world.send(STRANGER, Action::FundRequest(action))
}

fn operate(world: &mut World, actor: u8, request: RequestId, operation: Operation) -> Verdict {
    world.send(actor, Action::Operate(Operate { request, operation }))
}

fn close(world: &mut World, actor: u8, request: RequestId) -> Verdict {
    world.send(actor, Action::CloseRequest(CloseRequest { request }))
}

const NO_REQUEST: RequestId = RequestId([1; 32]);

pub const CASES: &[Case] = &[
    ("posts an offer", Ok(()), |world| offer(world, |_| ())),
    (
        "rejects a free offer",
        Err(Reject::AmountOutOfRange),
        |world| offer(world, |terms| terms.min_price = Amount::ZERO),
    ),
    (
        "rejects a replica above the capacity",
        Err(Reject::OfferMalformed),
        |world| offer(world, |terms| terms.replica_limit.memory_mib = 20_000),
    ),
    (
        "rejects an offer of no replicas",
        Err(Reject::OfferMalformed),
        |world| offer(world, |terms| terms.concurrency = 0),
    ),
    (
        "rejects durations the wrong way round",
        Err(Reject::OfferMalformed),
        |world| offer(world, |terms| terms.min_duration = terms.max_duration + 1),
    ),
    (
        "rejects an offer from nowhere",
        Err(Reject::OfferMalformed),
        |world| offer(world, |terms| terms.location.clear()),
    ),
    (
        "rejects an offer that has expired",
        Err(Reject::OfferMalformed),
        |world| offer(world, |terms| terms.expires_at = Height(0)),
    ),
    (
        "rejects an unspecified address",
        Err(Reject::OfferMalformed),
        |world| {
            offer(world, |terms| {
                terms.endpoint.addresses = vec!["0.0.0.0".parse().unwrap()]
            })
        },
    ),
    (
        "rejects a repeated technology",
        Err(Reject::OfferMalformed),
        |world| {
            offer(world, |terms| {
                terms.technologies = vec!["a".to_owned(), "a".to_owned()]
            })
        },
    ),
    (
        "rejects a list over its limit",
        Err(Reject::LimitExceeded),
        |world| {
            offer(world, |terms| {
                terms.technologies = (0..17).map(|number| number.to_string()).collect();
            })
        },
    ),
    (
        "rejects an offer of code that is not admitted",
        Err(Reject::EvidenceNotAdmitted),
        |world| offer(world, |terms| terms.measurement = Measurement([1; 32])),
    ),
    (
        "rejects an offer of evidence not admitted",
        Err(Reject::EvidenceNotAdmitted),
        |world| offer(world, |terms| terms.evidence = vec![EvidenceKind::TdxDcap]),
    ),
    (
        "rejects an offer without its deposit",
        Err(Reject::InsufficientBalance),
        |world| {
            *world = World::with(|parameters| parameters.offer_deposit = BALANCE);
            offer(world, |_| ())
        },
    ),
    ("withdraws an offer", Ok(()), |world| {
        let offer = world.post_offer(PROVIDER, offer_terms());
        withdraw(world, PROVIDER, offer)
    }),
    (
        "rejects the withdrawal of no offer",
        Err(Reject::OfferNotFound),
        |world| withdraw(world, PROVIDER, OfferId([1; 32])),
    ),
    (
        "rejects a stranger's withdrawal",
        Err(Reject::NotOwner),
        |world| {
            let offer = world.post_offer(PROVIDER, offer_terms());
            withdraw(world, STRANGER, offer)
        },
    ),
    (
        "rejects a second withdrawal",
        Err(Reject::NothingToDo),
        |world| {
            let offer = world.post_offer(PROVIDER, offer_terms());
            withdraw(world, PROVIDER, offer)?;
            withdraw(world, PROVIDER, offer)
        },
    ),
    ("posts a request", Ok(()), |world| request(world, |_| ())),
    (
        "rejects a request for nothing",
        Err(Reject::RequestMalformed),
        |world| request(world, |terms| terms.resources = Resources::default()),
    ),
    (
        "rejects a request of no replicas",
        Err(Reject::RequestMalformed),
        |world| request(world, |terms| terms.replicas = 0),
    ),
    (
        "rejects a request that accepts no evidence",
        Err(Reject::RequestMalformed),
        |world| request(world, |terms| terms.evidence.clear()),
    ),
    (
        "rejects a request without a payload",
        Err(Reject::RequestMalformed),
        |world| request(world, |terms| terms.payload.locations.clear()),
    ),
    (
        "rejects a wait beyond the circle's",
        Err(Reject::RequestMalformed),
        |world| request(world, |terms| terms.match_until = Height(10_002)),
    ),
    (
        "rejects a job with a name",
        Err(Reject::RequestMalformed),
        |world| {
            world.register_name(USER, "hello.internal")?;
            request(world, |terms| {
                terms.payload_kind = PayloadKind::Job;
                terms.name = Some(name("hello.internal"));
            })
        },
    ),
    (
        "rejects a zero agreement key",
        Err(Reject::RequestMalformed),
        |world| request(world, |terms| terms.agreement_key = [0; 32]),
    ),
    (
        "rejects a price of nothing",
        Err(Reject::AmountOutOfRange),
        |world| request(world, |terms| terms.max_price = Amount::ZERO),
    ),
    (
        "rejects too many replicas",
        Err(Reject::LimitExceeded),
        |world| request(world, |terms| terms.replicas = limits::MAX_REPLICAS + 1),
    ),
    (
        "rejects too many mirrors",
        Err(Reject::LimitExceeded),
        |world| {
            request(world, |terms| {
                terms.payload.locations =
                    (0..9).map(|number| format!("file:///{number}")).collect();
            })
        },
    ),
    (
        "takes an escrow for one block of each replica",
        Ok(()),
        |world| {
            request(world, |terms| {
                (terms.replicas, terms.escrow) = (3, Amount(30))
            })
        },
    ),
    (
        "rejects an escrow below that",
        Err(Reject::EscrowTooSmall),
        |world| {
            request(world, |terms| {
                (terms.replicas, terms.escrow) = (3, Amount(29))
            })
        },
    ),
    (
        "rejects a price whose sum leaves 64 bits",
        Err(Reject::EscrowTooSmall),
        |world| {
            request(world, |terms| {
                (terms.replicas, terms.max_price) = (3, Amount(u64::MAX))
            })
        },
    ),
    (
        "rejects an escrow above the balance",
        Err(Reject::InsufficientBalance),
        |world| request(world, |terms| terms.escrow = BALANCE),
    ),
    (
        "rejects a name that is not registered",
        Err(Reject::NameNotOwned),
        |world| request(world, |terms| terms.name = Some(name("hello.internal"))),
    ),
    (
        "rejects another's name",
        Err(Reject::NameNotOwned),
        |world| {
            world.register_name(STRANGER, "hello.internal")?;
            request(world, |terms| terms.name = Some(name("hello.internal")))
        },
    ),
    ("rejects a name in use", Err(Reject::NameInUse), |world| {
        world.register_name(USER, "hello.internal")?;
        request(world, |terms| terms.name = Some(name("hello.internal")))?;
        request(world, |terms| terms.name = Some(name("hello.internal")))
    }),
    (
        "a name is free once its request is closed",
        Ok(()),
        |world| {
            world.register_name(USER, "hello.internal")?;
            let mut terms = request_terms();
            terms.name = Some(name("hello.internal"));
            let id = world.post_request(terms);
            close(world, USER, id)?;
            request(world, |terms| terms.name = Some(name("hello.internal")))
        },
    ),
    ("anyone may fund a request", Ok(()), |world| {
        let id = world.post_request(request_terms());
        fund(world, id, 1)
    }),
    (
        "rejects funds of nothing",
        Err(Reject::AmountOutOfRange),
        |world| {
            let id = world.post_request(request_terms());
            fund(world, id, 0)
        },
    ),
    (
        "rejects funds for no request",
        Err(Reject::RequestNotFound),
        |world| fund(world, NO_REQUEST, 1),
    ),
    (
        "rejects funds for a closed request",
        Err(Reject::RequestClosed),
        |world| {
            let id = world.post_request(request_terms());
            close(world, USER, id)?;
            fund(world, id, 1)
        },
    ),
    (
        "rejects a stranger's close",
        Err(Reject::NotOwner),
        |world| {
            let id = world.post_request(request_terms());
            close(world, STRANGER, id)
        },
    ),
    (
        "rejects a second close",
        Err(Reject::RequestClosed),
        |world| {
            let id = world.post_request(request_terms());
            close(world, USER, id)?;
            close(world, USER, id)
        },
    ),
    (
        "rejects an operation on no request",
        Err(Reject::RequestNotFound),
        |world| operate(world, USER, NO_REQUEST, Operation::Stop),
    ),
    (
        "rejects a stranger's operation",
        Err(Reject::NotOwner),
        |world| {
            let (id, _) = world.running(request_terms());
            operate(world, STRANGER, id, Operation::Stop)
        },
    ),
    (
        "rejects a stop before the start is over",
        Err(Reject::OperationInProgress),
        |world| {
            let (id, _) = world.matched(request_terms());
            operate(world, USER, id, Operation::Stop)
        },
    ),
    (
        "rejects a start of what runs",
        Err(Reject::NothingToDo),
        |world| {
            let (id, _) = world.running(request_terms());
            operate(world, USER, id, Operation::Start)
        },
    ),
    (
        "stops what is not matched yet, and starts it again",
        Ok(()),
        |world| {
            let id = world.post_request(request_terms());
            operate(world, USER, id, Operation::Stop)?;
            assert_eq!(
                operate(world, USER, id, Operation::Stop),
                Err(Reject::NothingToDo)
            );
            operate(world, USER, id, Operation::Start)
        },
    ),
];

#[test]
fn table() {
    run(CASES);
}

#[test]
fn an_offers_deposit_comes_back_with_its_last_contract() {
    let mut world = World::new();
    let (request, contract) = world.matched(request_terms());
    let offer = world.contract(contract).offer;
    withdraw(&mut world, PROVIDER, offer).unwrap();
    assert_eq!(
        world.offer(offer).deposit,
        Parameters::default().offer_deposit
    );
    let before = world.balance(PROVIDER);
    close(&mut world, USER, request).unwrap();
    assert_eq!(world.offer(offer).deposit, Amount::ZERO);
    assert_eq!(world.balance(PROVIDER).0, before.0 + 10_000);
}

#[test]
fn an_offer_closes_after_its_last_height() {
    let mut world = World::new();
    let mut terms = offer_terms();
    terms.expires_at = Height(5);
    let offer = world.post_offer(PROVIDER, terms);
    world.idle_until(Height(5));
    assert!(world.offer(offer).open);
    world.idle(1);
    let record = world.offer(offer);
    assert!(!record.open);
    assert_eq!(record.deposit, Amount::ZERO);
}

#[test]
fn a_request_that_nobody_serves_ends_in_time_with_its_whole_escrow() {
    let mut world = World::new();
    let mut terms = request_terms();
    terms.match_until = Height(5);
    let id = world.post_request(terms);
    let before = world.balance(USER);
    world.idle_until(Height(4));
    assert_eq!(world.request(id).status, RequestStatus::Started);
    let events = world.idle(1);
    let closed = Event::RequestClosed {
        request: id,
        reason: EndReason::NoOffer,
        refund: Amount(20_000),
    };
    assert!(events.contains(&closed), "{events:?}");
    assert_eq!(world.balance(USER).0, before.0 + 20_000);
}

#[test]
fn stop_and_start_repeat_the_handshake_with_a_new_operation() {
    let mut world = World::new();
    let (id, contract) = world.running(request_terms());
    world.idle(3);
    world.beat(contract).unwrap();
    let settled = world.contract(contract).settled_at;
    operate(&mut world, USER, id, Operation::Stop).unwrap();
    let record = world.contract(contract);
    assert_eq!(
        (record.operation, record.stage),
        (2, Stage::AwaitingChallenge)
    );
    assert_eq!(record.status, ContractStatus::Running);
    world.handshake(contract);
    world.outcome(contract, Outcome::Confirmed).unwrap();
    let record = world.contract(contract);
    assert_eq!(record.status, ContractStatus::Stopped);
    assert_eq!((record.deadline, record.settled_at), (None, settled));
    assert_eq!(world.beat(contract), Err(Reject::NotRunning));
    world.idle(100);
    operate(&mut world, USER, id, Operation::Start).unwrap();
    world.handshake(contract);
    world.outcome(contract, Outcome::Confirmed).unwrap();
    let record = world.contract(contract);
    assert_eq!(record.status, ContractStatus::Running);
    assert_eq!(record.operation, 3);
    assert_eq!(
        record.settled_at, world.height,
        "nothing is owed for the pause"
    );
}

#[test]
fn an_operation_that_fails_leaves_the_contract_as_it_was() {
    let mut world = World::new();
    let (id, contract) = world.running(request_terms());
    operate(&mut world, USER, id, Operation::Stop).unwrap();
    world.handshake(contract);
    world.outcome(contract, Outcome::Rejected).unwrap();
    let record = world.contract(contract);
    assert_eq!(
        (record.status, record.stage),
        (ContractStatus::Running, Stage::Done)
    );
    assert_eq!(record.deadline, Some(world.height.plus(40)));
    // The request was asked to stop and did not: it may be asked again.
    operate(&mut world, USER, id, Operation::Stop).unwrap();
    world.handshake(contract);
    world.outcome(contract, Outcome::Confirmed).unwrap();
    operate(&mut world, USER, id, Operation::Start).unwrap();
    world.handshake(contract);
    world.outcome(contract, Outcome::Error).unwrap();
    assert_eq!(world.contract(contract).status, ContractStatus::Stopped);
}

#[test]
fn a_stop_that_failed_can_be_taken_back() {
    let mut world = World::new();
    let (id, contract) = world.running(request_terms());
    operate(&mut world, USER, id, Operation::Stop).unwrap();
    world.handshake(contract);
    world.outcome(contract, Outcome::Rejected).unwrap();
    assert_eq!(world.request(id).status, RequestStatus::Stopped);
    operate(&mut world, USER, id, Operation::Start).unwrap();
    assert_eq!(world.request(id).status, RequestStatus::Started);
    let record = world.contract(contract);
    assert_eq!(
        (record.status, record.operation),
        (ContractStatus::Running, 2)
    );
}

#[test]
fn a_replica_that_fails_while_stopped_is_sought_again_on_start() {
    let mut world = World::new();
    let (id, contract) = world.running(request_terms());
    operate(&mut world, USER, id, Operation::Stop).unwrap();
    world.handshake(contract);
    world.outcome(contract, Outcome::Confirmed).unwrap();
    let end = EndContract {
        contract,
        reason: EndReason::ProviderWithdrew,
    };
    world.send(PROVIDER, Action::EndContract(end)).unwrap();
    assert_eq!(world.request(id).status, RequestStatus::Stopped);
    assert_eq!(world.request(id).replicas, [None]);
    operate(&mut world, USER, id, Operation::Start).unwrap();
    assert_eq!(world.contract(world.live(id, 0)).operation, 1);
}
