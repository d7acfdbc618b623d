//! Draws rent from deposits, suspends names that cannot pay, and releases
//! them after their time of grace.

use wire::{
    Event,
    record::{Name, NameStatus, ReleaseReason},
    state_key,
};

use crate::{
    accounts::credit_pool,
    execution::Execution,
    names::{cancel::release, notice, parse, store_changed},
};

/// Names that one block draws rent from at most; the rest follow in the next,
/// and lose nothing, since rent is due from the height at which it was due.
const RENT_DRAWN_PER_BLOCK: usize = 256;

/// Handles every name whose `rent_due` is this height or earlier.
pub(crate) fn draw_rent(execution: &mut Execution<'_>) {
    for (due, text) in execution.due(state_key::RENT_DUE, RENT_DRAWN_PER_BLOCK) {
        let Some(name) = parse(&text) else { continue };
        execution.state.delete(state_key::rent_due(due, &name));
        if let Some(record) = execution.state.get::<Name>(&state_key::name(&name)) {
            fall_due(execution, record);
        }
    }
}

fn fall_due(execution: &mut Execution<'_>, mut record: Name) {
    let parameters = &execution.rules.parameters;
    let rent = parameters.rent_per_period;
    let (period, grace) = (parameters.rent_period, parameters.name_grace);
    match (record.status, record.deposit.checked_sub(rent)) {
        (NameStatus::Suspended { .. }, _) => {
            release(execution, &record, ReleaseReason::Lapsed);
        }
        (NameStatus::Active, Some(rest)) => {
            credit_pool(execution, rent);
            record.deposit = rest;
            record.rent_due = record.rent_due.plus(period);
            execution
                .state
                .mark(state_key::rent_due(record.rent_due, &record.name));
            execution.state.put(state_key::name(&record.name), &record);
        }
        (NameStatus::Active, None) => {
            let since = execution.height;
            record.status = NameStatus::Suspended { since };
            record.rent_due = since.plus(grace);
            execution
                .state
                .mark(state_key::rent_due(record.rent_due, &record.name));
            notice::schedule(execution, &mut record);
            execution.emit(Event::NameSuspended {
                name: record.name.clone(),
                owner: record.owner.account(),
                released_at: record.rent_due,
            });
            store_changed(execution, record);
        }
    }
}
