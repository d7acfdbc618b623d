//! Proposals and votes.

use wire::{
    AccountId, Event, ProposalId, Propose, Reject, Vote,
    limits::{MAX_MEMBERS, MAX_OPEN_PROPOSALS},
    record::{Proposal, ProposalStatus},
    state_key,
};

use super::{change, policy, roster};
use crate::{
    execution::{Execution, Sender},
    overlay::decode,
};

/// Proposals that one block closes or forgets at most; the rest follow in the next.
const CLOSED_PER_BLOCK: usize = 64;

/// Puts a change to the vote, with the sender's approval: where one member
/// may decide, it takes effect at once.
///
/// Errors: [`Reject::NoVote`], [`Reject::TooManyProposals`], and those of
///         the change, which must be possible now.
pub(crate) fn propose(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &Propose,
) -> Result<(), Reject> {
    require_voter(execution, sender.account)?;
    if open_proposals(execution, sender.account) >= MAX_OPEN_PROPOSALS {
        return Err(Reject::TooManyProposals);
    }
    change::check(execution, &action.change)?;
    let id = ProposalId::made_by(sender.transaction, sender.index);
    let proposal = Proposal {
        policy: execution.rules.policy(action.change.subject()),
        change: action.change.clone(),
        proposer: sender.account,
        until: execution
            .height
            .plus(execution.rules.parameters.proposal_period),
        votes: Vec::new(),
        status: ProposalStatus::Open,
    };
    execution
        .state
        .mark(state_key::proposal_due(proposal.until, id));
    execution.emit(Event::ProposalOpened { proposal: id });
    count(execution, sender.account, id, proposal, true)
}

/// Votes on a proposal; the deciding vote enacts it.
///
/// Errors: [`Reject::NoVote`], [`Reject::ProposalNotFound`],
///         [`Reject::ProposalClosed`], [`Reject::AlreadyVoted`]; those of the
///         change, if the vote decides for what is no longer possible.
pub(crate) fn vote(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &Vote,
) -> Result<(), Reject> {
    require_voter(execution, sender.account)?;
    let proposal: Proposal = execution
        .state
        .get(&state_key::proposal(action.proposal))
        .ok_or(Reject::ProposalNotFound)?;
    if proposal.status != ProposalStatus::Open || execution.height > proposal.until {
        return Err(Reject::ProposalClosed);
    }
    if proposal.votes.iter().any(|(id, _)| *id == sender.account) {
        return Err(Reject::AlreadyVoted);
    }
    count(
        execution,
        sender.account,
        action.proposal,
        proposal,
        action.approve,
    )
}

fn require_voter(execution: &Execution<'_>, account: AccountId) -> Result<(), Reject> {
    roster::find(execution, account)
        .ok()
        .filter(|member| member.terms.role.votes())
        .map(drop)
        .ok_or(Reject::NoVote)
}

fn open_proposals(execution: &Execution<'_>, proposer: AccountId) -> usize {
    let mut open = 0;
    let mut after = None;
    loop {
        let page = execution
            .state
            .scan(state_key::PROPOSALS, after.as_deref(), MAX_MEMBERS);
        let full = page.len() == MAX_MEMBERS;
        for (key, value) in &page {
            let proposal: Proposal = decode(key, value);
            let is_open = proposal.status == ProposalStatus::Open;
            open += usize::from(is_open && proposal.proposer == proposer);
        }
        if !full {
            return open;
        }
        after = page.into_iter().next_back().map(|(key, _)| key);
    }
}

fn count(
    execution: &mut Execution<'_>,
    voter: AccountId,
    id: ProposalId,
    mut proposal: Proposal,
    approve: bool,
) -> Result<(), Reject> {
    let place = proposal.votes.partition_point(|(other, _)| *other < voter);
    proposal.votes.insert(place, (voter, approve));
    let members = roster::all(execution);
    if let Some(enacted) = policy::decision(proposal.policy, &members, &proposal.votes) {
        if enacted {
            change::check(execution, &proposal.change)?;
            change::enact(execution, &proposal.change)?;
        }
        let at = execution.height;
        proposal.status = if enacted {
            ProposalStatus::Enacted { at }
        } else {
            ProposalStatus::Refused { at }
        };
        execution
            .state
            .delete(state_key::proposal_due(proposal.until, id));
        proposal.until = at.plus(execution.rules.parameters.proposal_period);
        execution
            .state
            .mark(state_key::proposal_due(proposal.until, id));
        execution.emit(Event::ProposalDecided {
            proposal: id,
            enacted,
        });
    }
    execution.state.put(state_key::proposal(id), &proposal);
    Ok(())
}

/// Forgets proposals whose time has passed; those that are still open are
/// thereby decided against.
pub(crate) fn close_proposals(execution: &mut Execution<'_>) {
    for (height, id) in execution.due_ids(state_key::PROPOSALS_DUE, CLOSED_PER_BLOCK) {
        let id = ProposalId(id);
        let proposal: Option<Proposal> = execution.state.get(&state_key::proposal(id));
        execution.state.delete(state_key::proposal_due(height, id));
        execution.state.delete(state_key::proposal(id));
        if proposal.is_some_and(|proposal| proposal.status == ProposalStatus::Open) {
            execution.emit(Event::ProposalDecided {
                proposal: id,
                enacted: false,
            });
        }
    }
}
