//! The state at height 0: what a genesis turns into.

use wire::{
    Genesis, GenesisError,
    record::{self, Account, CircleRecord, Market, Pool, Rules},
    state_key,
};

use crate::{execution::VERSION, keys, members, state::Changes};

/// The entries that `genesis` founds a circle with.
///
/// Errors: [`GenesisError`], if no circle can be founded on it.
/// Source: docs/spec/genesis.md §3.
pub fn genesis(genesis: &Genesis) -> Result<Changes, GenesisError> {
    genesis.check()?;
    let rules = Rules::founding(genesis, VERSION);
    let circle = CircleRecord {
        genesis: genesis.clone(),
    };
    let mut changes = Changes::new();
    changes.insert(state_key::circle(), Some(record::encode(&circle)));
    changes.insert(state_key::rules(), Some(record::encode(&rules)));
    changes.insert(state_key::pool(), Some(record::encode(&Pool::default())));
    changes.insert(
        state_key::market(),
        Some(record::encode(&Market::default())),
    );
    changes.insert(
        state_key::epoch(),
        Some(record::encode(&members::found(genesis))),
    );
    if !genesis.keykeepers.is_empty() {
        let round = keys::founding_round(genesis).ok_or(GenesisError::Keykeepers)?;
        changes.insert(state_key::key_round(), Some(record::encode(&round)));
    }
    for validator in &genesis.validators {
        let member = members::founder(validator);
        changes.insert(
            state_key::member(validator.key.account()),
            Some(record::encode(&member)),
        );
    }
    for (id, balance) in &genesis.accounts {
        let account = Account {
            balance: *balance,
            sequence: 0,
        };
        changes.insert(state_key::account(*id), Some(record::encode(&account)));
    }
    Ok(changes)
}
