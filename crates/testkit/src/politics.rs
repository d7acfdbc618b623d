//! Members that change who validates, as the plan of a run has it.
//!
//! They live beside their validators: whenever a block is final they see what
//! is proposed and vote for it, by transactions that only their own node holds
//! until it leads. What they do follows from the state alone, so that it
//! survives crashes.

use node::{
    mempool::{Admission as _, encode_message},
    sample::{Circle, Parts},
};
use wire::{
    record::{self, Account, Epoch, Proposal, ProposalStatus},
    *,
};

/// A change, and the height from which members want it.
pub struct Wish {
    /// From which height on it is wanted.
    pub from: Height,
    /// What is wanted.
    pub change: Change,
}

/// The key of a node: its validator's, and its member's.
pub fn key(node: usize) -> SigningKey {
    SigningKey::ed25519(engine::simulation::identity_seed(node))
}

fn seat(node: usize) -> ValidatorSeat {
    ValidatorSeat {
        key: key(node).public(),
        address: format!("127.0.0.1:{}", 4000 + node),
    }
}

/// A node asks to become a validator.
pub fn join(circle: CircleId, node: usize) -> Change {
    let terms = MemberTerms {
        name: format!("joiner-{node}"),
        role: MemberRole::Validator,
        level: 0,
        facts: Vec::new(),
        seat: Some(seat(node)),
        evidence: None,
    };
    let own = key(node);
    let request = JoinRequest::sign(circle, &own, Some(&own), terms);
    Change::AddMember(Box::new(request))
}

/// A member hands its seat to another node.
pub fn replace(circle: CircleId, member: usize, node: usize) -> Change {
    let member = key(member).public().account();
    let message = SeatReplacement::message(circle, member, &seat(node));
    Change::ReplaceSeat(SeatReplacement {
        member,
        seat: seat(node),
        signature: key(node).sign(SeatReplacement::PURPOSE, &message),
    })
}

/// What a node's member does after a block.
pub fn act(circle: &Circle, parts: &Parts, node: usize, wishes: &[Wish]) {
    let state = parts.tip.snapshot();
    let own = key(node);
    let account = own.public().account();
    let read = |key: Vec<u8>| state.entry(&key).unwrap();
    let is_member = read(state_key::member(account)).is_some();
    let Some(known) = read(state_key::account(account)).filter(|_| is_member) else {
        return;
    };
    let known: Account = record::decode(&known).unwrap();
    let proposals: Vec<(ProposalId, Proposal)> =
        ledger::StateRead::scan(&*state, state_key::PROPOSALS, None, 100)
            .into_iter()
            .map(|(key, value)| {
                let id = key[state_key::PROPOSALS.len()..].try_into().unwrap();
                (ProposalId(id), record::decode(&value).unwrap())
            })
            .collect();
    let wished = |wish: &&Wish| state.height() >= wish.from;
    for wish in wishes.iter().filter(wished) {
        let proposed = proposals
            .iter()
            .find(|(_, known)| known.change == wish.change);
        let action = match proposed {
            // The first founder proposes; the others would only repeat it.
            None if node == 0 => Action::Propose(Propose {
                change: wish.change.clone(),
            }),
            Some((id, open))
                if open.status == ProposalStatus::Open
                    && !open.votes.iter().any(|(voter, _)| *voter == account) =>
            {
                Action::Vote(Vote {
                    proposal: *id,
                    approve: true,
                })
            }
            _ => continue,
        };
        let signed = Transaction {
            version: Transaction::VERSION,
            circle: circle.genesis.circle(),
            sender: own.public(),
            sequence: known.sequence,
            expires_at: Height(u64::MAX),
            fee_limit: Amount(100_000),
            actions: vec![action],
        }
        .sign(&own);
        parts.gate.gossip(encode_message(&[signed.encode()]));
        return;
    }
}

/// The epoch of the next block, by a store's state.
pub fn epoch(snapshot: &node::store::Snapshot) -> Epoch {
    let bytes = snapshot.entry(&state_key::epoch()).unwrap().unwrap();
    record::decode(&bytes).unwrap()
}
