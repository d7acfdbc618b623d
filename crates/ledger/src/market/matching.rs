//! Matching: at the end of a block, requests that search are given offers.
//!
//! Requests are taken in the order of their ids, which do not depend on their
//! places in the block, when all of the block's offers are in. So the outcome
//! is the same for every order of the block's transactions.

use wire::{
    RequestId,
    record::{Market, Request, Search},
    state_key,
};

use crate::{
    execution::Execution,
    market::{
        contract,
        fit::Wanted,
        offer_finder::{Budget, Found, find},
        request, search,
    },
};

/// Reads that matching makes in one block; about five hundred matches. What
/// is left over goes on in the next block, after the last request served.
const READS_PER_BLOCK: usize = 16_384;

/// Searches that one block looks at.
const SEARCHES_PER_BLOCK: usize = 1024;

/// Matches requests until all were looked at or the block's budget is spent.
pub(crate) fn match_requests(execution: &mut Execution<'_>) {
    let key = state_key::market();
    let market: Market = execution.state.get(&key).unwrap_or_default();
    let after = market.resume_after.map(state_key::unmatched);
    let searches = execution
        .state
        .scan(state_key::UNMATCHED, after.as_deref(), SEARCHES_PER_BLOCK);
    let mut resume_after = None;
    let mut budget = Budget(READS_PER_BLOCK);
    let count = searches.len();
    for (index, (key, value)) in searches.into_iter().enumerate() {
        let Some(id) = parse(&key) else { continue };
        serve(
            execution,
            id,
            crate::overlay::decode(&key, &value),
            &market,
            &mut budget,
        );
        let last_of_page = index + 1 == count;
        if budget.0 == 0 || (last_of_page && count == SEARCHES_PER_BLOCK) {
            resume_after = Some(id);
            break;
        }
    }
    if resume_after != market.resume_after {
        let market = Market {
            resume_after,
            ..market
        };
        execution.state.put(key, &market);
    }
}

fn parse(key: &[u8]) -> Option<RequestId> {
    let id = key.strip_prefix(state_key::UNMATCHED)?;
    Some(RequestId(id.try_into().ok()?))
}

/// Looks for offers for one request and records how far the search has come.
fn serve(
    execution: &mut Execution<'_>,
    id: RequestId,
    mut search: Search,
    market: &Market,
    budget: &mut Budget,
) {
    // Nothing gained room since a whole pass found nothing: nothing fits now.
    let asleep = search.fruitless_at.is_some_and(|at| at >= market.room_at);
    if asleep {
        return;
    }
    let Ok(mut open) = request::open(execution, id) else {
        search::stop(execution, id);
        return;
    };
    fill(execution, id, &mut open, &mut search, budget);
    let vacant = (0..open.replicas.len()).any(|replica| request::is_vacant(&open, replica));
    if !vacant {
        search::stop(execution, id);
        request::store(execution, id, &open);
        return;
    }
    // Every provider that was tried found the payload at fault, and there is
    // no other: waiting would not mend the payload.
    let hopeless = search.fruitless_at.is_some() && !request::has_live(&open);
    match request::payload_fault(&open).filter(|_| hopeless) {
        Some(reason) => request::close(execution, id, open, reason),
        None => {
            search::store(execution, id, &search);
            request::store(execution, id, &open);
        }
    }
}

/// Makes contracts for the vacant replicas of a request, ascending, as far as
/// offers fit and the budget goes.
pub(super) fn fill(
    execution: &mut Execution<'_>,
    id: RequestId,
    open: &mut Request,
    search: &mut Search,
    budget: &mut Budget,
) {
    let began_at = *search.began_at.get_or_insert(execution.height);
    let mut resume = search.resume.take();
    // Replicas with the same duration left find the same.
    let mut nothing_for = None;
    for replica in 0..open.terms.replicas {
        let index = usize::from(replica);
        let passed = resume.is_some_and(|(at, ..)| replica < at);
        if passed || !request::is_vacant(open, index) {
            continue;
        }
        let wanted = Wanted::new(execution, open, index);
        if nothing_for == Some(wanted.remaining) {
            continue;
        }
        let after = resume
            .take_if(|(at, ..)| *at == replica)
            .map(|(_, price, offer)| (price, offer));
        match find(execution, &wanted, after, budget) {
            Found::Offer(offer_id, offer) => {
                contract::make(execution, id, open, replica, offer_id, *offer);
            }
            Found::Nothing => nothing_for = Some(wanted.remaining),
            Found::Unfinished((price, offer)) => {
                search.resume = Some((replica, price, offer));
                return;
            }
        }
        if budget.0 == 0 {
            // The next block begins a new pass over the replicas that are left.
            search.began_at = None;
            return;
        }
    }
    search.began_at = None;
    if nothing_for.is_some() {
        search.fruitless_at = Some(began_at);
    }
}
