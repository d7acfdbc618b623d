//! Forgets certificates that expired and orders whose time is over. The chain
//! of blocks keeps both.

use wire::{
    CertificateSerial, Digest,
    record::{AcmeAccount, AcmeOrder},
    state_key,
};

use crate::execution::Execution;

/// Entries of each kind that one block forgets at most; the rest follow.
const FORGOTTEN_PER_BLOCK: usize = 256;

/// Handles what fell due at this block's time or earlier.
pub(crate) fn forget(execution: &mut Execution<'_>) {
    for (key, rest) in due(execution, state_key::CERTIFICATES_DUE) {
        execution.state.delete(key);
        let Some((serial, text)) = rest.split_first_chunk::<16>() else {
            continue;
        };
        let name = std::str::from_utf8(text).ok().map(str::parse);
        let Some(Ok(domain)) = name else { continue };
        let serial = CertificateSerial(*serial);
        execution
            .state
            .delete(state_key::logged_certificate(&domain, serial));
        let count_key = state_key::certificate_count(&domain);
        match execution.state.get::<u32>(&count_key) {
            Some(count) if count > 1 => execution.state.put(count_key, &(count - 1)),
            _ => execution.state.delete(count_key),
        }
    }
    for (key, rest) in due(execution, state_key::ORDERS_DUE) {
        execution.state.delete(key);
        let Ok(id) = rest.try_into().map(Digest) else {
            continue;
        };
        forget_order(execution, id);
    }
}

fn forget_order(execution: &mut Execution<'_>, id: Digest) {
    let key = state_key::acme_order(id);
    let Some(order) = execution.state.get::<AcmeOrder>(&key) else {
        return;
    };
    execution.state.delete(key);
    execution.state.delete(state_key::grant(&id.0));
    let key = state_key::acme_account(order.account);
    if let Some(mut account) = execution.state.get::<AcmeAccount>(&key) {
        account.orders = account.orders.saturating_sub(1);
        execution.state.put(key, &account);
    }
}

/// Entries of an index by time that have fallen due: the key, and what follows
/// the time in it.
fn due(execution: &Execution<'_>, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    // One entry shows whether there is anything to do at all: most blocks have
    // nothing.
    let mut found = Vec::new();
    let mut limit = 1;
    loop {
        let entries = execution.state.scan(prefix, None, limit);
        found.clear();
        let full = entries.len() == limit;
        for (key, _) in entries {
            let Some((time, rest)) = key[prefix.len()..].split_first_chunk::<8>() else {
                continue;
            };
            if u64::from_be_bytes(*time) > execution.time_ms {
                return found;
            }
            let rest = rest.to_vec();
            found.push((key, rest));
        }
        if !full || limit == FORGOTTEN_PER_BLOCK {
            return found;
        }
        limit = FORGOTTEN_PER_BLOCK;
    }
}
