//! Keykeepers' shares in escrow among the members: who holds pieces, and what
//! each keykeeper in office has put there.
//!
//! That an escrow shares what its keykeeper holds is checked here; that a piece is
//! good its holder alone can see.

use threshold::{Committee, EscrowTerms};
use wire::{
    AccountId, PostEscrow, Reject, SetEscrowKey,
    limits::{MAX_KEY_ESCROW_BYTES, MAX_KEYKEEPERS},
    record::{EscrowHolder, EscrowHolders, KeyCommittee, KeyEscrow},
    state_key,
};

use super::round::keeper_key;
use crate::{
    execution::{Execution, Sender},
    members,
};

const _: () = assert!(threshold::MAX_ESCROW_BYTES <= MAX_KEY_ESCROW_BYTES);

fn holders(execution: &Execution<'_>) -> EscrowHolders {
    let record = execution.state.get(&state_key::escrow_holders());
    record.unwrap_or_default()
}

/// The members with a vote, ascending.
fn voters(execution: &Execution<'_>) -> Vec<AccountId> {
    members::all(execution)
        .into_iter()
        .filter(|(_, member)| member.terms.role.votes())
        .map(|(id, _)| id)
        .collect()
}

/// Keeps the sender's key, or forgets it.
///
/// Errors: [`Reject::NotMember`] for who has no vote;
///         [`Reject::KeyMessageRefused`] for another member's key.
/// Source: docs/spec/keys.md §12.
pub(crate) fn set_escrow_key(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &SetEscrowKey,
) -> Result<(), Reject> {
    let voters = voters(execution);
    if !voters.contains(&sender.account) {
        return Err(Reject::NotMember);
    }
    let mut record = holders(execution);
    record
        .holders
        .retain(|holder| holder.member != sender.account);
    if let Some(key) = action.key {
        if record.holders.iter().any(|holder| holder.key == key) {
            return Err(Reject::KeyMessageRefused);
        }
        let member = sender.account;
        record.holders.push(EscrowHolder { member, key });
        record.holders.sort_unstable_by_key(|holder| holder.member);
    }
    record.least = threshold::escrow_quorum(voters.len()) as u16;
    execution.state.put(state_key::escrow_holders(), &record);
    Ok(())
}

/// Follows a change of the members: who has no vote any more holds no pieces, and
/// how many restore a keykeeper hangs on how many there are.
pub(crate) fn recount_holders(execution: &mut Execution<'_>) {
    let before = holders(execution);
    if before.holders.is_empty() {
        return;
    }
    let voters = voters(execution);
    let mut after = before.clone();
    after
        .holders
        .retain(|holder| voters.contains(&holder.member));
    after.least = threshold::escrow_quorum(voters.len()) as u16;
    if after != before {
        execution.state.put(state_key::escrow_holders(), &after);
    }
}

/// Keeps a keykeeper's escrow in the place of an earlier one.
///
/// Errors: [`Reject::NoMasterKey`], [`Reject::NotKeykeeper`],
///         [`Reject::KeyRoundClosed`] for another round's share or other holders,
///         [`Reject::LimitExceeded`]; [`Reject::KeyMessageRefused`] for what does
///         not share the sender's share among the holders.
/// Source: docs/spec/keys.md §12.
pub(crate) fn post_escrow(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &PostEscrow,
) -> Result<(), Reject> {
    let committee: KeyCommittee = execution
        .state
        .get(&state_key::key_committee())
        .ok_or(Reject::NoMasterKey)?;
    let keeper = keeper_key(&sender.key).ok_or(Reject::NotKeykeeper)?;
    if !committee.keepers.contains(&sender.key) {
        return Err(Reject::NotKeykeeper);
    }
    let holders = holders(execution);
    if committee.round != action.round || !holders.suffice() || holders.digest() != action.holders {
        return Err(Reject::KeyRoundClosed);
    }
    if action.escrow.len() > MAX_KEY_ESCROW_BYTES {
        return Err(Reject::LimitExceeded);
    }
    let refused = Reject::KeyMessageRefused;
    let sharing = Committee::decode(&committee.sharing).map_err(|_| refused)?;
    let terms = EscrowTerms {
        circle: execution.rules.circle,
        keeper,
        round: action.round,
        holders: holders.keys(),
        least: usize::from(holders.least),
    };
    threshold::KeyEscrow::decode(&action.escrow)
        .ok_or(refused)?
        .check(&sharing, &terms)
        .map_err(|_| refused)?;
    let record = KeyEscrow {
        round: action.round,
        holders,
        escrow: action.escrow.clone(),
        posted_at: execution.height,
    };
    execution
        .state
        .put(state_key::key_escrow(&sender.key), &record);
    Ok(())
}

/// Forgets the escrows of a committee that is in office no more.
pub(super) fn forget(execution: &mut Execution<'_>) {
    let escrows = execution
        .state
        .scan(state_key::KEY_ESCROWS, None, MAX_KEYKEEPERS);
    for (key, _) in escrows {
        execution.state.delete(key);
    }
}
