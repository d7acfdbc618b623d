//! The provider's standing offer: posted, renewed before it expires, and never
//! for more hardware than is free.
//!
//! Contracts outlive the offer they were matched with, so a new offer leaves
//! out what contracts of older offers still hold.

use wire::{Height, OfferId, OfferTerms, Resources, record::Offer};

/// A contract that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveContract {
    /// The offer it was matched with.
    pub offer: OfferId,
    /// Hardware it holds.
    pub resources: Resources,
}

/// What to do about the offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It stands.
    Keep,
    /// Post these terms, and withdraw the standing offer if there is one.
    Post(Box<OfferTerms>),
    /// Nothing is free: withdraw the standing offer, if it is open.
    Withdraw,
}

/// Decides at `height`.
///
/// Shape: `wanted` are the terms for an idle provider, with the expiry that a
///        new offer would have; `standing` is how many blocks that is away.
pub fn plan(
    wanted: &OfferTerms,
    standing: u64,
    height: Height,
    current: Option<(OfferId, &Offer)>,
    live: &[LiveContract],
) -> Plan {
    let fresh = without(wanted, live.iter());
    let Some((id, offer)) = current.filter(|(_, offer)| offer.open) else {
        return fresh.map_or(Plan::Keep, |terms| Plan::Post(Box::new(terms)));
    };
    let expires_soon = offer.terms.expires_at.since(height) <= standing / 4;
    let changed = !same_but_room(&offer.terms, wanted);
    // Contracts of older offers have ended since: there is room to offer again.
    let older = live.iter().filter(|contract| contract.offer != id);
    let gains = without(wanted, older).is_some_and(|terms| {
        terms.concurrency > offer.terms.concurrency || !terms.capacity.fits(&offer.terms.capacity)
    });
    if !(expires_soon || changed || gains) {
        return Plan::Keep;
    }
    match fresh {
        Some(terms) => Plan::Post(Box::new(terms)),
        None if expires_soon || changed => Plan::Withdraw,
        None => Plan::Keep,
    }
}

/// `terms` less what `contracts` hold; none if nothing is left to offer.
fn without<'a>(
    terms: &OfferTerms,
    contracts: impl Iterator<Item = &'a LiveContract>,
) -> Option<OfferTerms> {
    let mut left = terms.clone();
    for contract in contracts {
        left.capacity = left.capacity.checked_sub(&contract.resources)?;
        left.concurrency = left.concurrency.checked_sub(1)?;
    }
    let limit = &mut left.replica_limit;
    limit.cpu_milli = limit.cpu_milli.min(left.capacity.cpu_milli);
    limit.memory_mib = limit.memory_mib.min(left.capacity.memory_mib);
    limit.storage_mib = limit.storage_mib.min(left.capacity.storage_mib);
    let some = limit.cpu_milli > 0 && limit.memory_mib > 0 && left.concurrency > 0;
    some.then_some(left)
}

/// Whether two offers differ in room and expiry at most.
fn same_but_room(a: &OfferTerms, b: &OfferTerms) -> bool {
    let plain = |terms: &OfferTerms| OfferTerms {
        capacity: Resources::default(),
        replica_limit: Resources::default(),
        concurrency: 0,
        expires_at: Height(0),
        ..terms.clone()
    };
    plain(a) == plain(b)
}

#[cfg(test)]
mod tests {
    use wire::{
        AccountId, Amount, CipherSuite, EvidenceKind, Measurement, PayloadKind, ServiceEndpoint,
    };

    use super::*;

    fn resources(parts: u32) -> Resources {
        Resources {
            cpu_milli: 100 * parts,
            memory_mib: 64 * parts,
            storage_mib: 10 * parts,
        }
    }

    fn wanted() -> OfferTerms {
        OfferTerms {
            capacity: resources(10),
            replica_limit: resources(4),
            concurrency: 5,
            min_price: Amount(1),
            min_duration: 1,
            max_duration: 100,
            location: "eu".to_owned(),
            encryption: vec![CipherSuite::Aes256GcmStream],
            evidence: vec![EvidenceKind::Development],
            payload_kinds: vec![PayloadKind::Job],
            technologies: vec![],
            measurement: Measurement([1; 32]),
            endpoint: ServiceEndpoint {
                addresses: vec!["127.0.0.1".parse().unwrap()],
                port: 1,
                control: "http://x".to_owned(),
            },
            expires_at: Height(1100),
        }
    }

    fn standing(terms: OfferTerms) -> Offer {
        Offer {
            provider: AccountId::default(),
            free: terms.capacity,
            live: 0,
            deposit: Amount(1),
            open: true,
            posted_at: Height(100),
            terms,
        }
    }

    fn contract(offer: u8, parts: u32) -> LiveContract {
        LiveContract {
            offer: OfferId([offer; 32]),
            resources: resources(parts),
        }
    }

    const ID: OfferId = OfferId([1; 32]);

    #[test]
    fn the_first_offer_is_posted_whole_and_then_kept() {
        let plan_at = |current| plan(&wanted(), 1000, Height(100), current, &[]);
        assert_eq!(plan_at(None), Plan::Post(Box::new(wanted())));
        let offer = standing(wanted());
        assert_eq!(plan_at(Some((ID, &offer))), Plan::Keep);
    }

    #[test]
    fn an_offer_is_renewed_before_it_expires_without_what_is_taken() {
        let offer = standing(wanted());
        let live = [contract(1, 3)];
        let at = |height| plan(&wanted(), 1000, Height(height), Some((ID, &offer)), &live);
        assert_eq!(at(849), Plan::Keep);
        let Plan::Post(terms) = at(850) else {
            panic!("not renewed")
        };
        assert_eq!(terms.capacity, resources(7));
        assert_eq!(terms.concurrency, 4);
    }

    #[test]
    fn room_that_older_contracts_held_is_offered_again() {
        let reduced = without(&wanted(), [contract(0, 3)].iter()).unwrap();
        let offer = standing(reduced);
        let live = [contract(0, 3), contract(1, 2)];
        let at = |live: &[_]| plan(&wanted(), 1000, Height(200), Some((ID, &offer)), live);
        assert_eq!(at(&live), Plan::Keep);
        let Plan::Post(terms) = at(&live[1..]) else {
            panic!("room was not offered")
        };
        assert_eq!(terms.capacity, resources(8));
    }

    #[test]
    fn changed_terms_are_posted_and_a_full_provider_offers_nothing() {
        let offer = standing(wanted());
        let mut dearer = wanted();
        dearer.min_price = Amount(2);
        let at = |terms, live: &[_]| plan(terms, 1000, Height(200), Some((ID, &offer)), live);
        assert!(matches!(at(&dearer, &[]), Plan::Post(_)));
        assert_eq!(at(&dearer, &[contract(1, 10)]), Plan::Withdraw);
        assert_eq!(at(&wanted(), &[contract(1, 10)]), Plan::Keep);
        assert_eq!(
            plan(&wanted(), 1000, Height(200), None, &[contract(1, 10)]),
            Plan::Keep
        );
    }

    #[test]
    fn a_closed_offer_is_replaced() {
        let mut offer = standing(wanted());
        offer.open = false;
        let at = plan(&wanted(), 1000, Height(200), Some((ID, &offer)), &[]);
        assert!(matches!(at, Plan::Post(_)));
    }
}
