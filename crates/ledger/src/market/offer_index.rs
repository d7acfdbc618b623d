//! The index of open offers: where an offer stands in it, and its upkeep.
//!
//! An offer with room has one entry for each payload kind it runs, each kind
//! of admitted evidence and each region that holds it ([`state_key::offer_group`]).
//! Within a group, entries are ordered by the size classes of the room that
//! one replica can have, then by price, then by id. A request so finds the
//! offers that are large enough without meeting the small ones, cheapest
//! first, in each of a constant number of cells; see [`super::offer_finder`].

use wire::{
    Measurement, OfferId, ReferenceValue, Resources,
    record::{Market, Offer, Rules},
    state_key,
};

use crate::{
    execution::Execution,
    market::{fit::admitted_evidence, region},
    overlay::decode,
};

/// The size classes of `room`: processor and memory by powers of 4, storage
/// by powers of 16. At most 17 x 17 x 9 cells, whatever the number of offers.
pub(super) fn classes(room: &Resources) -> [u8; 3] {
    let class = |value: u32, bits_per_class: u32| {
        // At most 32 bits in classes of 2 or 4: fits a byte.
        (u32::BITS - value.leading_zeros()).div_ceil(bits_per_class) as u8
    };
    [
        class(room.cpu_milli, 2),
        class(room.memory_mib, 2),
        class(room.storage_mib, 4),
    ]
}

/// What one more replica could have of an offer.
fn room(offer: &Offer) -> Resources {
    let (free, limit) = (&offer.free, &offer.terms.replica_limit);
    Resources {
        cpu_milli: free.cpu_milli.min(limit.cpu_milli),
        memory_mib: free.memory_mib.min(limit.memory_mib),
        storage_mib: free.storage_mib.min(limit.storage_mib),
    }
}

/// Every key of the index under which `offer` stands, ascending; none if it
/// is closed or full.
pub(crate) fn places(rules: &Rules, id: OfferId, offer: &Offer) -> Vec<Vec<u8>> {
    let room = room(offer);
    if !offer.open || offer.live >= offer.terms.concurrency || room == Resources::default() {
        return Vec::new();
    }
    let classes = classes(&room);
    let mut places = Vec::new();
    for kind in admitted_evidence(rules, &offer.terms) {
        let code = ReferenceValue {
            measurement: offer.terms.measurement,
            kind,
        };
        for payload in &offer.terms.payload_kinds {
            for region in region::all_holding(&offer.terms.location) {
                let group = state_key::offer_group(*payload, &code, region);
                places.push(state_key::offer_place(
                    &group,
                    classes,
                    offer.terms.min_price,
                    id,
                ));
            }
        }
    }
    places.sort_unstable();
    places
}

/// Stores `offer` and moves its entries of the index from where `before` had them.
pub(super) fn store(
    execution: &mut Execution<'_>,
    id: OfferId,
    before: Option<&Offer>,
    offer: &Offer,
) {
    let old = before.map_or_else(Vec::new, |before| places(&execution.rules, id, before));
    let new = places(&execution.rules, id, offer);
    if old != new {
        for key in old {
            execution.state.delete(key);
        }
        for key in new {
            execution.state.mark(key);
        }
    }
    execution.state.put(state_key::offer(id), offer);
}

/// Offers read at a time when admitted code changes.
const PAGE: usize = 256;

/// Moves every offer of `measurement` to where `rules`, which will follow the
/// present ones, place it. Reads all offers: members vote on code rarely.
pub(crate) fn readmit(execution: &mut Execution<'_>, rules: &Rules, measurement: Measurement) {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = execution
            .state
            .scan(state_key::OFFERS, after.as_deref(), PAGE);
        let full = page.len() == PAGE;
        for (key, value) in &page {
            let offer: Offer = decode(key, value);
            let id = key[state_key::OFFERS.len()..].try_into().map(OfferId);
            let (true, Ok(id)) = (offer.terms.measurement == measurement, id) else {
                continue;
            };
            for key in places(&execution.rules, id, &offer) {
                execution.state.delete(key);
            }
            for key in places(rules, id, &offer) {
                execution.state.mark(key);
            }
        }
        after = page.into_iter().next_back().map(|(key, _)| key);
        if !full {
            note_room(execution);
            return;
        }
    }
}

/// Notes that an offer was posted or gained room, so that searches that found
/// nothing look again.
pub(super) fn note_room(execution: &mut Execution<'_>) {
    let key = state_key::market();
    let mut market: Market = execution.state.get(&key).unwrap_or_default();
    if market.room_at != execution.height {
        market.room_at = execution.height;
        execution.state.put(key, &market);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_fits_never_has_a_class_above_its_rooms() {
        let values = [
            0,
            1,
            2,
            3,
            4,
            15,
            16,
            17,
            255,
            256,
            65_535,
            65_536,
            u32::MAX,
        ];
        for asked in values {
            for had in values.into_iter().filter(|had| asked <= *had) {
                let of = |value| {
                    classes(&Resources {
                        cpu_milli: value,
                        memory_mib: value,
                        storage_mib: value,
                    })
                };
                assert!(of(asked).iter().zip(of(had)).all(|(a, b)| *a <= b));
            }
        }
        let most = Resources {
            cpu_milli: u32::MAX,
            memory_mib: u32::MAX,
            storage_mib: u32::MAX,
        };
        assert_eq!(classes(&most), [16, 16, 8]);
    }
}
