//! A zone signer sets everything about a zone that no name's owner says.

use wire::{
    Event, KEY_SIGNING_FLAGS, Reject, SetZone, ZONE_SIGNING_FLAGS, ZoneKey, ZoneServer,
    limits::{MAX_LIST, MAX_ZONE_KEYS, MAX_ZONE_SERVERS, MAX_ZONE_TTL},
    record, state_key,
};

use crate::{
    execution::{Execution, Sender},
    names::is_name_server,
};

/// Errors: [`Reject::NotZoneSigner`], [`Reject::LimitExceeded`],
///         [`Reject::ZoneMalformed`].
pub(crate) fn set(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &SetZone,
) -> Result<(), Reject> {
    if !execution.rules.zone_signers.contains(&sender.account) {
        return Err(Reject::NotZoneSigner);
    }
    if action.keys.len() > MAX_ZONE_KEYS || action.servers.len() > MAX_ZONE_SERVERS {
        return Err(Reject::LimitExceeded);
    }
    let times = [action.apex_ttl, action.negative_ttl, action.endpoint_ttl];
    if !execution.rules.apexes.contains(&action.apex)
        || times.iter().any(|seconds| *seconds > MAX_ZONE_TTL)
        || !keys_hold(&action.keys)
        || !servers_hold(&action.servers)
    {
        return Err(Reject::ZoneMalformed);
    }
    let zone = record::Zone {
        zone: action.clone(),
        signer: sender.account,
        changed_at: execution.height,
    };
    execution.state.put(state_key::zone(&action.apex), &zone);
    execution.emit(Event::ZoneChanged {
        apex: action.apex.clone(),
    });
    Ok(())
}

/// A zone without keys is unsigned; one with keys can be signed with them:
/// both kinds are published. No key is listed twice, and the parent is asked
/// to vouch for key-signing keys alone.
fn keys_hold(keys: &[ZoneKey]) -> bool {
    let each = keys.iter().enumerate().all(|(index, key)| {
        let kind = match key.flags {
            KEY_SIGNING_FLAGS => true,
            ZONE_SIGNING_FLAGS => !key.announced,
            _ => false,
        };
        let once = keys[..index]
            .iter()
            .all(|other| other.public_key != key.public_key);
        kind && once && (key.published || key.announced)
    });
    let published = |flags| keys.iter().any(|key| key.published && key.flags == flags);
    each && (keys.is_empty() || published(KEY_SIGNING_FLAGS) && published(ZONE_SIGNING_FLAGS))
}

fn servers_hold(servers: &[ZoneServer]) -> bool {
    let ascending = servers.windows(2).all(|pair| pair[0].label < pair[1].label);
    ascending
        && !servers.is_empty()
        && servers.iter().all(|server| {
            // Labels that nobody can register, so that no owner's records
            // stand where a server's addresses do.
            is_name_server(server.label.as_str())
                && (1..=MAX_LIST).contains(&server.addresses.len())
        })
}
