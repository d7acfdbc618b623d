//! What reaches a simulated machine's disks when its power goes?
//!
//! Every write, change of length and sync of a validator is a *step*, those of
//! its chain's store among them, and a plan can take its power away at any
//! step. Then nothing more reaches the disks, and of what was not synced any
//! part may: whole writes, the beginnings of writes, or nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use commonware_runtime::{Blob as _, WriteOptions, deterministic};
use commonware_utils::{channel::mpsc, sync::Mutex};

/// A validator's power supply, over all its lives. Clones are the same one.
#[derive(Clone)]
pub struct Power(Arc<Mutex<Supply>>);

struct Supply {
    validator: usize,
    /// Steps so far, over all lives.
    steps: u64,
    /// Steps at which the power goes, ascending, and how long for.
    failures: Vec<(u64, u64)>,
    is_on: bool,
    draws: u64,
    unsynced: BTreeMap<u64, Unsynced>,
    /// Hears of a validator that lost its power, and how long for.
    lost: mpsc::UnboundedSender<(usize, u64)>,
}

/// Writes to one blob since its last sync, in order.
struct Unsynced {
    blob: Weak<deterministic::Blob>,
    writes: Vec<(u64, Vec<u8>)>,
}

impl Power {
    pub(super) fn new(
        validator: usize,
        seed: u64,
        mut failures: Vec<(u64, u64)>,
        lost: mpsc::UnboundedSender<(usize, u64)>,
    ) -> Self {
        failures.sort_unstable();
        failures.reverse();
        Self(Arc::new(Mutex::new(Supply {
            validator,
            steps: 0,
            failures,
            is_on: false,
            draws: (seed ^ ((validator as u64) << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            unsynced: BTreeMap::new(),
            lost,
        })))
    }

    /// Counts a step; whether it still reaches the disk.
    pub fn step(&self) -> bool {
        let mut supply = self.0.lock();
        if !supply.is_on {
            return false;
        }
        supply.steps += 1;
        match supply.failures.last() {
            Some(&(at, down_ms)) if supply.steps >= at => {
                supply.failures.pop();
                supply.is_on = false;
                let _ = supply.lost.send((supply.validator, down_ms));
                false
            }
            _ => true,
        }
    }

    /// Whether the machine runs.
    pub fn is_on(&self) -> bool {
        self.0.lock().is_on
    }

    /// Steps so far.
    pub(super) fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    pub(super) fn switch_on(&self) {
        let mut supply = self.0.lock();
        supply.is_on = true;
        supply.unsynced.clear();
    }

    /// No failure that is still to come does.
    pub(super) fn secure(&self) {
        self.0.lock().failures.clear();
    }

    pub(super) fn wrote(
        &self,
        file: u64,
        blob: &Arc<deterministic::Blob>,
        offset: u64,
        bytes: &[u8],
    ) {
        let mut supply = self.0.lock();
        let unsynced = supply.unsynced.entry(file).or_insert_with(|| Unsynced {
            blob: Arc::downgrade(blob),
            writes: Vec::new(),
        });
        unsynced.writes.push((offset, bytes.to_vec()));
    }

    /// What lay behind `length` is gone, synced or not.
    pub(super) fn resized(&self, file: u64, length: u64) {
        if let Some(unsynced) = self.0.lock().unsynced.get_mut(&file) {
            let fits = |(offset, bytes): &(u64, Vec<u8>)| offset + bytes.len() as u64 <= length;
            unsynced.writes.retain(fits);
        }
    }

    pub(super) fn synced(&self, file: u64) {
        self.0.lock().unsynced.remove(&file);
    }

    /// Takes the power away and leaves on the disk what chance leaves of the
    /// writes that were not synced.
    pub(super) async fn cut(&self) {
        let torn = {
            let mut supply = self.0.lock();
            supply.is_on = false;
            let unsynced = std::mem::take(&mut supply.unsynced);
            let mut torn = Vec::new();
            for Unsynced { blob, writes } in unsynced.into_values() {
                let Some(blob) = blob.upgrade() else { continue };
                for (offset, mut bytes) in writes {
                    match supply.draw(4) {
                        0 | 1 => continue,
                        2 => {
                            let length = supply.draw(bytes.len() as u64 + 1);
                            bytes.truncate(length as usize);
                        }
                        _ => {}
                    }
                    torn.push((blob.clone(), offset, bytes));
                }
            }
            torn
        };
        for (blob, offset, bytes) in torn {
            // A blob that was removed since keeps nothing.
            let _ = blob.write_at(offset, bytes, WriteOptions::SYNC).await;
        }
    }
}

impl Supply {
    fn draw(&mut self, below: u64) -> u64 {
        self.draws ^= self.draws << 13;
        self.draws ^= self.draws >> 7;
        self.draws ^= self.draws << 17;
        self.draws % below
    }
}
