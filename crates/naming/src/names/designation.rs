//! Where a client that found the server over UDP finds it encrypted:
//! discovery of designated resolvers (RFC 9462).

use std::net::IpAddr;

use bytes::Bytes;
use domain::{
    base::{Ttl, iana::Rtype},
    rdata::svcb::{SvcParams, SvcParamsBuilder, Svcb},
};
use wire::{DomainName, NameServerPorts};

use super::zone::{Data, OwnerName, RrSet, absolute};

/// The name that clients ask (RFC 9462 §4).
const DISCOVERY_NAME: &str = "_dns.resolver.arpa";

/// Where DNS over HTTPS is asked (RFC 9461 §5).
const DOH_PATH: &str = "/dns-query{?dns}";

/// Seconds for which the pointers may be cached.
const TTL_SECONDS: u32 = 300;

/// Pointers to the encrypted transports of this very server.
#[derive(Clone, Debug)]
pub struct Designation {
    owner: OwnerName,
    set: RrSet,
}

impl Designation {
    /// Pointers to `ports` of the server called `name` at `addresses`; none if
    /// it has no such ports.
    pub fn new(name: &DomainName, addresses: &[IpAddr], ports: NameServerPorts) -> Option<Self> {
        let data = pointers(name, addresses, ports)?;
        (!data.is_empty()).then_some(Self {
            owner: absolute(DISCOVERY_NAME)?,
            set: RrSet {
                rtype: Rtype::SVCB,
                ttl: Ttl::from_secs(TTL_SECONDS),
                data,
                signatures: Vec::new(),
            },
        })
    }

    /// Whether `name` is the one that clients ask.
    pub(super) fn is_at(&self, name: &OwnerName) -> bool {
        self.owner == *name
    }

    /// The pointers.
    pub(super) fn set(&self) -> &RrSet {
        &self.set
    }
}

/// SVCB data that leads to `ports` of the server called `name` at `addresses`
/// (RFC 9461).
pub(super) fn pointers(
    name: &DomainName,
    addresses: &[IpAddr],
    ports: NameServerPorts,
) -> Option<Vec<Data>> {
    let target = absolute(name.as_str())?;
    let mut data: Vec<Data> = Vec::new();
    // The order is our preference: QUIC loses the least to a lost packet.
    for (protocol, port) in [
        (Protocol::Quic, ports.quic),
        (Protocol::Tls, ports.tls),
        (Protocol::Https, ports.https),
    ] {
        let Some(port) = port else { continue };
        let priority = u16::try_from(data.len() + 1).ok()?;
        let params = params(protocol, port, addresses)?;
        data.push(Svcb::new(priority, target.clone(), params).ok()?.into());
    }
    Some(data)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tls,
    Https,
    Quic,
}

fn params(protocol: Protocol, port: u16, addresses: &[IpAddr]) -> Option<SvcParams<Bytes>> {
    let protocols: &[&[u8]] = match protocol {
        Protocol::Tls => &[b"dot"],
        Protocol::Https => &[b"h2", b"http/1.1"],
        Protocol::Quic => &[b"doq"],
    };
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.push(*address),
            IpAddr::V6(address) => v6.push(*address),
        }
    }
    let mut builder = SvcParamsBuilder::<Vec<u8>>::empty();
    builder.alpn(protocols).ok()?;
    builder.port(port).ok()?;
    if !v4.is_empty() {
        builder.ipv4hint(&v4).ok()?;
    }
    if !v6.is_empty() {
        builder.ipv6hint(&v6).ok()?;
    }
    if protocol == Protocol::Https {
        builder.dohpath(DOH_PATH).ok()?;
    }
    builder.freeze().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9462_each_transport_has_a_pointer_in_the_form_of_rfc_9461() {
        let name: DomainName = "dns.internal".parse().unwrap();
        let addresses = [
            "192.0.2.53".parse().unwrap(),
            "2001:db8::53".parse().unwrap(),
        ];
        let ports = NameServerPorts {
            tls: Some(853),
            https: Some(8443),
            quic: Some(853),
        };
        let designation = Designation::new(&name, &addresses, ports).unwrap();
        let told: Vec<String> = designation
            .set()
            .data
            .iter()
            .map(ToString::to_string)
            .collect();
        let hints = "ipv4hint=192.0.2.53 ipv6hint=2001:db8::53";
        assert_eq!(
            told,
            [
                format!("1 dns.internal. alpn=doq port=853 {hints}"),
                format!("2 dns.internal. alpn=dot port=853 {hints}"),
                format!(
                    "3 dns.internal. alpn=h2,http/1.1 port=8443 {hints} dohpath=/dns-query{{?dns}}"
                ),
            ]
        );
        assert!(Designation::new(&name, &addresses, NameServerPorts::default()).is_none());
    }
}
