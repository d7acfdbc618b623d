//! The market: offers, requests, their matching, and contracts (seed 000).
//!
//! Source: docs/spec/market.md.

mod close_request;
mod complete_job;
mod contract;
mod deadlines;
mod dry_run;
mod end_contract;
mod fit;
mod forget;
mod fund_request;
mod handshake_message;
mod heartbeat;
mod matching;
mod offer_finder;
mod offer_index;
mod operate;
mod post_offer;
mod post_outcome;
mod post_request;
mod region;
mod request;
mod search;
mod withdraw_offer;

use wire::{OfferId, Reject, record::Offer, state_key};

use crate::execution::Execution;
pub(crate) use close_request::close_request;
pub(crate) use complete_job::complete_job;
pub(crate) use contract::Live;
pub(crate) use deadlines::{close_expired_offers, end_overdue_contracts, end_overdue_searches};
pub use dry_run::{OFFERS_REPORTED, dry_run};
pub(crate) use end_contract::end_contract;
pub(crate) use forget::forget_closed_requests;
pub(crate) use fund_request::fund_request;
pub(crate) use handshake_message::handshake_message;
pub(crate) use heartbeat::heartbeat;
pub(crate) use matching::match_requests;
pub(crate) use offer_index::{places as offer_places, readmit};
pub(crate) use operate::operate;
pub(crate) use post_offer::post_offer;
pub(crate) use post_outcome::post_outcome;
pub(crate) use post_request::post_request;
pub(crate) use withdraw_offer::withdraw_offer;

fn find_offer(execution: &Execution<'_>, id: OfferId) -> Result<Offer, Reject> {
    execution
        .state
        .get(&state_key::offer(id))
        .ok_or(Reject::OfferNotFound)
}
