//! Finds the best offer for a replica: cheapest, then where the request has
//! the fewest replicas, then by id.
//!
//! The number of reads does not grow with the number of offers: the non-empty
//! cells that are large enough are found by skipping from one to the next (at
//! most 2,601 for each admitted code), their cheapest entries are merged by
//! price, and at most [`MAX_PROBES`] offers are read. A search that used up
//! its probes gives the position at which the next block goes on.

use std::{cmp::Reverse, collections::BinaryHeap};

use wire::{Amount, OfferId, record::Offer, state_key};

use crate::{
    execution::Execution,
    market::{
        fit::{Wanted, misfits},
        offer_index::classes,
    },
};

/// Offers that one search reads in one block: those that the index cannot
/// rule out are ruled out one by one (durations, technologies, exclusions).
pub(super) const MAX_PROBES: usize = 64;

/// Reads that matching may still make in this block.
pub(super) struct Budget(pub(super) usize);

impl Budget {
    fn spend(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }
}

/// A place in the order of a search.
pub(super) type Position = (Amount, OfferId);

/// What a search found.
pub(super) enum Found {
    /// The best offer.
    Offer(OfferId, Box<Offer>),
    /// No offer fits.
    Nothing,
    /// The probes are used up; go on after this position.
    Unfinished(Position),
}

/// A cell's next entry. Ordered by price, then id, then cell.
type Head = Reverse<(Amount, OfferId, usize)>;

struct Merge<'s, 'b> {
    execution: &'s Execution<'s>,
    budget: &'b mut Budget,
    /// Prefixes of the cells that are large enough.
    cells: Vec<Vec<u8>>,
    heads: BinaryHeap<Head>,
}

/// Finds the best offer after `after`, or the best of all.
pub(super) fn find(
    execution: &Execution<'_>,
    wanted: &Wanted<'_>,
    after: Option<Position>,
    budget: &mut Budget,
) -> Found {
    let mut merge = Merge {
        execution,
        budget,
        cells: Vec::new(),
        heads: BinaryHeap::new(),
    };
    merge.open(wanted, after);
    let mut best: Option<(OfferId, Offer)> = None;
    let mut last = None;
    let mut probes = 0;
    while let Some((price, id)) = merge.next() {
        let dearer = best
            .as_ref()
            .is_some_and(|(_, best)| price > best.terms.min_price);
        if dearer || price > wanted.highest {
            break;
        }
        // An offer stands once for each kind of evidence it can give.
        if last == Some((price, id)) {
            continue;
        }
        last = Some((price, id));
        probes += 1;
        if let Some(offer) = merge.probe(wanted, id) {
            let crowd = wanted.crowd_at(offer.provider);
            if crowd == 0 {
                return Found::Offer(id, Box::new(offer));
            }
            let better = best
                .as_ref()
                .is_none_or(|(_, best)| crowd < wanted.crowd_at(best.provider));
            if better {
                best = Some((id, offer));
            }
        }
        if probes == MAX_PROBES && best.is_none() {
            return Found::Unfinished((price, id));
        }
        if probes == MAX_PROBES {
            break;
        }
    }
    match best {
        Some((id, offer)) => Found::Offer(id, Box::new(offer)),
        None => Found::Nothing,
    }
}

impl Merge<'_, '_> {
    /// Opens every cell in which an offer may be large enough.
    fn open(&mut self, wanted: &Wanted<'_>, after: Option<Position>) {
        let terms = wanted.terms;
        let codes: Vec<_> = self
            .execution
            .rules
            .reference_values
            .iter()
            .filter(|code| terms.evidence.contains(&code.kind))
            .filter(|code| terms.measurement.is_none_or(|pin| pin == code.measurement))
            .copied()
            .collect();
        let least = classes(&terms.resources);
        for code in codes {
            let group = state_key::offer_group(terms.payload_kind, &code, &terms.location);
            self.open_group(&group, least, after);
        }
    }

    /// Skips from one non-empty cell of `group` to the next.
    fn open_group(&mut self, group: &[u8], least: [u8; 3], after: Option<Position>) {
        let [_, memory, storage] = least;
        let mut from = least;
        loop {
            let start = [group, &from].concat();
            let Some(key) = self.read_after(group, &start) else {
                return;
            };
            let Some((at, price, id)) = parse(group, &key) else {
                return;
            };
            from = match at {
                [a, b, _] if b < memory => [a, memory, storage],
                [a, b, c] if c < storage => [a, b, storage],
                [a, b, c] => {
                    let cell = [group, &at].concat();
                    match after {
                        None => self.push(cell, price, id),
                        Some(after) => self.push_after(cell, after),
                    }
                    [a, b, c + 1]
                }
            };
        }
    }

    fn push(&mut self, cell: Vec<u8>, price: Amount, id: OfferId) {
        self.heads.push(Reverse((price, id, self.cells.len())));
        self.cells.push(cell);
    }

    fn push_after(&mut self, cell: Vec<u8>, after: Position) {
        self.cells.push(cell);
        self.advance(self.cells.len() - 1, after);
    }

    /// The next entry of all cells, with its cell moved on.
    fn next(&mut self) -> Option<Position> {
        let Reverse((price, id, cell)) = self.heads.pop()?;
        self.advance(cell, (price, id));
        Some((price, id))
    }

    fn advance(&mut self, cell: usize, (price, id): Position) {
        let prefix = self.cells[cell].clone();
        let start = [&prefix[..], &price.0.to_be_bytes(), &id.0].concat();
        let Some(key) = self.read_after(&prefix, &start) else {
            return;
        };
        if let Some((price, id)) = parse_position(&key[prefix.len()..]) {
            self.heads.push(Reverse((price, id, cell)));
        }
    }

    fn read_after(&mut self, prefix: &[u8], start: &[u8]) -> Option<Vec<u8>> {
        self.budget.spend();
        let mut entries = self.execution.state.scan(prefix, Some(start), 1);
        entries.pop().map(|(key, _)| key)
    }

    /// Reads an offer; none if it does not fit.
    fn probe(&mut self, wanted: &Wanted<'_>, id: OfferId) -> Option<Offer> {
        self.budget.spend();
        let offer: Offer = self.execution.state.get(&state_key::offer(id))?;
        misfits(&self.execution.rules, wanted, &offer)
            .is_empty()
            .then_some(offer)
    }
}

/// An entry's cell, price and offer.
fn parse(group: &[u8], key: &[u8]) -> Option<([u8; 3], Amount, OfferId)> {
    let (classes, rest) = key.strip_prefix(group)?.split_first_chunk::<3>()?;
    let (price, id) = parse_position(rest)?;
    Some((*classes, price, id))
}

fn parse_position(bytes: &[u8]) -> Option<Position> {
    let (price, id) = bytes.split_first_chunk::<8>()?;
    Some((
        Amount(u64::from_be_bytes(*price)),
        OfferId(id.try_into().ok()?),
    ))
}
