//! What would the market do with a request now?

use wire::{
    AccountId, Amount, Height, OfferId, PublicKey, RequestId, RequestTerms,
    match_report::{MatchReport, OfferReport, Placement},
    record::{Contract, Offer, Request, Search},
    state_key,
};

use crate::{
    execution::Execution,
    market::{
        find_offer,
        fit::{Wanted, misfits},
        matching::fill,
        offer_finder::Budget,
        post_request::{check, new},
    },
    state::StateRead,
};

/// Open offers that a report lists at most.
pub const OFFERS_REPORTED: usize = 256;

/// Reads that the placement of a dry run may make: as a block's matching, so
/// that a report foretells what a block would do.
const READS: usize = 16_384;

/// Reports, for each open offer, its price or every reason for which it does
/// not fit, and where the request's replicas would go and what they would cost
/// if the request were posted by `user` and matched at `height`.
///
/// Shape:  at most [`OFFERS_REPORTED`] offers, those that expire first before
///         others; placements come from the market's own matching.
/// Panics: on a damaged store only; see the crate's documentation.
pub fn dry_run(
    state: &dyn StateRead,
    terms: &RequestTerms,
    user: AccountId,
    height: Height,
) -> MatchReport {
    let mut execution = Execution::new(state, height, 0);
    let reject = check(&execution, terms, user).err();
    // No key is known, and none is needed: the request is never stored.
    let mut request = new(terms, user, PublicKey::Ed25519([0; 32]), height);
    let (offers, truncated) = report_offers(&execution, &request);
    let placements = if reject.is_none() {
        place(&mut execution, &mut request)
    } else {
        Vec::new()
    };
    // At most MAX_REPLICAS prices, each at most max_price; the escrow's check
    // saw that max_price times the replicas is an amount.
    let cost_per_block = Amount(placements.iter().map(|place| place.price.0).sum());
    MatchReport {
        height,
        reject,
        offers,
        truncated,
        placements,
        cost_per_block,
        cost: cost_per_block.checked_mul(terms.duration),
    }
}

fn report_offers(execution: &Execution<'_>, request: &Request) -> (Vec<OfferReport>, bool) {
    let mut entries = execution
        .state
        .scan(state_key::OFFERS_DUE, None, OFFERS_REPORTED + 1);
    let truncated = entries.len() > OFFERS_REPORTED;
    entries.truncate(OFFERS_REPORTED);
    let wanted = Wanted::new(execution, request, 0);
    let report = |key: &[u8]| {
        let (_, id) = key.split_last_chunk::<32>()?;
        let id = OfferId(*id);
        let offer: Offer = find_offer(execution, id).ok()?;
        Some(OfferReport {
            offer: id,
            provider: offer.provider,
            price: offer.terms.min_price,
            misfits: misfits(&execution.rules, &wanted, &offer),
        })
    };
    let offers = entries.iter().filter_map(|(key, _)| report(key)).collect();
    (offers, truncated)
}

/// Runs the market's matching over the request; the execution is dropped
/// with all that it wrote.
fn place(execution: &mut Execution<'_>, request: &mut Request) -> Vec<Placement> {
    let mut search = Search {
        until: request.terms.match_until,
        began_at: None,
        resume: None,
        fruitless_at: None,
    };
    let mut budget = Budget(READS);
    fill(
        execution,
        RequestId::default(),
        request,
        &mut search,
        &mut budget,
    );
    let place = |id| {
        let contract: Contract = execution.state.get(&state_key::contract(id))?;
        Some(Placement {
            replica: contract.replica,
            offer: contract.offer,
            provider: contract.provider,
            price: contract.price,
        })
    };
    request
        .replicas
        .iter()
        .flatten()
        .filter_map(|id| place(*id))
        .collect()
}
