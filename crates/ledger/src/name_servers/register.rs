//! A name server of the circle says where it answers and under which key.

use std::net::IpAddr;

use wire::{
    Event, NAME_SERVER_LABEL, NameServerTerms, RegisterNameServer, Reject,
    limits::{MAX_CERTIFICATE_BYTES, MAX_NAME_SERVER_ADDRESSES},
    record::NameServer,
    state_key,
};

use crate::execution::{Execution, Sender};

/// A certificate stays while the name and the key it is for do.
///
/// Errors: [`Reject::NotNameServer`], [`Reject::NameServerMalformed`].
/// Source: docs/spec/transactions.md §8.
pub(crate) fn register(
    execution: &mut Execution<'_>,
    sender: &Sender,
    action: &RegisterNameServer,
) -> Result<(), Reject> {
    if !execution.rules.name_servers.contains(&sender.account) {
        return Err(Reject::NotNameServer);
    }
    let terms = &action.terms;
    let is_beneath_apex = execution
        .rules
        .apexes
        .iter()
        .any(|apex| terms.name.prefix_under(apex) == Some(NAME_SERVER_LABEL));
    if !is_beneath_apex || !is_well_formed(terms) {
        return Err(Reject::NameServerMalformed);
    }
    let key = state_key::name_server(sender.account);
    let former: Option<NameServer> = execution.state.get(&key);
    let certificate = former
        .filter(|former| former.terms.name == terms.name && former.terms.tls_key == terms.tls_key)
        .and_then(|former| former.certificate);
    let record = NameServer {
        terms: terms.clone(),
        changed_at: execution.height,
        certificate,
    };
    execution.state.put(key, &record);
    execution.emit(Event::NameServerChanged {
        server: sender.account,
        name: terms.name.clone(),
    });
    Ok(())
}

fn is_well_formed(terms: &NameServerTerms) -> bool {
    let addresses = &terms.addresses;
    let ports = [terms.ports.tls, terms.ports.https, terms.ports.quic];
    (1..=MAX_NAME_SERVER_ADDRESSES).contains(&addresses.len())
        && addresses.windows(2).all(|pair| pair[0] < pair[1])
        && addresses.iter().all(is_a_hosts)
        && ports.iter().all(|port| *port != Some(0))
        && (1..=MAX_CERTIFICATE_BYTES).contains(&terms.certificate_request.len())
}

/// Whether one host can have `address`: neither unspecified, multicast nor an
/// IPv4 address in IPv6's clothes.
fn is_a_hosts(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address.to_canonical() == *address
}
