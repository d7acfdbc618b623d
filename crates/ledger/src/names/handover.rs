//! How a name comes to another owner, whatever the reason.

use wire::{Amount, Event, PublicKey, record::Name};

use crate::{
    execution::Execution,
    names::{detach, recover, store_changed},
};

/// Hands a name, with its deposit, records and server keys, to another key.
///
/// Endpoints do not go along: they lead to the former owner's replicas, and
/// that owner's certificates. The request that the name served goes on without
/// it. What the former owner asked for it, and what members decided about that
/// owner's key, is void.
pub(super) fn hand_over(execution: &mut Execution<'_>, mut record: Name, to: PublicKey) {
    detach(execution, &record.name);
    recover::strike(execution, &record.name);
    record.owner = to;
    record.endpoints.clear();
    record.sale = None;
    store_changed(execution, record);
}

/// As [`hand_over`], for a name that was paid for: the buyer begins without
/// records, so that nothing the seller set at the last moment stands.
pub(super) fn sold(execution: &mut Execution<'_>, mut record: Name, to: PublicKey, price: Amount) {
    execution.emit(Event::NameSold {
        name: record.name.clone(),
        seller: record.owner.account(),
        buyer: to.account(),
        price,
    });
    record.records.clear();
    record.keys.clear();
    hand_over(execution, record, to);
}
