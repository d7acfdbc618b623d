//! Shares the pool of fees and rent among the validators.

use wire::{Amount, Event, record::Pool, state_key};

use crate::{accounts::credit, execution::Execution};

/// Every rent period, pays each validator the same; what does not divide
/// stays in the pool.
pub(crate) fn pay_pool(execution: &mut Execution<'_>) {
    if !execution
        .height
        .0
        .is_multiple_of(execution.rules.parameters.rent_period)
    {
        return;
    }
    let key = state_key::pool();
    let mut pool: Pool = execution.state.get(&key).unwrap_or_default();
    let validators = execution.rules.validators.clone();
    let Some(each) = pool.balance.0.checked_div(validators.len() as u64) else {
        return;
    };
    if each == 0 {
        return;
    }
    pool.balance.0 -= each * validators.len() as u64;
    execution.state.put(key, &pool);
    for validator in validators {
        credit(execution, validator, Amount(each));
    }
    execution.emit(Event::PoolPaid { each: Amount(each) });
}
