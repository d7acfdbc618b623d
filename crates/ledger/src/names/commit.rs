//! Commits to a name that only the committer knows, and forgets commitments
//! that can no longer be revealed.

use wire::{Digest, Height, NameCommit, Reject, record::Commitment, state_key};

use crate::execution::{Execution, Sender};

/// Commitments that one block forgets at most; the rest follow in the next.
const FORGOTTEN_PER_BLOCK: usize = 256;

/// The last height at which a commitment can be revealed.
pub(super) fn last_reveal(execution: &Execution<'_>, commitment: &Commitment) -> Height {
    commitment
        .committed_at
        .plus(execution.rules.parameters.reveal_within)
}

/// The first commitment counts. A copy by another sender gains nothing, since
/// the digest binds the owner, and takes nothing, since a reveal looks at the
/// digest and not at who recorded it.
///
/// Errors: [`Reject::CommitmentExists`], unless the former one is void.
pub(crate) fn commit(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameCommit,
) -> Result<(), Reject> {
    let key = state_key::commitment(action.commitment);
    if let Some(former) = execution.state.get::<Commitment>(&key) {
        let last = last_reveal(execution, &former);
        if execution.height <= last {
            return Err(Reject::CommitmentExists);
        }
        execution
            .state
            .delete(state_key::commitment_due(last, action.commitment));
    }
    let commitment = Commitment {
        owner: sender.account,
        committed_at: execution.height,
    };
    let last = last_reveal(execution, &commitment);
    execution
        .state
        .mark(state_key::commitment_due(last, action.commitment));
    execution.state.put(key, &commitment);
    Ok(())
}

/// Deletes commitments whose last block for a reveal was this one or earlier.
pub(crate) fn forget_commitments(execution: &mut Execution<'_>) {
    let due = execution.due_ids(state_key::COMMITMENTS_DUE, FORGOTTEN_PER_BLOCK);
    for (height, id) in due {
        let commitment = Digest(id);
        execution
            .state
            .delete(state_key::commitment_due(height, commitment));
        execution.state.delete(state_key::commitment(commitment));
    }
}
