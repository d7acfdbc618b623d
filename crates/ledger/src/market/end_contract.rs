//! A provider ends a contract of its own.

use wire::{EndContract, EndReason, Reject, record::ContractStatus};

use crate::{
    execution::{Execution, Sender},
    market::Live,
};

/// Errors: [`Reject::ContractNotFound`], [`Reject::ContractEnded`],
///         [`Reject::NotParty`], [`Reject::ReasonNotAllowed`] for a reason
///         that is not a provider's, or that the contract is past: once the
///         payload ran, it was launched and its payload was fetched.
pub(crate) fn end_contract(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &EndContract,
) -> Result<(), Reject> {
    let live = Live::find(execution, action.contract)?;
    if live.contract.provider != sender.account {
        return Err(Reject::NotParty);
    }
    let starting = live.contract.status == ContractStatus::Starting;
    let past = matches!(
        action.reason,
        EndReason::PayloadUnavailable | EndReason::PayloadCorrupt | EndReason::LaunchFailed
    ) && !starting;
    if !action.reason.is_providers() || past {
        return Err(Reject::ReasonNotAllowed);
    }
    live.end(execution, action.reason);
    Ok(())
}
