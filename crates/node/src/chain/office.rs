//! Who validates, by the ledger's state, in the engine's words?

use std::{ops::Bound, sync::Arc};

use engine::{Handover, Office, Origin, Validator, keys::PeerKey};
use ledger::{Changes, StateRead};
use wire::{
    PublicKey,
    limits::MAX_MEMBERS,
    record::{self, Dealing, Epoch, Member, Seat},
    state_key,
};

use super::ceremony::peer;

/// Whether a block may have changed the office.
pub(super) fn is_touched(changes: &Changes) -> bool {
    let touches = |prefix: &[u8]| {
        let mut from = changes.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        from.next().is_some_and(|(key, _)| key.starts_with(prefix))
    };
    touches(&state_key::epoch()) || touches(state_key::DEALINGS) || touches(state_key::MEMBERS)
}

/// Panics: on a damaged store only; the node must then not go on.
pub(super) fn read(state: &dyn StateRead) -> Arc<Office> {
    let epoch = epoch(state);
    let target = epoch.resharing.as_ref().map(|resharing| &resharing.target);
    let committee = seats(&epoch.committee);
    let handover = epoch.resharing.as_ref().map(|resharing| Handover {
        round: resharing.round,
        target: seats(&resharing.target),
        dealt: dealings(state, resharing.round)
            .into_iter()
            .map(|(dealer, _)| dealer)
            .collect(),
    });
    let origin = epoch
        .reshared_from
        .as_ref()
        .map(|(round, previous)| Origin {
            round: *round,
            previous: previous.clone(),
            dealings: dealings(state, *round),
        });
    let validates = |key: &PublicKey| {
        let mut all = epoch.committee.iter().chain(target.into_iter().flatten());
        all.any(|seat| seat.key == *key)
    };
    let followers = state
        .scan(state_key::MEMBERS, None, MAX_MEMBERS)
        .into_iter()
        .filter_map(|(_, bytes)| decode::<Member>(&bytes).terms.seat)
        .filter(|seat| !validates(&seat.key))
        .filter_map(|seat| validator(&seat.key, seat.address))
        .collect();
    Arc::new(Office {
        epoch: epoch.number,
        committee,
        sharing: epoch.sharing,
        origin,
        handover,
        followers,
    })
}

/// The epoch of the next block.
///
/// Panics: on a damaged store only.
pub(crate) fn epoch(state: &dyn StateRead) -> Epoch {
    let bytes = state.get(&state_key::epoch());
    decode(&bytes.expect("a founded state holds an epoch"))
}

fn seats(seats: &[Seat]) -> Vec<Validator> {
    let seats = seats.iter();
    seats
        .filter_map(|seat| validator(&seat.key, seat.address.clone()))
        .collect()
}

fn validator(key: &PublicKey, address: String) -> Option<Validator> {
    let key = peer(key)?;
    Some(Validator { key, address })
}

/// The dealings of a round, ascending by dealer.
fn dealings(state: &dyn StateRead, round: u64) -> Vec<(PeerKey, Vec<u8>)> {
    let mut prefix = state_key::DEALINGS.to_vec();
    prefix.extend_from_slice(&round.to_be_bytes());
    state
        .scan(&prefix, None, MAX_MEMBERS)
        .into_iter()
        .filter_map(|(key, bytes)| {
            let dealer = key[prefix.len()..].try_into().ok()?;
            Some((dealer, decode::<Dealing>(&bytes).dealing))
        })
        .collect()
}

fn decode<T: borsh::BorshDeserialize>(bytes: &[u8]) -> T {
    record::decode(bytes).expect("the store holds what this build wrote")
}
