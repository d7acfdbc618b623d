//! Does an offer fit a replica of a request? The one place where every
//! constraint of both sides is checked.
//!
//! The index narrows down which offers are looked at; it decides nothing.

use std::collections::BTreeMap;

use wire::{
    AccountId, Amount, CipherSuite, EvidenceKind, Height, OfferTerms, ReferenceValue, RequestTerms,
    match_report::Misfit,
    record::{Offer, Request, Rules},
};

use crate::{execution::Execution, market::region};

/// What one replica looks for.
pub(super) struct Wanted<'r> {
    pub(super) terms: &'r RequestTerms,
    /// Blocks of service that are left to pay for.
    pub(super) remaining: u64,
    /// The most that a block may cost: the request's limit, and never more
    /// than the escrow holds.
    pub(super) highest: Amount,
    pub(super) excluded: &'r [AccountId],
    /// Live replicas of the request, by provider.
    pub(super) crowd: BTreeMap<AccountId, u16>,
    pub(super) height: Height,
}

impl<'r> Wanted<'r> {
    /// What replica `replica` of `request` looks for.
    pub(super) fn new(execution: &Execution<'_>, request: &'r Request, replica: usize) -> Self {
        let mut crowd = BTreeMap::new();
        for id in request.replicas.iter().flatten() {
            let contract: Option<wire::record::Contract> =
                execution.state.get(&wire::state_key::contract(*id));
            if let Some(contract) = contract {
                *crowd.entry(contract.provider).or_default() += 1;
            }
        }
        let served = request.served.get(replica).copied().unwrap_or_default();
        Self {
            terms: &request.terms,
            remaining: request.terms.duration.saturating_sub(served),
            highest: request.terms.max_price.min(request.escrow),
            excluded: &request.excluded,
            crowd,
            height: execution.height,
        }
    }

    /// How many replicas of the request `provider` runs already.
    pub(super) fn crowd_at(&self, provider: AccountId) -> u16 {
        self.crowd.get(&provider).copied().unwrap_or_default()
    }
}

/// The evidence that an offer can give and the circle admits for its code.
pub(super) fn admitted_evidence(rules: &Rules, terms: &OfferTerms) -> Vec<EvidenceKind> {
    let admitted = |kind: &EvidenceKind| {
        rules.reference_values.contains(&ReferenceValue {
            measurement: terms.measurement,
            kind: *kind,
        })
    };
    terms.evidence.iter().copied().filter(admitted).collect()
}

/// Every reason for which `offer` cannot serve what is wanted; empty if it can.
pub(super) fn misfits(rules: &Rules, wanted: &Wanted<'_>, offer: &Offer) -> Vec<Misfit> {
    let mut found = Vec::new();
    check_room(wanted, offer, &mut found);
    check_deal(wanted, offer, &mut found);
    check_kind(rules, wanted.terms, &offer.terms, &mut found);
    found
}

fn check_room(wanted: &Wanted<'_>, offer: &Offer, found: &mut Vec<Misfit>) {
    let asked = &wanted.terms.resources;
    if !offer.open || offer.terms.expires_at < wanted.height {
        found.push(Misfit::Closed);
    }
    if !asked.fits(&offer.terms.replica_limit) {
        found.push(Misfit::ReplicaTooLarge {
            limit: offer.terms.replica_limit,
        });
    }
    if !asked.fits(&offer.free) {
        found.push(Misfit::NoRoom { free: offer.free });
    }
    if offer.live >= offer.terms.concurrency {
        found.push(Misfit::ConcurrencyReached {
            concurrency: offer.terms.concurrency,
        });
    }
}

fn check_deal(wanted: &Wanted<'_>, offer: &Offer, found: &mut Vec<Misfit>) {
    let terms = &offer.terms;
    if terms.min_price > wanted.highest {
        found.push(Misfit::PriceTooHigh {
            price: terms.min_price,
        });
    }
    if !(terms.min_duration..=terms.max_duration).contains(&wanted.remaining) {
        found.push(Misfit::Duration {
            min: terms.min_duration,
            max: terms.max_duration,
        });
    }
    if wanted.excluded.contains(&offer.provider) {
        found.push(Misfit::ProviderExcluded);
    }
    if wanted.terms.require_spread && wanted.crowd_at(offer.provider) > 0 {
        found.push(Misfit::SpreadRequired);
    }
}

fn check_kind(rules: &Rules, wanted: &RequestTerms, offer: &OfferTerms, found: &mut Vec<Misfit>) {
    if !region::holds(&wanted.location, &offer.location) {
        found.push(Misfit::Location {
            location: offer.location.clone(),
        });
    }
    let missing: Vec<CipherSuite> = required_encryption(wanted)
        .filter(|suite| !offer.encryption.contains(suite))
        .collect();
    if !missing.is_empty() {
        found.push(Misfit::Encryption { missing });
    }
    let offered = admitted_evidence(rules, offer);
    if !offered.iter().any(|kind| wanted.evidence.contains(kind)) {
        found.push(Misfit::Evidence { offered });
    }
    let missing: Vec<String> = wanted
        .technologies
        .iter()
        .filter(|technology| !offer.technologies.contains(technology))
        .cloned()
        .collect();
    if !missing.is_empty() {
        found.push(Misfit::Technologies { missing });
    }
    if !offer.payload_kinds.contains(&wanted.payload_kind) {
        found.push(Misfit::PayloadKind {
            offered: offer.payload_kinds.clone(),
        });
    }
    if wanted
        .measurement
        .is_some_and(|wanted| wanted != offer.measurement)
    {
        found.push(Misfit::Measurement {
            offered: offer.measurement,
        });
    }
}

/// What a request requires, and what its payload is encrypted with, once each.
fn required_encryption(terms: &RequestTerms) -> impl Iterator<Item = CipherSuite> {
    let payload = Some(terms.payload.cipher).filter(|suite| !terms.encryption.contains(suite));
    terms.encryption.iter().copied().chain(payload)
}
