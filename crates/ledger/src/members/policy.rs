//! When is a proposal decided?
//!
//! Votes count if their member votes when they are counted: a member that
//! left decides nothing any more. (Seed 002: a majority of the members, one
//! member drawn at random, or any member of a security level.)

use wire::{AccountId, Policy, Subject, record::Member};

use super::roster;
use crate::execution::Execution;

/// The members at this height, and how they decide one kind of change that has
/// votes of its own instead of a proposal.
pub(crate) struct Electorate {
    policy: Policy,
    members: Vec<(AccountId, Member)>,
}

impl Electorate {
    pub(crate) fn of(execution: &Execution<'_>, subject: Subject) -> Self {
        Self {
            policy: execution.rules.policy(subject),
            members: roster::all(execution),
        }
    }

    /// The member of that account, if it is one: whether it votes.
    pub(crate) fn votes(&self, account: AccountId) -> Option<bool> {
        let (_, member) = self.members.iter().find(|(id, _)| *id == account)?;
        Some(member.terms.role.votes())
    }

    /// Whether these are enough, if nobody else were for it.
    pub(crate) fn decides(&self, for_it: impl Iterator<Item = AccountId>) -> bool {
        let votes: Vec<_> = for_it.map(|id| (id, true)).collect();
        decision(self.policy, &self.members, &votes) == Some(true)
    }
}

/// The decision that `votes` come to; none yet if there is none.
///
/// Shape: `members` holds every member of the circle.
pub(super) fn decision(
    policy: Policy,
    members: &[(AccountId, Member)],
    votes: &[(AccountId, bool)],
) -> Option<bool> {
    let voters = members
        .iter()
        .filter(|(_, member)| member.terms.role.votes());
    match policy {
        Policy::Majority => majority(voters.map(|(id, _)| *id), votes),
        Policy::Threshold { need } => {
            let ids: Vec<_> = voters.map(|(id, _)| *id).collect();
            by_count(&ids, usize::from(need).min(ids.len()), votes)
        }
        // Never accepted as a policy while there is nothing to draw with.
        Policy::RandomOfLevel { .. } => None,
        Policy::AnyOfLevel { level } => {
            let eligible: Vec<_> = voters
                .clone()
                .filter(|(_, member)| member.terms.level >= level)
                .map(|(id, _)| *id)
                .collect();
            if eligible.is_empty() {
                // Nobody of that level is left: the circle must not be stuck.
                majority(voters.map(|(id, _)| *id), votes)
            } else {
                by_count(&eligible, 1, votes)
            }
        }
    }
}

fn majority(voters: impl Iterator<Item = AccountId>, votes: &[(AccountId, bool)]) -> Option<bool> {
    let ids: Vec<_> = voters.collect();
    by_count(&ids, ids.len() / 2 + 1, votes)
}

/// Decided for once `need` of `voters` are, and against once so many are not
/// that `need` cannot be reached.
fn by_count(voters: &[AccountId], need: usize, votes: &[(AccountId, bool)]) -> Option<bool> {
    let count = |wanted: bool| {
        votes
            .iter()
            .filter(|(id, approve)| *approve == wanted && voters.contains(id))
            .count()
    };
    if count(true) >= need {
        Some(true)
    } else if voters.len() - count(false) < need {
        Some(false)
    } else {
        None
    }
}
