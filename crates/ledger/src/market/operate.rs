//! Opens a request's next operation on its replicas: `stop` or `start`
//! (seed 000 [0039]).

use wire::{
    Event, Operate, Operation, Reject,
    record::{ContractStatus, RequestStatus, Stage},
};

use crate::{
    execution::{Execution, Sender},
    market::{Live, forget, request, search},
};

/// `stop` opens an operation on every running replica and ends the search for
/// others; `start` does so on every stopped one and searches for the vacant.
///
/// Errors: [`Reject::RequestNotFound`], [`Reject::RequestClosed`],
///         [`Reject::NotOwner`], [`Reject::OperationInProgress`],
///         [`Reject::NothingToDo`].
pub(crate) fn operate(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &Operate,
) -> Result<(), Reject> {
    let id = action.request;
    let mut open = request::owned(execution, id, sender.account)?;
    let (from, to) = match action.operation {
        Operation::Start => (ContractStatus::Stopped, RequestStatus::Started),
        Operation::Stop => (ContractStatus::Running, RequestStatus::Stopped),
    };
    let mut concerned = Vec::new();
    for contract in open.replicas.iter().flatten() {
        let live = Live::find(execution, *contract)?;
        if live.contract.stage != Stage::Done {
            return Err(Reject::OperationInProgress);
        }
        if live.contract.status == from {
            concerned.push(live);
        }
    }
    let searching = search::find(execution, id).is_some();
    let vacant = (0..open.replicas.len()).any(|replica| request::is_vacant(&open, replica));
    let search_changes = match action.operation {
        Operation::Start => vacant && !searching,
        Operation::Stop => searching,
    };
    if concerned.is_empty() && !search_changes && open.status == to {
        return Err(Reject::NothingToDo);
    }
    open.status = to;
    match action.operation {
        Operation::Start if vacant => {
            let until = search::until(execution, &open);
            search::begin(execution, id, until);
        }
        Operation::Start => {}
        Operation::Stop => search::stop(execution, id),
    }
    for mut live in concerned {
        live.contract.operation += 1;
        live.contract.operation_kind = action.operation;
        forget::operation(execution, live.id, live.contract.operation - 2);
        live.await_step(execution, Stage::AwaitingChallenge);
        execution.emit(Event::OperationOpened {
            contract: live.id,
            operation: live.contract.operation,
            kind: action.operation,
        });
        live.store(execution);
    }
    request::store(execution, id, &open);
    Ok(())
}
