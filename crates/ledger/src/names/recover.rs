//! Recovers a name whose owner lost its key: the members vote, a public delay
//! passes in which the owner can veto, and the name has a new key.
//!
//! Members are those of the circle whose role votes, validators or not, and
//! they decide by the circle's policy for [`Subject::Names`]. Only votes of
//! present members count, when the votes are cast and again when the decision
//! takes effect. (Seed 002: changes are decided by the members.)

use wire::{
    DomainName, Event, NameRecover, NameVeto, PublicKey, Reject, Subject,
    record::{Name, Recovery, RecoveryVote},
    state_key,
};

use crate::{
    execution::{Execution, Sender},
    members::Electorate,
    names::{find, handover::hand_over, owned},
};

/// Recoveries that one block settles at most; the rest follow in the next.
const SETTLED_PER_BLOCK: usize = 64;

/// Casts or moves the sender's vote. Once the members decided for one key, the
/// delay begins; once they no longer do, it ends.
///
/// Errors: [`Reject::NotMember`], [`Reject::NoVote`] for a member whose role
///         has none, [`Reject::NameNotFound`], [`Reject::ConsentInvalid`] for
///         the key that owns the name.
pub(crate) fn recover(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameRecover,
) -> Result<(), Reject> {
    let electorate = Electorate::of(execution, Subject::Names);
    match electorate.votes(sender.account) {
        Some(true) => (),
        Some(false) => return Err(Reject::NoVote),
        None => return Err(Reject::NotMember),
    }
    let record = find(execution, &action.name)?;
    if action.to == record.owner {
        return Err(Reject::ConsentInvalid);
    }
    let due = execution
        .height
        .plus(execution.rules.parameters.recovery_delay);
    let former = pending(execution, &action.name);
    if let Some(former) = &former {
        let key = state_key::recovery_due(former.due, &action.name);
        execution.state.delete(key);
    }
    let mut recovery = former.unwrap_or_else(|| Recovery {
        opened_at: execution.height,
        votes: Vec::new(),
        decided: None,
        due,
    });
    // Who is no member any more has no vote to keep.
    recovery
        .votes
        .retain(|vote| electorate.votes(vote.member) == Some(true));
    let vote = RecoveryVote {
        member: sender.account,
        to: action.to,
    };
    match recovery
        .votes
        .binary_search_by_key(&sender.account, |vote| vote.member)
    {
        Ok(at) => recovery.votes[at] = vote,
        Err(at) => recovery.votes.insert(at, vote),
    }
    let decided = decision(&electorate, &recovery);
    if decided != recovery.decided {
        recovery.decided = decided;
        recovery.due = due;
    }
    execution
        .state
        .mark(state_key::recovery_due(recovery.due, &action.name));
    execution
        .state
        .put(state_key::recovery(&action.name), &recovery);
    execution.emit(Event::RecoveryVoted {
        name: action.name.clone(),
        owner: record.owner.account(),
        member: sender.account,
        due: recovery.due,
        decided: recovery.decided.is_some(),
    });
    Ok(())
}

/// Ends a recovery at once, decided or not.
///
/// Errors: [`Reject::NameNotFound`], [`Reject::NotOwner`],
///         [`Reject::RecoveryNotFound`].
pub(crate) fn veto(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &NameVeto,
) -> Result<(), Reject> {
    owned(execution, &action.name, sender.key)?;
    if !strike(execution, &action.name) {
        return Err(Reject::RecoveryNotFound);
    }
    execution.emit(Event::RecoveryEnded {
        name: action.name.clone(),
        vetoed: true,
    });
    Ok(())
}

/// Carries out decisions whose delay is over, and forgets votes that decided
/// nothing in time.
pub(crate) fn settle_recoveries(execution: &mut Execution<'_>) {
    for (due, text) in execution.due(state_key::RECOVERIES_DUE, SETTLED_PER_BLOCK) {
        let Some(name) = super::parse(&text) else {
            continue;
        };
        execution.state.delete(state_key::recovery_due(due, &name));
        settle(execution, &name);
    }
}

fn settle(execution: &mut Execution<'_>, name: &DomainName) {
    let Some(recovery) = pending(execution, name) else {
        return;
    };
    strike(execution, name);
    let electorate = Electorate::of(execution, Subject::Names);
    let decided = recovery
        .decided
        .filter(|_| decision(&electorate, &recovery) == recovery.decided);
    let record: Option<Name> = execution.state.get(&state_key::name(name));
    match (decided, record) {
        (Some(to), Some(record)) => {
            execution.emit(Event::NameRecovered {
                name: name.clone(),
                from: record.owner.account(),
                to: to.account(),
            });
            hand_over(execution, record, to);
        }
        _ => execution.emit(Event::RecoveryEnded {
            name: name.clone(),
            vetoed: false,
        }),
    }
}

/// The key that the members decided for. Where a policy lets few of them decide,
/// two keys can have enough votes: then there is no decision.
fn decision(electorate: &Electorate, recovery: &Recovery) -> Option<PublicKey> {
    let votes = &recovery.votes;
    let enough = |to: PublicKey| {
        let wanting = votes.iter().filter(|vote| vote.to == to);
        electorate.decides(wanting.map(|vote| vote.member))
    };
    let mut wanted: Vec<PublicKey> = votes.iter().map(|vote| vote.to).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted.retain(|to| enough(*to));
    match wanted.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

fn pending(execution: &Execution<'_>, name: &DomainName) -> Option<Recovery> {
    execution.state.get(&state_key::recovery(name))
}

/// Deletes what is pending, if anything is; says whether it was.
pub(super) fn strike(execution: &mut Execution<'_>, name: &DomainName) -> bool {
    let Some(recovery) = pending(execution, name) else {
        return false;
    };
    execution.state.delete(state_key::recovery(name));
    execution
        .state
        .delete(state_key::recovery_due(recovery.due, name));
    true
}
