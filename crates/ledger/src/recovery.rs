//! What becomes of a state whose circle cannot go on, when its members found
//! the circle anew?
//!
//! More than a third of the validators is lost with their shares, so the
//! circle's key can sign no more and no vote on the ledger can be final. The
//! members vote with signatures on files, for one genesis that names the last
//! proven state. Everything in that state stays, but for who validates, under
//! which key. Nothing here knows how the new key was made.
//!
//! Source: docs/spec/recovery.md.

use std::collections::BTreeSet;

use wire::{
    AccountId, Genesis, GenesisError, Height, MemberRole, Origin, PublicKey, RefoundingVote,
    ValidatorSeat,
    limits::MAX_MEMBERS,
    record::{self, CircleRecord, Epoch, Member, Rules},
    state_key,
};

use crate::{
    members,
    overlay::decode,
    state::{Changes, StateRead},
};

/// Why a state cannot be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The genesis founds a circle of its own.
    #[error("the genesis takes no state over")]
    NoOrigin,
    /// The genesis is not sound.
    #[error("the genesis cannot found a circle")]
    Genesis(#[from] GenesisError),
    /// The state is of another circle than the genesis names.
    #[error("the state is not of the circle that the genesis names")]
    OtherCircle,
    /// Fewer members agree than must.
    #[error("{agree} members agree; {need} of {members} must")]
    Votes {
        /// Members that have voted for it.
        agree: usize,
        /// How many must.
        need: usize,
        /// Members that may vote.
        members: usize,
    },
    /// The genesis lists other founding balances than the former one.
    #[error("the genesis' accounts do not sum to what the former circle was founded with")]
    Supply,
    /// More members than a circle may have.
    #[error("the circle would have more than {MAX_MEMBERS} members")]
    Members,
}

/// The genesis' origin, if the state is that circle's.
fn origin(state: &dyn StateRead, genesis: &Genesis) -> Result<Origin, RecoveryError> {
    genesis.check()?;
    let origin = genesis.origin.ok_or(RecoveryError::NoOrigin)?;
    let rules: Rules = read(state, &state_key::rules());
    if rules.circle != origin.circle {
        return Err(RecoveryError::OtherCircle);
    }
    // What exists in all follows from the genesis, for whoever audits.
    let former: CircleRecord = read(state, &state_key::circle());
    if former.genesis.supply() != genesis.supply() {
        return Err(RecoveryError::Supply);
    }
    Ok(origin)
}

fn read<T: borsh::BorshDeserialize>(state: &dyn StateRead, key: &[u8]) -> T {
    let bytes = state.get(key).expect("a founded state has this record");
    decode(key, &bytes)
}

fn roster(state: &dyn StateRead) -> Vec<(AccountId, Member)> {
    let prefix = state_key::MEMBERS;
    let rows = state.scan(prefix, None, MAX_MEMBERS).into_iter();
    rows.filter_map(|(key, value)| {
        let id = key[prefix.len()..].try_into().ok()?;
        Some((AccountId(id), decode(&key, &value)))
    })
    .collect()
}

/// Checks that more than half of the members that vote, by this state, agree to
/// this genesis. A member counts once; votes of others do not count.
///
/// Errors: [`RecoveryError`].
pub fn decided(
    state: &dyn StateRead,
    genesis: &Genesis,
    votes: &[RefoundingVote],
) -> Result<(), RecoveryError> {
    let origin = origin(state, genesis)?;
    let circle = genesis.circle();
    let voters: BTreeSet<PublicKey> = roster(state)
        .into_iter()
        .filter(|(_, member)| member.terms.role != MemberRole::Observer)
        .map(|(_, member)| member.key)
        .collect();
    let agree: BTreeSet<PublicKey> = votes
        .iter()
        .filter(|vote| voters.contains(&vote.member) && vote.is_for(&origin, circle))
        .map(|vote| vote.member)
        .collect();
    let need = voters.len() / 2 + 1;
    if agree.len() < need {
        return Err(RecoveryError::Votes {
            agree: agree.len(),
            need,
            members: voters.len(),
        });
    }
    Ok(())
}

/// What the new circle's first block, at `height`, makes of the state.
///
/// Errors: [`RecoveryError`].
pub fn recover(
    state: &dyn StateRead,
    genesis: &Genesis,
    height: Height,
) -> Result<Changes, RecoveryError> {
    origin(state, genesis)?;
    let mut changes = Changes::new();
    let circle = CircleRecord {
        genesis: genesis.clone(),
    };
    changes.insert(state_key::circle(), Some(record::encode(&circle)));
    let mut rules: Rules = read(state, &state_key::rules());
    let former: Epoch = read(state, &state_key::epoch());
    let number = height.plus(1).0 / rules.parameters.epoch_length;
    let mut members = roster(state);
    seat(&mut members, genesis, height)?;
    let mut epoch = Epoch {
        number,
        sharing_since: number,
        // Dealings of former rounds mean nothing under the new key; numbers
        // of rounds are never used again.
        next_round: former.next_round,
        ..members::found(genesis)
    };
    // A member may validate with another key than its account's.
    for seat in &mut epoch.committee {
        let holds = |(_, member): &&(AccountId, Member)| {
            let held = member.terms.seat.as_ref();
            held.is_some_and(|held| held.key == seat.key)
        };
        if let Some((account, _)) = members.iter().find(holds) {
            seat.account = *account;
        }
    }
    rules.circle = genesis.circle();
    rules.validators = epoch.committee.iter().map(|seat| seat.account).collect();
    changes.insert(state_key::rules(), Some(record::encode(&rules)));
    changes.insert(state_key::epoch(), Some(record::encode(&epoch)));
    let dealings = state.scan(state_key::DEALINGS, None, 2 * MAX_MEMBERS);
    changes.extend(dealings.into_iter().map(|(key, _)| (key, None)));
    for (id, member) in members {
        let record = record::encode(&member);
        changes.insert(state_key::member(id), Some(record));
    }
    Ok(changes)
}

/// Gives the new validators seats, as the members that they are or as new ones,
/// and takes the others' away: they still vote, and can ask for a seat again.
fn seat(
    members: &mut Vec<(AccountId, Member)>,
    genesis: &Genesis,
    height: Height,
) -> Result<(), RecoveryError> {
    for (_, member) in members.iter_mut() {
        let key = member.terms.seat.as_ref().map(|seat| seat.key);
        let stays = genesis.validators.iter().any(|v| Some(v.key) == key);
        if !stays && member.terms.role == MemberRole::Validator {
            member.terms.role = MemberRole::Voter;
        }
        if !stays {
            member.terms.seat = None;
        }
    }
    for validator in &genesis.validators {
        let seated = |member: &Member| {
            let seat = member.terms.seat.as_ref();
            seat.is_some_and(|seat| seat.key == validator.key)
        };
        let account = validator.key.account();
        let known = members
            .iter_mut()
            .find(|(id, member)| seated(member) || *id == account);
        match known {
            Some((_, member)) => {
                member.terms.role = MemberRole::Validator;
                // Where it is reached now, configurations say, as at a founding.
                member.terms.seat = Some(ValidatorSeat {
                    key: validator.key,
                    address: String::new(),
                });
            }
            None => {
                let member = Member {
                    since: height,
                    ..members::founder(validator)
                };
                members.push((account, member));
            }
        }
    }
    if members.len() > MAX_MEMBERS {
        return Err(RecoveryError::Members);
    }
    Ok(())
}
