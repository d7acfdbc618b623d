//! A request's search for offers: when it begins, how long it goes on, and
//! its two entries in the state.

use wire::{
    Height, RequestId,
    record::{Request, Search},
    state_key,
};

use crate::execution::Execution;

/// How long a search that begins now goes on: as long as the user first
/// allowed, so that a replica that fails late is replaced as well.
pub(super) fn until(execution: &Execution<'_>, request: &Request) -> Height {
    let wait = request.terms.match_until.since(request.posted_at);
    execution.height.plus(wait).max(request.terms.match_until)
}

/// The search of `id`, if it goes on.
pub(super) fn find(execution: &Execution<'_>, id: RequestId) -> Option<Search> {
    execution.state.get(&state_key::unmatched(id))
}

/// Begins a search, or begins it anew with a later end.
pub(super) fn begin(execution: &mut Execution<'_>, id: RequestId, until: Height) {
    let until = find(execution, id).map_or(until, |former| former.until.max(until));
    stop(execution, id);
    let search = Search {
        until,
        began_at: None,
        resume: None,
        fruitless_at: None,
    };
    store(execution, id, &search);
    execution.state.mark(state_key::search_due(until, id));
}

/// Begins a search that goes on anew, if there is one: its request changed in
/// a way that lets other offers fit.
pub(super) fn renew(execution: &mut Execution<'_>, id: RequestId) {
    if let Some(search) = find(execution, id) {
        begin(execution, id, search.until);
    }
}

/// Stores how far a search has come.
pub(super) fn store(execution: &mut Execution<'_>, id: RequestId, search: &Search) {
    execution.state.put(state_key::unmatched(id), search);
}

/// Ends a search, if there is one.
pub(super) fn stop(execution: &mut Execution<'_>, id: RequestId) {
    if let Some(search) = find(execution, id) {
        execution.state.delete(state_key::unmatched(id));
        execution
            .state
            .delete(state_key::search_due(search.until, id));
    }
}
