//! Matching: constraints, order, spread, and what it reads.

use std::cell::Cell;

use ledger::StateRead;
use wire::{match_report::Misfit, record::ContractStatus, *};

use crate::world::*;

/// Changes one side so that the two do not fit, and the misfit that says so.
type Mismatch = (fn(&mut OfferTerms, &mut RequestTerms), fn(&Misfit) -> bool);

const MISMATCHES: &[Mismatch] = &[
    (
        |offer, request| request.resources.cpu_milli = offer.replica_limit.cpu_milli + 1,
        |misfit| matches!(misfit, Misfit::ReplicaTooLarge { .. }),
    ),
    (
        |offer, request| request.resources.memory_mib = offer.replica_limit.memory_mib + 1,
        |misfit| matches!(misfit, Misfit::ReplicaTooLarge { .. }),
    ),
    (
        |offer, request| request.resources.storage_mib = offer.capacity.storage_mib + 1,
        |misfit| matches!(misfit, Misfit::NoRoom { .. }),
    ),
    (
        |offer, _| offer.min_price = Amount(11),
        |misfit| matches!(misfit, Misfit::PriceTooHigh { .. }),
    ),
    (
        |offer, request| request.duration = offer.max_duration + 1,
        |misfit| matches!(misfit, Misfit::Duration { .. }),
    ),
    (
        |offer, _| offer.min_duration = 1001,
        |misfit| matches!(misfit, Misfit::Duration { .. }),
    ),
    (
        |_, request| request.location = "eu/fr".to_owned(),
        |misfit| matches!(misfit, Misfit::Location { .. }),
    ),
    (
        |_, request| request.location = "eu/de/fra1/rack".to_owned(),
        |misfit| matches!(misfit, Misfit::Location { .. }),
    ),
    (
        |_, request| request.evidence = vec![EvidenceKind::TdxDcap],
        |misfit| matches!(misfit, Misfit::Evidence { .. }),
    ),
    (
        |_, request| request.technologies.push("sgx".to_owned()),
        |misfit| matches!(misfit, Misfit::Technologies { missing } if missing == &["sgx"]),
    ),
    (
        |offer, _| offer.payload_kinds = vec![PayloadKind::Job],
        |misfit| matches!(misfit, Misfit::PayloadKind { .. }),
    ),
    (
        |_, request| request.measurement = Some(Measurement([1; 32])),
        |misfit| matches!(misfit, Misfit::Measurement { .. }),
    ),
];

#[test]
fn no_contract_violates_a_constraint_of_either_side() {
    for (index, (change, is_expected)) in MISMATCHES.iter().enumerate() {
        let (mut offer, mut request) = (offer_terms(), request_terms());
        change(&mut offer, &mut request);
        let mut world = World::new();
        world.post_offer(PROVIDER, offer);
        let next = world.height.plus(1);
        let report = ledger::market::dry_run(&world.state, &request, account(USER), next);
        assert_eq!(report.reject, None, "case {index}");
        let misfits = &report.offers[0].misfits;
        assert!(misfits.iter().any(is_expected), "case {index}: {misfits:?}");
        assert!(report.placements.is_empty(), "case {index}");
        let id = world.post_request(request);
        assert_eq!(world.request(id).replicas, [None], "case {index}");
    }
}

#[test]
fn an_empty_region_is_anywhere_and_an_unpinned_request_takes_any_admitted_code() {
    let mut world = World::new();
    let mut terms = request_terms();
    terms.location.clear();
    terms.measurement = None;
    world.matched(terms);
}

#[test]
fn the_cheapest_offer_is_taken_at_its_own_price() {
    let mut world = World::new();
    for price in [9, 6, 8] {
        let mut terms = offer_terms();
        terms.min_price = Amount(price);
        world.post_offer(PROVIDER, terms);
    }
    let mut dear = offer_terms();
    dear.min_price = Amount(7);
    world.post_offer(OTHER_PROVIDER, dear);
    let id = world.post_request(request_terms());
    assert_eq!(world.contract(world.live(id, 0)).price, Amount(6));
}

#[test]
fn replicas_spread_over_providers_of_one_price() {
    let mut world = World::new();
    world.post_offer(PROVIDER, offer_terms());
    world.post_offer(OTHER_PROVIDER, offer_terms());
    let mut terms = request_terms();
    terms.replicas = 4;
    let id = world.post_request(terms);
    let at = |provider| {
        (0..4)
            .filter(|replica| {
                world.contract(world.live(id, *replica)).provider == account(provider)
            })
            .count()
    };
    assert_eq!((at(PROVIDER), at(OTHER_PROVIDER)), (2, 2));
}

#[test]
fn a_required_spread_leaves_replicas_unmatched_rather_than_together() {
    let mut world = World::new();
    world.post_offer(PROVIDER, offer_terms());
    let mut terms = request_terms();
    terms.replicas = 2;
    terms.require_spread = true;
    let id = world.post_request(terms);
    assert!(world.request(id).replicas[1].is_none());
    world.post_offer(OTHER_PROVIDER, offer_terms());
    let second = world.contract(world.live(id, 1));
    assert_eq!(second.provider, account(OTHER_PROVIDER));
}

#[test]
fn room_and_concurrency_are_never_exceeded_and_come_back() {
    let mut world = World::new();
    let mut terms = offer_terms();
    terms.concurrency = 2;
    let offer = world.post_offer(PROVIDER, terms);
    let first = world.post_request(request_terms());
    world.post_request(request_terms());
    let waiting = world.post_request(request_terms());
    assert_eq!(world.offer(offer).live, 2);
    assert!(world.request(waiting).replicas[0].is_none());
    world
        .send(USER, Action::CloseRequest(CloseRequest { request: first }))
        .unwrap();
    let replica = world.contract(world.live(waiting, 0));
    assert_eq!(replica.status, ContractStatus::Starting);

    let mut world = World::new();
    let offer = world.post_offer(PROVIDER, offer_terms());
    for _ in 0..3 {
        let mut terms = request_terms();
        terms.resources = resources(4000, 512, 100);
        world.post_request(terms);
    }
    let record = world.offer(offer);
    assert_eq!((record.live, record.free.cpu_milli), (2, 0));
}

#[test]
fn the_outcome_of_a_block_does_not_depend_on_the_order_within_it() {
    let mut world = World::new();
    let mut cheap = offer_terms();
    cheap.min_price = Amount(3);
    cheap.concurrency = 1;
    let mut request = request_terms();
    request.replicas = 2;
    let transactions = [
        world.sign(
            USER,
            Action::PostRequest(PostRequest {
                terms: request.clone(),
            }),
        ),
        world.sign(
            STRANGER,
            Action::PostRequest(PostRequest { terms: request }),
        ),
        world.sign(PROVIDER, Action::PostOffer(PostOffer { terms: cheap })),
        world.sign(
            OTHER_PROVIDER,
            Action::PostOffer(PostOffer {
                terms: offer_terms(),
            }),
        ),
    ];
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]];
    let changes = orders.map(|order| {
        let block: Vec<_> = order.iter().map(|at| transactions[*at].clone()).collect();
        world.apply(&block).changes
    });
    assert!(changes.iter().all(|change| *change == changes[0]));
    world.block(&transactions);
}

#[test]
fn a_dry_run_foretells_the_match_and_its_cost() {
    let mut world = World::new();
    let mut cheap = offer_terms();
    cheap.min_price = Amount(3);
    cheap.concurrency = 1;
    world.post_offer(PROVIDER, cheap);
    world.post_offer(OTHER_PROVIDER, offer_terms());
    let mut terms = request_terms();
    terms.replicas = 2;
    let next = world.height.plus(1);
    let report = ledger::market::dry_run(&world.state, &terms, account(USER), next);
    assert_eq!(report.offers.len(), 2);
    assert!(!report.truncated);
    assert_eq!(report.cost_per_block, Amount(3 + 5));
    assert_eq!(report.cost, Some(Amount((3 + 5) * terms.duration)));
    let id = world.post_request(terms);
    for placement in report.placements {
        let contract = world.contract(world.live(id, usize::from(placement.replica)));
        assert_eq!(contract.offer, placement.offer);
        assert_eq!(contract.price, placement.price);
    }
}

#[test]
fn a_dry_run_says_why_a_request_would_be_refused() {
    let world = World::new();
    let mut terms = request_terms();
    terms.name = Some(name("hello.internal"));
    let report = ledger::market::dry_run(&world.state, &terms, account(USER), Height(1));
    assert_eq!(report.reject, Some(Reject::NameNotOwned));
    assert!(report.placements.is_empty());
}

/// A state that counts what is read of it.
struct Counting<'s> {
    state: &'s Entries,
    reads: Cell<usize>,
}

impl StateRead for Counting<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.reads.set(self.reads.get() + 1);
        StateRead::get(self.state, key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let entries = self.state.scan(prefix, after, limit);
        self.reads.set(self.reads.get() + 1 + entries.len());
        entries
    }
}

/// A world with `count` offers of many shapes, places and prices.
fn crowded(count: u64, change: fn(u64, &mut OfferTerms)) -> World {
    let mut world = World::with(|parameters| {
        parameters.offer_deposit = Amount(1);
        parameters.fee_per_transaction = Amount(0);
        parameters.fee_per_byte = Amount(0);
    });
    let actions: Vec<_> = (0..count)
        .map(|number| {
            let mut terms = offer_terms();
            terms.min_price = Amount(2 + number * 7 % 1009);
            terms.capacity = resources(
                1000 << (number % 4),
                1024 << (number % 3),
                50_000 << (number % 2),
            );
            terms.replica_limit = terms.capacity;
            terms.location = ["eu/de/fra1", "eu/fr", "us/ny"][number as usize % 3].to_owned();
            change(number, &mut terms);
            Action::PostOffer(PostOffer { terms })
        })
        .collect();
    let transactions: Vec<_> = actions
        .chunks(limits::MAX_ACTIONS)
        .zip(0..)
        .map(|(actions, ahead)| world.sign_ahead(PROVIDER, ahead, actions.to_vec()))
        .collect();
    let applied = world.apply(&transactions);
    assert!(
        applied
            .receipts
            .iter()
            .all(|receipt| verdict(receipt).is_ok())
    );
    world.advance(applied.changes);
    world
}

/// Reads of the block that matches a request of one replica.
fn reads_of_a_match(world: &World) -> usize {
    let mut terms = request_terms();
    terms.max_price = Amount(2000);
    let transaction = world.sign(USER, Action::PostRequest(PostRequest { terms }));
    let counting = Counting {
        state: &world.state,
        reads: Cell::new(0),
    };
    let block = ledger::BlockContext {
        height: world.height.plus(1),
        time_ms: 0,
        parent: World::header(world.height),
    };
    let applied = ledger::apply(&counting, &block, &[transaction]);
    let matched = |event: &Event| matches!(event, Event::Matched { .. });
    assert!(applied.events[1].iter().any(matched));
    counting.reads.get()
}

#[test]
fn reads_of_a_match_do_not_grow_with_the_number_of_offers() {
    let few = reads_of_a_match(&crowded(100, |_, _| ()));
    let many = reads_of_a_match(&crowded(10_000, |_, _| ()));
    // A hundred times the offers: the same cells, and the same few probes.
    assert!(
        many < 2 * few,
        "{few} reads of 100 offers, {many} of 10,000"
    );
}

#[test]
fn a_search_past_many_misfits_goes_on_block_by_block() {
    const OFFERS: u64 = 400;
    let mut world = crowded(OFFERS, |number, terms| {
        terms.location = "eu/de/fra1".to_owned();
        terms.capacity = resources(8000, 16_384, 100_000);
        terms.replica_limit = terms.capacity;
        terms.min_price = Amount(2 + number);
        if number + 1 < OFFERS {
            terms.technologies = vec!["other".to_owned()];
        }
    });
    let mut terms = request_terms();
    terms.max_price = Amount(2000);
    let id = world.post_request(terms);
    let mut blocks = 1;
    while world.request(id).replicas[0].is_none() {
        world.idle(1);
        blocks += 1;
        assert!(blocks < 20, "the search does not come to its end");
    }
    assert_eq!(blocks, OFFERS.div_ceil(64));
    let contract = world.contract(world.live(id, 0));
    assert_eq!(contract.price, Amount(2 + OFFERS - 1));
}

#[test]
fn a_search_that_found_nothing_sleeps_until_an_offer_gains_room() {
    let mut world = World::new();
    let mut dear = offer_terms();
    dear.min_price = Amount(11);
    world.post_offer(PROVIDER, dear);
    let id = world.post_request(request_terms());
    let counting = Counting {
        state: &world.state,
        reads: Cell::new(0),
    };
    let block = ledger::BlockContext {
        height: world.height.plus(1),
        time_ms: 0,
        parent: World::header(world.height),
    };
    let applied = ledger::apply(&counting, &block, &[]);
    let touched: Vec<_> = applied.changes.keys().collect();
    assert_eq!(touched, [&state_key::recent_header(world.height)]);
    assert!(counting.reads.get() < 30, "{} reads", counting.reads.get());
    world.post_offer(OTHER_PROVIDER, offer_terms());
    world.live(id, 0);
}

#[test]
fn funds_wake_a_search_that_the_escrow_could_not_pay() {
    let mut world = World::new();
    let mut cheap = offer_terms();
    cheap.min_price = Amount(5);
    cheap.concurrency = 1;
    world.post_offer(PROVIDER, cheap);
    let mut terms = request_terms();
    terms.replicas = 2;
    terms.escrow = Amount(20);
    let id = world.post_request(terms);
    let first = world.live(id, 0);
    world.start(first);
    world.idle(3);
    world.beat(first).unwrap();
    // Five units are left, which the next offer does not take.
    let mut dear = offer_terms();
    dear.min_price = Amount(9);
    world.post_offer(OTHER_PROVIDER, dear);
    assert!(world.request(id).replicas[1].is_none());
    let action = FundRequest {
        request: id,
        amount: Amount(100),
    };
    world.send(STRANGER, Action::FundRequest(action)).unwrap();
    assert_eq!(world.contract(world.live(id, 1)).price, Amount(9));
}

#[test]
fn a_required_spread_is_met_by_another_offer_of_a_provider_that_is_free_again() {
    let mut world = World::new();
    let mut terms = offer_terms();
    terms.concurrency = 1;
    let first = world.post_offer(PROVIDER, terms.clone());
    world.post_offer(PROVIDER, terms);
    let mut terms = request_terms();
    terms.replicas = 2;
    terms.require_spread = true;
    let id = world.post_request(terms);
    let contract = world.live(id, 0);
    assert!(world.request(id).replicas[1].is_none());
    if world.contract(contract).offer == first {
        let withdrawal = WithdrawOffer { offer: first };
        world
            .send(PROVIDER, Action::WithdrawOffer(withdrawal))
            .unwrap();
    }
    let end = EndContract {
        contract,
        reason: EndReason::ProviderWithdrew,
    };
    world.send(PROVIDER, Action::EndContract(end)).unwrap();
    let live = world.request(id).replicas.iter().flatten().count();
    assert_eq!(live, 1, "one replica is served at once by what is open");
}
