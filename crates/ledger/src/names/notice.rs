//! Gives notice before a name is suspended for want of rent.

use wire::{
    DomainName, Event, Height,
    record::{Name, NameStatus},
    state_key,
};

use crate::execution::Execution;

/// Notices that one block gives at most; the rest follow in the next.
const NOTICES_PER_BLOCK: usize = 256;

/// Sets when notice is due, after a name's deposit, rent or status changed;
/// the caller stores the record.
///
/// A name that is paid for less than the notice's time gets it in the next block.
pub(super) fn schedule(execution: &mut Execution<'_>, record: &mut Name) {
    if let Some(former) = record.notice_due.take() {
        let key = state_key::notice_due(former, &record.name);
        execution.state.delete(key);
    }
    let parameters = &execution.rules.parameters;
    if record.status != NameStatus::Active {
        return;
    }
    let Some(until) = record.paid_until(parameters) else {
        return;
    };
    let early = Height(until.0.saturating_sub(parameters.name_notice));
    let at = early.max(execution.height.plus(1));
    record.notice_due = Some(at);
    execution
        .state
        .mark(state_key::notice_due(at, &record.name));
}

/// Gives the notices that are due.
pub(crate) fn give_notices(execution: &mut Execution<'_>) {
    for (due, text) in execution.due(state_key::NOTICES_DUE, NOTICES_PER_BLOCK) {
        let Some(name) = super::parse(&text) else {
            continue;
        };
        execution.state.delete(state_key::notice_due(due, &name));
        give(execution, &name);
    }
}

fn give(execution: &mut Execution<'_>, name: &DomainName) {
    let key = state_key::name(name);
    let Some(mut record) = execution.state.get::<Name>(&key) else {
        return;
    };
    record.notice_due = None;
    execution.state.put(key, &record);
    if let Some(paid_until) = record.paid_until(&execution.rules.parameters) {
        execution.emit(Event::NameExpiring {
            name: record.name,
            owner: record.owner.account(),
            paid_until,
        });
    }
}
