//! Answers that are ready: every name's records in wire form, beside the zones
//! that they were made of, so that a common question is answered by copying.
//!
//! `table` finds a registered name, `entry` holds what is rendered of it,
//! `question` reads a query's octets, `respond` writes the response. What is
//! not common goes to the one function in `answer`, which knows everything;
//! whatever both answer, they answer alike (a test compares them).
//!
//! What is rendered belongs to one image and is swapped with it. The next
//! image shares all of it but what changed.

mod alike;
mod entry;
mod order;
mod question;
mod respond;
mod table;
mod template;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use domain::base::iana::Rtype;

pub(super) use self::{
    alike::answer_alike,
    entry::decode,
    question::{MAX_READY_RESPONSE, Question},
    respond::{Asking, Outcome},
};
use self::{order::Order, table::Table, template::Template};
use super::zone::{Apex, Label};

/// What is rendered of the zones of an image.
#[derive(Clone, Debug, Default)]
pub(super) struct Rendered {
    apexes: Vec<ApexPart>,
    table: Table,
}

/// What is rendered of an apex' own.
#[derive(Clone, Debug)]
struct ApexPart {
    /// Its name in wire form, lower case.
    name: Box<[u8]>,
    /// The SOA that denials carry, and its signatures.
    denial: Template,
    /// The apex' own NSEC record with its signatures, where it is what denies
    /// a wildcard directly beneath the apex.
    nsec: Option<Template>,
    /// Whether names that are not registered match a wildcard.
    has_wildcard: bool,
    is_signed: bool,
    /// What is registered beneath it.
    order: Order,
}

impl ApexPart {
    fn new(apex: &Apex, order: Order) -> Self {
        let nsec = apex.node().get(Rtype::NSEC);
        let nsec = nsec.filter(|_| apex.label_before(b"*").is_none());
        Self {
            name: apex.name().as_slice().into(),
            denial: Template::new(apex.name(), apex.denial()),
            nsec: nsec.map(|set| Template::new(apex.name(), set)),
            has_wildcard: apex.has(b"*"),
            is_signed: apex.keys().is_some(),
            order,
        }
    }
}

impl Rendered {
    /// Renders `labels` of zone `index` anew; the empty label is the apex' own.
    pub fn update<'a>(
        &mut self,
        index: usize,
        apex: &mut Apex,
        labels: impl IntoIterator<Item = &'a Label>,
    ) {
        let Ok(number) = u8::try_from(index) else {
            // So many zones are answered without this.
            return;
        };
        let present = self.apexes.get_mut(index);
        let mut order = present.map_or_else(Order::default, |part| std::mem::take(&mut part.order));
        for label in labels.into_iter().filter(|label| !label.is_empty()) {
            match apex.domain(label) {
                Some(domain) => {
                    let (entry, is_whole) = entry::encode_checked(number, label, &domain);
                    let is_lossless =
                        is_whole && decode(&entry).is_some_and(|again| again == *domain);
                    drop(domain);
                    let entry = Arc::from(entry);
                    order.insert(&entry);
                    if is_lossless {
                        apex.pack(label, Arc::clone(&entry));
                    }
                    self.table.insert(entry);
                }
                None => {
                    order.remove(label);
                    self.table.remove(number, label);
                }
            }
        }
        let part = ApexPart::new(apex, order);
        match self.apexes.get_mut(index) {
            Some(present) => *present = part,
            // Zones are rendered in their order.
            None => self.apexes.push(part),
        }
    }
}

/// What of an apex changed since it was rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Dirty {
    /// It never was: so it stays where nothing is served.
    #[default]
    Everything,
    /// These labels; the empty one is the apex' own.
    Labels(BTreeSet<Label>),
}

impl Dirty {
    /// Adds a label.
    pub fn add(&mut self, label: &[u8]) {
        if let Self::Labels(labels) = self
            && !labels.contains(label)
        {
            labels.insert(label.into());
        }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Labels(labels) if labels.is_empty())
    }
}

/// Brings `rendered` level with `apexes`.
pub(super) fn render(rendered: &mut Arc<Rendered>, apexes: &mut [Apex]) {
    let rendered = Arc::make_mut(rendered);
    for (index, apex) in apexes.iter_mut().enumerate() {
        match std::mem::replace(apex.dirty_mut(), Dirty::Labels(BTreeSet::new())) {
            Dirty::Everything => {
                let labels: Vec<Label> = apex.labels_with_own().collect();
                rendered.update(index, apex, &labels);
            }
            Dirty::Labels(labels) if labels.is_empty() => {}
            Dirty::Labels(labels) => rendered.update(index, apex, &labels),
        }
    }
}
