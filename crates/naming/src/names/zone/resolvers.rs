//! The name by which the circle's name servers prove who they are, `dns.APEX`:
//! where it is, and how it is reached encrypted.
//!
//! What the servers registered on the ledger says so, and nothing else: a
//! client that asks any of them finds all of them.

use ::domain::base::{Ttl, iana::Rtype};
use wire::{DomainName, NameServerTerms};

use super::{Domain, ZoneSettings, absolute, address_data};
use crate::names::{designation, synthesis};

/// Where a client that knows a resolver's name asks how it is reached
/// (RFC 9461 §3, RFC 9462 §5).
const DISCOVERY_KEY: &[u8] = b"\x04_dns";

/// The nodes of `name`, at which all of `servers` answer; none without servers.
pub(super) fn domain<'a>(
    name: &DomainName,
    apex: &DomainName,
    servers: impl IntoIterator<Item = &'a NameServerTerms>,
    settings: &ZoneSettings,
) -> Option<Domain> {
    let mut domain = Domain::with_apex();
    let ttl = Ttl::from_secs(settings.apex_ttl);
    let mut any = false;
    for terms in servers {
        any = true;
        for address in &terms.addresses {
            let (rtype, data) = address_data(*address);
            domain.node_mut(&[]).add(rtype, ttl, [data]);
        }
        let pointers = designation::pointers(name, &terms.addresses, terms.ports);
        domain
            .node_mut(DISCOVERY_KEY)
            .add(Rtype::SVCB, ttl, pointers.unwrap_or_default());
        let ports = [
            (terms.ports.tls, &b"_tcp"[..]),
            (terms.ports.https, b"_tcp"),
            (terms.ports.quic, b"_udp"),
        ];
        for (port, protocol) in ports {
            let Some(port) = port else { continue };
            let tlsa = synthesis::server_key(&terms.tls_key);
            domain
                .node_mut(&synthesis::service_key(port, protocol))
                .add(Rtype::TLSA, ttl, [tlsa]);
        }
        if let (Some(port), Some(target)) = (terms.ports.https, absolute(name.as_str())) {
            synthesis::add_https(&mut domain, &target, port, ttl);
        }
    }
    synthesis::add_authority(&mut domain, apex, settings);
    any.then_some(domain)
}
