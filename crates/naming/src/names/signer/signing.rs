//! A signed image after each change: the signer without its sockets.
//!
//! Each step takes what the ledger changed up to one height, signs what
//! lacks a signature, looks at a few more labels for signatures that are to
//! be made anew, and gives what name servers need to follow.

use std::{collections::BTreeSet, ops::Bound};

use wire::{DomainName, Height};

use super::{
    keys::{KeySource, SignError},
    sign::{Period, Signers, drop_stale, sign_missing},
};
use crate::names::{
    dnssec::{self, LabelSignatures},
    zone::{Apex, Change, Label, Zone, serial},
};

/// Labels whose signatures one step looks at, beside those that changed: few
/// enough that no step takes long, enough that a large zone is seen through
/// within minutes.
const LABELS_PER_STEP: usize = 512;

/// Signatures of a zone at a height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneSignatures {
    /// The zone.
    pub apex: DomainName,
    /// Its SOA's serial.
    pub serial: u32,
    /// Those made anew, or all.
    pub labels: Vec<LabelSignatures>,
}

/// Where the search for stale signatures stands in one zone.
#[derive(Clone, Debug, Default)]
struct Round {
    /// The label looked at last; none at the beginning.
    after: Option<Label>,
    /// Tags seen since the beginning.
    seen: BTreeSet<u16>,
    /// Tags seen in the last whole round; none before the first.
    in_use: Option<BTreeSet<u16>>,
}

/// The signed image, and the keys.
#[derive(Debug)]
pub struct Signing<K> {
    keys: K,
    zone: Zone,
    rounds: Vec<Round>,
}

impl<K: KeySource> Signing<K> {
    /// Begins with `zone`, unsigned.
    pub fn new(keys: K, zone: Zone) -> Self {
        let rounds = vec![Round::default(); zone.apexes().len()];
        Self { keys, zone, rounds }
    }

    /// The image after the last step.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The keys.
    pub fn keys(&self) -> &K {
        &self.keys
    }

    /// Takes other keys, as a roll-over leaves them.
    pub fn set_keys(&mut self, keys: K) {
        self.keys = keys;
    }

    /// Tags of the keys whose signatures the zone `apex` holds, as of the
    /// last whole search; none before the first is over.
    pub fn in_use(&self, apex: &DomainName) -> Option<&BTreeSet<u16>> {
        let index = self.zone.apex_texts().position(|text| text == apex)?;
        self.rounds[index].in_use.as_ref()
    }

    /// Takes `changes` up to `height` over and signs.
    ///
    /// Shape:  gives the zones that have new signatures. `now` is in Unix seconds.
    /// Errors: a key that does not sign; the image stays what it was.
    pub fn step<'a>(
        &mut self,
        height: Height,
        time_ms: u64,
        now: u64,
        changes: impl IntoIterator<Item = Change<'a>>,
    ) -> Result<Vec<ZoneSignatures>, SignError> {
        let (mut next, mut touched) = self.zone.advance(height, time_ms, changes);
        let mut rounds = self.rounds.clone();
        let period = Period { now };
        let mut made = Vec::new();
        for (index, apex) in next.apexes_mut().iter_mut().enumerate() {
            if apex.keys().is_none() {
                rounds[index] = Round::default();
                continue;
            }
            let signers = Signers::of(apex, &self.keys);
            let mut labels = touched.remove(&index).unwrap_or_default();
            let mut ignored = BTreeSet::new();
            for label in &labels {
                drop_stale(apex, label, &signers, period, &mut ignored);
            }
            // A serial stands for one content: the search waits for the next
            // height if this one has been used.
            let is_new = apex.serial() != serial(height);
            if is_new || !labels.is_empty() {
                look_around(apex, &mut rounds[index], &signers, period, &mut labels);
            }
            if labels.is_empty() {
                continue;
            }
            apex.set_serial(serial(height));
            labels.insert(Label::default());
            made.push(ZoneSignatures {
                labels: sign_missing(apex, &labels, &self.keys, &signers, period)?,
                apex: apex.text().clone(),
                serial: apex.serial().into_int(),
            });
        }
        self.zone = next;
        self.rounds = rounds;
        Ok(made)
    }

    /// Every signature of every signed zone, for a name server that begins.
    pub fn everything(&self) -> Vec<ZoneSignatures> {
        everything(&self.zone)
    }
}

/// Every signature of every signed zone of `zone`.
pub fn everything(zone: &Zone) -> Vec<ZoneSignatures> {
    let signed = zone.apexes().iter().filter(|apex| apex.keys().is_some());
    signed
        .map(|apex| ZoneSignatures {
            apex: apex.text().clone(),
            serial: apex.serial().into_int(),
            labels: apex
                .labels_with_own()
                .map(|label| dnssec::signatures_at(apex, &label))
                .collect(),
        })
        .collect()
}

/// Looks for stale signatures at the next labels in turn.
fn look_around(
    apex: &mut Apex,
    round: &mut Round,
    signers: &Signers,
    period: Period,
    labels: &mut BTreeSet<Label>,
) {
    let from = match &round.after {
        None => {
            let own = Label::default();
            if drop_stale(apex, &own, signers, period, &mut round.seen) {
                labels.insert(own);
            }
            Bound::Unbounded
        }
        Some(after) => Bound::Excluded(after.clone()),
    };
    let next = apex.labels_from(from, LABELS_PER_STEP);
    for label in &next {
        if drop_stale(apex, label, signers, period, &mut round.seen) {
            labels.insert(label.clone());
        }
    }
    match next.last() {
        Some(last) if next.len() == LABELS_PER_STEP => round.after = Some(last.clone()),
        _ => {
            round.after = None;
            round.in_use = Some(std::mem::take(&mut round.seen));
        }
    }
}
