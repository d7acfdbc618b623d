//! Are many transactions signed by their senders, quickly?
//!
//! Signatures are most of a node's work. They are checked in batches, and
//! batches on all processors.

use std::{num::NonZeroUsize, thread};

use wire::{CheckError, CheckedTransaction, CircleId};

/// Transactions for which a second thread pays off: a batch of so many takes
/// about a millisecond, a thread some ten microseconds.
const MIN_PER_THREAD: usize = 32;

/// Decodes and checks each of `encoded` for `circle`.
///
/// Shape: one result for each, in order.
pub(crate) fn check(
    encoded: &[&[u8]],
    circle: CircleId,
) -> Vec<Result<CheckedTransaction, CheckError>> {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = processors.min(encoded.len() / MIN_PER_THREAD).max(1);
    let check_part =
        |part: &[&[u8]]| CheckedTransaction::check_batch(part, circle, &mut rand::rng());
    if threads == 1 {
        return check_part(encoded);
    }
    let parts = encoded.chunks(encoded.len().div_ceil(threads));
    thread::scope(|scope| {
        let running: Vec<_> = parts
            .map(|part| scope.spawn(move || check_part(part)))
            .collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().expect("checking a signature never panics"))
            .collect()
    })
}
