//! Ends a request and all its contracts.

use wire::{CloseRequest, EndReason, Reject};

use crate::{
    execution::{Execution, Sender},
    market::{Live, request},
};

/// Providers keep what they were paid up to their last heartbeats; the rest
/// of the escrow comes back.
///
/// Errors: [`Reject::RequestNotFound`], [`Reject::RequestClosed`], [`Reject::NotOwner`].
pub(crate) fn close_request(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &CloseRequest,
) -> Result<(), Reject> {
    let mut open = request::owned(execution, action.request, sender.account)?;
    for contract in open.replicas.clone().into_iter().flatten() {
        Live::find(execution, contract)?.end_alone(execution, EndReason::UserClosed);
    }
    open.replicas.fill(None);
    request::close(execution, action.request, open, EndReason::UserClosed);
    Ok(())
}
