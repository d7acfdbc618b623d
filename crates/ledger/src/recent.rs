//! The digests of recent headers, kept in the state so that a heartbeat can be
//! checked, and the check proven, from the state alone.

use wire::{Digest, Height, record::RecentHeader, state_key};

use crate::execution::Execution;

/// How many headers the state remembers: at the least time between blocks,
/// 40 ms, ten seconds, in which a heartbeat reaches a block from anywhere.
pub const RECENT_HEADERS_KEPT: u64 = 256;

/// Records the parent's header and forgets the oldest.
pub(crate) fn remember(execution: &mut Execution<'_>, parent: Digest) {
    let Some(height) = execution.height.0.checked_sub(1) else {
        return;
    };
    let record = RecentHeader { digest: parent };
    let key = state_key::recent_header(Height(height));
    execution.state.put(key, &record);
    if let Some(oldest) = height.checked_sub(RECENT_HEADERS_KEPT) {
        let key = state_key::recent_header(Height(oldest));
        execution.state.delete(key);
    }
}

/// The digest of the header at `height`, if it is remembered.
pub(crate) fn digest(execution: &Execution<'_>, height: Height) -> Option<Digest> {
    let record: RecentHeader = execution.state.get(&state_key::recent_header(height))?;
    Some(record.digest)
}
